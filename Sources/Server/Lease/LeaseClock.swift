import HeapModule
package import Vocabulary

/// What asking the clock about a lease can answer instead.
package enum LeaseClockError: Error, Hashable {
    /// Not granted, forgotten, or past its expiry.
    case notFound(LeaseID)
}

/// Knows when each lease falls due. Owns deadlines and nothing else.
///
/// It never revokes: a due lease becomes a revoke proposal and stays known until that entry is applied. It never reads
/// a clock or sleeps: callers pass `now`, so a test runs a year of leases in a millisecond.
///
/// Isolation: none of its own. `LeaseKeeper` guards the only copy.
package struct LeaseClock: Sendable {
    private struct Lease {
        let timeToLive: Duration
        var expiry: MonotonicInstant
        /// Instant of this lease's one live wake-up; a wake-up at any other instant is stale.
        /// Until the lease is reported, `wakeUp <= expiry`: the clock may look early, never late.
        var wakeUp: MonotonicInstant
        /// Open calls in which the owner waits: while there are any, the lease's time does not run.
        var suspensions = 0
        var isSuspended: Bool { suspensions > 0 }
    }
    private struct WakeUp: Comparable {
        let instant: MonotonicInstant
        let id: LeaseID
        static func < (a: Self, b: Self) -> Bool { (a.instant, a.id) < (b.instant, b.id) }
    }

    private let retryInterval: Duration
    private var leases: [LeaseID: Lease] = [:]
    private var wakeUps = Heap<WakeUp>()

    /// - Parameter retryInterval: how long a revoke proposal may stay unapplied before it is asked for again.
    package init(retryInterval: Duration) {
        precondition(retryInterval > .zero, "a lease due now would be reported in an endless loop")
        self.retryInterval = retryInterval
    }

    /// Starts a lease that falls due at `now + timeToLive`; one already known starts anew.
    package mutating func grant(_ id: LeaseID, timeToLive: Duration, now: MonotonicInstant) {
        leases[id] = Lease(timeToLive: timeToLive, expiry: now + timeToLive, wakeUp: now + timeToLive)
        wakeUps.insert(WakeUp(instant: now + timeToLive, id: id))
    }

    /// Restarts the full time to live, in O(1): the queued wake-up stays put and re-queues itself when it fires.
    ///
    /// - Returns: the full time to live.
    /// - Throws: `.notFound`, also for a lease past its expiry. Its revoke may already be in the log, and a client
    ///   told "renewed" must not lose its keys a moment later.
    package mutating func renew(_ id: LeaseID, now: MonotonicInstant) throws(LeaseClockError) -> Duration {
        guard let lease = leases[id], lease.isSuspended || lease.expiry > now else { throw .notFound(id) }
        leases[id]?.expiry = now + lease.timeToLive
        return lease.timeToLive
    }

    /// Stops a lease's time until `resume`, which must follow once for each; tells whether it did. Not for a lease that is
    /// not known or past its expiry.
    package mutating func suspend(_ id: LeaseID, now: MonotonicInstant) -> Bool {
        guard let lease = leases[id], lease.isSuspended || lease.expiry > now else { return false }
        leases[id]?.suspensions += 1
        return true
    }

    /// Undoes one `suspend`; after the last the lease's time runs again, from its full time to live.
    package mutating func resume(_ id: LeaseID, now: MonotonicInstant) {
        guard let lease = leases[id], lease.isSuspended else { return }
        leases[id]?.suspensions -= 1
        leases[id]?.expiry = now + lease.timeToLive
    }

    /// What is left of a lease, never less than zero; nil when it is not known.
    package func remaining(_ id: LeaseID, now: MonotonicInstant) -> Duration? {
        leases[id].map { $0.isSuspended ? $0.timeToLive : max(.zero, $0.expiry - now) }
    }

    /// Forgets a lease whose revoke was applied; harmless when repeated, as a retried revoke is applied twice.
    package mutating func remove(_ id: LeaseID) {
        leases[id] = nil
        // Grant-and-revoke churn leaves stale wake-ups; rebuilding keeps memory linear in live leases.
        guard wakeUps.count > 2 * leases.count + 16 else { return }
        wakeUps = Heap(leases.map { WakeUp(instant: $1.wakeUp, id: $0) })
    }

    /// All leases, those with the least time left first, those whose time does not run last.
    package func byExpiry() -> [LeaseID] {
        leases.sorted {
            ($0.value.isSuspended ? 1 : 0, $0.value.expiry, $0.key) < (
                $1.value.isSuspended ? 1 : 0, $1.value.expiry, $1.key
            )
        }
        .map(\.key)
    }

    /// Reports up to `limit` leases to propose revoking, and again after the retry interval while they remain,
    /// because a proposal can be lost with its leader.
    package mutating func collectDue(now: MonotonicInstant, limit: Int) -> [LeaseID] {
        var due: [LeaseID] = []
        while due.count < limit, let first = wakeUps.min, first.instant <= now {
            wakeUps.removeMin()
            guard let lease = leases[first.id], lease.wakeUp == first.instant else { continue }
            let isDue = !lease.isSuspended && lease.expiry <= now
            if isDue { due.append(first.id) }
            // A suspended lease is looked at again no later than it could fall due if it were resumed now.
            let next = isDue ? now + retryInterval : lease.isSuspended ? now + lease.timeToLive : lease.expiry
            leases[first.id]?.wakeUp = next
            wakeUps.insert(WakeUp(instant: next, id: first.id))
        }
        return due
    }
}
