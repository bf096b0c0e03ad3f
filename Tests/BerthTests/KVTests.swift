import Berth
import Testing

@Suite(.timeLimit(.minutes(10))) struct KVTests {
    @Test(arguments: TestServer.allCases)
    func `what is put is read, at its revision too, until it is deleted`(server: TestServer) async throws {
        try await server.client { client in
            let first = try await client.kv.put("a", "1")
            let second = try await client.kv.put("a", "2", previous: true)
            #expect(second.revision == first.revision + 1)
            #expect(second.previous?.value == "1")
            let now = try #require(try await client.kv.get("a"))
            #expect(now.value == "2")
            #expect(now.version == 2)
            #expect(now.createRevision == first.revision)
            #expect(try await client.kv.get("a", revision: first.revision)?.value == "1")
            let deleted = try await client.kv.delete("a", previous: true)
            #expect(deleted.deleted == 1)
            #expect(deleted.previous.first?.value == "2")
            #expect(try await client.kv.get("a") == nil)
            await #expect(throws: BerthError.futureRevision) { _ = try await client.kv.get("a", revision: 1_000) }
            try await client.kv.compact(second.revision)
            await #expect(throws: BerthError.compacted(revision: 0)) {
                _ = try await client.kv.get("a", revision: first.revision)
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a range is read page by page at one revision, whatever is written meanwhile`(server: TestServer) async throws
    {
        try await server.client { client in
            for number in 0..<25 { try await client.kv.put("k/\(number / 10)\(number % 10)", "old") }
            var seen: [KeyValue] = []
            for try await pair in client.kv.range(.prefix("k/"), pageSize: 10) {
                if seen.count == 5 {
                    try await client.kv.put("k/24", "new")
                    try await client.kv.put("k/99", "new")
                }
                seen.append(pair)
            }
            #expect(seen.count == 25)
            #expect(seen.allSatisfy { $0.value == "old" })
            #expect(seen.map(\.key) == seen.map(\.key).sorted())
            #expect(try await client.kv.count(.prefix("k/")) == 26)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a transaction does one thing or the other`(server: TestServer) async throws {
        try await server.client { client in
            try await client.kv.put("balance", "10")
            func pay() async throws -> TxnOutcome {
                try await client.kv.txn {
                    Check.value(of: "balance", is: "10")
                    Put("balance", "7")
                    for number in 0..<3 { Put("log/\(number)", "took 1") }
                    Otherwise { Get("balance") }
                }
            }
            let first = try await pay()
            #expect(first.succeeded)
            #expect(first.results.count == 4)
            let second = try await pay()
            #expect(!second.succeeded)
            #expect(second.values.first??.value == "7")
            let nested = try await client.kv.txn {
                Txn {
                    Check.missing("absent")
                    Get("log/0")
                }
            }
            guard case .txn(let inner)? = nested.results.first else { throw BerthError.invalid("no nested answer") }
            #expect(inner.succeeded)
            #expect(inner.values.first??.value == "took 1")
        }
    }

    @Test(arguments: TestServer.allCases)
    func `compare and swap swaps only what it expects`(server: TestServer) async throws {
        try await server.client { client in
            #expect(try await client.kv.compareAndSwap("c", from: nil, to: "1").swapped)
            let refused = try await client.kv.compareAndSwap("c", from: nil, to: "2")
            #expect(!refused.swapped)
            #expect(refused.current?.value == "1")
            #expect(try await client.kv.compareAndSwap("c", from: "1", to: "2").swapped)
            #expect(try await client.kv.compareAndSwap("c", from: "2", to: nil).swapped)
            #expect(try await client.kv.get("c") == nil)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `no addition to a counter is lost`(server: TestServer) async throws {
        try await server.client { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask { for _ in 0..<10 { try await client.kv.increment("n", by: 2) } }
                }
                try await group.waitForAll()
            }
            #expect(try await client.kv.increment("n", by: -60) == 100)
            try await client.kv.put("n", "many")
            await #expect(throws: BerthError.invalid("n is no counter: its value is many")) {
                try await client.kv.increment("n")
            }
        }
    }

    @Test func `no server is one clear error, within the request's time`() async throws {
        var configuration = BerthConfiguration(endpoints: ["127.0.0.1:1"])
        configuration.requestTimeout = .milliseconds(200)
        let client = try BerthClient(configuration)
        do {
            _ = try await client.kv.put("a", "1")
            Issue.record("a put without a server")
        } catch {
            guard case .unreachable(let why) = error else { throw error }
            #expect(why.hasPrefix("127.0.0.1:1: "))
        }
        await client.close()
        await client.close()
        await #expect(throws: BerthError.closed) { _ = try await client.kv.get("a") }
    }

    @Test(arguments: TestServer.allCases)
    func `a connection nobody uses is closed, and the next call makes another`(server: TestServer) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                var configuration = BerthConfiguration.patient(["127.0.0.1:\(proxy.port)"])
                configuration.idleTimeout = .milliseconds(50)
                try await BerthClient.with(configuration) { client in
                    try await client.kv.put("a", "1")
                    await proxy.nextClosing()
                    #expect(try await client.kv.get("a")?.value == "1")
                    #expect(proxy.accepted == 2)
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `the servers are tried in turn`(server: TestServer) async throws {
        try await server.run { port in
            let configuration = BerthConfiguration.patient(["127.0.0.1:1", "127.0.0.1:\(port)"])
            try await BerthClient.with(configuration) { client in
                try await client.kv.put("a", "1")
                #expect(try await client.kv.get("a")?.value == "1")
                #expect(try await client.status().revision == 2)
            }
        }
    }
}
