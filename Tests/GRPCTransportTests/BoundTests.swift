import CNghttp2
import GRPCTransport
import NIOCore
import Testing

/// What one connection can make the server hold.
@Suite(.timeLimit(.minutes(10))) struct BoundTests {
    @Test func `calls that hold more request bytes together than their connection may fail, and make room`()
        async throws
    {
        var configuration = ServerConfiguration.patient
        configuration.connectionRequestBuffer = 100_000
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let partial = Frames.message([UInt8](repeating: 1, count: 16_000), length: 60_000)
            for stream in stride(from: UInt32(1), to: 15, by: 2) {
                try await peer.send(
                    Frames.request("/test.Test/Echo", stream: stream)
                        + Frames.data(partial, stream: stream, endStream: false))
            }
            let refused = try #require(await peer.frame { $0.isType(NGHTTP2_HEADERS) && $0.endsStream })
            #expect(refused.fields["grpc-status"] == "8")
            for stream in stride(from: UInt32(1), to: 15, by: 2) { try await peer.send(Frames.reset(stream: stream)) }
            try await peer.send(
                Frames.request("/test.Test/Echo", stream: 21) + Frames.data(Frames.message([1]), stream: 21))
            #expect(await peer.end(of: 21)?.fields["grpc-status"] == "0")
        }
    }

    @Test func `metadata counts towards the bound`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.connectionRequestBuffer = 20_000
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let metadata = [("x-long", String(repeating: "y", count: 6_000))]
            for stream in [UInt32(1), 3, 5, 7] {
                try await peer.send(Frames.request("/test.Test/ParkStream", metadata, stream: stream))
            }
            let refused = try #require(await peer.frame { $0.isType(NGHTTP2_HEADERS) && $0.endsStream })
            #expect(refused.stream == 7)
            #expect(refused.fields["grpc-status"] == "8")
            #expect(fixture.parked.all.count == 3)
        }
    }
}
