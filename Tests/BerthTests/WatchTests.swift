import Berth
import Testing

@Suite(.timeLimit(.minutes(10))) struct WatchTests {
    /// Reads events until there are `count`.
    private func events(_ count: Int, _ watch: Watch) async throws -> [WatchEvent] {
        var events: [WatchEvent] = []
        for try await batch in watch {
            events += batch.events
            if events.count >= count { break }
        }
        return events
    }

    @Test(arguments: TestServer.allCases)
    func `a watch tells puts and deletes in order, with what was before`(server: TestServer) async throws {
        try await server.client { client in
            let first = try await client.kv.put("w/a", "1").revision
            try await client.kv.put("w/a", "2")
            try await client.kv.put("other", "x")
            try await client.kv.delete("w/a")
            let events = try await events(
                3, client.watch(.prefix("w/"), from: first, options: .init(previous: true)))
            #expect(events.map(\.kind) == [.put, .put, .delete])
            #expect(events.map(\.value) == ["1", "2", ""])
            #expect(events.map { $0.previous?.value } == [nil, "1", "2"])
            #expect(events.first?.isCreation == true)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a watch from now on tells what comes after it stands`(server: TestServer) async throws {
        try await server.client { client in
            try await client.kv.put("w", "before")
            var batches = client.watch("w", options: .init(progress: true)).makeAsyncIterator()
            let opening = try #require(try await batches.next())
            #expect(opening.events.isEmpty)
            #expect(opening.revision == 2)
            try await client.kv.put("w", "after")
            let batch = try #require(try await batches.next())
            #expect(batch.events.map(\.value) == ["after"])
            #expect(batch.revision == 3)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a compacted start is reported with the revision`(server: TestServer) async throws {
        try await server.client { client in
            for number in 0..<5 { try await client.kv.put("w", "\(number)") }
            try await client.kv.compact(4)
            await #expect(throws: BerthError.compacted(revision: 4)) {
                for try await _ in client.watch("w", from: 2) {}
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `over broken connections no event is lost and none comes twice`(server: TestServer) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let direct = BerthConfiguration.patient(["127.0.0.1:\(port)"])
                let flaky = BerthConfiguration.patient(["127.0.0.1:\(proxy.port)"])
                try await BerthClient.with(direct) { writer in
                    try await BerthClient.with(flaky) { client in
                        let count = 300
                        let reading = Task {
                            try await events(count, client.watch(.prefix("w/"), from: 1)).map(\.value)
                        }
                        for number in 0..<count {
                            try await writer.kv.put("w/\(number % 7)", Bytes("\(number)"))
                            if number % 40 == 20 { await proxy.cut() }
                        }
                        let values = try await reading.value
                        #expect(values == (0..<count).map { Bytes("\($0)") })
                        #expect(proxy.accepted > 1)
                    }
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a watch that is cancelled ends at once`(server: TestServer) async throws {
        try await server.client { client in
            let (stands, standing) = AsyncStream.makeStream(of: Void.self)
            let reading = Task { () -> BerthError? in
                do {
                    for try await _ in client.watch("w", options: .init(progress: true)) { standing.yield(()) }
                    return nil
                } catch {
                    return error as? BerthError
                }
            }
            _ = await stands.first { true }
            reading.cancel()
            #expect(await reading.value == .cancelled)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a large revision comes in fragments, complete and once`(server: TestServer) async throws {
        try await server.client { client in
            let value = Bytes([UInt8](repeating: 7, count: 90_000))
            for number in 0..<40 { try await client.kv.put("big/\(number)", value) }
            let revision = try await client.kv.delete(.prefix("big/")).revision
            var deleted = 0
            var parts = 0
            for try await batch in client.watch(.prefix("big/"), from: revision, options: .init(previous: true)) {
                #expect(batch.revision == revision)
                deleted += batch.events.count
                parts += 1
                if batch.isComplete { break }
            }
            #expect(deleted == 40)
            #expect(parts > 1)
        }
    }
}
