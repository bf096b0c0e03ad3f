/// A failure as etcd's clients know it. They find the typed error by `message`, byte for byte, and then judge by
/// `code` whether to try again, so both must be exact.
///
/// Source: etcd's `api/v3rpc/rpctypes/error.go`; the codes that leave an etcd server as Unknown do so here too.
public struct EtcdError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The gRPC status code's number.
    public let code: Int
    /// The text clients compare.
    public let message: String
    /// Which lock refused a write; nil for every other failure.
    public var lock: LockRefusal?

    /// Any other failure.
    public init(code: Int, message: String) {
        self.code = code
        self.message = message
    }

    /// The text.
    public var description: String { message }

    private static func unknown(_ text: String) -> EtcdError { EtcdError(code: 2, message: text) }
    private static func invalidArgument(_ text: String) -> EtcdError { EtcdError(code: 3, message: text) }
    private static func notFound(_ text: String) -> EtcdError { EtcdError(code: 5, message: text) }
    private static func resourceExhausted(_ text: String) -> EtcdError { EtcdError(code: 8, message: text) }
    private static func failedPrecondition(_ text: String) -> EtcdError { EtcdError(code: 9, message: text) }
    private static func outOfRange(_ text: String) -> EtcdError { EtcdError(code: 11, message: text) }
    private static func unavailable(_ text: String) -> EtcdError { EtcdError(code: 14, message: text) }
    private static func dataLoss(_ text: String) -> EtcdError { EtcdError(code: 15, message: text) }
}

// Keys, transactions and revisions.
extension EtcdError {
    /// An empty key in a request, a compare or a transaction's operation.
    public static let emptyKey = invalidArgument("etcdserver: key is not provided")
    /// `ignore_value` or `ignore_lease` on an absent key; also an operation of a transaction with no arm set.
    public static let keyNotFound = invalidArgument("etcdserver: key not found")
    /// `ignore_value` together with a value.
    public static let valueProvided = invalidArgument("etcdserver: value is provided")
    /// `ignore_lease` together with a lease.
    public static let leaseProvided = invalidArgument("etcdserver: lease is provided")
    /// A transaction, nested ones included, over its operation limit.
    public static let tooManyOperations = invalidArgument("etcdserver: too many operations in txn request")
    /// A transaction that puts one key twice, or puts and deletes it.
    public static let duplicateKey = invalidArgument("etcdserver: duplicate key given in txn request")
    /// A sort order or target outside the enumeration.
    public static let invalidSortOption = invalidArgument("etcdserver: invalid sort option")
    /// An encoded write request over the size limit.
    public static let requestTooLarge = invalidArgument("etcdserver: request is too large")
    /// A revision below the compacted one, or a compaction at or below it.
    public static let compacted = outOfRange("etcdserver: mvcc: required revision has been compacted")
    /// A revision above the current one.
    public static let futureRevision = outOfRange("etcdserver: mvcc: required revision is a future revision")
    /// The quota is used up, or alarm NOSPACE is active.
    public static let noSpace = resourceExhausted("etcdserver: mvcc: database space exceeded")
    /// Alarm CORRUPT is active.
    public static let corrupt = dataLoss("etcdserver: corrupt cluster")
    /// More proposals are waiting than the server takes.
    public static let tooManyRequests = unknown("etcdserver: too many requests")
}

// Leases and watches.
extension EtcdError {
    /// No lease with this id.
    public static let leaseNotFound = notFound("etcdserver: requested lease not found")
    /// A grant of an id that is taken.
    public static let leaseExists = failedPrecondition("etcdserver: lease already exists")
    /// A time to live above nine thousand million seconds.
    public static let leaseTimeToLiveTooLarge = outOfRange("etcdserver: too large lease TTL")
}

// The member and its log.
extension EtcdError {
    /// There is no leader.
    public static let noLeader = unavailable("etcdserver: no leader")
    /// Asked a follower for what only the leader does.
    public static let notLeader = failedPrecondition("etcdserver: not leader")
    /// The server is shutting down.
    public static let stopped = unavailable("etcdserver: server stopped")
    /// Nothing was committed in time.
    public static let timeout = unavailable("etcdserver: request timed out")
    /// The disk failed while the write was on its way: a later start, or the log opened anew, may find it or not.
    public static func inDoubt(_ reason: String) -> EtcdError {
        unavailable("berth: the write may have been made or not: \(reason)")
    }
    /// The disk is full or fails: the write was not made.
    public static func notWritten(_ reason: String) -> EtcdError { unavailable("berth: \(reason)") }
    /// Whether a write may be tried again by who knows that it harms nothing: the log's queue was full, or its disk failed.
    public var isPassing: Bool { self == .tooManyRequests || code == 14 && message.hasPrefix("berth: ") }
    /// An action outside the enumeration.
    public static let unknownMethod = unknown("etcdserver: unknown method")
}

// Members and versions.
extension EtcdError {
    /// A new member without peer addresses, or with one that is none.
    public static let memberURLsInvalid = invalidArgument("etcdserver: given member URLs are invalid")
    /// No member with this id.
    public static let memberNotFound = notFound("etcdserver: member not found")
    /// The last member cannot leave.
    public static let notEnoughMembers = unknown(
        "etcdserver: re-configuration failed due to not enough started members")
    /// The member votes already.
    public static let memberNotLearner = failedPrecondition("etcdserver: can only promote a learner member")
    /// Nobody of this id can lead.
    public static let badTransferee = failedPrecondition("etcdserver: bad leader transferee")
    /// A version to go down to that cannot be read.
    public static let downgradeVersionFormat = invalidArgument("etcdserver: wrong downgrade target version format")
    /// A version that is not one minor below.
    public static let downgradeVersionInvalid = invalidArgument("etcdserver: invalid downgrade target version")
    /// There is no downgrade to cancel.
    public static let noDowngrade = failedPrecondition("etcdserver: no inflight downgrade job")
    /// What needs more than the one member there is, or what this member does not do: what, and what to do instead.
    public static func singleMember(_ what: String) -> EtcdError { failedPrecondition("berth: \(what)") }
}

// The lock and election services.
extension EtcdError {
    /// A waiter's own key went away before its turn.
    public static let sessionExpired = unknown("mutex: session is expired")
    /// Nobody leads the election.
    public static let electionNoLeader = unknown("election: no leader")
    /// The leader key given does not lead any more.
    public static let electionNotLeader = unknown("election: not leader")
    /// A proclamation or resignation without its leader key.
    public static let electionLeaderMissing = unknown("\"leader\" field must be provided")

    /// The same text with code Unknown: how the lock and election services pass on the store's errors.
    public var asUnknown: EtcdError { .unknown(message) }
}

// berth.v1 and guarded keys.
extension EtcdError {
    /// A write to a key that a lock guards, without the holder's proof.
    public static func locked(_ refusal: LockRefusal) -> EtcdError {
        var error = failedPrecondition(refusal.message)
        error.lock = refusal
        return error
    }

    /// A request of `berth.v1` that cannot be right.
    public static func invalidLockRequest(_ what: String) -> EtcdError { invalidArgument("berth: \(what)") }

    /// The lease has a place in this line already, entered on other terms.
    public static let placeDiffers = failedPrecondition(
        """
        berth: this lease stands in this line already, on other terms (mode, permits or guards, or through etcd's API); \
        use another lease
        """)
    /// A write of a protected queue key that would take it from its lease, and its place out of the line.
    public static let placeKeepsLease = failedPrecondition(
        "berth: the key of a place in line keeps its lease; put it with ignore_lease, and give the place up with Release"
    )
    /// The queue key exists and is no place in line.
    public static let placeTaken = failedPrecondition(
        "berth: the queue key exists without hanging on its lease; delete it, or use another lease")
    /// The lease of a waiting place ended.
    public static let leaseEndedWhileWaiting = failedPrecondition(
        "berth: the lease ended while its place was waiting; acquire again")
    /// The place given is not in line any more.
    public static let placeLost = failedPrecondition(
        "berth: the place is not in line any more: it was lost or released")
    /// Nobody stands in the line, or not with that token.
    public static let noSuchPlace = notFound("berth: no such place in line")
    /// A waiting place was taken away.
    public static func placeBroken(by: String, reason: String) -> EtcdError {
        EtcdError(code: 10, message: "berth: the place was broken by \(by): \(reason)")
    }
    /// A waiting place ended by another's hand.
    public static let placeRemoved = EtcdError(code: 10, message: "berth: the place was removed from the line")
}

// What gRPC itself says.
extension EtcdError {
    /// The request is no protobuf message.
    public static func malformed(_ reason: some Error) -> EtcdError {
        EtcdError(code: 13, message: "grpc: error unmarshalling request: \(reason)")
    }
}
