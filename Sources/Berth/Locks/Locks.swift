import EtcdAPI
import SwiftProtobuf

/// Locks. On a Berth server they are enforced: keys a lock guards are refused to everyone but a holder. On a plain etcd
/// they are what etcd's own clients make, in the same line with them: exclusive, and guarding nothing.
public struct Locks: Sendable {
    let core: ClientCore

    /// Gets a lock, waiting in line as long as the options say. It is renewed in the background until it is released.
    ///
    /// Cancelling the task leaves the line. Nothing is left behind when this throws.
    /// - Parameters:
    ///   - name: the lock's name.
    ///   - timeToLive: how long the lock lives when nothing renews it; whole seconds, at least two.
    /// - Throws: `.notAcquired` when the wait ended first, `.lockLost` when the place was broken or its lease ended in
    ///   line, `.unsupported` when a plain etcd is asked for more than it has, `.cancelled`, `.unreachable`.
    public func acquire(
        _ name: String, for timeToLive: Duration, options: LockOptions = .init()
    ) async throws(BerthError) -> Lock {
        if case .permits(let number) = options.mode, number < 1 { throw .invalid("permits start at 1, not \(number)") }
        let core = core
        let place = try await core.byDialect { () async throws(BerthError) -> HeldPlace in
            let attempt = Acquisition(core: core, name: name, timeToLive: timeToLive, wait: options.wait)
            return try await attempt.run { () async throws(BerthError) -> Acquisition.Answer in
                let request = request(attempt, options)
                let answer = try await core.caller.call(Methods.acquire, request, options: attempt.options)
                return Acquisition.Answer(
                    isAcquired: answer.acquired, handle: answer.handle, waitedMilliseconds: answer.waitedMilliseconds,
                    ahead: answer.ahead, holder: answer.hasHolder ? Place(answer.holder) : nil)
            }
        } etcd: { () async throws(BerthError) -> HeldPlace in
            guard options.mode == .exclusive else {
                throw ClientCore.lacking("has exclusive locks alone, no shared ones or permits")
            }
            if let guards = options.guards, !guards.isEmpty { throw ClientCore.lacking("does not guard keys") }
            return try await EtcdAcquisition(
                core: core, name: name, timeToLive: timeToLive, wait: options.wait, value: Bytes(owner(options))
            ).run()
        }
        return Lock(place)
    }

    private func owner(_ options: LockOptions) -> String {
        options.owner.isEmpty ? core.configuration.owner : options.owner
    }

    private func request(_ attempt: Acquisition, _ options: LockOptions) -> Berth_V1_AcquireRequest {
        .with {
            $0.name = Bytes(attempt.name).data
            $0.ttl = max(1, attempt.timeToLive.wholeSeconds)
            $0.lease = attempt.lease.value
            if let wait = options.wait { $0.waitMilliseconds = max(0, wait.wholeMilliseconds) }
            $0.mode = options.mode.wire
            $0.permits = options.mode.permits
            for range in options.guards ?? [] {
                $0.guards.append(
                    .with {
                        $0.key = range.key.data
                        $0.rangeEnd = range.end.data
                    })
            }
            $0.unguarded = options.guards?.isEmpty ?? false
            $0.owner = owner(options)
            $0.attributes = options.attributes
        }
    }

    /// A lock that was acquired elsewhere, as by the process that started this one: proof for writes, and a means to
    /// release. Asks no server, and renews nothing by itself.
    public func handle(
        _ name: String, key: Bytes, token: Int64, lease: LeaseID, timeToLive: Duration
    ) -> Lock {
        let terms = HeldPlace.Terms(
            name: name, key: key, token: token, lease: lease, timeToLive: timeToLive, ownsLease: false)
        return Lock(HeldPlace(core: core, terms: terms, dialect: .berth, leaseEnd: nil))
    }

    // MARK: What others see

    /// Who holds a lock and who waits for it, in order.
    ///
    /// On a plain etcd: the keys in line, without times, owners' attributes and modes.
    /// - Parameter limit: most places to answer with; nil lets the server choose.
    public func inspect(_ name: String, limit: Int? = nil) async throws(BerthError) -> LockView {
        let core = core
        return try await core.byDialect { () async throws(BerthError) -> LockView in
            let request = Berth_V1_InspectRequest.with {
                $0.name = Bytes(name).data
                $0.limit = Int64(limit ?? 0)
            }
            let answer = try await core.caller.call(Methods.inspect, request)
            return LockView(
                name: Bytes(name), revision: answer.header.revision, places: answer.places.map(Place.init),
                holders: Int(answer.holders), waiters: Int(answer.waiters))
        } etcd: { () async throws(BerthError) -> LockView in
            let line = Get(.prefix(Bytes("\(name)/")), limit: limit ?? 1_000, order: .createRevision)
            let page = try await core.kv.page(line)
            let places = page.values.enumerated().map { Place($1, holds: $0 == 0, ahead: $0) }
            return LockView(
                name: Bytes(name), revision: page.revision, places: places, holders: min(1, page.count),
                waiters: max(0, page.count - 1))
        }
    }

    /// The locks whose names begin with `prefix`, by name.
    ///
    /// - Parameters:
    ///   - limit: most locks to answer with; nil lets the server choose.
    ///   - after: goes on behind this name.
    /// - Throws: `.unsupported` by a plain etcd, which cannot tell locks from other keys.
    public func list(
        prefix: Bytes = [], limit: Int? = nil, after: Bytes? = nil
    ) async throws(BerthError) -> LockList {
        let request = Berth_V1_ListRequest.with {
            $0.prefix = prefix.data
            $0.limit = Int64(limit ?? 0)
            if let after { $0.after = after.data }
        }
        let answer = try await orLacking("cannot list locks") { () async throws(BerthError) -> Berth_V1_ListResponse in
            try await core.caller.call(Methods.list, request)
        }
        let locks = answer.locks.map { summary in
            LockSummary(
                name: Bytes(summary.name), holders: Int(summary.holders), waiters: Int(summary.waiters),
                first: summary.hasFirst ? Place(summary.first) : nil)
        }
        return LockList(locks: locks, more: answer.more, revision: answer.header.revision)
    }

    /// Takes a place away from whoever has it. Recorded with the lock's events.
    ///
    /// - Parameters:
    ///   - token: which place; nil means the head of the line.
    ///   - by: who does it.
    ///   - reason: why.
    /// - Returns: the place taken away.
    /// - Throws: `.unsupported` by a plain etcd, where deleting the place's key does it.
    @discardableResult
    public func `break`(
        _ name: String, token: Int64? = nil, by: String, reason: String
    ) async throws(BerthError) -> Place {
        let request = Berth_V1_BreakRequest.with {
            $0.name = Bytes(name).data
            $0.token = token ?? 0
            $0.by = by
            $0.reason = reason
        }
        let answer = try await orLacking("cannot break locks") {
            () async throws(BerthError) -> Berth_V1_BreakResponse in
            try await core.caller.call(Methods.breakPlace, request, options: .init(isRepeatable: token != nil))
        }
        return Place(answer.broken)
    }

    /// What happens in a lock's line, in order, each event once, over broken connections and restarted servers.
    ///
    /// - Parameters:
    ///   - name: the lock, or with `prefix` the beginning of the locks' names.
    ///   - token: tell of this place alone, its moves up the line included.
    ///   - revision: the first revision to tell of; nil means from now on.
    public func observe(
        _ name: String, prefix: Bool = false, token: Int64? = nil, from revision: Int64? = nil
    ) -> LockEvents {
        LockEvents(
            caller: core.caller,
            dialect: ObserveDialect(
                name: Bytes(name), isPrefix: prefix, token: token ?? 0, next: max(0, revision ?? 0)))
    }

    private func orLacking<Value>(
        _ what: String, _ call: () async throws(BerthError) -> Value
    ) async throws(BerthError) -> Value {
        try await core.byDialect(berth: call) { () async throws(BerthError) -> Value in throw ClientCore.lacking(what) }
    }
}
