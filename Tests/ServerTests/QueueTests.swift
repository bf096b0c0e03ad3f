import EtcdAPI
import FoundationEssentials
import GRPCTransport
import Testing

/// What a cancelled Lock or Campaign leaves behind, wherever on its way it is cancelled: `lag` round trips after it
/// was sent, from before the request has left to after its entry is applied.
@Suite(.timeLimit(.minutes(10))) struct QueueTests {
    private static let rounds = 0..<60

    /// Waits a while that is measured in answers of the server, not in time.
    private func lag(_ roundTrips: Int, _ client: GRPCClient) async throws {
        for _ in 0..<roundTrips { _ = try await client.range(prefix: "nothing") }
    }

    @Test func `a cancelled second Lock of the lease that holds never takes the lock away`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            try await client.grant(0x1)
            let held = try await client.lock("lock", lease: 0x1)
            let entry = try #require(try await client.range(prefix: "lock/").first)
            for round in Self.rounds {
                let second = try await client.beginLock("lock", lease: 0x1)
                try await lag(round % 6, client)
                second.call.cancel()
                try await client.settle()
                let line = try await client.range(prefix: "lock/")
                try #require(line == [entry], "round \(round)")
            }
            #expect(entry.key == held.key)
        }
    }

    @Test func `a cancelled second Lock of a lease that waits does not cost the first its place`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...2 { try await client.grant(lease) }
            let held = try await client.lock("lock", lease: 1)
            let first = try await client.beginLock("lock", lease: 2)
            try await client.settle()
            let line = try await client.range(prefix: "lock/")
            #expect(line.count == 2)
            for round in Self.rounds {
                let second = try await client.beginLock("lock", lease: 2)
                try await lag(round % 6, client)
                second.call.cancel()
                try await client.settle()
                try #require(try await client.range(prefix: "lock/") == line, "round \(round)")
            }
            try await client.unlock(held.key)
            let won = try await first.response(V3lockpb_LockResponse.self)
            #expect(won.key == Data("lock/2".utf8))
        }
    }

    @Test func `a waiter cancelled anywhere on its way leaves no key behind`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...2 { try await client.grant(lease) }
            _ = try await client.lock("lock", lease: 1)
            for round in Self.rounds {
                let waiter = try await client.beginLock("lock", lease: 2)
                try await lag(round % 6, client)
                waiter.call.cancel()
                try await client.settle()
                let line = try await client.range(prefix: "lock/").map(\.key)
                try #require(line == [Data("lock/1".utf8)], "round \(round)")
                #expect(await waiter.status().code == .cancelled)
            }
        }
    }

    @Test func `a waiter without a lease of its own, cancelled on its way, leaves no key behind`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            try await client.grant(1)
            _ = try await client.lock("lock", lease: 1)
            for round in Self.rounds {
                let waiter = try await client.beginLock("lock", lease: 0)
                try await lag(round % 6, client)
                waiter.call.cancel()
                try await client.settle()
                let line = try await client.range(prefix: "lock/").map(\.key)
                try #require(line == [Data("lock/1".utf8)], "round \(round)")
            }
        }
    }

    @Test func `a waiter cancelled after it was seen to enter is seen to leave, and the next one moves up`()
        async throws
    {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...3 { try await client.grant(lease) }
            let held = try await client.lock("lock", lease: 1)
            let watch = try await WatchClient(client)
            try await watch.create(id: 1, key: "lock/2")
            _ = try await watch.next()

            let second = try await client.beginLock("lock", lease: 2)
            #expect(try await watch.next().events.map(\.type) == [.put])
            let third = try await client.beginLock("lock", lease: 3)
            try await client.settle()
            second.call.cancel()
            #expect(try await watch.next().events.map(\.type) == [.delete])
            try await client.unlock(held.key)
            #expect(try await third.response(V3lockpb_LockResponse.self).key == Data("lock/3".utf8))
        }
    }

    @Test func `a Lock whose connection is lost leaves the line`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...2 { try await client.grant(lease) }
            _ = try await client.lock("lock", lease: 1)
            let watch = try await WatchClient(client)
            try await watch.create(id: 1, key: "lock/2")
            _ = try await watch.next()
            let other = await server.client()
            _ = try await other.beginLock("lock", lease: 2)
            #expect(try await watch.next().events.map(\.type) == [.put])
            await other.close()
            #expect(try await watch.next().events.map(\.type) == [.delete])
        }
    }

    @Test func `a cancelled campaign of the sitting leader with a new value keeps the leadership`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            try await client.grant(1)
            let campaign = try await client.beginCampaign("e", lease: 1, value: "first")
            let leader = try await campaign.response(V3electionpb_CampaignResponse.self).leader
            for round in Self.rounds {
                let again = try await client.beginCampaign("e", lease: 1, value: "value \(round)")
                try await lag(round % 6, client)
                again.call.cancel()
                try await client.settle()
                let line = try await client.range(prefix: "e/")
                try #require(line.map(\.createRevision) == [leader.rev], "round \(round)")
            }
        }
    }

    @Test func `a key that was deleted by hand and entered again is not deleted by the first call's cancel`()
        async throws
    {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...2 { try await client.grant(lease) }
            let held = try await client.lock("lock", lease: 1)
            let first = try await client.beginLock("lock", lease: 2)
            try await client.settle()
            let key = Data("lock/2".utf8)
            try await client.unlock(key)
            let second = try await client.beginLock("lock", lease: 2)
            try await client.settle()
            let entered = try #require(try await client.range(prefix: "lock/2").first)

            first.call.cancel()
            try await client.settle()
            #expect(try await client.range(prefix: "lock/2") == [entered])
            try await client.unlock(held.key)
            #expect(try await second.response(V3lockpb_LockResponse.self).key == key)
        }
    }
}
