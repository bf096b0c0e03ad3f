import StateMachine
import Synchronization
import Vocabulary

#if canImport(Glibc)
    import Glibc
#endif

/// The lease clock, shared: the log thread starts and forgets leases as entries are applied, event loops renew and
/// ask, one timer collects what is due. Each call holds the lock for one short operation and calls nobody.
final class LeaseKeeper: Sendable {
    /// A lost revoke proposal is tried again after this long.
    private static let retryInterval = Duration.seconds(3)

    private let clock = Mutex(LeaseClock(retryInterval: retryInterval))

    /// What a renewal found.
    enum Renewal {
        /// Restarted, with its full time to live in seconds.
        case renewed(Int64)
        /// Past its time; its revoke is due or on its way.
        case expired
        /// Not on the clock: never granted, revoked, or not yet answered to whoever asked for it.
        case unknown
    }

    /// The monotonic clock. Read under the lock wherever it decides something, so that a renewal and an expiry are
    /// judged in the order in which they came.
    static func now() -> MonotonicInstant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(sinceStart: .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec))
    }

    /// Follows what a batch of entries did. A granted lease counts from the moment its entry was applied.
    func follow(_ changes: [LeaseChange]) {
        clock.withLock { clock in
            let now = Self.now()
            for change in changes {
                switch change {
                case .granted(let id, let seconds):
                    clock.grant(id, timeToLive: .seconds(seconds), now: now)
                case .revoked(let id):
                    clock.remove(id)
                }
            }
        }
    }

    /// Restarts a lease's time if it has not run out.
    func renew(_ id: LeaseID) -> Renewal {
        clock.withLock { clock in
            let now = Self.now()
            do throws(LeaseClockError) {
                return .renewed(try clock.renew(id, now: now).components.seconds)
            } catch {
                switch error {
                case .notFound: return clock.remaining(id, now: now) == nil ? .unknown : .expired
                }
            }
        }
    }

    /// Stops a lease's time: its owner waits in an open call. Tells whether it did; then `resume` must follow.
    func suspend(_ id: LeaseID) -> Bool { clock.withLock { $0.suspend(id, now: Self.now()) } }

    /// Undoes one `suspend`.
    func resume(_ id: LeaseID) { clock.withLock { $0.resume(id, now: Self.now()) } }

    /// What is left of a lease; nil when it is not known.
    func remaining(_ id: LeaseID) -> Duration? { clock.withLock { $0.remaining(id, now: Self.now()) } }

    /// What is left of a lease in whole seconds, rounded down; nil when it is not known.
    func remainingSeconds(_ id: LeaseID) -> Int64? {
        clock.withLock { $0.remaining(id, now: Self.now())?.components.seconds }
    }

    /// All leases, those with the least time left first.
    ///
    /// Sorts a copy, outside the lock: with many leases call it off the event loops.
    func byExpiry() -> [LeaseID] { clock.withLock { $0 }.byExpiry() }

    /// Leases to propose revoking.
    func collectDue(limit: Int) -> [LeaseID] {
        clock.withLock { $0.collectDue(now: Self.now(), limit: limit) }
    }
}
