public import EtcdAPI
public import Store
public import Vocabulary

/// What an entry of the log asks for. An entry is this byte and the bytes of the request's own message.
///
/// The numbers are stored in logs: they never change their meaning and are never used again for another.
public enum CommandKind: UInt8, CaseIterable, Sendable {
    /// Names the cluster; the first entry of a log. A `ResponseHeader` with `cluster_id` and `member_id`.
    case identity = 1
    /// A `PutRequest`.
    case put = 2
    /// A `DeleteRangeRequest`.
    case deleteRange = 3
    /// A `TxnRequest` that is not read-only.
    case txn = 4
    /// A `CompactionRequest`.
    case compaction = 5
    /// A `LeaseGrantRequest` with the id filled in.
    case leaseGrant = 6
    /// A `LeaseRevokeRequest` from a client.
    case leaseRevoke = 7
    /// An `AlarmRequest`.
    case alarm = 8
    /// A `berth.v1.AcquireRequest` with what `AcquireView.suffix` adds.
    case lockAcquire = 9
    /// What `ReleaseView.encoded` makes.
    case lockRelease = 10
    /// A `berth.v1.BreakRequest` with what `BreakView.suffix` adds.
    case lockBreak = 11
    /// What `LeaseExpiryView.encoded` makes: a revocation by the lease clock.
    case leaseExpire = 12
    /// An entry of another kind, judged by whom it is made for: an `AuthoredEntry`.
    case authored = 13
    /// An `AuthChange`.
    case auth = 14
    /// An `AuthenticateEntry`.
    case authenticate = 15
}

/// What applying an entry gave.
public enum ApplyResult: Sendable {
    /// The encoded response message.
    case response([UInt8])
    /// The request was refused; nothing changed.
    case failure(EtcdError)
    /// What `lockAcquire` came to.
    case entered(EnteredPlace)
    /// The store holds this entry's effects already.
    case skipped
}

/// Why a request has no answer: it was refused, or the store failed.
public enum RequestFailure: Error, Sendable {
    /// The caller's to know.
    case refused(EtcdError)
    /// The member's to know: it cannot go on.
    case store(StoreError)
}

/// What a committed batch did, for those who watch the store.
public struct CommittedBatch: Sendable {
    /// The first revision the batch made.
    public let firstRevision: Revision
    /// The last one; below `firstRevision` when the batch changed no key.
    public let lastRevision: Revision
    /// Its changes; nil when there were none or nobody asked for them.
    public let events: EventBatch?
    /// Leases that came and went, in order.
    public let leaseChanges: [LeaseChange]
    /// What happened in the lines, in order.
    public let lineEvents: [LineEvent]
    /// Tokens that came and went, in order.
    public let tokenChanges: [TokenChange]
}

/// The beginning or the end of a lease.
public enum LeaseChange: Hashable, Sendable {
    /// A lease began, with the time to live that counts.
    case granted(LeaseID, timeToLiveSeconds: Int64)
    /// A lease and its keys are gone.
    case revoked(LeaseID)
}
