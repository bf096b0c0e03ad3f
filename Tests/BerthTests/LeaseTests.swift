import Berth
import Testing

@Suite(.timeLimit(.minutes(1))) struct LeaseTests {
    /// Returns when a lease of two seconds that nobody renews has run out: by then any other such lease would have.
    private func oneLifetime(_ client: BerthClient) async throws {
        let lease = try await client.leases.grant(.seconds(2))
        let revision = try await client.kv.put("clock", "", lease: lease.id).revision
        lease.stopRenewing()
        for try await batch in client.watch("clock", from: revision + 1) where !batch.events.isEmpty { break }
    }

    @Test(arguments: TestServer.all)
    func `a lease is renewed in the background, and its keys go when it is revoked`(server: TestServer) async throws {
        try await server.client { client in
            let lease = try await client.leases.grant(.seconds(2))
            #expect(lease.timeToLive == .seconds(2))
            try await client.kv.put("k", "v", lease: lease.id)
            try await oneLifetime(client)
            #expect(lease.isAlive)
            #expect(lease.remaining <= .seconds(2))
            let status = try await client.leases.status(lease.id, keys: true)
            #expect(status.keys == ["k"])
            #expect(try await client.leases.list().contains(lease.id))
            try await lease.revoke()
            #expect(await lease.lost == .revoked)
            #expect(!lease.isAlive)
            #expect(try await client.kv.get("k") == nil)
            await #expect(throws: BerthError.leaseNotFound) { try await client.leases.renew(lease.id) }
            await #expect(throws: BerthError.leaseNotFound) { _ = try await client.leases.status(lease.id) }
        }
    }

    @Test(arguments: TestServer.all)
    func `a lease revoked by another is noticed at the next renewal`(server: TestServer) async throws {
        try await server.run { port in
            let configuration = BerthConfiguration(endpoints: ["127.0.0.1:\(port)"])
            try await BerthClient.with(configuration) { client in
                try await BerthClient.with(configuration) { other in
                    let kept = try await client.leases.grant(.seconds(2))
                    let lease = try await client.leases.grant(.seconds(2))
                    try await other.leases.revoke(lease.id)
                    #expect(await lease.lost == .gone)
                    #expect(kept.isAlive)
                }
            }
        }
    }

    @Test(arguments: TestServer.all)
    func `renewals go on over broken connections`(server: TestServer) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let flaky = BerthConfiguration(endpoints: ["127.0.0.1:\(proxy.port)"])
                try await BerthClient.with(flaky) { client in
                    let lease = try await client.leases.grant(.seconds(2))
                    for _ in 0..<2 {
                        await proxy.cut()
                        try await oneLifetime(client)
                    }
                    #expect(lease.isAlive)
                    #expect(proxy.accepted > 2)
                }
            }
        }
    }

    @Test(arguments: TestServer.all)
    func `without a server a lease is lost locally, no later than there, and what depends on it is cancelled`(
        server: TestServer
    ) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let flaky = BerthConfiguration(endpoints: ["127.0.0.1:\(proxy.port)"])
                let direct = BerthConfiguration(endpoints: ["127.0.0.1:\(port)"])
                try await BerthClient.with(flaky) { client in
                    try await BerthClient.with(direct) { other in
                        let revision = try await other.kv.put("before", "").revision
                        await #expect(throws: BerthError.leaseNotFound) {
                            try await client.leases.withLease(for: .seconds(2)) { lease in
                                try await client.kv.put("k", "v", lease: lease.id)
                                proxy.refuse(true)
                                await proxy.cut()
                                #expect(await lease.lost == .deadlinePassed)
                                // Its keys are still there: the local deadline came first. Asked by a task of its own,
                                // as this one is cancelled.
                                let value = try await Task { try await other.kv.get("k")?.value }.value
                                #expect(value == "v")
                                await untilCancelled()
                            }
                        }
                        var deleted = false
                        for try await batch in other.watch("k", from: revision) {
                            deleted = batch.events.contains { $0.kind == .delete }
                            if deleted { break }
                        }
                        #expect(deleted)
                    }
                }
            }
        }
    }

    @Test(arguments: TestServer.all)
    func `closing the client renews nothing any more`(server: TestServer) async throws {
        try await server.run { port in
            let client = try BerthClient(BerthConfiguration(endpoints: ["127.0.0.1:\(port)"]))
            let lease = try await client.leases.grant(.seconds(60))
            await client.close()
            #expect(await lease.lost == .notRenewed)
            await #expect(throws: BerthError.closed) { _ = try await client.leases.grant(.seconds(60)) }
        }
    }

    @Test(arguments: TestServer.all)
    func `a lease of a chosen number is refused when it is taken`(server: TestServer) async throws {
        try await server.client { client in
            _ = try await client.leases.grant(.seconds(60), id: LeaseID(77))
            await #expect(throws: BerthError.invalid("the lease 4d exists already")) {
                _ = try await client.leases.grant(.seconds(60), id: LeaseID(77))
            }
        }
    }
}
