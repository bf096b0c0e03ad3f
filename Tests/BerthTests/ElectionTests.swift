import Berth
import Testing

@Suite(.timeLimit(.minutes(10))) struct ElectionTests {
    @Test(arguments: TestServer.allCases)
    func `one leads, the next follows, and observers see every leader and value`(server: TestServer) async throws {
        try await server.client { client in
            #expect(try await client.elections.leader("chair") == nil)
            let first = try await client.elections.campaign("chair", value: "a", for: .seconds(600))
            #expect(first.isLeader)
            let leader = try await client.elections.leader("chair")
            #expect(leader?.value == "a")
            #expect(leader?.token == first.token)
            let start = first.token
            let waiting = Task { try await client.elections.campaign("chair", value: "b", for: .seconds(600)) }
            for try await batch in client.watch(.prefix("chair/"), from: start + 1) where !batch.events.isEmpty {
                break
            }
            try await first.proclaim("a2")
            #expect(try await first.resign() == .released)
            let second = try await waiting.value
            #expect(second.ahead == 1)
            try await second.resign()
            var seen: [Bytes?] = []
            for try await change in client.elections.observe("chair", from: start) {
                seen.append(change.leader?.value)
                if seen.count == 4 { break }
            }
            #expect(seen == ["a", "a2", "b", nil])
            await #expect(throws: BerthError.lockLost(name: "chair", reason: "it was released by this client")) {
                try await first.proclaim("late")
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `an observer starts with the leader there is`(server: TestServer) async throws {
        try await server.client { client in
            let leadership = try await client.elections.campaign("chair", value: "a", for: .seconds(600))
            var changes = client.elections.observe("chair").makeAsyncIterator()
            #expect(try await changes.next()?.leader?.value == "a")
            try await leadership.proclaim("b")
            #expect(try await changes.next()?.leader?.value == "b")
            try await leadership.resign()
            let last = try #require(try await changes.next())
            #expect(last.leader == nil)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `who loses leadership leads again when told to`(server: TestServer) async throws {
        try await server.client { client in
            let tokens = try await client.lead("chair", for: .seconds(600), again: true) { leadership -> [Int64] in
                let before = try await client.kv.get("terms")
                try await client.kv.put("terms", Bytes("\(before?.value.string ?? "") \(leadership.token)"))
                guard before != nil else {
                    // The first term ends by force.
                    try await client.leases.revoke(leadership.leaseID)
                    #expect(await leadership.lost != nil)
                    return []
                }
                return [leadership.token]
            }
            #expect(tokens.count == 1)
            let terms = try await client.kv.get("terms")?.value.string?.split(separator: " ").compactMap { Int64($0) }
            #expect(terms?.count == 2)
            #expect(terms?.last == tokens.first)
            #expect(try await client.elections.leader("chair") == nil)
        }
    }

    @Test(arguments: TestServer.allCases)
    func `who loses leadership and is not told to stand again fails`(server: TestServer) async throws {
        try await server.client { client in
            await #expect(throws: BerthError.lockLost(name: "chair", reason: "its lease was given up")) {
                try await client.lead("chair", for: .seconds(600)) { leadership in
                    try await client.leases.revoke(leadership.leaseID)
                    _ = await leadership.lost
                }
            }
        }
    }
}
