import EtcdAPI
import SwiftProtobuf
import Synchronization

/// A place that holds: what proves it, by what it is lost, and how it is given up. Locks and leaderships are faces of it.
final class HeldPlace: Sendable {
    /// What acquiring gave.
    struct Terms: Sendable {
        var name: String
        var key: Bytes
        var token: Int64
        var lease: LeaseID
        var timeToLive: Duration
        var waited = Duration.zero
        var ahead = 0
        /// Acquiring granted the lease, and giving the place up ends it.
        var ownsLease: Bool
    }

    /// How the place was made. A place rebuilt from elsewhere counts as `berth` until the server says it lacks that.
    enum Dialect: Sendable {
        case berth
        case etcd
    }

    /// How it ended.
    enum End: Sendable {
        case released
        case lost(String)
    }

    let core: ClientCore
    let terms: Terms
    let dialect: Dialect
    let end = OneShot<End>()
    /// Renewals in the background keep it; false for a place rebuilt from elsewhere.
    private let isKept: Bool
    /// For a place that is not kept: until when the last renewal through it reaches.
    private let renewedUntil = Mutex<ContinuousClock.Instant?>(nil)
    private let watchID = Mutex<Int64?>(nil)
    /// Its key is gone; why is being asked.
    private let isGone = Mutex(false)

    /// A place that holds.
    ///
    /// - Parameter leaseEnd: tells when the lease, renewed in the background, is lost; nil for a place rebuilt from
    ///   elsewhere, whose lease is another's business.
    init(core: ClientCore, terms: Terms, dialect: Dialect, leaseEnd: OneShot<LeaseEnd>?) {
        self.core = core
        self.terms = terms
        self.dialect = dialect
        isKept = leaseEnd != nil
        guard let leaseEnd else { return }
        leaseEnd.whenFired { [weak self] in self?.lose($0.description) }
        let id = core.places.add(terms.key, token: terms.token) { [weak self] in self?.keyIsGone() }
        watchID.withLock { $0 = id }
    }

    deinit {
        // Nobody can use or release it any more: let it run out.
        stopWatching()
        if isKept, terms.ownsLease, end.value == nil { core.keeper.forget(terms.lease, as: .notRenewed) }
    }

    // MARK: Whether it holds

    /// How long it certainly holds without another renewal.
    var remaining: Duration {
        guard end.value == nil, !isGone.withLock({ $0 }) else { return .zero }
        if isKept {
            guard let deadline = core.keeper.deadline(of: terms.lease) else { return .zero }
            return max(.zero, deadline - .now)
        }
        guard let until = renewedUntil.withLock({ $0 }) else { return terms.timeToLive }
        return max(.zero, until - .now)
    }

    /// Waits for the end; nil when the waiting task was cancelled first.
    func waitForEnd() async -> End? { await end.wait() }

    /// The error this end is; nil for a release.
    func error(_ end: End) -> BerthError? {
        switch end {
        case .released: nil
        case .lost(let reason): .lockLost(name: terms.name, reason: reason)
        }
    }

    /// It is lost, unless it ended before.
    func lose(_ reason: String) {
        guard end.fire(.lost(reason)) else { return }
        stopWatching()
        if isKept, terms.ownsLease { core.abandon(terms.lease) }
    }

    private func stopWatching() {
        let id = watchID.withLock { id in
            defer { id = nil }
            return id
        }
        if let id { core.places.remove(id) }
    }

    private func keyIsGone() {
        guard end.value == nil else { return }
        guard dialect == .berth else { return lose("its key was deleted") }
        isGone.withLock { $0 = true }
        // Asking once more to release what is gone tells how it went.
        core.tidying.add { [weak self] in
            guard let self else { return }
            let request = Berth_V1_ReleaseRequest.with {
                $0.key = self.terms.key.data
                $0.token = self.terms.token
            }
            let limit = self.core.configuration.pace.reasonTimeout
            let answer = try? await self.core.caller.call(
                Methods.release, request, options: .init(timeout: .after(limit)))
            let event = answer.flatMap { $0.hasEnded ? LockEvent($0.ended) : nil }
            self.lose(event?.lossReason ?? "its key was deleted")
        }
    }

    // MARK: Under its protection

    /// The condition that holds only while this place does.
    var proof: Check { .createRevision(of: terms.key, .equal, terms.token) }

    /// Carries a transaction out if the place still holds, and not at all if it does not.
    func txn(_ txn: Txn) async throws(BerthError) -> TxnOutcome {
        try checkHeld()
        var proven = Txn()
        proven.checks = [proof]
        let isNested = !txn.checks.isEmpty
        proven.then = isNested ? [.txn(txn)] : txn.then
        let outcome = try await core.kv.txn(proven)
        guard outcome.succeeded else {
            lose("its place is not in line any more")
            throw lostError()
        }
        guard isNested else { return outcome }
        guard case .txn(var inner)? = outcome.results.first else {
            throw .server(code: 13, message: "a transaction's answer without its results")
        }
        inner.revision = outcome.revision
        return inner
    }

    /// - Throws: `.lockLost` when this client knows that the place has ended.
    func checkHeld() throws(BerthError) {
        guard end.value == nil, !isGone.withLock({ $0 }) else { throw lostError() }
    }

    private func lostError() -> BerthError {
        switch end.value {
        case .lost(let reason)?: .lockLost(name: terms.name, reason: reason)
        case .released?: .lockLost(name: terms.name, reason: "it was released by this client")
        case nil: .lockLost(name: terms.name, reason: nil)
        }
    }

    // MARK: Renewing and giving up

    /// Renews the lease now.
    func renew() async throws(BerthError) -> Duration {
        try checkHeld()
        let sentAt = ContinuousClock.now
        let timeToLive = try await renewOnce()
        core.keeper.renewed(terms.lease, timeToLive: timeToLive, sentAt: sentAt)
        if !isKept { renewedUntil.withLock { $0 = sentAt + timeToLive } }
        return timeToLive
    }

    private func renewOnce() async throws(BerthError) -> Duration {
        do throws(BerthError) {
            guard dialect == .berth else { return try await core.leases.renew(terms.lease) }
            return try await core.byDialect { () async throws(BerthError) -> Duration in
                try await renewByBerth()
            } etcd: { () async throws(BerthError) -> Duration in
                try await core.leases.renew(terms.lease)
            }
        } catch .leaseNotFound {
            lose("its lease ran out or was revoked")
            throw lostError()
        } catch .server(let code, let message) where message.hasPrefix("berth: ") && (code == 5 || code == 9) {
            lose("its place is not in line any more")
            throw lostError()
        }
    }

    private func renewByBerth() async throws(BerthError) -> Duration {
        let request = Berth_V1_RenewRequest.with {
            $0.key = terms.key.data
            $0.token = terms.token
        }
        let answer = try await core.caller.call(Methods.renew, request)
        guard answer.ttl > 0 else { throw .leaseNotFound }
        return .seconds(answer.ttl)
    }

    /// Gives the place up. When the server cannot be told, the lease runs out.
    func release() async throws(BerthError) -> ReleaseOutcome {
        let before = end.value
        if case .released? = before { return .released }
        // From here on nobody may rely on it, whatever comes of the call.
        let wasHeld = end.fire(.released)
        stopWatching()
        defer { if terms.ownsLease { core.keeper.forget(terms.lease, as: .revoked) } }
        guard dialect == .berth else { return try await releaseByTxn() }
        return try await core.byDialect { () async throws(BerthError) -> ReleaseOutcome in
            try await releaseByBerth(wasHeld: wasHeld)
        } etcd: { () async throws(BerthError) -> ReleaseOutcome in
            try await releaseByTxn()
        }
    }

    private func releaseByBerth(wasHeld: Bool) async throws(BerthError) -> ReleaseOutcome {
        let request = Berth_V1_ReleaseRequest.with {
            $0.key = terms.key.data
            $0.token = terms.token
        }
        let answer = try await core.caller.call(Methods.release, request)
        if answer.released { return .released }
        let event = answer.hasEnded ? LockEvent(answer.ended) : nil
        // A first attempt whose answer was lost may have done it.
        if wasHeld, event?.kind == .released { return .released }
        return .lostBefore(event)
    }

    private func releaseByTxn() async throws(BerthError) -> ReleaseOutcome {
        let txn = Txn {
            proof
            Delete(.key(terms.key))
        }
        let outcome = TxnOutcome(try await core.caller.call(Methods.repeatableTxn, txn.wire))
        if terms.ownsLease { core.abandon(terms.lease) }
        return outcome.succeeded ? .released : .lostBefore(nil)
    }

    /// Releases without regard to cancellation, within the time a request may take; a place that cannot be released
    /// runs out.
    ///
    /// - Returns: what the server said; nil when it could not be asked.
    func releaseOnTheWayOut() async -> ReleaseOutcome? {
        await shielded { try? await self.release() }
    }
}
