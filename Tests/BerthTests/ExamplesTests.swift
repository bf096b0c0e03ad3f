import Berth
import Testing

/// The examples of `docs/client.md`, each as it stands there but for leases that outlast a starved machine.
@Suite(.timeLimit(.minutes(10))) struct ExamplesTests {
    @Test func `keys and values`() async throws {
        try await TestServer.berth.client { client in
            try await client.kv.put("greeting", "hello")
            let greeting = try await client.kv.get("greeting")
            print(greeting?.value ?? "nothing")  // hello

            let outcome = try await client.kv.txn {
                Check.value(of: "greeting", is: "hello")
                Put("greeting", "goodbye")
                Otherwise { Get("greeting") }
            }
            print(outcome.succeeded)  // true

            let visits = try await client.kv.increment("visits")
            print(visits)  // 1

            for try await pair in client.kv.range(.prefix("gr")) {
                print(pair.key, pair.value)  // greeting goodbye
            }
            #expect(outcome.succeeded)
            #expect(visits == 1)
        }
    }

    @Test func `watching`() async throws {
        try await TestServer.berth.client { client in
            let first = try await client.kv.put("orders/1", "new").revision
            try await client.kv.put("orders/1", "paid")
            for try await batch in client.watch(.prefix("orders/"), from: first) {
                for event in batch.events {
                    print(event.kind, event.key, event.value)  // put orders/1 new, put orders/1 paid
                }
                if batch.revision > first { break }
            }
        }
    }

    @Test func `leases`() async throws {
        try await TestServer.berth.client { client in
            try await client.leases.withLease(for: .seconds(600)) { lease in
                try await client.kv.put("workers/7", "here", lease: lease.id)
                // … as long as this runs, others see workers/7
            }
            let worker = try await client.kv.get("workers/7")
            print(worker == nil)  // true
            #expect(worker == nil)
        }
    }

    @Test func `locks`() async throws {
        try await TestServer.berth.client { client in
            let token = try await client.withLock("order:123", for: .seconds(600)) { lock in
                try await lock.put("shipped")
                return lock.token
            }
            print("shipped under token \(token)")

            do {
                let once = LockOptions(wait: .zero)
                let lock = try await client.locks.acquire("order:123", for: .seconds(600), options: once)
                try await lock.release()
            } catch BerthError.notAcquired(let holder) {
                print("held by \(holder?.owner ?? "someone else")")
            }
            #expect(token > 0)
        }
    }

    @Test func `elections`() async throws {
        try await TestServer.berth.client { client in
            try await client.lead("reports", value: "http://10.0.0.7", for: .seconds(600), again: true) { leadership in
                let leader = try await client.elections.leader("reports")
                print(leader?.value ?? "nobody")  // http://10.0.0.7
                try await leadership.put("reports/last", "today")
            }
            for try await change in client.elections.observe("reports") {
                print(change.leader?.value ?? "nobody")  // nobody
                break
            }
            #expect(try await client.kv.get("reports/last")?.value == "today")
        }
    }
}
