public import EtcdAPI
import ProtobufWire
import Vocabulary

/// What can be said of a request before it is proposed: whether its shape is right, whether an alarm refuses it, and
/// what it costs. Pure, so event loops run it; the checks come in etcd's order, and apply repeats those that depend on
/// state.
public enum RequestCheck {
    /// Checks a put.
    @discardableResult
    public static func put(
        _ message: UnsafeRawBufferPointer, limits: Limits, alarms: AlarmSet
    ) throws(EtcdError) -> PutRequestView {
        let request = try decode { () throws(WireError) in try PutRequestView(message) }
        try check(request)
        try checkSize(message, limits)
        try alarms.refuseWrite(thatGrows: true)
        return request
    }

    /// Checks a range.
    public static func range(_ message: UnsafeRawBufferPointer) throws(EtcdError) -> RangeRequestView {
        let request = try decode { () throws(WireError) in try RangeRequestView(message) }
        try check(request)
        return request
    }

    /// Checks a range deletion.
    @discardableResult
    public static func deleteRange(
        _ message: UnsafeRawBufferPointer, limits: Limits, alarms: AlarmSet
    ) throws(EtcdError) -> DeleteRangeRequestView {
        let request = try decode { () throws(WireError) in try DeleteRangeRequestView(message) }
        guard !request.key.isEmpty else { throw .emptyKey }
        try checkSize(message, limits)
        try alarms.refuseWrite(thatGrows: false)
        return request
    }

    /// Checks a transaction. The answer tells whether it needs an entry (`isReadOnly`); alarms and the size limit are
    /// for those that do.
    public static func txn(
        _ message: UnsafeRawBufferPointer, limits: Limits, alarms: AlarmSet
    ) throws(EtcdError) -> TxnRequestView {
        let request = try decode { () throws(WireError) in try TxnRequestView(message) }
        try check(request, budget: limits.maxTxnOps)
        try TxnOverlap.check(request.success)
        try TxnOverlap.check(request.failure)
        if !request.isReadOnly {
            try checkSize(message, limits)
            try alarms.refuseWrite(thatGrows: request.containsPut)
        }
        return request
    }

    /// Checks a compaction. Its revision is judged when it is applied.
    public static func compaction(
        _ message: UnsafeRawBufferPointer, alarms: AlarmSet
    ) throws(EtcdError) -> CompactionRequestView {
        let request = try decode { () throws(WireError) in try CompactionRequestView(message) }
        try alarms.refuseWrite(thatGrows: false)
        return request
    }

    /// Checks a grant. The id, if none was asked for, is the server's to fill in before it proposes.
    public static func leaseGrant(
        _ message: UnsafeRawBufferPointer, alarms: AlarmSet
    ) throws(EtcdError) -> LeaseGrantRequestView {
        let request = try decode { () throws(WireError) in try LeaseGrantRequestView(message) }
        try alarms.refuseWrite(thatGrows: true)
        guard request.timeToLive <= Limits.maximumLeaseSeconds else { throw .leaseTimeToLiveTooLarge }
        return request
    }

    /// Checks a revocation.
    public static func leaseRevoke(
        _ message: UnsafeRawBufferPointer, alarms: AlarmSet
    ) throws(EtcdError) -> LeaseIDRequestView {
        let request = try decode { () throws(WireError) in try LeaseIDRequestView(message) }
        try alarms.refuseWrite(thatGrows: false)
        return request
    }

    /// Checks an alarm request.
    public static func alarm(_ message: UnsafeRawBufferPointer) throws(EtcdError) -> AlarmRequestView {
        let request = try decode { () throws(WireError) in try AlarmRequestView(message) }
        guard request.action != nil else { throw .unknownMethod }
        return request
    }

    // MARK: - Quota

    /// Bytes a put is reckoned to add to the store.
    public static func quotaCost(_ request: PutRequestView) -> Int { 256 + request.key.count + request.value.count }

    /// Bytes a transaction is reckoned to add: the larger branch's puts, nested ones included.
    public static func quotaCost(_ request: TxnRequestView) -> Int {
        max(quotaCost(request.success), quotaCost(request.failure))
    }

    private static func quotaCost(_ branch: [RequestOpView]) -> Int {
        branch.reduce(0) { sum, operation in
            switch operation {
            case .put(let request): sum + quotaCost(request)
            case .txn(let request): sum + quotaCost(request)
            case .range, .deleteRange, .empty: sum
            }
        }
    }

    /// Bytes a lease is reckoned to add.
    public static let leaseQuotaCost = 64

    // MARK: - Parts

    private static func decode<Request>(
        _ body: () throws(WireError) -> Request
    ) throws(EtcdError) -> Request {
        do throws(WireError) { return try body() } catch { throw .malformed(error) }
    }

    private static func check(_ request: PutRequestView) throws(EtcdError) {
        guard !request.key.isEmpty else { throw .emptyKey }
        guard !request.ignoresValue || request.value.isEmpty else { throw .valueProvided }
        guard !request.ignoresLease || request.lease == .none else { throw .leaseProvided }
    }

    private static func check(_ request: RangeRequestView) throws(EtcdError) {
        guard !request.key.isEmpty else { throw .emptyKey }
        guard request.sortOrder != nil, request.sortTarget != nil else { throw .invalidSortOption }
    }

    /// A nested transaction gets what the largest of its parent's three lists left, so nesting is bounded too.
    private static func check(_ request: TxnRequestView, budget: Int) throws(EtcdError) {
        let used = max(request.compares.count, request.success.count, request.failure.count)
        guard used <= budget else { throw .tooManyOperations }
        for compare in request.compares {
            guard !compare.key.isEmpty else { throw .emptyKey }
        }
        for branch in [request.success, request.failure] {
            for operation in branch { try check(operation, budget: budget - used) }
        }
    }

    private static func check(_ operation: RequestOpView, budget: Int) throws(EtcdError) {
        switch operation {
        case .range(let request): try check(request)
        case .put(let request): try check(request)
        case .deleteRange(let request): guard !request.key.isEmpty else { throw .emptyKey }
        case .txn(let request): try check(request, budget: budget)
        case .empty: throw .keyNotFound
        }
    }

    /// etcd measures the request inside its log envelope, which adds a header with a random id.
    private static func checkSize(_ message: UnsafeRawBufferPointer, _ limits: Limits) throws(EtcdError) {
        let envelope = 15 + WireWriter.varintSize(UInt64(message.count))
        guard message.count + envelope <= limits.maxRequestBytes else { throw .requestTooLarge }
    }
}

extension TxnRequestView {
    /// Whether any branch, taken or not, nested ones included, puts a key.
    var containsPut: Bool {
        [success, failure].contains { branch in
            branch.contains { operation in
                switch operation {
                case .put: true
                case .txn(let nested): nested.containsPut
                case .range, .deleteRange, .empty: false
                }
            }
        }
    }
}
