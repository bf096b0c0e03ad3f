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

    /// The monotonic clock, as everything about leases reads it.
    static func now() -> MonotonicInstant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(sinceStart: .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec))
    }

    /// Follows what a batch of entries did. A granted lease counts from the moment its entry was applied.
    func follow(_ changes: [LeaseChange], now: MonotonicInstant) {
        clock.withLock { clock in
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

    /// - Returns: the full time to live in seconds, or nil when the lease is not known or past its expiry.
    func renew(_ id: LeaseID, now: MonotonicInstant) -> Int64? {
        clock.withLock { clock in
            do throws(LeaseClockError) {
                return try clock.renew(id, now: now).components.seconds
            } catch {
                switch error {
                case .notFound: return nil
                }
            }
        }
    }

    /// What is left of a lease in whole seconds, rounded down; nil when it is not known.
    func remainingSeconds(_ id: LeaseID, now: MonotonicInstant) -> Int64? {
        clock.withLock { $0.remaining(id, now: now)?.components.seconds }
    }

    /// All leases, those with the least time left first.
    func byExpiry() -> [LeaseID] { clock.withLock { $0.byExpiry() } }

    /// Leases to propose revoking.
    func collectDue(now: MonotonicInstant, limit: Int) -> [LeaseID] {
        clock.withLock { $0.collectDue(now: now, limit: limit) }
    }
}
