// Work that depends on a lock or on leadership, as a scope.
extension BerthClient {
    /// Runs `body` while a lock is held, and releases it then: also when `body` throws or the task is cancelled.
    ///
    /// `body` runs in a child task, which is cancelled when the lock is lost. Returning normally means that the lock
    /// was held, as far as this client can know, until `body` returned. What must not happen without the lock, however
    /// late this process wakes up, is written through it: `lock.put`, `lock.txn`.
    ///
    /// ```swift
    /// try await client.withLock("order:123", for: .seconds(10)) { lock in
    ///     try await lock.put("shipped")
    /// }
    /// ```
    /// - Parameters:
    ///   - name: the lock's name.
    ///   - timeToLive: how long the lock lives when nothing renews it; it is renewed as long as `body` runs.
    ///   - options: mode, wait, what to guard.
    /// - Throws: as `Locks.acquire`; `.lockLost` when the lock was lost before `body` returned; else what `body` throws.
    @discardableResult
    public func withLock<Value: Sendable>(
        _ name: String, for timeToLive: Duration, options: LockOptions = .init(),
        _ body: @escaping @Sendable (Lock) async throws -> Value
    ) async throws -> Value {
        let lock = try await locks.acquire(name, for: timeToLive, options: options)
        return try await Self.run(while: lock.place) { try await body(lock) }
    }

    /// Runs `body` while this client leads, and resigns then: also when `body` throws or the task is cancelled.
    ///
    /// `body` runs in a child task, which is cancelled when leadership is lost.
    ///
    /// - Parameters:
    ///   - election: its name.
    ///   - value: what others see of the leader.
    ///   - timeToLive: how long leadership lives when nothing renews it.
    ///   - again: stands again after a loss and runs `body` anew, until it ends while leading.
    /// - Throws: as `Elections.campaign`; `.lockLost` when leadership was lost before `body` returned, unless `again`;
    ///   else what `body` throws.
    @discardableResult
    public func lead<Value: Sendable>(
        _ election: String, value: Bytes = [], for timeToLive: Duration = .seconds(10), again: Bool = false,
        _ body: @escaping @Sendable (Leadership) async throws -> Value
    ) async throws -> Value {
        while true {
            let leadership = try await elections.campaign(election, value: value, for: timeToLive)
            do {
                return try await Self.run(while: leadership.place) { try await body(leadership) }
            } catch BerthError.lockLost(election, let reason) where again {
                if Task.isCancelled { throw BerthError.lockLost(name: election, reason: reason) }
            }
        }
    }

    private static func run<Value: Sendable>(
        while place: HeldPlace, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let outcome = await dependent(
            on: {
                if case .lost? = await place.waitForEnd() { return true }
                // Released by the body itself: nothing is lost.
                return false
            }, body: body)
        // Its time may be up without anyone having noticed yet.
        if place.end.value == nil, place.remaining == .zero { place.lose("its lease could not be renewed in time") }
        if let end = place.end.value, let error = place.error(end) { throw error }
        if case .lostBefore(let event) = await place.releaseOnTheWayOut() {
            throw BerthError.lockLost(name: place.terms.name, reason: event?.lossReason)
        }
        return try outcome.result.get()
    }
}
