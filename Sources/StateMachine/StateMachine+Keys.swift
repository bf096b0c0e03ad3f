import EtcdAPI
import ProtobufWire
import Store
import Vocabulary

/// The changes of one write request: all at one revision, numbered in the order they are made.
struct Changes {
    /// The revision before.
    let base: Revision
    /// Changes made so far; the number the next one gets.
    private(set) var count: UInt32 = 0

    init(base: Revision) { self.base = base }

    /// The revision as it stands: one step further once anything changed.
    var revision: Revision { count == 0 ? base : base.next }

    /// Takes a number for a change.
    mutating func next() -> (revision: Revision, sub: UInt32) {
        defer { count += 1 }
        return (base.next, count)
    }
}

// Puts and range deletions, alone and within transactions.
extension StateMachine {
    func applyPut(_ request: PutRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: true) }
        if request.lease != .none, !leases.exists(request.lease) { throw .refused(.leaseNotFound) }
        try checkGuards(put: request)
        var changes = Changes(base: writer.currentRevision)
        var response = WireWriter(capacity: 48)
        let header = template.header(revision: changes.base.next, term: term)
        let isDone: Bool
        do throws(StoreError) {
            let previous = try writer.view.record(of: request.key, at: changes.base)
            isDone = previous != nil || !(request.ignoresValue || request.ignoresLease)
            if isDone { try put(request, previous: previous, header: header, changes: &changes, response: &response) }
        } catch {
            throw .store(error)
        }
        guard isDone else {
            counts.add(.ranges)
            throw .refused(.keyNotFound)
        }
        var tally = OperationTally()
        tally.put(request)
        tally.count(in: counts)
        return response.bytes
    }

    func applyDeleteRange(_ request: DeleteRangeRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        try checkGuards(delete: request)
        var tally = OperationTally()
        tally.delete(request)
        tally.count(in: counts)
        var changes = Changes(base: writer.currentRevision)
        var response = WireWriter(capacity: 48)
        do throws(StoreError) {
            try deleteRange(request, changes: &changes, response: &response) { revision in
                template.header(revision: revision, term: term)
            }
        } catch {
            throw .store(error)
        }
        return response.bytes
    }

    /// Writes a key whose record is known, and appends the `PutResponse`.
    func put(
        _ request: PutRequestView, previous: KeyRecord?, header: ResponseHeader, changes: inout Changes,
        response: inout WireWriter
    ) throws(StoreError) {
        let lease = request.ignoresLease ? previous?.lease ?? .none : request.lease
        guard let previous, request.wantsPrevious || request.ignoresValue else {
            PutResponse.append(header: header, previous: nil, to: &response)
            return try write(request.key, request.value, lease, previous: previous, changes: &changes)
        }
        let stored = try writer.view.keyValue(of: previous)
        PutResponse.append(header: header, previous: request.wantsPrevious ? stored : nil, to: &response)
        guard request.ignoresValue else {
            return try write(request.key, request.value, lease, previous: previous, changes: &changes)
        }
        // The stored bytes may move when the store is written to.
        let value = Array(try storedKeyValue(stored).value)
        try value.withRawBytes { value throws(StoreError) in
            try write(request.key, value, lease, previous: previous, changes: &changes)
        }
    }

    /// - Parameter terms: of a place in line that `berth.v1` makes by this write.
    func write(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ lease: LeaseID, previous: KeyRecord?,
        changes: inout Changes, terms: PlaceTerms? = nil
    ) throws(StoreError) {
        let (revision, sub) = changes.next()
        let record = try writer.put(
            key: key, value: value, lease: lease, revision: revision, sub: sub, previous: previous)
        counts.add(.putBytes, key.count + value.count)
        if record.version == 1 { counts.add(.keys) }
        let oldLease = previous?.lease ?? .none
        if oldLease != lease {
            if oldLease != .none { try detach(Array(key), from: oldLease, at: revision) }
            if lease != .none {
                let attachment = LeaseTable.Attachment(revision: revision, sub: sub)
                try attach(Array(key), to: lease, attachment)
                try enterLine(key, lease, attachment, token: record.createRevision, terms)
            }
        } else if lease != .none {
            proclaimInLine(key, lease, at: revision)
        }
        if recordsEvents {
            events.appendPut(
                key: key, createRevision: record.createRevision, revision: revision, sub: sub,
                version: record.version, value: value, lease: lease)
        }
    }

    /// Deletes a range's keys as they are now, and appends the `DeleteRangeResponse`.
    func deleteRange(
        _ request: DeleteRangeRequestView, changes: inout Changes, response: inout WireWriter,
        header: (Revision) -> ResponseHeader
    ) throws(StoreError) {
        let view = try writer.view
        let found: [(key: [UInt8], record: KeyRecord)]
        if request.rangeEnd.isEmpty {
            found = try view.record(of: request.key, at: changes.revision).map { [(Array(request.key), $0)] } ?? []
        } else {
            var collected: [(key: [UInt8], record: KeyRecord)] = []
            let range = KeyRange(key: Array(request.key), end: Array(request.rangeEnd))
            try view.walk(range, at: changes.revision) { (key, record) throws(StoreError) in
                collected.append((Array(key), record))
                return .next
            }
            found = collected
        }
        let revision = found.isEmpty ? changes.revision : changes.base.next
        DeleteRangeResponse.begin(header: header(revision), deleted: found.count, to: &response)
        if request.wantsPrevious {
            for (_, record) in found {
                DeleteRangeResponse.appendPrevious(try view.keyValue(of: record), to: &response)
            }
        }
        for (key, record) in found {
            try delete(key, record, changes: &changes)
            if record.lease != .none { try detach(key, from: record.lease, at: changes.revision) }
        }
    }

    /// Deletes one key, whose lease is the caller's to detach.
    func delete(_ key: [UInt8], _ record: KeyRecord, changes: inout Changes) throws(StoreError) {
        let (revision, sub) = changes.next()
        try key.withRawBytes { key throws(StoreError) in
            try writer.delete(key: key, revision: revision, sub: sub, previous: record)
            counts.add(.keys, -1)
            if recordsEvents { events.appendDeletion(key: key, revision: revision, sub: sub) }
        }
    }

    func applyCompaction(_ request: CompactionRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: false) }
        guard try request.revision > compactionFloor else { throw .refused(.compacted) }
        guard request.revision <= writer.currentRevision.value else { throw .refused(.futureRevision) }
        do throws(StoreError) {
            if request.revision == 0 {
                wasCompactedToZero = true
                try writer.setRecord(.meta, key: Self.compactedToZeroKey, value: [1])
            } else {
                try writer.compact(to: Revision(request.revision))
            }
        } catch {
            throw .store(error)
        }
        return HeaderOnlyResponse.encoded(header: header(term))
    }

    /// etcd's compact revision: -1 in a store that was never compacted.
    var compactionFloor: Int64 {
        get throws(RequestFailure) {
            let compacted = try view.compactedRevision
            return compacted == .zero && !wasCompactedToZero ? -1 : compacted.value
        }
    }

    /// The store as the open batch has made it so far.
    var view: Snapshot {
        get throws(RequestFailure) {
            do throws(StoreError) { return try writer.view } catch { throw .store(error) }
        }
    }

    /// Runs a check whose failure is the caller's.
    func refuse(_ check: () throws(EtcdError) -> Void) throws(RequestFailure) {
        do throws(EtcdError) { try check() } catch { throw .refused(error) }
    }
}
