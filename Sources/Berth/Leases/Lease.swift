/// A lease this client keeps alive.
public final class Lease: Sendable {
    private let core: ClientCore
    /// Names it.
    public let id: LeaseID
    /// What each renewal gives it; the server's word, at least two seconds.
    public let timeToLive: Duration
    let end: OneShot<LeaseEnd>

    init(core: ClientCore, id: LeaseID, timeToLive: Duration, end: OneShot<LeaseEnd>) {
        self.core = core
        self.id = id
        self.timeToLive = timeToLive
        self.end = end
    }

    /// Whether it certainly lives. Counted from before the last renewal was sent: the server ends it no earlier.
    public var isAlive: Bool { remaining > .zero }

    /// How long it certainly lives without another renewal; zero once it is lost.
    public var remaining: Duration {
        guard end.value == nil, let deadline = core.keeper.deadline(of: id) else { return .zero }
        return max(.zero, deadline - .now)
    }

    /// Waits until the lease ended, and says why; nil when the waiting task was cancelled first.
    public var lost: LeaseEnd? { get async { await end.wait() } }

    /// Ends the lease and deletes its keys.
    ///
    /// - Throws: `.leaseNotFound` when it had ended before.
    public func revoke() async throws(BerthError) { try await core.leases.revoke(id) }

    /// Renews it no more: it runs out by itself.
    public func stopRenewing() { core.keeper.forget(id, as: .notRenewed) }
}
