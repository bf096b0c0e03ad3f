import EtcdAPI
import FoundationEssentials
import GRPCTransport
import Server
import Store
import Synchronization
import SwiftProtobuf
import Testing

/// What clients hear of the member's condition, and of watches that are quiet.
@Suite(.timeLimit(.minutes(10))) struct ConditionTests {
    typealias Health = Grpc_Health_V1_HealthCheckResponse

    @Test func `health follows a store that cannot be flushed and has no room left`() async throws {
        let isBroken = Atomic<Bool>(false)
        try await RunningServer.run({ settings in
            settings.flush = (try? FlushSettings(revisions: 4)) ?? .standard
            settings.changeStore = { store in
                store.flushFault = {
                    isBroken.load(ordering: .acquiring) ? StoreError.noSpace(path: "base", needed: 1) : nil
                }
            }
        }) { server in
            let client = await server.client()
            let health = try await StreamClient<Health>(await server.client(), "/grpc.health.v1.Health/Watch")
            try await health.send(Grpc_Health_V1_HealthCheckRequest())
            #expect(try await health.next().status == .serving)

            isBroken.store(true, ordering: .releasing)
            var refusal: (any Error)?
            for number in 0..<1_000 where refusal == nil {
                do { try await client.put("k\(number)") } catch { refusal = error }
            }
            let text = try #require(refusal as? GRPCStatus).message
            #expect(text.contains("cannot be flushed"))
            #expect(try await health.next().status == .notServing)
            let check = try await client.call(
                "/grpc.health.v1.Health/Check",
                Grpc_Health_V1_HealthCheckRequest.with { $0.service = "etcdserverpb.KV" },
                Health.self)
            #expect(check.status == .notServing)

            isBroken.store(false, ordering: .releasing)
            #expect(try await health.next().status == .serving)
            health.cancel()
        }
    }

    @Test func `a quiet watch that asked for it hears of progress at the interval that was set`() async throws {
        try await RunningServer.run({ $0.watchProgressInterval = .milliseconds(100) }) { server in
            let client = await server.client()
            let watch = try await WatchClient(await server.client())
            try await watch.create(id: 1, key: "watched") { $0.progressNotify = true }
            try await watch.create(id: 2, key: "silent")
            try await watch.create(id: 3, key: "later", from: 1_000) { $0.progressNotify = true }
            // Only the first: the second did not ask, the third waits for a revision that is not there.
            var created: Set<Int64> = []
            var notices = 0
            while created.count < 3 || notices < 3 {
                let response = try await watch.next()
                if response.created {
                    created.insert(response.watchID)
                } else {
                    #expect(response.watchID == 1 && response.events.isEmpty && response.header.revision == 1)
                    if created.count == 3 { notices += 1 }
                }
            }
            let revision = try await client.put("other")
            var heard: Int64 = 0
            while heard < revision {
                let progress = try await watch.next()
                #expect(progress.watchID == 1 && progress.events.isEmpty)
                heard = progress.header.revision
            }
            #expect(heard == revision)
            watch.cancel()
        }
    }

    @Test func `creates are refused in etcd's order and with its texts`() async throws {
        try await RunningServer.run { server in
            let watch = try await WatchClient(await server.client())
            try await watch.create(id: 7, key: "a")
            #expect(try await watch.next().created)
            // A negative start is looked at first, then the range, then the id.
            try await watch.create(id: 7, key: "b", from: -1) { $0.rangeEnd = Data("a".utf8) }
            try await watch.create(id: 7, key: "b") { $0.rangeEnd = Data("a".utf8) }
            try await watch.create(id: 7, key: "b")
            for reason in [
                "etcdserver: mvcc: required revision has been compacted", "mvcc: watcher range is empty",
                "mvcc: duplicate watch ID provided on the WatchStream",
            ] {
                let refused = try await watch.next()
                #expect(refused.created && refused.canceled && refused.watchID == -1)
                #expect(refused.cancelReason == reason && refused.header.revision == 1)
            }
            watch.cancel()
        }
    }
}
