public import Berth

// The fields of `-w json`. They are documented in docs/command-line.md: new ones may come, none changes or goes.
extension JSON {
    /// A key and what it holds.
    public init(_ pair: KeyValue) {
        self = .object([
            Field("key", pair.key), Field("value", pair.value), Field("create_revision", pair.createRevision),
            Field("mod_revision", pair.modRevision), Field("version", pair.version), Field("lease", .lease(pair.lease)),
        ])
    }

    /// A place in line.
    public init(_ place: Place) {
        self = .object([
            Field("key", place.key), Field("token", place.token), Field("lease", .lease(place.lease)),
            Field("owner", place.owner),
            Field(
                "attributes",
                .object(place.attributes.sorted { $0.key < $1.key }.map { Field($0.key, .text($0.value)) })),
            Field("mode", place.mode.word), Field("permits", .permits(place.mode)),
            Field("guards", .array(place.guards.map { JSON.range($0) })), Field("holds", .bool(place.holds)),
            Field("ahead", place.ahead), Field("queued_at_ms", .moment(place.queuedAt)),
            Field("acquired_at_ms", .moment(place.acquiredAt)), Field("ttl_ms", milliseconds: place.timeToLive),
            Field("remaining_ms", milliseconds: place.remaining), Field("protected", .bool(place.isProtected)),
            Field("value", place.value),
        ])
    }

    /// A lock with its line.
    public init(_ view: LockView) {
        self = .object([
            Field("name", view.name), Field("revision", view.revision), Field("holders", view.holders),
            Field("waiters", view.waiters), Field("places", .array(view.places.map { JSON($0) })),
        ])
    }

    /// A lock in short.
    public init(_ summary: LockSummary) {
        self = .object([
            Field("name", summary.name), Field("holders", summary.holders), Field("waiters", summary.waiters),
            Field("first", summary.first.map { JSON($0) } ?? .null),
        ])
    }

    /// Something that happened in a line.
    public init(_ event: LockEvent) {
        self = .object([
            Field("event", event.kind.word), Field("revision", event.revision), Field("name", event.name),
            Field("key", event.key), Field("token", event.token), Field("lease", .lease(event.lease)),
            Field("owner", event.owner), Field("mode", event.mode.word), Field("permits", .permits(event.mode)),
            Field("ahead", event.ahead), Field("held", .bool(event.held)), Field("by", event.by),
            Field("reason", event.reason), Field("at_ms", .moment(event.at)),
        ])
    }

    /// Who leads.
    public init(_ leader: Leader) {
        self = .object([
            Field("key", leader.key), Field("token", leader.token), Field("lease", .lease(leader.lease)),
            Field("owner", leader.owner), Field("value", leader.value),
        ])
    }

    /// What a transfer did.
    public init(_ report: TransferReport, elapsed: Duration) {
        self = .object([
            Field("source_revision", report.sourceRevision), Field("target_revision", report.targetRevision),
            Field("source_count", report.countedKeys), Field("written", report.writtenKeys),
            Field("keys", report.keys), Field("bytes", report.bytes), Field("leases", report.leases),
            Field("lost_leases", .array(report.lostLeases.map { .lease($0) })),
            Field("left_out", report.endedKeys), Field("left_alone", report.otherKeys),
            Field("verified", .bool(report.isVerified)), Field("source_hash", report.sourceHash),
            Field("target_hash", report.targetHash), Field("target_keys", report.targetKeys),
            Field("differences", report.differences),
            Field(
                "first_differences",
                .array(
                    report.firstDifferences.map { .object([Field("key", $0.key), Field("kind", $0.kind.rawValue)]) })),
            Field("elapsed_ms", milliseconds: elapsed),
        ])
    }

    /// What a transfer would do.
    public init(_ survey: TransferSurvey) {
        self = .object([
            Field("source_revision", survey.sourceRevision), Field("keys", survey.keys), Field("bytes", survey.bytes),
            Field("largest", survey.largest), Field("leased_keys", survey.leasedKeys), Field("leases", survey.leases),
            Field("keys_in_the_way", survey.keysInTheWay),
            Field("leases_in_the_way", .array(survey.leasesInTheWay.map { .lease($0) })),
        ])
    }

    /// A change of a key.
    public init(_ event: WatchEvent) {
        self = .object([
            Field("event", event.kind == .put ? "put" : "delete"), Field("revision", event.revision),
            Field("kv", JSON(event.current)), Field("prev_kv", event.previous.map { JSON($0) } ?? .null),
        ])
    }

    /// The answer to a read.
    public init(_ page: RangePage) {
        self = .object([
            Field("revision", page.revision), Field("count", page.count), Field("more", .bool(page.more)),
            Field("kvs", .array(page.values.map { JSON($0) })),
        ])
    }

    /// The answer to a put.
    public init(_ result: PutResult) {
        self = .object([
            Field("revision", result.revision), Field("prev_kv", result.previous.map { JSON($0) } ?? .null),
        ])
    }

    /// The answer to a delete.
    public init(_ result: DeleteResult) {
        self = .object([
            Field("revision", result.revision), Field("deleted", result.deleted),
            Field("prev_kvs", .array(result.previous.map { JSON($0) })),
        ])
    }

    /// The answer to a transaction.
    public init(_ outcome: TxnOutcome) {
        let results = outcome.results.map { result in
            switch result {
            case .get(let page): JSON.object([Field("get", JSON(page))])
            case .put(let put): JSON.object([Field("put", JSON(put))])
            case .delete(let delete): JSON.object([Field("delete", JSON(delete))])
            case .txn(let txn): JSON.object([Field("txn", JSON(txn))])
            }
        }
        self = .object([
            Field("succeeded", .bool(outcome.succeeded)), Field("revision", outcome.revision),
            Field("results", .array(results)),
        ])
    }

    /// A server's state.
    public init(_ status: MemberStatus, endpoint: String) {
        self = .object([
            Field("endpoint", endpoint), Field("version", status.version), Field("revision", status.revision),
            Field("db_size", status.sizeInBytes), Field("db_size_in_use", status.sizeInUse),
            Field("leader", .hex(status.leader)), Field("member", .hex(status.memberID)),
            Field("cluster", .hex(status.clusterID)), Field("is_leader", .bool(status.leader == status.memberID)),
            Field("raft_term", status.raftTerm), Field("raft_index", status.raftIndex),
            Field("raft_applied_index", status.raftAppliedIndex),
            Field("errors", .array(status.errors.map { .text($0) })),
        ])
    }

    /// A lease by its hexadecimal name; null for none.
    public static func lease(_ lease: LeaseID?) -> JSON { lease.map { .text($0.description) } ?? .null }

    private static func hex(_ number: UInt64) -> JSON { .text(String(number, radix: 16)) }

    private static func moment(_ milliseconds: Int64?) -> JSON { milliseconds.map { .number($0) } ?? .null }

    private static func permits(_ mode: LockMode) -> JSON {
        if case .permits(let number) = mode { .number(Int64(number)) } else { .null }
    }

    private static func range(_ range: KeyRange) -> JSON {
        .object([Field("key", range.key)] + (range.isSingleKey ? [] : [Field("range_end", range.end)]))
    }
}

extension LockMode {
    /// One word, the same in JSON and in tables.
    public var word: String {
        switch self {
        case .exclusive: "exclusive"
        case .shared: "shared"
        case .permits: "permit"
        }
    }
}

extension LockEvent.Kind {
    /// One word, the same in JSON and in lines.
    public var word: String { self == .gaveUp ? "gave_up" : rawValue }
}
