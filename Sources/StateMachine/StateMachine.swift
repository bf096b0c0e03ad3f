import EtcdAPI
import ProtobufWire
public import Store
public import Vocabulary

/// Turns the log's entries into the store's state and the clients' answers. It owns what an entry means: revisions,
/// transactions, leases and their keys, who stands in which line, who holds and what that guards, alarms. It must never read a clock, draw a random number or look at anything
/// but the entry and the store, because every member must reach the same bytes from the same entries; and it must
/// never wait.
///
/// Isolation: everything is called on the log thread, except what is said to be `Sendable`.
public final class StateMachine {
    /// The leases there are; readable from any thread.
    public let leases = LeaseTable()
    /// The active alarms; readable from any thread.
    public let alarms = AlarmSet()
    /// What was applied, for metrics; readable from any thread.
    public let counts = StateMachineCounts()
    /// When the entry being applied is applied, in nanoseconds of the monotonic clock, for metrics alone; zero when nobody
    /// said, as in a replay: then no times are measured.
    public var measuredAt = 0
    /// Users, roles and whether they count; readable from any thread.
    public let authTable = AuthTable()
    /// What the entry applied last asked for, for metrics alone.
    public private(set) var appliedKind = CommandKind.identity
    /// Whether to collect changes for watchers. Set between batches; false when nobody watches.
    public var recordsEvents = true

    let store: Store
    let writer: StoreWriter
    let limits: Limits
    let template: ResponseHeaderTemplate
    var events = EventBatchBuilder()
    var leaseChanges: [LeaseChange] = []
    /// Who stands in which line.
    let lines: LineTable
    /// What happened in the lines since the last commit.
    var lineEvents: [LineEvent] = []
    /// Why places end that the entry being applied ends.
    var cause = LineCause()
    /// Users, roles and the switch as the entries so far have made them; published with the batch.
    var auth: AuthState
    var hasAuthChanged = false
    var tokenChanges: [TokenChange] = []
    /// The newest entry applied, committed or not.
    private var lastApplied: RaftIndex
    private var lastTerm: RaftTerm
    /// The revision before the open batch.
    private var batchStart: Revision
    /// Compaction to revision 0 is accepted once, and means nothing else.
    var wasCompactedToZero = false

    /// Takes over a store, with the leases and alarms its base holds; entries after its applied index bring them up
    /// to date.
    public init(store: Store, limits: Limits) throws(StoreError) {
        self.store = store
        self.limits = limits
        template = ResponseHeaderTemplate(store.identity)
        writer = store.writer
        lastApplied = writer.appliedIndex
        lastTerm = writer.appliedTerm
        batchStart = writer.currentRevision
        auth = try AuthState(loading: store)
        try LeaseRecords.load(leases, from: store)
        try alarms.load(from: store)
        lines = try LineTable.load(from: store, leases)
        lines.show(in: counts)
        var foundMark = false
        try visitRecords(of: store, in: .meta) { (key, _) throws(StoreError) in
            if key == Self.compactedToZeroKey { foundMark = true }
        }
        wasCompactedToZero = foundMark
        authTable.announce(auth)
        authTable.publish(auth)
    }

    /// Name of the setting that remembers a compaction to revision 0.
    package static let compactedToZeroKey = Array("compacted to 0".utf8)

    /// Applies one entry. Its effects are seen by later entries at once, by readers after `commit`.
    ///
    /// - Throws: when the store fails or the entry is not one of this cluster's; the member must stop.
    public func apply(
        _ entry: UnsafeRawBufferPointer, index: RaftIndex, term: RaftTerm
    ) throws(StoreError) -> ApplyResult {
        guard index > lastApplied else { return .skipped }
        lastApplied = index
        lastTerm = term
        guard let first = entry.first, let kind = CommandKind(rawValue: first) else {
            throw .corrupt(place: "log entry \(index)", detail: "unknown kind of command")
        }
        let request = UnsafeRawBufferPointer(rebasing: entry.dropFirst())
        cause = LineCause()
        let firstEvent = lineEvents.count
        do throws(RequestFailure) {
            let result = try apply(kind, request, index, term)
            try storing { () throws(StoreError) in
                try grantTurns()
                try storeLineEvents(since: firstEvent)
            }
            return result
        } catch {
            precondition(lineEvents.count == firstEvent, "what is refused has changed nothing")
            switch error {
            case .refused(let error): return .failure(error)
            case .store(let error): throw error
            }
        }
    }

    /// Ends the batch: makes it visible to readers and tells what it did.
    ///
    /// - Parameter follow: told what became of tokens before users and roles are published, so that by the time a changed
    ///   password is seen its old tokens are gone.
    public func commit(
        tokens follow: ([TokenChange]) -> Void = { _ in }
    ) throws(StoreError) -> CommittedBatch {
        if hasAuthChanged { authTable.announce(auth) }
        try writer.commit(appliedIndex: lastApplied, term: lastTerm)
        if !tokenChanges.isEmpty { follow(tokenChanges) }
        if hasAuthChanged {
            authTable.publish(auth)
            hasAuthChanged = false
        }
        let start = batchStart
        batchStart = writer.currentRevision
        let changes = leaseChanges
        if !changes.isEmpty { leaseChanges = [] }
        let lines = lineEvents
        if !lines.isEmpty { lineEvents = [] }
        let tokens = tokenChanges
        if !tokens.isEmpty { tokenChanges = [] }
        return CommittedBatch(
            firstRevision: start.next, lastRevision: batchStart, events: events.take(), leaseChanges: changes,
            lineEvents: lines, tokenChanges: tokens)
    }

    private func apply(
        _ kind: CommandKind, _ request: UnsafeRawBufferPointer, _ index: RaftIndex, _ term: RaftTerm
    ) throws(RequestFailure) -> ApplyResult {
        if kind == .authored {
            let inner = try decode { () throws(WireError) in try AuthoredEntry.read(request) }
            return try apply(inner.kind, inner.payload, inner.author, index, term)
        }
        return try apply(kind, request, nil, index, term)
    }

    /// - Parameter author: whom the entry is made for; nil for an entry that names nobody, which is refused where
    ///   authentication is on and the entry is a client's.
    private func apply(
        _ kind: CommandKind, _ request: UnsafeRawBufferPointer, _ author: Author?, _ index: RaftIndex, _ term: RaftTerm
    ) throws(RequestFailure) -> ApplyResult {
        appliedKind = kind
        if auth.isEnabled { try judge(kind, request, author) }
        switch kind {
        case .authored:
            throw .store(.corrupt(place: "log entry \(index)", detail: "an authored entry within another"))
        case .auth:
            let change = try decode { () throws(WireError) in try AuthChange(request) }
            return .response(try applyAuth(change, author, term))
        case .authenticate:
            let entry = try decode { () throws(WireError) in try AuthenticateEntry(request) }
            return .response(try applyAuthenticate(entry, index: index, term))
        case .identity:
            try checkIdentity(request)
            return .response([])
        case .put:
            return .response(try applyPut(decode { () throws(WireError) in try PutRequestView(request) }, term))
        case .deleteRange:
            return .response(
                try applyDeleteRange(decode { () throws(WireError) in try DeleteRangeRequestView(request) }, term))
        case .txn:
            return .response(try applyTxn(decode { () throws(WireError) in try TxnRequestView(request) }, term))
        case .compaction:
            return .response(
                try applyCompaction(decode { () throws(WireError) in try CompactionRequestView(request) }, term))
        case .leaseGrant:
            return .response(
                try applyGrant(decode { () throws(WireError) in try LeaseGrantRequestView(request) }, term))
        case .leaseRevoke:
            let request = try decode { () throws(WireError) in try LeaseIDRequestView(request) }
            return .response(try applyRevoke(request.id, LineCause(), term))
        case .alarm:
            return .response(try applyAlarm(decode { () throws(WireError) in try AlarmRequestView(request) }, term))
        case .lockAcquire:
            return .entered(try applyAcquire(decode { () throws(WireError) in try AcquireView(request) }))
        case .lockRelease:
            return .response(try applyRelease(decode { () throws(WireError) in try ReleaseView(request) }, term))
        case .lockBreak:
            return .response(try applyBreak(decode { () throws(WireError) in try BreakView(request) }, term))
        case .leaseExpire:
            let request = try decode { () throws(WireError) in try LeaseExpiryView(request) }
            return .response(try applyRevoke(request.id, LineCause(kind: .expiry, at: request.at), term))
        }
    }

    func decode<Request>(_ body: () throws(WireError) -> Request) throws(RequestFailure) -> Request {
        do throws(WireError) {
            return try body()
        } catch {
            // No proposer made this entry: they check what they propose.
            throw .store(.corrupt(place: "log entry \(lastApplied)", detail: "\(error)"))
        }
    }

    /// A log of another cluster must not be applied to this store.
    private func checkIdentity(_ request: UnsafeRawBufferPointer) throws(RequestFailure) {
        let identity = try decode { () throws(WireError) in try MemberIdentity(encoded: request) }
        guard identity.clusterID == store.identity.clusterID else {
            throw .store(.foreignIdentity(found: identity, expected: store.identity))
        }
    }

    /// The header of an answer, with the revision as it is now.
    func header(_ term: RaftTerm) -> ResponseHeader {
        template.header(revision: writer.currentRevision, term: term)
    }
}

extension MemberIdentity {
    /// The identity entry's message: `ResponseHeader` with the two ids.
    public func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 24)
        writer.uint64Field(1, clusterID)
        writer.uint64Field(2, memberID)
        return writer.bytes
    }

    init(encoded: UnsafeRawBufferPointer) throws(WireError) {
        self.init(clusterID: 0, memberID: 0)
        var reader = WireReader(encoded)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: clusterID = try reader.varint(of: field)
            case 2: memberID = try reader.varint(of: field)
            default: try reader.skip(field)
            }
        }
    }
}
