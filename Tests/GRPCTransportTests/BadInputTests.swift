import CNghttp2
import GRPCTransport
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(10))) struct BadInputTests {
    @Test(arguments: [
        [0, 1, 2, 3, 255], [0x16, 3, 1, 2, 0], Array("get / HTTP/1.1\r\n\r\n".utf8), Array("PRI * HTTP/3\r\n".utf8),
    ])
    func `bytes of no protocol close the connection`(garbage: [UInt8]) async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            await peer.flood(garbage)
            _ = await peer.bytesToEnd()
            await fixture.connections(reach: 1)
        }
    }

    @Test func `garbage after the preface closes the connection with a GOAWAY`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            try await peer.send(Frames.preface + [UInt8](repeating: 0xa5, count: 200))
            #expect(await peer.goaway()?.errorCode != NGHTTP2_NO_ERROR.rawValue)
            #expect(await peer.frame() == nil)
        }
    }

    @Test(arguments: [[], Array(Frames.preface.prefix(10)), Frames.preface, Array("GET /health HT".utf8)])
    func `a greeting that does not come whole in time closes the connection`(start: [UInt8]) async throws {
        try await ServerFixture.run(limits: { $0.handshakeTimeout = .milliseconds(100) }) { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            await peer.flood(start)
            _ = await peer.bytesToEnd()
            await fixture.connections(reach: 1)
        }
    }

    @Test func `a connection that never asks is told to go away after its idle time`() async throws {
        try await ServerFixture.run(limits: { $0.maxConnectionIdle = .milliseconds(100) }) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            #expect(await peer.goaway()?.errorCode == NGHTTP2_NO_ERROR.rawValue)
        }
    }

    @Test func `half a frame and then nothing leaves no trace`() async throws {
        try await ServerFixture.run { fixture in
            let whole = Frames.request("/test.Test/ParkStream", stream: 1)
            for length in [1, 8, 9, 20, whole.count - 1] {
                let peer = try await RawPeer.greeted(fixture.port)
                try await peer.send(Array(whole.prefix(length)))
                try await peer.close()
            }
            await fixture.connections(reach: 1)
            #expect(fixture.parked.all.isEmpty)
        }
    }

    @Test(arguments: [
        (Frames.message([1, 2, 3], length: 100), "13", "the request ended in the middle of a message"),
        ([0, 0], "13", "the request ended in the middle of a message"),
        ([], "12", "no message for a unary method"),
        (Frames.message([1]) + Frames.message([2]), "12", "more than one message for a unary method"),
        (Frames.message([1], flag: 1), "13", "compressed message without a grpc-encoding"),
        (
            Frames.message([], length: (2 << 20) + 1), "8",
            "grpc: received message larger than max (2097153 vs. 2097152)"
        ),
        (
            Frames.message([], length: 0xffff_ffff), "8",
            "grpc: received message larger than max (4294967295 vs. 2097152)"
        ),
    ])
    func `a request that is no message gets a status`(body: [UInt8], code: String, text: String) async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/Echo", stream: 1) + Frames.data(body, stream: 1))
            let end = try #require(await peer.end(of: 1))
            #expect(end.fields["grpc-status"] == code)
            #expect(end.fields["grpc-message"] == text)
        }
    }

    @Test func `a message over the limit is refused before it is sent`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let prefix = Frames.message([], length: 100 << 20)
            try await peer.send(
                Frames.request("/test.Test/Echo", stream: 1) + Frames.data(prefix, stream: 1, endStream: false))
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "8")
            #expect(await peer.frame { $0.isType(NGHTTP2_RST_STREAM) }?.errorCode == NGHTTP2_NO_ERROR.rawValue)
        }
    }

    @Test(arguments: [
        ("/test.Test/Nope", "unknown method Nope for service test.Test"), ("/no.Such/Echo", "unknown service no.Such"),
        ("/nothing", "malformed method name: /nothing"), ("/", "malformed method name: /"),
    ])
    func `a path nobody serves is unimplemented`(path: String, text: String) async throws {
        try await ServerFixture.run { fixture in
            await #expect(throws: GRPCStatus(.unimplemented, text)) {
                _ = try await fixture.client.unary(path, [1])
            }
        }
    }

    @Test(arguments: [
        ([("content-type", "application/json")], "415"), ([("content-type", "application/grpcx")], "415"),
        ([("content-type", "application/grpc+proto")], "200"), ([("content-type", "application/grpc;x=y")], "200"),
        ([], "415"),
    ])
    func `a content type that is not gRPC's is answered with 415`(
        fields: [(String, String)], status: String
    ) async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let start = Frames.requestFields("/test.Test/Echo").filter { $0.0 != "content-type" }
            try await peer.send(
                Frames.headers(start + fields, stream: 1) + Frames.data(Frames.message([]), stream: 1))
            #expect(await peer.frame { $0.isType(NGHTTP2_HEADERS) }?.fields[":status"] == status)
        }
    }

    @Test func `a GET is answered with 405`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let fields = Frames.requestFields("/test.Test/Echo").map { $0.0 == ":method" ? ($0.0, "GET") : $0 }
            try await peer.send(Frames.headers(fields, stream: 1, endStream: true))
            #expect(await peer.end(of: 1)?.fields[":status"] == "405")
        }
    }

    @Test func `an unknown encoding is unimplemented and the known one is named`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Echo", [("grpc-encoding", "gzip")], stream: 1)
                    + Frames.data(Frames.message([1]), stream: 1))
            let end = try #require(await peer.end(of: 1))
            #expect(end.fields["grpc-status"] == "12")
            #expect(end.fields["grpc-accept-encoding"] == "identity")
        }
    }

    @Test func `a malformed timeout is refused`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/Park", [("grpc-timeout", "soon")], stream: 1))
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "13")
        }
    }

    @Test(arguments: [("/" + String(repeating: "\u{80}", count: 4_000), []), ("/test.Test/Echo", ["grpc-encoding"])])
    func `a long name that nobody knows still gets its answer`(path: String, fields: [String]) async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let long = String(repeating: "\u{80}", count: 4_000)
            try await peer.send(Frames.request(path, fields.map { ($0, long) }, stream: 1))
            let end = try #require(await peer.end(of: 1))
            #expect(end.fields["grpc-status"] == "12")
            #expect(end.fields["grpc-message"].map { $0.utf8.count <= 4_096 } == true)
        }
    }

    @Test func `a status text of any length arrives, cut`() async throws {
        let fail: (inout ServiceTable) -> Void = { services in
            services.unary("/test.Test/Wordy") { call, _ in
                call.fail(GRPCStatus(.internal, String(repeating: "é", count: 50_000)))
            }
        }
        try await ServerFixture.run(more: fail) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Wordy", stream: 1) + Frames.data(Frames.message([]), stream: 1))
            let text = try #require(await peer.end(of: 1)?.fields["grpc-message"])
            #expect(text.utf8.count == 4_095)
            #expect(text.utf8.count % 3 == 0 && text.hasSuffix("%C3"))
        }
    }

    @Test func `headers over the bound fail their call alone`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            // Three literals of 12 KB are more than 32 KiB, in one HEADERS and two CONTINUATION frames.
            let big = (0..<3).map { ("x-\($0)", String(repeating: "y", count: 12_000)) }
            let block = Frames.block(Frames.requestFields("/test.Test/Echo", big))
            try await peer.send(
                Frames.frame(NGHTTP2_HEADERS, stream: 1, Array(block[..<16_000]))
                    + Frames.frame(NGHTTP2_CONTINUATION, stream: 1, Array(block[16_000..<32_000]))
                    + Frames.frame(NGHTTP2_CONTINUATION, flags: 4, stream: 1, Array(block[32_000...]))
                    + Frames.data(Frames.message([1]), stream: 1))
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "8")
            try await peer.send(
                Frames.request("/test.Test/Echo", stream: 3) + Frames.data(Frames.message([1]), stream: 3))
            #expect(await peer.end(of: 3)?.fields["grpc-status"] == "0")
        }
    }

    @Test func `ten thousand connections opened and dropped leave the server as it was`() async throws {
        try await ServerFixture.run { fixture in
            for _ in 0..<100 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<100 {
                        group.addTask {
                            let peer = try await RawPeer.connect(fixture.port)
                            if number % 3 == 1 { await peer.flood(Frames.preface) }
                            if number % 3 == 2 { await peer.flood([0]) }
                            try? await peer.close()
                        }
                    }
                    try await group.waitForAll()
                }
            }
            await fixture.connections(reach: 1)
        }
    }

    @Test func `connections over the bound are closed and the others stay`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.maxConnections = 2
        try await ServerFixture.run(configuration) { fixture in
            let second = try await RawPeer.greeted(fixture.port)
            _ = await second.frame()
            let third = try await RawPeer.connect(fixture.port)
            #expect(await third.bytes() == nil)
            try await second.close()
            await fixture.connections(reach: 1)
            let fourth = try await RawPeer.greeted(fixture.port)
            #expect(await fourth.frame() != nil)
        }
    }
}
