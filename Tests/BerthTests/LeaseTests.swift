import Berth
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(10))) struct LeaseTests {
    /// A client's renewals, once every tenth of a second whatever a lease's time to live, and the answers to them.
    private struct Renewals {
        let configuration: BerthConfiguration
        private let answers: AsyncStream<LeaseID>

        init(port: Int) {
            let (answers, answered) = AsyncStream.makeStream(of: LeaseID.self)
            self.answers = answers
            var configuration = BerthConfiguration.patient(["127.0.0.1:\(port)"])
            configuration.pace.renewalInterval = .milliseconds(100)
            configuration.pace.onRenewal = { answered.yield($0) }
            self.configuration = configuration
        }

        /// Returns when a lease of 600 s was renewed after the call, by the server's word: three seconds pass at the
        /// server first, which a lease that is not renewed in them or later lacks for good.
        func renewed(_ lease: Lease, by client: BerthClient) async throws {
            try await client.oneLifetime(of: .seconds(3))
            var answers = answers.makeAsyncIterator()
            while try await client.leases.status(lease.id).remaining <= .seconds(598) {
                while let id = await answers.next(), id != lease.id {}
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a lease is renewed in the background, and its keys go when it is revoked`(server: TestServer) async throws {
        try await server.run { port in
            let renewals = Renewals(port: port)
            try await BerthClient.with(renewals.configuration) { client in
                let lease = try await client.leases.grant(.seconds(600))
                #expect(lease.timeToLive == .seconds(600))
                try await client.kv.put("k", "v", lease: lease.id)
                try await renewals.renewed(lease, by: client)
                #expect(lease.isAlive)
                #expect(lease.remaining <= .seconds(600))
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
    }

    @Test(arguments: TestServer.allCases)
    func `a lease revoked by another is noticed at the next renewal`(server: TestServer) async throws {
        try await server.run { port in
            let renewals = Renewals(port: port)
            try await BerthClient.with(renewals.configuration) { client in
                try await BerthClient.with(.patient(["127.0.0.1:\(port)"])) { other in
                    let kept = try await client.leases.grant(.seconds(600))
                    let lease = try await client.leases.grant(.seconds(600))
                    try await other.leases.revoke(lease.id)
                    #expect(await lease.lost == .gone)
                    #expect(kept.isAlive)
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `renewals go on over broken connections`(server: TestServer) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                let renewals = Renewals(port: proxy.port)
                try await BerthClient.with(renewals.configuration) { client in
                    let lease = try await client.leases.grant(.seconds(600))
                    for _ in 0..<2 {
                        await proxy.cut()
                        try await renewals.renewed(lease, by: client)
                    }
                    #expect(lease.isAlive)
                    #expect(proxy.accepted > 2)
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `without a server a lease is lost locally, no later than there, and what depends on it is cancelled`(
        server: TestServer
    ) async throws {
        try await server.run { port in
            try await FlakyProxy.run(to: port) { proxy in
                try await BerthClient.with(.patient(["127.0.0.1:\(proxy.port)"])) { client in
                    try await BerthClient.with(.patient(["127.0.0.1:\(port)"])) { other in
                        let stood = Mutex(false)
                        // On a starved machine the lease may be over before it is cut off: then once more.
                        while !stood.withLock({ $0 }) {
                            try await #require(throws: BerthError.leaseNotFound) {
                                try await client.leases.withLease(for: .seconds(2)) { lease in
                                    // Calls are made by tasks of their own, as this one is cancelled.
                                    _ = try await Task { try await client.kv.put("k", "v", lease: lease.id) }.value
                                    proxy.refuse(true)
                                    defer { proxy.refuse(false) }
                                    await proxy.cut()
                                    // No later than the local deadline, which no answer moves any more.
                                    let deadline = ContinuousClock.now + lease.remaining
                                    // It lives at the server, so no answer before the cut told of its end.
                                    let put = Task { try await other.kv.put("k", "v", lease: lease.id).revision }
                                    let revision = try await put.value
                                    stood.withLock { $0 = true }
                                    let deletion = Task {
                                        for try await batch in other.watch("k", from: revision)
                                        where batch.events.contains(where: { $0.kind == .delete }) { break }
                                        return ContinuousClock.now
                                    }
                                    #expect(await lease.lost == .deadlinePassed)
                                    await untilCancelled()
                                    #expect(try await deletion.value >= deadline)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `closing the client renews nothing any more`(server: TestServer) async throws {
        try await server.run { port in
            let client = try BerthClient(BerthConfiguration.patient(["127.0.0.1:\(port)"]))
            let lease = try await client.leases.grant(.seconds(600))
            await client.close()
            #expect(await lease.lost == .notRenewed)
            await #expect(throws: BerthError.closed) { _ = try await client.leases.grant(.seconds(600)) }
        }
    }

    @Test(arguments: TestServer.allCases)
    func `a lease of a chosen number is refused when it is taken`(server: TestServer) async throws {
        try await server.client { client in
            _ = try await client.leases.grant(.seconds(600), id: LeaseID(77))
            await #expect(throws: BerthError.invalid("the lease 4d exists already")) {
                _ = try await client.leases.grant(.seconds(600), id: LeaseID(77))
            }
        }
    }
}
