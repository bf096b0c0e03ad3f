public import EtcdAPI
import ProtobufWire
public import Store
public import Vocabulary

/// Answers range requests from a snapshot and writes the encoded `RangeResponse`, for clients' ranges and for those
/// inside transactions. Stored key-values are copied as they are.
public enum RangeReader {
    /// The answer to a client's range.
    public static func response(
        to request: RangeRequestView, on snapshot: Snapshot, template: ResponseHeaderTemplate, term: RaftTerm
    ) throws(RequestFailure) -> [UInt8] {
        var writer = WireWriter(capacity: 256)
        let header = template.header(revision: snapshot.revision, term: term)
        try append(request, from: snapshot, current: snapshot.revision, header: header, to: &writer)
        return writer.bytes
    }

    /// Appends the answer as of `current`, the newest revision there is for the asker.
    static func append(
        _ request: RangeRequestView, from snapshot: Snapshot, current: Revision, header: ResponseHeader,
        to writer: inout WireWriter
    ) throws(RequestFailure) {
        guard request.revision <= current.value else { throw .refused(.futureRevision) }
        let revision = request.revision > 0 ? Revision(request.revision) : current
        guard revision >= snapshot.compactedRevision else { throw .refused(.compacted) }
        RangeResponse.begin(header: header, to: &writer)
        do throws(StoreError) {
            var reading = RangeReading(request: request, snapshot: snapshot, revision: revision)
            try reading.run(into: &writer)
            RangeResponse.end(more: reading.more, count: reading.count, to: &writer)
        } catch {
            throw .store(error)
        }
    }
}

/// One range being answered.
private struct RangeReading {
    let request: RangeRequestView
    let snapshot: Snapshot
    let revision: Revision
    var more = false
    var count = 0

    /// Results wanted at most.
    private var limit: Int { request.limit > 0 ? Int(request.limit) : .max }

    mutating func run(into writer: inout WireWriter) throws(StoreError) {
        if request.rangeEnd.isEmpty { return try runSingleKey(into: &writer) }
        let range = KeyRange(key: Array(request.key), end: Array(request.rangeEnd))
        if request.countOnly {
            count = try snapshot.count(in: range, at: revision)
        } else if (request.sortTarget ?? .key) == .key, request.sortOrder != .descending {
            try runInKeyOrder(range, into: &writer)
        } else {
            try runSorted(range, into: &writer)
        }
    }

    private mutating func runSingleKey(into writer: inout WireWriter) throws(StoreError) {
        guard let record = try snapshot.record(of: request.key, at: revision) else { return }
        count = 1
        if !request.countOnly, passesFilters(record) { try append(record, to: &writer) }
    }

    /// Key order is the store's own: results go out as they are met, and the walk ends one past the limit. Only the
    /// count needs the rest.
    private mutating func runInKeyOrder(_ range: KeyRange, into writer: inout WireWriter) throws(StoreError) {
        var taken = 0
        var visited = 0
        var stopped = false
        try snapshot.walk(range, at: revision) { (_, record) throws(StoreError) in
            visited += 1
            guard passesFilters(record) else { return .next }
            if taken == limit {
                stopped = true
                return .stop
            }
            taken += 1
            try append(record, to: &writer)
            return .next
        }
        more = stopped
        count = stopped ? try snapshot.count(in: range, at: revision) : visited
    }

    private mutating func runSorted(_ range: KeyRange, into writer: inout WireWriter) throws(StoreError) {
        // etcd asks its store for one key past the limit when no direction and no filter is given, and sorts only
        // those: a quirk clients can see.
        let isCutFirst = request.sortOrder == RangeRequestView.SortOrder.none && !request.hasFilters
        let consideredLimit = isCutFirst && limit < .max ? limit + 1 : .max
        var selection = Selection(
            target: request.sortTarget ?? .key, isDescending: request.sortOrder == .descending, limit: limit)
        var visited = 0
        var stopped = false
        try snapshot.walk(range, at: revision) { (_, record) throws(StoreError) in
            if visited == consideredLimit {
                stopped = true
                return .stop
            }
            visited += 1
            if passesFilters(record) { try selection.insert(record, from: snapshot) }
            return .next
        }
        selection.finish()
        more = selection.seen > limit
        count = stopped ? try snapshot.count(in: range, at: revision) : visited
        for candidate in selection.candidates { try append(candidate.record, to: &writer) }
    }

    private func passesFilters(_ record: KeyRecord) -> Bool {
        guard request.hasFilters else { return true }
        let mod = record.modRevision.value
        let create = record.createRevision.value
        return (request.maxModRevision == 0 || mod <= request.maxModRevision)
            && (request.minModRevision == 0 || mod >= request.minModRevision)
            && (request.maxCreateRevision == 0 || create <= request.maxCreateRevision)
            && (request.minCreateRevision == 0 || create >= request.minCreateRevision)
    }

    private func append(_ record: KeyRecord, to writer: inout WireWriter) throws(StoreError) {
        let encoded = try snapshot.keyValue(of: record)
        if request.keysOnly {
            try storedKeyValue(encoded).appendWithoutValue(RangeResponse.keyValuesField, to: &writer)
        } else {
            RangeResponse.appendKeyValue(encoded, to: &writer)
        }
    }
}

/// The first `limit` records of an order, out of any number.
private struct Selection {
    struct Candidate {
        /// Place in key order; decides between equals, so that the result is the same everywhere.
        let sequence: Int
        let number: Int64
        let value: UnsafeRawBufferPointer
        let record: KeyRecord
    }

    let target: RangeRequestView.SortTarget
    let isDescending: Bool
    let limit: Int
    private(set) var candidates: [Candidate] = []
    /// Records offered so far.
    private(set) var seen = 0

    init(target: RangeRequestView.SortTarget, isDescending: Bool, limit: Int) {
        self.target = target
        self.isDescending = isDescending
        self.limit = limit
    }

    mutating func insert(_ record: KeyRecord, from snapshot: Snapshot) throws(StoreError) {
        let number: Int64
        var value = UnsafeRawBufferPointer(start: nil, count: 0)
        switch target {
        case .key: number = Int64(seen)
        case .version: number = record.version
        case .create: number = record.createRevision.value
        case .modification: number = record.modRevision.value
        case .value:
            number = 0
            value = try storedKeyValue(snapshot.keyValue(of: record)).value
        }
        candidates.append(Candidate(sequence: seen, number: number, value: value, record: record))
        seen += 1
        // A small limit over a large range, as lock queues ask: keep memory at the limit's size, not the range's.
        if candidates.count >= 256, candidates.count / 2 >= limit { finish() }
    }

    /// Sorts, and drops what is beyond the limit.
    mutating func finish() {
        let isByValue = target == .value
        let isDescending = isDescending
        candidates.sort { a, b in
            let order = isByValue ? compareBytes(a.value, b.value) : a.number.compared(to: b.number)
            return order == 0 ? a.sequence < b.sequence : isDescending ? order > 0 : order < 0
        }
        if candidates.count > limit { candidates.removeSubrange(limit...) }
    }
}

/// Reads a key-value the store handed out; failure means damaged data.
func storedKeyValue(_ encoded: UnsafeRawBufferPointer) throws(StoreError) -> KeyValueView {
    do throws(WireError) {
        return try KeyValueView(encoded)
    } catch {
        throw .corrupt(place: "revisions", detail: "a stored key-value is no message: \(error)")
    }
}

extension Snapshot {
    /// `forEachKey` with the errors' type kept.
    func walk(
        _ range: KeyRange, at revision: Revision,
        _ visit: (UnsafeRawBufferPointer, KeyRecord) throws(StoreError) -> Visit
    ) throws(StoreError) {
        do {
            try forEachKey(in: range, at: revision) { key, record in try visit(key, record) }
        } catch let error as StoreError {
            throw error
        } catch {
            throw .corrupt(place: "keys", detail: "unexpected error \(error)")
        }
    }
}
