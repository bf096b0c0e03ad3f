import Berth
import Testing

/// What only a Berth server gives: guards, modes, sight, events.
@Suite(.timeLimit(.minutes(10))) struct BerthLockTests {
    /// The next batch that has events.
    private func next(_ events: inout LockEvents.AsyncIterator) async throws -> [LockEvent] {
        while let batch = try await events.next() {
            if !batch.events.isEmpty { return batch.events }
        }
        return []
    }

    @Test func `three workers and one invoice: the handle writes, others are refused, the first in line follows`()
        async throws
    {
        try await TestServer.berth.client { client in
            let a = try await client.locks.acquire(
                "order:123", for: .seconds(600), options: .init(owner: "A", attributes: ["invoice": "101"]))
            let c = try? await client.locks.acquire("order:123", for: .seconds(600), options: .init(wait: .zero))
            #expect(c == nil)
            var line = client.locks.observe("order:123", from: a.token + 1).makeAsyncIterator()
            let waiting = Task {
                try await client.locks.acquire("order:123", for: .seconds(600), options: .init(owner: "B"))
            }
            #expect(try await next(&line).map(\.kind) == [.queued])
            try await a.put("by A")
            #expect(try await a.get()?.value == "by A")
            do {
                try await client.kv.put("order:123", "by B")
                Issue.record("a guarded key was written without the handle")
            } catch BerthError.locked(let info) {
                #expect(info.key == "order:123")
                #expect(info.lock == "order:123")
                #expect(info.holder == a.key)
                #expect(info.token == a.token)
                #expect(info.owner == "A")
                #expect(info.remaining > .zero)
            }
            await #expect(throws: BerthError.self) { try await client.kv.delete(.all) }
            #expect(try await client.kv.get("order:123")?.value == "by A")
            #expect(try await a.release() == .released)
            let b = try await waiting.value
            #expect(b.ahead == 1)
            #expect(b.waited > .zero)
            try await b.put("by B")
            await #expect(throws: BerthError.lockLost(name: "order:123", reason: "it was released by this client")) {
                try await a.put("late")
            }
            try await b.release()
            try await client.kv.put("order:123", "free")
        }
    }

    @Test func `shared holders stand together, a writer waits for them, permits are counted`() async throws {
        try await TestServer.berth.client { client in
            let once = LockOptions(wait: .zero)
            let shared = LockOptions(mode: .shared, wait: .zero)
            let one = try await client.locks.acquire("book", for: .seconds(600), options: shared)
            let two = try await client.locks.acquire("book", for: .seconds(600), options: shared)
            await #expect(throws: BerthError.self) {
                _ = try await client.locks.acquire("book", for: .seconds(600), options: once)
            }
            let view = try await client.locks.inspect("book")
            #expect(view.places.map(\.mode) == [.shared, .shared])
            #expect(view.holders == 2)
            try await one.release()
            try await two.release()
            try await client.locks.acquire("book", for: .seconds(600), options: once).release()
            let permit = LockOptions(mode: .permits(2), wait: .zero)
            _ = try await client.locks.acquire("slots", for: .seconds(600), options: permit)
            _ = try await client.locks.acquire("slots", for: .seconds(600), options: permit)
            await #expect(throws: BerthError.self) {
                _ = try await client.locks.acquire("slots", for: .seconds(600), options: permit)
            }
            let list = try await client.locks.list(limit: 10)
            #expect(list.locks.map(\.name) == ["slots"])
            #expect(list.locks.first?.holders == 2)
            #expect(!list.more)
        }
    }

    @Test func `an operator breaks a lock, and the body hears who and why`() async throws {
        try await TestServer.berth.client { client in
            var line = client.locks.observe("job").makeAsyncIterator()
            _ = try await line.next()
            do {
                try await client.withLock("job", for: .seconds(600)) { lock in
                    let broken = try await client.locks.break("job", token: lock.token, by: "ops", reason: "stuck")
                    #expect(broken.token == lock.token)
                    #expect(await lock.lost != nil)
                    await untilCancelled()
                }
                Issue.record("the lock was not lost")
            } catch BerthError.lockLost(let name, let reason) {
                #expect(name == "job")
                #expect(reason == "broken by ops: stuck")
            }
            var kinds: [LockEvent.Kind] = []
            while kinds.last != .broken { kinds += try await next(&line).map(\.kind) }
            #expect(kinds == [.queued, .acquired, .broken] || kinds == [.acquired, .broken])
        }
    }

    @Test func `guards cover ranges, or nothing at all`() async throws {
        try await TestServer.berth.client { client in
            let guarded = try await client.locks.acquire(
                "job", for: .seconds(600), options: .init(guards: [.prefix("data/"), "flag"]))
            for key in ["data/1", "flag"] as [Bytes] {
                await #expect(throws: BerthError.self) { try await client.kv.put(key, "x") }
                try await guarded.put(key, "x")
            }
            try await client.kv.put("job", "free")
            try await guarded.release()
            let bare = try await client.locks.acquire("job", for: .seconds(600), options: .init(guards: []))
            try await client.kv.put("job", "free")
            try await bare.release()
        }
    }

    @Test func `a handle from elsewhere proves the lock, renews and releases it`() async throws {
        try await TestServer.berth.client { client in
            let lock = try await client.locks.acquire("job", for: .seconds(600))
            let handle = client.locks.handle(
                "job", key: lock.key, token: lock.token, lease: lock.leaseID, timeToLive: lock.timeToLive)
            try await handle.put("v")
            #expect(try await handle.renew() == .seconds(600))
            #expect(handle.isHeld)
            #expect(try await handle.release() == .released)
            #expect(await lock.lost != nil)
            guard case .lostBefore(let event) = try await lock.release() else { throw BerthError.invalid("released") }
            #expect(event?.kind == .released)
            await #expect(throws: BerthError.self) { try await handle.renew() }
        }
    }

    @Test func `a wait outlives the lease's time and broken connections`() async throws {
        try await TestServer.berth.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let direct = BerthConfiguration.patient(["127.0.0.1:\(port)"])
                let flaky = BerthConfiguration.patient(["127.0.0.1:\(proxy.port)"])
                try await BerthClient.with(direct) { holder in
                    try await BerthClient.with(flaky) { client in
                        let lock = try await holder.locks.acquire("job", for: .seconds(600))
                        var line = holder.locks.observe("job", from: lock.token + 1).makeAsyncIterator()
                        let waiting = Task { try await client.locks.acquire("job", for: .seconds(20)) }
                        #expect(try await next(&line).map(\.kind) == [.queued])
                        await proxy.cut()
                        var kinds: [LockEvent.Kind] = []
                        while kinds.last != .queued { kinds += try await next(&line).map(\.kind) }
                        // Longer than the waiter's time to live passes in line. That is long enough to use the lock
                        // on a starved machine once it is had.
                        try await holder.oneLifetime(of: .seconds(21))
                        try await lock.release()
                        let second = try await waiting.value
                        #expect(second.isHeld)
                        try await second.put("v")
                        try await second.release()
                    }
                }
            }
        }
    }
}
