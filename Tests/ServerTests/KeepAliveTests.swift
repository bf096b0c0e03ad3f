import EtcdAPI
import GRPCTransport
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(10))) struct KeepAliveTests {
    private typealias KeepAlive = StreamClient<Etcdserverpb_LeaseKeepAliveResponse>

    private func open(_ client: GRPCClient) async throws -> KeepAlive {
        try await KeepAlive(client, "/etcdserverpb.Lease/LeaseKeepAlive")
    }

    private func request(_ id: Int64) -> Etcdserverpb_LeaseKeepAliveRequest { .with { $0.id = id } }

    @Test func `a keep-alive that races with the grant of its lease never revokes it`() async throws {
        try await RunningServer.run { server in
            let granting = await server.client()
            // Several connections, so that the server's loops all take part.
            var streams: [KeepAlive] = []
            for _ in 0..<4 { streams.append(try await open(await server.client())) }
            let filler = [UInt8](repeating: 1, count: 2_000)
            for id in Int64(1)...200 {
                // The entries behind the grant keep its batch open for a while.
                async let granted: Void = granting.grant(id)
                async let fillers: Void = withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in 0..<20 { tasks.addTask { try await granting.put("filler\(number)", filler) } }
                    try await tasks.waitForAll()
                }
                for _ in 0..<10 {
                    for stream in streams { try await stream.send(request(id)) }
                }
                for stream in streams {
                    var wasKnown = false
                    for _ in 0..<10 {
                        let answer = try await stream.next()
                        #expect(answer.id == id)
                        #expect(answer.ttl == 600 || (answer.ttl == 0 && !wasKnown))
                        wasKnown = answer.ttl > 0
                    }
                }
                _ = try await (granted, fillers)
                for stream in streams {
                    try await stream.send(request(id))
                    try #require(try await stream.next().ttl == 600, "lease \(id)")
                }
                try #require(try await granting.timeToLive(id).grantedTtl == 600, "lease \(id)")
            }
        }
    }

    @Test func `answers come in the order of the requests, and an unknown lease gets 0 and ends nothing`() async throws
    {
        try await RunningServer.run { server in
            let client = await server.client()
            for id in Int64(1)...20 { try await client.grant(id, seconds: 100 + id) }
            let stream = try await open(client)
            var expected: [(id: Int64, ttl: Int64)] = []
            for number in Int64(0)..<2_000 {
                let id = number * 7 % 40 + 1
                expected.append((id, id <= 20 ? 100 + id : 0))
                try await stream.send(request(id))
            }
            for (id, ttl) in expected {
                let answer = try await stream.next()
                try #require(answer.id == id && answer.ttl == ttl)
            }
        }
    }

    /// A starved machine may let a lease expire before its key is put: then the next one.
    private func putWithShortLease(_ client: GRPCClient) async throws -> (lease: Int64, revision: Int64) {
        var lease = Int64(100)
        while true {
            lease += 1
            try await client.grant(lease, seconds: 2)
            do {
                return (lease, try await client.put("owned", lease: lease))
            } catch let status as GRPCStatus where status.code == .notFound {
                continue
            }
        }
    }

    @Test func `an expired lease gets 0 once its keys are gone, and later requests wait their turn`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            let (short, put) = try await putWithShortLease(client)
            try await client.grant(1)
            let watch = try await WatchClient(client)
            try await watch.create(id: 1, key: "owned", from: put + 1)
            _ = try await watch.next()
            #expect(try await watch.next().events.map(\.type) == [.delete])
            let stream = try await open(client)
            for id in [short, 1, short] { try await stream.send(request(id)) }
            var answers: [Int64] = []
            for _ in 0..<3 { answers.append(try await stream.next().ttl) }
            #expect(answers == [0, 600, 0])
        }
    }
}
