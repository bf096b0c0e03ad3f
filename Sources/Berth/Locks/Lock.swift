/// A lock that is held: proof for writes, and knowledge of its own end.
///
/// Every write through it is a transaction that carries the proof, so a holder that comes back late changes nothing:
/// it gets `BerthError.lockLost`. A lock let go of without `release` is not renewed any more and runs out.
public final class Lock: Sendable {
    let place: HeldPlace

    init(_ place: HeldPlace) { self.place = place }

    /// The lock's name.
    public var name: String { place.terms.name }
    /// The owner key, `NAME/<lease in hexadecimal>`.
    public var key: Bytes { place.terms.key }
    /// The fencing token: grows from holder to holder. Hand it to systems outside that can refuse older ones.
    public var token: Int64 { place.terms.token }
    /// The lease the lock lives by.
    public var leaseID: LeaseID { place.terms.lease }
    /// How long it lives without being renewed; the server's word, at least two seconds.
    public var timeToLive: Duration { place.terms.timeToLive }
    /// How long acquiring waited in line, by the server's clock.
    public var waited: Duration { place.terms.waited }
    /// Places before it when it entered the line.
    public var ahead: Int { place.terms.ahead }

    /// Whether it certainly holds, judged here without a call: counted from before the last renewal was sent. True is
    /// true only for `remaining`; a write through the lock is the only check that lasts.
    ///
    /// Of a lock made by `Locks.handle` nothing is known until `renew`: it counts as held until told otherwise.
    public var isHeld: Bool { remaining > .zero }

    /// How long it certainly holds without another renewal; zero once it ended.
    public var remaining: Duration { place.remaining }

    /// Waits until the lock is lost, and gives the error that says why; nil when it was released, or the waiting task
    /// was cancelled.
    public var lost: BerthError? { get async { await place.waitForEnd().flatMap { place.error($0) } } }

    /// The condition that holds only while the lock does, for transactions put together elsewhere.
    public var proof: Check { place.proof }

    /// Gives the lock up. Harmless when repeated.
    ///
    /// - Returns: whether it was held until now, or had been lost before.
    /// - Throws: `.unreachable` and the like; the lock then runs out with its lease.
    @discardableResult
    public func release() async throws(BerthError) -> ReleaseOutcome { try await place.release() }

    /// Renews the lock now, beside what happens in the background.
    ///
    /// - Returns: how long it lives from now on.
    /// - Throws: `.lockLost`.
    @discardableResult
    public func renew() async throws(BerthError) -> Duration { try await place.renew() }

    // MARK: Under its protection

    /// Writes a value if the lock is still held.
    ///
    /// - Returns: the revision of the put.
    /// - Throws: `.lockLost`, and as `KV.put`.
    @discardableResult
    public func put(_ key: Bytes, _ value: Bytes, lease: LeaseID? = nil) async throws(BerthError) -> Int64 {
        try await txn { Put(key, value, lease: lease) }.revision
    }

    /// Writes a value to the key named like the lock, if it is still held.
    ///
    /// - Returns: the revision of the put.
    @discardableResult
    public func put(_ value: Bytes) async throws(BerthError) -> Int64 { try await put(Bytes(name), value) }

    /// Reads a key if the lock is still held.
    ///
    /// - Throws: `.lockLost`.
    public func get(_ key: Bytes) async throws(BerthError) -> KeyValue? {
        try await txn { Get(.key(key)) }.values.first ?? nil
    }

    /// Reads the key named like the lock, if it is still held.
    public func get() async throws(BerthError) -> KeyValue? { try await get(Bytes(name)) }

    /// Deletes keys if the lock is still held.
    ///
    /// - Returns: how many.
    /// - Throws: `.lockLost`, and as `KV.delete`.
    @discardableResult
    public func delete(_ range: KeyRange) async throws(BerthError) -> Int {
        guard case .delete(let result)? = try await txn({ Delete(range) }).results.first else { return 0 }
        return result.deleted
    }

    /// Carries out a transaction if the lock is still held. Its own checks decide between its branches as ever.
    ///
    /// - Throws: `.lockLost`, and as `KV.txn`.
    @discardableResult
    public func txn(@TxnBuilder _ parts: () -> Txn) async throws(BerthError) -> TxnOutcome {
        try await place.txn(parts())
    }

    /// Carries out a transaction that was put together elsewhere, if the lock is still held.
    @discardableResult
    public func txn(_ txn: Txn) async throws(BerthError) -> TxnOutcome { try await place.txn(txn) }
}
