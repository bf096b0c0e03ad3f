import Berth
import Synchronization
import Testing

/// Locks as every server has them: through `berth.v1`, or the etcd way.
@Suite(.timeLimit(.minutes(10))) struct LockTests {
    /// Returns when `kind` happened to some place of `name` at `revision` or later.
    private func event(
        _ kind: WatchEvent.Kind, in name: String, of client: BerthClient, from revision: Int64
    ) async throws {
        for try await batch in client.watch(.prefix(Bytes("\(name)/")), from: revision)
        where batch.events.contains(where: { $0.kind == kind }) { break }
    }

    @Test(arguments: TestServer.allCases)
    func `a lock excludes, is tried once, and is handed on`(server: TestServer) async throws {
        try await server.client { client in
            let first = try await client.locks.acquire("job", for: .seconds(600), options: .init(owner: "first"))
            #expect(first.isHeld)
            #expect(first.ahead == 0)
            #expect(first.key == Bytes("job/\(first.leaseID)"))
            #expect(first.token == (try await client.kv.get(first.key))?.createRevision)
            do {
                _ = try await client.locks.acquire("job", for: .seconds(600), options: .init(wait: .zero))
                Issue.record("two hold an exclusive lock")
            } catch BerthError.notAcquired(let holder) {
                #expect(holder?.token == first.token)
                #expect(holder?.owner == "first")
            }
            let waiting = Task { try await client.locks.acquire("job", for: .seconds(600)) }
            try await event(.put, in: "job", of: client, from: first.token + 1)
            #expect(try await first.release() == .released)
            #expect(!first.isHeld)
            #expect(try await first.release() == .released)
            let second = try await waiting.value
            #expect(second.token > first.token)
            #expect(second.ahead == 1)
            await #expect(throws: BerthError.lockLost(name: "job", reason: "it was released by this client")) {
                try await first.put("late")
            }
            try await second.release()
            #expect(try await client.kv.count(.prefix("job/")) == 0)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a wait that is over leaves the line`(server: TestServer) async throws {
        try await server.client { client in
            let lock = try await client.locks.acquire("job", for: .seconds(600))
            do {
                _ = try await client.locks.acquire("job", for: .seconds(600), options: .init(wait: .milliseconds(100)))
                Issue.record("two hold an exclusive lock")
            } catch BerthError.notAcquired(let holder) {
                #expect(holder?.token == lock.token)
            }
            try await event(.delete, in: "job", of: client, from: lock.token + 1)
            #expect(try await client.locks.inspect("job").places.map(\.token) == [lock.token])
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a cancelled waiter leaves the line`(server: TestServer) async throws {
        try await server.client { client in
            let lock = try await client.locks.acquire("job", for: .seconds(600))
            let waiting = Task { () -> BerthError? in
                do throws(BerthError) {
                    _ = try await client.locks.acquire("job", for: .seconds(600))
                    return nil
                } catch {
                    return error
                }
            }
            try await event(.put, in: "job", of: client, from: lock.token + 1)
            waiting.cancel()
            #expect(await waiting.value == .cancelled)
            try await event(.delete, in: "job", of: client, from: lock.token + 1)
            let view = try await client.locks.inspect("job")
            #expect(view.holders == 1)
            #expect(view.waiters == 0)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `many tasks with one lock never overlap`(server: TestServer) async throws {
        try await server.client { client in
            let inside = Gauge()
            try await withThrowingTaskGroup(of: Int64.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        try await client.withLock("job", for: .seconds(600)) { lock in
                            #expect(inside.add(1) == 1)
                            let old = Int(try await lock.get("sum")?.value.string ?? "0") ?? 0
                            try await lock.put("sum", Bytes("\(old + 1)"))
                            #expect(inside.add(-1) == 0)
                            return lock.token
                        }
                    }
                }
                let tokens = try await group.reduce(into: Set()) { $0.insert($1) }
                #expect(tokens.count == 20)
            }
            #expect(try await client.kv.get("sum")?.value == "20")
            #expect(try await client.kv.count(.prefix("job/")) == 0)
        }
    }

    private final class Gauge: Sendable {
        private let count = Mutex(0)
        func add(_ amount: Int) -> Int {
            count.withLock { count in
                count += amount
                return count
            }
        }
    }

    private struct BodyFailed: Error {}

    @Test(arguments: TestServer.allCases)
    func `the lock is released when the body throws, and when its task is cancelled`(server: TestServer) async throws {
        try await server.client { client in
            await #expect(throws: BodyFailed.self) {
                try await client.withLock("job", for: .seconds(600)) { _ in throw BodyFailed() }
            }
            let left = try await client.kv.count(.prefix("job/"))
            #expect(left == 0)
            let (starts, start) = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                try await client.withLock("job", for: .seconds(600)) { lock in
                    start.yield(())
                    #expect(await lock.lost == nil)
                    try Task.checkCancellation()
                }
            }
            _ = await starts.first { true }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            let leftLater = try await client.kv.count(.prefix("job/"))
            #expect(leftLater == 0)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `losing the lease cancels the body, and a late write changes nothing`(server: TestServer) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let flaky = BerthConfiguration.patient(["127.0.0.1:\(proxy.port)"])
                let direct = BerthConfiguration.patient(["127.0.0.1:\(port)"])
                try await BerthClient.with(flaky) { client in
                    try await BerthClient.with(direct) { other in
                        let stood = Mutex(false)
                        // On a starved machine the lock may be lost before it is cut off: then once more.
                        while !stood.withLock({ $0 }) {
                            let error = try await #require(throws: BerthError.self) {
                                try await client.withLock("job", for: .seconds(2)) { lock in
                                    // Calls are made by tasks of their own, as this one is cancelled.
                                    _ = try await Task { try await lock.put("mine") }.value
                                    proxy.refuse(true)
                                    defer { proxy.refuse(false) }
                                    await proxy.cut()
                                    // As if the holder never noticed.
                                    let late = other.locks.handle(
                                        "job", key: lock.key, token: lock.token, lease: lock.leaseID,
                                        timeToLive: lock.timeToLive)
                                    // It holds at the server, so nothing before the cut told of its end.
                                    _ = try await Task { try await late.put("mine") }.value
                                    stood.withLock { $0 = true }
                                    let waiting = Task { try await other.locks.acquire("job", for: .seconds(600)) }
                                    let next = try await waiting.value
                                    #expect(next.token > lock.token)
                                    #expect(!lock.isHeld)
                                    await untilCancelled()
                                    let write = await Task { () -> BerthError? in
                                        do throws(BerthError) {
                                            try await late.put("late")
                                            return nil
                                        } catch {
                                            return error
                                        }
                                    }.value
                                    #expect(
                                        write == .lockLost(name: "job", reason: "its place is not in line any more"))
                                    _ = try await Task { try await next.release() }.value
                                }
                            }
                            guard case .lockLost(let name, let reason) = error else { throw error }
                            #expect(name == "job")
                            if stood.withLock({ $0 }) { #expect(reason == "its lease could not be renewed in time") }
                        }
                        #expect(try await other.kv.get("job")?.value == "mine")
                    }
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `transactions under a lock keep their own branches`(server: TestServer) async throws {
        try await server.client { client in
            try await client.withLock("job", for: .seconds(600)) { lock in
                let outcome = try await lock.txn {
                    Check.exists("absent")
                    Put("yes", "1")
                    Otherwise { Put("no", "1") }
                }
                #expect(!outcome.succeeded)
                #expect(try await lock.get("no")?.value == "1")
                #expect(try await lock.delete("no") == 1)
            }
        }
    }

    @Test func `a plain etcd says clearly what it lacks`() async throws {
        try await TestServer.etcd.client { client in
            let no = "it offers etcd's API alone; use a Berth server for that"
            await #expect(throws: BerthError.unsupported("this server does not guard keys: \(no)")) {
                _ = try await client.locks.acquire("job", for: .seconds(600), options: .init(guards: ["a"]))
            }
            for mode in [LockMode.shared, .permits(3)] {
                let lacking = "this server has exclusive locks alone, no shared ones or permits: \(no)"
                await #expect(throws: BerthError.unsupported(lacking)) {
                    _ = try await client.locks.acquire("job", for: .seconds(600), options: .init(mode: mode))
                }
            }
            await #expect(throws: BerthError.unsupported("this server cannot list locks: \(no)")) {
                _ = try await client.locks.list()
            }
            await #expect(throws: BerthError.unsupported("this server cannot break locks: \(no)")) {
                try await client.locks.break("job", by: "test", reason: "none")
            }
            await #expect(throws: BerthError.self) { for try await _ in client.locks.observe("job") {} }
        }
    }
}
