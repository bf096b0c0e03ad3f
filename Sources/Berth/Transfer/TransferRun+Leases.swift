import EtcdAPI

// Leases: which there are, which are in the way, and granting them.
extension TransferRun {
    /// A lease both stores have, with different times.
    struct DifferingLease {
        var id: LeaseID
        var source: Duration
        var target: Duration
    }

    /// Calls about leases on their way at once.
    private static let callsInFlight = 64

    /// Leases of the source whose numbers the target has for others. Looked at before anything is written.
    func leasesInTheWay() async throws(Reason) -> [DifferingLease] {
        let common = try await Set(list(.source)).intersection(list(.target)).sorted { $0.value < $1.value }
        let range = range
        let (source, target) = (transfer.source.leases, transfer.target.leases)
        let isPartial = !transfer.prefix.isEmpty
        let differing = try await Self.inFlight(common) { (id) async throws(Reason) -> DifferingLease? in
            guard let there = try await Self.status(source, id, .source, keys: isPartial),
                let here = try await Self.status(target, id, .target, keys: false)
            else { return nil }
            let isWanted = !isPartial || there.keys.contains { range.contains($0) }
            guard isWanted, there.timeToLive != here.timeToLive else { return nil }
            return DifferingLease(id: id, source: there.timeToLive, target: here.timeToLive)
        }
        return differing.compactMap { $0 }
    }

    /// Leases of keys put aside, and without a prefix all others too.
    func leasesToGrant() async throws(Reason) -> [LeaseID] {
        var leases = Set(leased.lazy.map { LeaseID($0.lease) })
        if transfer.prefix.isEmpty { leases.formUnion(try await list(.source)) }
        return leases.sorted { $0.value < $1.value }
    }

    /// Grants all leases on the target and keeps them alive. Those that ended in the source since are noted.
    mutating func grantLeases() async throws(Reason) {
        progress.stage = .granting
        let leases = try await leasesToGrant()
        let (source, target) = (transfer.source.leases, transfer.target.leases)
        // A few at a time, so that progress can be told.
        for part in stride(from: 0, to: leases.count, by: 1000).map({ leases[$0..<min($0 + 1000, leases.count)] }) {
            let granted = try await Self.inFlight(Array(part)) { (id) async throws(Reason) -> Lease? in
                guard let status = try await Self.status(source, id, .source, keys: false) else { return nil }
                return try await Self.grant(id, status.timeToLive, on: target)
            }
            for (id, lease) in zip(part, granted) {
                if let lease { held.append(lease) } else { endedLeases.insert(id.value) }
            }
            progress.leases = held.count
        }
    }

    /// Leases granted on the target that it does not have any more. Asked at the end: without keys nothing else tells.
    func lostLeases() async throws(Reason) -> [LeaseID] {
        guard !held.isEmpty else { return [] }
        let there = try await Set(list(.target))
        return held.map(\.id).filter { !there.contains($0) }
    }

    /// The leases run out from now on unless their owners renew them.
    func stopRenewing() { for lease in held { lease.stopRenewing() } }

    private static func grant(_ id: LeaseID, _ timeToLive: Duration, on target: Leases) async throws(Reason) -> Lease {
        let lease: Lease
        do throws(BerthError) {
            lease = try await target.grant(timeToLive, id: id)
        } catch .invalid(let message) {
            // It exists: an earlier transfer granted it, or an earlier attempt.
            guard let status = try await status(target, id, .target, keys: false) else {
                throw .failed(.target, .invalid(message))
            }
            guard status.timeToLive == timeToLive else {
                throw .leaseTaken(id, source: timeToLive, target: status.timeToLive)
            }
            do throws(BerthError) { lease = try await target.keep(id) } catch { throw .failed(.target, error) }
        } catch {
            throw .failed(.target, error)
        }
        // Servers raise a time that is too short for them; its owner would be away for longer than it asked for.
        guard lease.timeToLive == timeToLive else {
            lease.stopRenewing()
            throw .leaseChanged(id, asked: timeToLive, granted: lease.timeToLive)
        }
        return lease
    }

    /// Nil for a lease that ended.
    private static func status(
        _ leases: Leases, _ id: LeaseID, _ side: TransferError.Side, keys: Bool
    ) async throws(Reason) -> LeaseStatus? {
        do throws(BerthError) {
            return try await leases.status(id, keys: keys)
        } catch .leaseNotFound {
            return nil
        } catch {
            throw .failed(side, error)
        }
    }

    private func list(_ side: TransferError.Side) async throws(Reason) -> [LeaseID] {
        let client = side == .source ? transfer.source : transfer.target
        do throws(BerthError) { return try await client.leases.list() } catch { throw .failed(side, error) }
    }

    /// Does the same with many, some at a time; results in the order of what they are of.
    private static func inFlight<Value: Sendable, Element: Sendable>(
        _ elements: [Element], _ body: @escaping @Sendable (Element) async throws(Reason) -> Value
    ) async throws(Reason) -> [Value] {
        var values: [(position: Int, value: Value)] = []
        let failure: Reason? = await withTaskGroup(of: (Int, Result<Value, Reason>).self) { group in
            var next = 0
            func launch() {
                let (position, element) = (next, elements[next])
                next += 1
                group.addTask {
                    do throws(Reason) {
                        return (position, .success(try await body(element)))
                    } catch {
                        return (position, .failure(error))
                    }
                }
            }
            while next < min(callsInFlight, elements.count) { launch() }
            for await (position, result) in group {
                switch result {
                case .success(let value): values.append((position, value))
                case .failure(let reason):
                    group.cancelAll()
                    return reason
                }
                if next < elements.count { launch() }
            }
            return nil
        }
        if let failure { throw failure }
        return values.sorted { $0.position < $1.position }.map(\.value)
    }
}
