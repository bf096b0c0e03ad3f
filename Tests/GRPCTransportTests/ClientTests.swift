import CNghttp2
import GRPCTransport
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(10))) struct ClientTests {
    @Test func `a request whose answer is complete is reset`() async throws {
        let (port, accept) = try await RawPeer.listen()
        let client = GRPCClient(patientlyTo: port)
        let stream = await client.stream("/test.Test/Any")
        let peer = try #require(try await accept())
        let request = try #require(await peer.frame { $0.isType(NGHTTP2_HEADERS) })
        let answer = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]
        try await peer.send(Frames.headers(answer, stream: request.stream, endStream: true))
        let reset = try #require(await peer.frame { $0.isType(NGHTTP2_RST_STREAM) })
        #expect(reset.stream == request.stream)
        #expect(reset.errorCode == NGHTTP2_NO_ERROR.rawValue)
        await #expect(throws: GRPCStatus(.notFound)) { _ = try await stream.next() }
        await client.close()
    }

    @Test func `what other calls have queued leaves a call no room, until it is sent`() async throws {
        try await ServerFixture.run { fixture in
            let client = GRPCClient(patientlyTo: fixture.port) { $0.connectionSendBuffer = 50_000 }
            let first = try await ownCall(client)
            let parked = try #require(await fixture.parked.next())
            try await parked.run { $0.isReadingPaused = true }
            let second = try await ownCall(client)
            let room = Events<Int>()
            let hasRoom = try await client.eventLoop.submit {
                // Longer than a window: most of it stays here while the handler reads nothing.
                first.send([UInt8](repeating: 1, count: 200_000))
                second.onRoom = { room.add(1) }
                return second.hasRoom
            }.get()
            #expect(!hasRoom)
            try await parked.run { $0.isReadingPaused = false }
            #expect(await room.next() == 1)
            #expect(await fixture.messages.next()?.count == 200_000)
            await client.close()
        }
    }

    @Test func `a stream the server has not seen is opened again with all it had sent`() async throws {
        let (port, accept) = try await RawPeer.listen()
        let client = GRPCClient(patientlyTo: port)
        let stream = await client.stream("/test.Test/Any")
        try await stream.send([7, 8])
        let peer = try #require(try await accept())
        for round in 0..<2 {
            let request = try #require(await peer.frame { $0.isType(NGHTTP2_HEADERS) })
            let data = try #require(await peer.frame { $0.isType(NGHTTP2_DATA) })
            #expect(data.payload.suffix(2) == [7, 8])
            if round == 0 {
                try await peer.send(Frames.reset(stream: request.stream, code: NGHTTP2_REFUSED_STREAM.rawValue))
            } else {
                let answer = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
                try await peer.send(Frames.headers(answer, stream: request.stream, endStream: true))
            }
        }
        let end = try await stream.next()
        #expect(end == nil)
        await client.close()
    }

    private func ownCall(_ client: GRPCClient) async throws -> ClientCall {
        try await client.eventLoop.submit { client.start("/test.Test/ParkStream") { _ in } }.get()
    }
}
