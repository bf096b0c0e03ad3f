import EtcdAPI
import SwiftProtobuf

/// Leases: keys that hang on one go when it ends. Those granted here are renewed in the background, all on one stream.
public struct Leases: Sendable {
    let core: ClientCore

    /// Grants a lease and keeps it alive until it is revoked, told not to be renewed, or the client is closed.
    ///
    /// - Parameters:
    ///   - timeToLive: whole seconds, rounded up; servers raise it to at least two.
    ///   - id: a number of the caller's choice; nil takes a random one.
    /// - Throws: `.invalid` when the id is taken, `.noSpace`, `.unreachable`.
    public func grant(_ timeToLive: Duration, id: LeaseID? = nil) async throws(BerthError) -> Lease {
        try await grant(timeToLive, as: id ?? .random(), isRandom: id == nil)
    }

    /// - Parameter isRandom: nobody else can have the number: if it is taken, an earlier attempt took it.
    func grant(_ timeToLive: Duration, as lease: LeaseID, isRandom: Bool) async throws(BerthError) -> Lease {
        let sentAt = ContinuousClock.now
        let granted = try await grant(lease, timeToLive, isRandom: isRandom)
        let end = core.keeper.keep(lease, timeToLive: granted, sentAt: sentAt)
        return Lease(core: core, id: lease, timeToLive: granted, end: end)
    }

    /// Keeps a lease alive that was granted elsewhere, having renewed it once.
    ///
    /// - Throws: `.leaseNotFound`.
    public func keep(_ id: LeaseID) async throws(BerthError) -> Lease {
        let sentAt = ContinuousClock.now
        let timeToLive = try await renew(id)
        let end = core.keeper.keep(id, timeToLive: timeToLive, sentAt: sentAt)
        return Lease(core: core, id: id, timeToLive: timeToLive, end: end)
    }

    /// Grants a lease for as long as `body` runs, and revokes it then. `body` runs in a child task, which is cancelled
    /// when the lease is lost.
    ///
    /// - Throws: what `body` throws; `.leaseNotFound` when the lease was lost before `body` returned.
    @discardableResult
    public func withLease<Value: Sendable>(
        for timeToLive: Duration, _ body: @escaping @Sendable (Lease) async throws -> Value
    ) async throws -> Value {
        let lease = try await grant(timeToLive)
        let outcome = await dependent(on: { await lease.lost != nil }, body: { try await body(lease) })
        let core = core
        await shielded { try? await core.leases.revoke(lease.id) }  // A lease that cannot be revoked runs out.
        if outcome.wasLost { throw BerthError.leaseNotFound }
        return try outcome.result.get()
    }

    /// Ends a lease and deletes all keys that hang on it.
    ///
    /// - Throws: `.leaseNotFound`.
    public func revoke(_ id: LeaseID) async throws(BerthError) {
        core.keeper.forget(id, as: .revoked)
        let request = Etcdserverpb_LeaseRevokeRequest.with { $0.id = id.value }
        _ = try await core.caller.call(Methods.revoke, request)
    }

    /// Renews a lease once.
    ///
    /// - Returns: how long it lives from now on.
    /// - Throws: `.leaseNotFound`.
    @discardableResult
    public func renew(_ id: LeaseID) async throws(BerthError) -> Duration {
        let sentAt = ContinuousClock.now
        let request = Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = id.value }
        let timeToLive = Duration.seconds(try await core.caller.call(Methods.keepAlive, request).ttl)
        guard timeToLive > .zero else { throw .leaseNotFound }
        core.keeper.renewed(id, timeToLive: timeToLive, sentAt: sentAt)
        return timeToLive
    }

    /// What is left of a lease.
    ///
    /// - Parameter keys: asks for the keys that hang on it.
    /// - Throws: `.leaseNotFound`.
    public func status(_ id: LeaseID, keys: Bool = false) async throws(BerthError) -> LeaseStatus {
        let request = Etcdserverpb_LeaseTimeToLiveRequest.with {
            $0.id = id.value
            $0.keys = keys
        }
        let answer = try await core.caller.call(Methods.timeToLive, request)
        guard answer.ttl >= 0 else { throw .leaseNotFound }
        return LeaseStatus(
            id: id, remaining: .seconds(answer.ttl), timeToLive: .seconds(answer.grantedTtl),
            keys: answer.keys.map { Bytes($0) })
    }

    /// All leases of the store.
    public func list() async throws(BerthError) -> [LeaseID] {
        try await core.caller.call(Methods.leases, .init()).leases.map { LeaseID($0.id) }
    }

    private func grant(_ id: LeaseID, _ timeToLive: Duration, isRandom: Bool) async throws(BerthError) -> Duration {
        let request = Etcdserverpb_LeaseGrantRequest.with {
            $0.id = id.value
            $0.ttl = timeToLive.wholeSeconds
        }
        do throws(BerthError) {
            return .seconds(try await core.caller.call(Methods.grant, request).ttl)
        } catch .server(_, let message) where message.contains("lease already exists") {
            // Nobody else picks the same 63 random bits: an attempt whose answer was lost granted it.
            guard isRandom else { throw .invalid("the lease \(id) exists already") }
            return try await status(id).timeToLive
        }
    }
}

/// What is left of a lease.
public struct LeaseStatus: Sendable, Hashable {
    /// The lease.
    public var id: LeaseID
    /// Until it ends unless it is renewed, in whole seconds.
    public var remaining: Duration
    /// What each renewal gives it.
    public var timeToLive: Duration
    /// The keys that hang on it, when asked for.
    public var keys: [Bytes]
}

extension Duration {
    /// Seconds, parts of one rounded up.
    var wholeSeconds: Int64 { components.seconds + (components.attoseconds > 0 ? 1 : 0) }

    /// Milliseconds, parts of one rounded up; bounded so that it fits.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        guard seconds < Int64.max / 2_000 else { return Int64.max / 2 }
        return seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }
}
