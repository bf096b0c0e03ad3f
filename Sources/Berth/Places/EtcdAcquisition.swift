/// Gets a place in a line the etcd way, on servers without `berth.v1`: a lease of one's own, a key in line, and a watch
/// of the one key before. Exclusive, and it guards nothing.
struct EtcdAcquisition {
    let core: ClientCore
    let name: String
    let timeToLive: Duration
    let wait: Duration?
    let value: Bytes

    private struct TimeIsUp: Error {}

    /// Waits for the turn.
    ///
    /// - Throws: `.notAcquired`, `.lockLost` when the lease ended in line, `.cancelled`. Nothing is left behind.
    func run() async throws(BerthError) -> HeldPlace {
        let lease = LeaseID.random()
        let start = ContinuousClock.now
        do throws(BerthError) {
            let granted = try await core.leases.grant(timeToLive, as: lease, isRandom: true)
            let (entry, ahead, first) = try await enter(lease)
            if let first { try await takeTurn(entry, first, lease: granted, since: start) }
            let waited = first == nil ? Duration.zero : .now - start
            // Renewed like any lease from here on; what became of it meanwhile tells at once.
            return HeldPlace(
                core: core,
                terms: .init(
                    name: name, key: entry.key, token: entry.createRevision, lease: lease,
                    timeToLive: granted.timeToLive, waited: waited, ahead: ahead, ownsLease: true),
                dialect: .etcd, leaseEnd: granted.end)
        } catch {
            core.abandon(lease)
            if case .leaseNotFound = error { throw .lockLost(name: name, reason: "its lease ended while it waited") }
            throw error
        }
    }

    /// Enters the line; a repeat finds the place there.
    ///
    /// - Returns: the place, how many are before it, and the first of them, nil when it holds.
    private func enter(_ lease: LeaseID) async throws(BerthError) -> (KeyValue, Int, KeyValue?) {
        let key = Bytes("\(name)/\(lease)")
        let line = KeyRange.prefix(Bytes("\(name)/"))
        let value = value
        let txn = Txn {
            Check.missing(key)
            Put(key, value, lease: lease)
            Get(.key(key))
            Get(line, limit: 1, order: .createRevision)
            Otherwise {
                Get(.key(key))
                Get(line, limit: 1, order: .createRevision)
            }
        }
        let outcome = TxnOutcome(try await core.caller.call(Methods.repeatableTxn, txn.wire))
        let pages = outcome.results.compactMap { if case .get(let page) = $0 { page } else { nil } }
        guard let own = pages.first?.values.first, let first = pages.last?.values.first, let count = pages.last?.count
        else { throw .lockLost(name: name, reason: "its place vanished as it was made") }
        let holds = first.createRevision == own.createRevision
        return (own, holds ? 0 : max(1, count - 1), holds ? nil : first)
    }

    private func takeTurn(
        _ own: KeyValue, _ first: KeyValue, lease: Lease, since start: ContinuousClock.Instant
    ) async throws(BerthError) {
        let holder = Place(first, holds: true, ahead: 0)
        if let wait, wait <= .zero { throw .notAcquired(holder: holder) }
        let name = name
        let core = core
        let outcome = await dependent(
            on: {
                guard await lease.lost != nil else { return false }
                return true
            },
            body: { try await Self.awaitTurn(core, name, own, until: wait.map { start + $0 }) })
        if outcome.wasLost { throw .lockLost(name: name, reason: "its lease ended while it waited") }
        do {
            try outcome.result.get()
        } catch let error as BerthError {
            throw error
        } catch is TimeIsUp {
            throw .notAcquired(holder: holder)
        } catch {
            throw .cancelled
        }
    }

    private static func awaitTurn(
        _ core: ClientCore, _ name: String, _ own: KeyValue, until end: ContinuousClock.Instant?
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await awaitPredecessors(core, name, own) }
            if let end {
                group.addTask {
                    try await Task.sleep(until: end)
                    throw TimeIsUp()
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Waits for the one before, again and again: it may have left the middle of the line.
    private static func awaitPredecessors(_ core: ClientCore, _ name: String, _ own: KeyValue) async throws {
        while true {
            var before = Get(.prefix(Bytes("\(name)/")), limit: 1, order: .createRevision, descending: true)
            before.maxCreateRevision = own.createRevision - 1
            let page = try await core.kv.page(before)
            guard let predecessor = page.values.first else { break }
            var options = WatchOptions()
            options.ignoresPuts = true
            let dialect = WatchDialect(.key(predecessor.key), from: page.revision + 1, options: options)
            var deletes = ResumingReader(core.caller, dialect)
            do throws(BerthError) { _ = try await deletes.next() } catch .compacted {}
        }
        guard try await core.kv.get(own.key)?.createRevision == own.createRevision else {
            throw BerthError.lockLost(name: name, reason: "its lease ended while it waited")
        }
    }
}
