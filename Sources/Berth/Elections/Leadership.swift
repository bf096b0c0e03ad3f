/// Leadership that is held: proof for writes, and knowledge of its own end. What holds for `Lock` holds for it.
public final class Leadership: Sendable {
    let place: HeldPlace

    init(_ place: HeldPlace) { self.place = place }

    /// The election's name.
    public var name: String { place.terms.name }
    /// The owner key, `NAME/<lease in hexadecimal>`, which bears the proclaimed value.
    public var key: Bytes { place.terms.key }
    /// The fencing token: grows from leader to leader.
    public var token: Int64 { place.terms.token }
    /// The lease leadership lives by.
    public var leaseID: LeaseID { place.terms.lease }
    /// How long it lives without being renewed; the server's word, at least two seconds.
    public var timeToLive: Duration { place.terms.timeToLive }
    /// How long the campaign waited in line.
    public var waited: Duration { place.terms.waited }
    /// Candidates before it when it entered the line.
    public var ahead: Int { place.terms.ahead }

    /// Whether it certainly leads, judged here without a call; see `Lock.isHeld`.
    public var isLeader: Bool { remaining > .zero }
    /// How long it certainly leads without another renewal; zero once it ended.
    public var remaining: Duration { place.remaining }

    /// Waits until leadership is lost, and gives the error that says why; nil when it resigned, or the waiting task
    /// was cancelled.
    public var lost: BerthError? { get async { await place.waitForEnd().flatMap { place.error($0) } } }

    /// The condition that holds only while leadership does, for transactions put together elsewhere.
    public var proof: Check { place.proof }

    /// Changes the value others see.
    ///
    /// - Returns: the revision of the change.
    /// - Throws: `.lockLost` when it does not lead any more.
    @discardableResult
    public func proclaim(_ value: Bytes) async throws(BerthError) -> Int64 {
        // Under its own proof this is what a Berth server's Proclaim does, and a plain etcd's.
        try await txn { Put(key, value, lease: leaseID) }.revision
    }

    /// Gives leadership up. Harmless when repeated.
    ///
    /// - Returns: whether it led until now, or had lost leadership before.
    @discardableResult
    public func resign() async throws(BerthError) -> ReleaseOutcome { try await place.release() }

    /// Renews leadership now, beside what happens in the background.
    @discardableResult
    public func renew() async throws(BerthError) -> Duration { try await place.renew() }

    /// Writes a value if it still leads.
    ///
    /// - Returns: the revision of the put.
    /// - Throws: `.lockLost`, and as `KV.put`.
    @discardableResult
    public func put(_ key: Bytes, _ value: Bytes, lease: LeaseID? = nil) async throws(BerthError) -> Int64 {
        try await txn { Put(key, value, lease: lease) }.revision
    }

    /// Reads a key if it still leads.
    public func get(_ key: Bytes) async throws(BerthError) -> KeyValue? {
        try await txn { Get(.key(key)) }.values.first ?? nil
    }

    /// Carries out a transaction if it still leads.
    ///
    /// - Throws: `.lockLost`, and as `KV.txn`.
    @discardableResult
    public func txn(@TxnBuilder _ parts: () -> Txn) async throws(BerthError) -> TxnOutcome {
        try await place.txn(parts())
    }

    /// Carries out a transaction that was put together elsewhere, if it still leads.
    @discardableResult
    public func txn(_ txn: Txn) async throws(BerthError) -> TxnOutcome { try await place.txn(txn) }
}
