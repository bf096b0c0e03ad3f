import CNghttp2
import GRPCTransport
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(10))) struct ServerCallTests {
    @Test(arguments: [0, 1, 16_379, 16_384, 65_530, 65_531, 300_000, 2 << 20])
    func `a unary call of any size answers`(size: Int) async throws {
        try await ServerFixture.run { fixture in
            let request = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
            let response = try await fixture.client.unary("/test.Test/Echo", request)
            #expect(response == request)
        }
    }

    @Test func `an error's code and text arrive, whatever characters it has`() async throws {
        try await ServerFixture.run { fixture in
            await #expect(throws: GRPCStatus(.aborted, "no 100% luck: é")) {
                _ = try await fixture.client.unary("/test.Test/Fail", [])
            }
        }
    }

    @Test func `an error without a message is one HEADERS frame`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Fail", stream: 1) + Frames.data(Frames.message([]), stream: 1))
            let first = try #require(await peer.frame { $0.stream == 1 })
            #expect(first.isType(NGHTTP2_HEADERS))
            #expect(first.endsStream)
            #expect(first.fields[":status"] == "200")
            #expect(first.fields["grpc-status"] == "10")
            #expect(first.fields["grpc-message"] == "no 100%25 luck: %C3%A9")
        }
    }

    @Test func `a bidirectional stream echoes in order and ends with success`() async throws {
        try await ServerFixture.run { fixture in
            let stream = await fixture.client.stream("/test.Test/EchoStream")
            for number in 0..<200 {
                try await stream.send([UInt8](repeating: UInt8(number), count: number * 50))
            }
            stream.finishSending()
            for number in 0..<200 {
                #expect(try await stream.next() == [UInt8](repeating: UInt8(number), count: number * 50))
            }
            #expect(try await stream.next() == nil)
        }
    }

    @Test func `the handler sees metadata and deadline`() async throws {
        try await ServerFixture.run { fixture in
            var options = ClientCall.Options()
            options.metadata = [
                ("token", "first"), ("token", "second"), ("long", String(repeating: "x", count: 5_000)),
            ]
            options.deadline = .now() + .hours(2)
            let sent = options
            async let answer = fixture.client.unary("/test.Test/Park", [], options: sent)
            let parked = try #require(await fixture.parked.next())
            let seen = try await parked.run { call in
                (call.metadata("token"), call.metadata("long")?.count, call.metadata("none"), call.deadline)
            }
            #expect(seen.0 == "first")
            #expect(seen.1 == 5_000)
            #expect(seen.2 == nil)
            let left = try #require(seen.3) - .now()
            #expect(left > .hours(1) && left <= .hours(2) + .seconds(1))
            try await parked.run { $0.respond([1]) }
            #expect(try await answer == [1])
        }
    }

    @Test func `a deadline ends the call on both sides and the handler hears it once`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Park", [("grpc-timeout", "30m")], stream: 1)
                    + Frames.data(Frames.message([]), stream: 1))
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "4")
            #expect(await fixture.cancelled.next() == .deadlineExceeded)
            let parked = try #require(await fixture.parked.next())
            try await parked.run { call in
                #expect(!call.isActive)
                call.respond([1])
            }
            try await peer.close()
            await fixture.connections(reach: 1)
            #expect(fixture.cancelled.all.count == 1)
        }
    }

    @Test func `each of many deadlines fires for its own call`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            for (position, timeout) in ["100S", "60m", "20m"].enumerated() {
                let stream = UInt32(2 * position + 1)
                try await peer.send(
                    Frames.request("/test.Test/Park", [("grpc-timeout", timeout)], stream: stream)
                        + Frames.data(Frames.message([]), stream: stream))
            }
            let longest = try #require(await fixture.parked.next())
            for stream in [UInt32(5), 3] {
                let end = await peer.frame { $0.isType(NGHTTP2_HEADERS) && $0.endsStream }
                #expect(end?.fields["grpc-status"] == "4")
                #expect(end?.stream == stream || end?.stream == 8 - stream, "a late timer ends both at once")
            }
            let isActive = try await longest.run { $0.isActive }
            #expect(isActive)
        }
    }

    @Test func `a client's own deadline ends its call`() async throws {
        try await ServerFixture.run { fixture in
            var options = ClientCall.Options()
            options.deadline = .now() + .milliseconds(20)
            let error = await #expect(throws: GRPCStatus.self) {
                _ = try await fixture.client.unary("/test.Test/Park", [], options: options)
            }
            #expect(error?.code == .deadlineExceeded)
        }
    }

    @Test func `a cancelled task resets its call and the handler hears it once`() async throws {
        try await ServerFixture.run { fixture in
            let task = Task { try await fixture.client.unary("/test.Test/Park", []) }
            let parked = try #require(await fixture.parked.next())
            task.cancel()
            await #expect(throws: GRPCStatus(.cancelled, "cancelled by the caller")) { try await task.value }
            #expect(await fixture.cancelled.next() == .reset)
            try await parked.run { $0.finish() }
            #expect(fixture.cancelled.all.count == 1)
        }
    }

    @Test func `a lost connection cancels all its calls`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            for stream in [UInt32(1), 3, 5] {
                try await peer.send(Frames.request("/test.Test/ParkStream", stream: stream))
                _ = await fixture.parked.next()
            }
            try await peer.close()
            for _ in 0..<3 { #expect(await fixture.cancelled.next() == .connectionLost) }
        }
    }

    @Test func `a finished call is never cancelled`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 1))
            try await #require(await fixture.parked.next()).run { $0.finish() }
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "0")
            try await peer.close()
            await fixture.connections(reach: 1)
            #expect(fixture.cancelled.all.isEmpty)
        }
    }

    @Test func `a response that ends before its request tells the client to stop sending`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 1))
            try await #require(await fixture.parked.next()).run { $0.finish(GRPCStatus(.notFound)) }
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "5")
            let reset = await peer.frame { $0.isType(NGHTTP2_RST_STREAM) }
            #expect(reset?.errorCode == NGHTTP2_NO_ERROR.rawValue)
        }
    }

    @Test func `the half-close is told once, after all messages, however often the handler pauses`() async throws {
        let heard = Events<Int>()
        let pausing: (inout ServiceTable) -> Void = { services in
            services.streaming("/test.Test/Pausing") { call in
                call.isReadingPaused = true
                call.onMessage = { [unowned call] message in
                    call.isReadingPaused = true
                    call.isReadingPaused = false
                    heard.add(message.count)
                }
                call.onHalfClose = { [unowned call] in
                    heard.add(-1)
                    call.isReadingPaused = true
                    call.isReadingPaused = false
                    call.eventLoop.execute { call.finish() }
                }
                call.eventLoop.scheduleTask(in: .milliseconds(50)) { call.isReadingPaused = false }
            }
        }
        try await ServerFixture.run(more: pausing) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Pausing", stream: 1)
                    + Frames.data((1...3).flatMap { Frames.message([UInt8](repeating: 0, count: $0)) }, stream: 1))
            #expect(await peer.end(of: 1)?.fields["grpc-status"] == "0")
            let order = heard.all
            #expect(order == [1, 2, 3, -1])
        }
    }

    @Test func `answers given in one turn of the loop leave in one write`() async throws {
        let writes = Events<Int>()
        var configuration = ServerConfiguration.patient
        configuration.prepareConnection = { channel, _ in
            try channel.pipeline.syncOperations.addHandler(WriteCounter(writes))
        }
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            var requests: [UInt8] = []
            for number in 0..<50 {
                let stream = UInt32(2 * number + 1)
                requests +=
                    Frames.request("/test.Test/Park", stream: stream) + Frames.data(Frames.message([]), stream: stream)
            }
            try await peer.send(requests)
            var calls: [ParkedCall] = []
            for _ in 0..<50 { calls.append(try #require(await fixture.parked.next())) }
            let parked = calls
            // Once more through the loop: what the requests themselves caused is written by then.
            try await parked[0].run { _ in }
            try await parked[0].run { _ in }
            let before = writes.all.count
            try await parked[0].run { _ in for call in parked { call.call.respond([7]) } }
            for number in 0..<50 { #expect(await peer.end(of: UInt32(2 * number + 1)) != nil) }
            #expect(writes.all.count - before == 1)
        }
    }

    @Test func `requests read in one turn are answered in one write`() async throws {
        let writes = Events<Int>()
        var configuration = ServerConfiguration.patient
        configuration.prepareConnection = { channel, _ in
            try channel.pipeline.syncOperations.addHandler(WriteCounter(writes))
        }
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            _ = await peer.frame { $0.isType(NGHTTP2_SETTINGS) && $0.flags & 1 == 1 }
            let before = writes.all.count
            var requests: [UInt8] = []
            for stream in stride(from: UInt32(1), to: 17, by: 2) {
                requests +=
                    Frames.request("/test.Test/Echo", stream: stream) + Frames.data(Frames.message([]), stream: stream)
            }
            try await peer.send(requests)
            for stream in stride(from: UInt32(1), to: 17, by: 2) { #expect(await peer.end(of: stream) != nil) }
            #expect(writes.all.count - before == 1)
        }
    }

    @Test func `HTTP 1 requests on the same port are answered, one after another`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            try await peer.send(Array("GET /health HT".utf8))
            try await peer.send(Array("TP/1.1\r\nhost: x\r\n\r\n".utf8))
            var answer = ""
            while !answer.hasSuffix("fine"), let more = await peer.bytes() {
                answer += String(decoding: more, as: UTF8.self)
            }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            try await peer.send(Array("GET /other HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".utf8))
            #expect(String(decoding: await peer.bytesToEnd(), as: UTF8.self).hasPrefix("HTTP/1.1 404 Not Found\r\n"))
        }
    }
}

/// Counts the writes that pass it.
private final class WriteCounter: ChannelOutboundHandler, Sendable {
    typealias OutboundIn = ByteBuffer
    private let writes: Events<Int>

    init(_ writes: Events<Int>) { self.writes = writes }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        writes.add(unwrapOutboundIn(data).readableBytes)
        context.write(data, promise: promise)
    }
}
