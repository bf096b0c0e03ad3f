import Store
import Vocabulary

/// What the store should be, in the plainest form: a list of all changes ever made.
struct Model {
    struct Change: Equatable {
        var revision: Revision
        var sub: UInt32
        var key: [UInt8]
        /// Nil for a deletion.
        var value: [UInt8]?
        var record: KeyRecord
    }

    var changes: [Change] = []
    var current = Revision.initial
    var compacted = Revision.zero
    var applied = RaftIndex.zero
    var records: [RecordTable: [[UInt8]: [UInt8]]] = [:]
    /// Indices into `changes` by key, oldest first.
    var byKey: [[UInt8]: [Int]] = [:]

    func newest(_ key: [UInt8], at revision: Revision) -> Change? {
        byKey[key]?.last { changes[$0].revision <= revision }.map { changes[$0] }
    }

    func record(_ key: [UInt8], at revision: Revision) -> KeyRecord? {
        newest(key, at: revision).flatMap { $0.value == nil ? nil : $0.record }
    }

    mutating func put(_ key: [UInt8], _ value: [UInt8], _ lease: LeaseID, _ revision: Revision, _ sub: UInt32) {
        let previous = record(key, at: revision)
        let record = KeyRecord(
            createRevision: previous?.createRevision ?? revision, modRevision: revision, modSub: sub,
            version: (previous?.version ?? 0) + 1, lease: lease)
        append(Change(revision: revision, sub: sub, key: key, value: value, record: record))
    }

    mutating func delete(_ key: [UInt8], _ revision: Revision, _ sub: UInt32) {
        let record = KeyRecord(
            createRevision: .zero, modRevision: revision, modSub: sub, version: 0, lease: .none)
        append(Change(revision: revision, sub: sub, key: key, value: nil, record: record))
    }

    private mutating func append(_ change: Change) {
        byKey[change.key, default: []].append(changes.count)
        changes.append(change)
        current = change.revision
    }

    /// Live keys of a range in bytewise order.
    func keys(in range: KeyRange, at revision: Revision) -> [(key: [UInt8], record: KeyRecord)] {
        byKey.keys.filter { range.contains($0) }.sorted { $0.lexicographicallyPrecedes($1) }
            .compactMap { key in record(key, at: revision).map { (key, $0) } }
    }

    /// The changes that a compacted store still has to show from `start` on.
    func history(from start: Revision, through end: Revision) -> [Change] {
        changes.filter { $0.revision >= start && $0.revision <= end }
    }
}

/// A protobuf encoding of `mvccpb.KeyValue`, written independently of the store's.
func encodedKeyValue(_ change: Model.Change) -> [UInt8] {
    func varint(_ value: UInt64) -> [UInt8] {
        value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7f) | 0x80] + varint(value >> 7)
    }
    func number(_ field: UInt8, _ value: Int64) -> [UInt8] {
        value == 0 ? [] : [field << 3] + varint(UInt64(bitPattern: value))
    }
    func bytes(_ field: UInt8, _ value: [UInt8]) -> [UInt8] {
        value.isEmpty ? [] : [field << 3 | 2] + varint(UInt64(value.count)) + value
    }
    guard let value = change.value else {
        return bytes(1, change.key) + number(3, change.revision.value)
    }
    let record = change.record
    return bytes(1, change.key) + number(2, record.createRevision.value) + number(3, record.modRevision.value)
        + number(4, record.version) + bytes(5, value) + number(6, record.lease.value)
}
