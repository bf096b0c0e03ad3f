public import EtcdAPI
package import Store
public import Vocabulary

// What each request needs. Event loops ask before they propose, so that what is refused costs no entry; apply asks again,
// on the state as it is at the entry's place in the log, and that answer counts. So `early` leaves to apply what would take
// an event loop long.
extension AuthState {
    /// A put: WRITE on the key and on all keys of its lease, with which it ends; READ to be shown what was there.
    public func permit(
        _ author: Author?, put request: PutRequestView, _ leases: LeaseTable, early: Bool = false
    ) throws(EtcdError) {
        var judged: Set<LeaseID> = []
        try permit(author, put: request, leases, early, &judged)
    }

    /// - Parameter judged: leases whose keys were looked at for this request already.
    private func permit(
        _ author: Author?, put request: PutRequestView, _ leases: LeaseTable, _ early: Bool,
        _ judged: inout Set<LeaseID>
    ) throws(EtcdError) {
        try permit(author, .write, request.key, Self.noEnd)
        if isEnabled, request.lease != .none, judged.insert(request.lease).inserted {
            try permit(author, writingKeysOf: request.lease, leases, early: early)
        }
        if request.wantsPrevious { try permit(author, .read, request.key, Self.noEnd) }
    }

    /// A deletion: WRITE on the range; READ to be shown what was there.
    public func permit(_ author: Author?, delete request: DeleteRangeRequestView) throws(EtcdError) {
        try permit(author, .write, request.key, request.rangeEnd)
        if request.wantsPrevious { try permit(author, .read, request.key, request.rangeEnd) }
    }

    /// A range: READ.
    public func permit(_ author: Author?, range request: RangeRequestView) throws(EtcdError) {
        try permit(author, .read, request.key, request.rangeEnd)
    }

    /// A transaction: READ for compares, and what each operation of both branches needs, taken or not.
    public func permit(
        _ author: Author?, txn request: TxnRequestView, _ leases: LeaseTable, early: Bool = false
    ) throws(EtcdError) {
        var judged: Set<LeaseID> = []
        try permit(author, txn: request, leases, early, &judged)
    }

    private func permit(
        _ author: Author?, txn request: TxnRequestView, _ leases: LeaseTable, _ early: Bool,
        _ judged: inout Set<LeaseID>
    ) throws(EtcdError) {
        for compare in request.compares { try permit(author, .read, compare.key, compare.rangeEnd) }
        for branch in [request.success, request.failure] {
            for operation in branch {
                switch operation {
                case .range(let request): try permit(author, range: request)
                case .put(let request): try permit(author, put: request, leases, early, &judged)
                case .deleteRange(let request): try permit(author, delete: request)
                case .txn(let request): try permit(author, txn: request, leases, early, &judged)
                case .empty: break
                }
            }
        }
    }

    /// What changes, ends or prolongs a lease: WRITE on each of its keys. Who may do everything is not held to a revision,
    /// and without keys there is nothing to refuse: etcd's rules for leases.
    ///
    /// - Parameter early: the request is judged again when it is applied. Then a lease with many keys that this user was not
    ///   judged by before is let through.
    public func permit(
        _ author: Author?, writingKeysOf lease: LeaseID, _ leases: LeaseTable, early: Bool = false
    ) throws(EtcdError) {
        guard isEnabled, lease != .none, !isRoot(author), leases.hasKeys(lease) else { return }
        guard let author else { throw .userEmpty }
        guard author.authRevision >= revision else { throw .authRevisionOld }
        guard let user = users[author.name] else { throw .permissionDenied }
        let longest = early ? LeaseJudgements.longestEarly : Int.max
        let isPermitted = leases.judge(lease, for: author.name, authRevision: revision, longest: longest) { key in
            key.withUnsafeBytes { user.writable.covers($0, Self.noEnd) }
        }
        guard isPermitted else { throw .permissionDenied }
    }

    /// What tells of a lease among others: READ on each of its keys, by the same rules.
    public func permit(
        _ author: Author?, readingKeysOf lease: LeaseID, _ leases: LeaseTable
    ) throws(EtcdError) {
        guard isEnabled, !isRoot(author) else { return }
        for (key, _) in leases.attachments(of: lease) { try permit(author, .read, KeyRange(key: key, end: [])) }
    }

    /// A place in line: WRITE on its key, on what it is to guard and on the keys of its lease. Through etcd's services also
    /// READ on the line, as their own transactions need it.
    public func permit(
        _ author: Author?, acquire request: AcquireView, _ leases: LeaseTable, early: Bool = false
    ) throws(EtcdError) {
        guard isEnabled else { return }
        let name = Array(request.name)
        try permit(author, .write, KeyRange(key: QueueKey.make(name: name, lease: request.lease), end: []))
        if request.origin == .etcd { try permit(author, .read, QueueKey.line(name)) }
        for range in request.guardedRanges { try permit(author, .write, range) }
        try permit(author, writingKeysOf: request.lease, leases, early: early)
    }

    private static var noEnd: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
}

extension AcquireView {
    /// What the place guards while it holds. Without a guard in the request that is the key named like the lock.
    var guardedRanges: [KeyRange] {
        guard origin == .lock, !isUnguarded else { return [] }
        let given = guards.map { KeyRange(key: Array($0.key), end: Array($0.rangeEnd)) }
        return given.isEmpty ? [KeyRange(key: Array(name), end: [])] : given
    }
}

extension QueueKey {
    /// The keys of all places in a line.
    package static func line(_ name: [UInt8]) -> KeyRange {
        KeyRange(key: name + Array("/".utf8), end: name + Array("0".utf8))
    }
}
