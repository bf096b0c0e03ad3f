import EtcdAPI
import FoundationEssentials
import GRPCTransport
import SwiftProtobuf
import Testing

/// A client that asks without end and never reads: the server must stop reading it, or it would hold every answer.
@Suite(.timeLimit(.minutes(10))) struct UnreadStreamTests {
    /// Far more than all windows and buffers between client and server can hold.
    private static let endless = 1_000_000
    /// Puts of another client without one more request taken: the server has stopped reading.
    private static let stillness = 300

    private func bytes(_ change: (inout Etcdserverpb_WatchRequest) -> Void) throws -> [UInt8] {
        try Etcdserverpb_WatchRequest.with(change).serializedBytes()
    }

    @Test func `a Watch stream of endless progress requests is no longer read`() async throws {
        // Answers may be left out: the last one says it all.
        try await check([try bytes { $0.progressRequest = .init() }], answersEach: false)
    }

    @Test func `a Watch stream that makes and cancels watches without end is no longer read`() async throws {
        try await check([
            try bytes {
                $0.createRequest.key = Data("k".utf8)
                $0.createRequest.watchID = 7
            },
            try bytes { $0.cancelRequest.watchID = 7 },
        ])
    }

    @Test func `a Watch stream of endless refused watches is no longer read`() async throws {
        try await check([
            try bytes {
                $0.createRequest.key = Data("k".utf8)
                $0.createRequest.rangeEnd = Data("a".utf8)
            }
        ])
    }

    @Test func `a KeepAlive stream of endless requests is no longer read`() async throws {
        let request: [UInt8] = try Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = 1 }.serializedBytes()
        try await RunningServer.run { server in
            let client = await server.client { $0.streamWindow = 65_536 }
            let stream = try await StreamClient<Etcdserverpb_LeaseKeepAliveResponse>(
                client, "/etcdserverpb.Lease/LeaseKeepAlive", isPaused: true)
            let sent = try await flood(stream, [request], server)
            try await stream.setPaused(false)
            for _ in 0..<sent { _ = try await stream.next() }
        }
    }

    private func check(_ requests: [[UInt8]], answersEach: Bool = true) async throws {
        try await RunningServer.run { server in
            let client = await server.client { $0.streamWindow = 65_536 }
            let stream = try await WatchClient(client)
            try await stream.create(id: 1, key: "watched")
            _ = try await stream.next()
            try await stream.setPaused(true)
            let sent = try await flood(stream, requests, server)

            // Once it reads again, it gets the answers, and the watch made before still works.
            try await stream.setPaused(false)
            for _ in 0..<(answersEach ? sent : 0) { _ = try await stream.next() }
            let last = try await (await server.client()).put("watched")
            var response = try await stream.next()
            while response.events.isEmpty { response = try await stream.next() }
            #expect(response.events.map(\.kv.modRevision) == [last])
        }
    }

    /// Sends until nothing more is taken while another client works.
    ///
    /// - Returns: how many requests were sent.
    private func flood<Response: Message>(
        _ stream: StreamClient<Response>, _ requests: [[UInt8]], _ server: RunningServer
    ) async throws -> Int {
        let other = await server.client()
        var sent = 0
        var quiet = 0
        while quiet < Self.stillness {
            let more = try await stream.sendWhileRoom(requests, atMost: 50_000)
            sent += more
            quiet = more == 0 ? quiet + 1 : 0
            try #require(sent < Self.endless, "the server went on reading a client that does not read")
            try await other.put("work")
        }
        return sent
    }
}
