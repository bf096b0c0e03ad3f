import CLMDB
public import Vocabulary

/// The store as it was at one revision: what is read goes through active, sealed and base, newest first.
///
/// Handed out by `Store.withSnapshot`, and by `StoreWriter.view` for the open batch. Used by one thread, and not
/// after that call or batch. Every pointer it hands out ends with it; those of the writer's view with the next write.
public final class Snapshot {
    /// Active, sealed, base.
    var first: LayerReader
    var second: LayerReader
    let third: LayerReader
    /// The newest revision this answers for.
    public internal(set) var revision = Revision.zero
    /// Revisions below this one are gone. Zero when nothing was ever compacted.
    public internal(set) var compactedRevision = Revision.zero
    /// Walks going on; the log thread must not write while there is one.
    var openWalks = 0

    init(active: LayerReader, sealed: LayerReader, base: LayerReader) {
        first = active
        second = sealed
        third = base
    }

    /// Begins a transaction on each layer but empty ones, in the order that `StoreCore` explains.
    func begin(active: UInt8, isActiveEmpty: Bool, isSealedEmpty: Bool) throws(StoreError) {
        if first.number != active { swap(&first, &second) }
        try first.begin(unless: isActiveEmpty)
        try second.begin(unless: isSealedEmpty)
        try third.begin()
    }

    /// Lets go of the transactions.
    func end() {
        first.end()
        second.end()
        third.end()
    }

    /// Frees the transactions. The layers must still be open.
    func close() {
        first.close()
        second.close()
        third.close()
    }

    /// The record of `key` as it was at a revision, nil when the key did not exist then.
    ///
    /// - Throws: `compacted` and `futureRevision`, when the revision is not one this can answer for.
    public func record(
        of key: UnsafeRawBufferPointer, at revision: Revision
    ) throws(StoreError) -> KeyRecord? {
        try checkReadable(revision)
        guard let record = try newest(key, at: revision), !record.isTombstone else { return nil }
        return record
    }

    /// When the life of `key` that began at revision `creation` ended; nil when it has not, never began, or lies so many
    /// lives back, or behind a compaction, that nobody can tell.
    public func deletion(of key: [UInt8], createdAt creation: Revision) throws(StoreError) -> Revision? {
        var end: Revision?
        var at = revision
        for _ in 0..<32 where at >= max(creation, compactedRevision) {
            let found = try key.withRawBytes { key throws(StoreError) in try newest(key, at: at) }
            guard let found else { return nil }
            if found.isTombstone {
                end = found.modRevision
                at = found.modRevision.previous
            } else if found.createRevision == creation {
                return end
            } else {
                at = found.createRevision.previous
            }
        }
        return nil
    }

    /// A layer holds only revisions younger than those of the layers behind it, so the first hit is the newest.
    private func newest(_ key: UnsafeRawBufferPointer, at revision: Revision) throws(StoreError) -> KeyRecord? {
        if let record = try first.newest(key, at: revision) { return record }
        if let record = try second.newest(key, at: revision) { return record }
        return try third.newest(key, at: revision)
    }

    /// The encoded `mvccpb.KeyValue` of a version.
    public func keyValue(of record: KeyRecord) throws(StoreError) -> UnsafeRawBufferPointer {
        // The record tells where it was found; one that was kept since then may have moved.
        let hinted = record.layer == first.number ? first : record.layer == second.number ? second : third
        if let bytes = try hinted.revision(record.modRevision, record.modSub) { return try payload(bytes) }
        for layer in [first, second, third] where layer !== hinted {
            if let bytes = try layer.revision(record.modRevision, record.modSub) { return try payload(bytes) }
        }
        throw .corrupt(
            place: "revisions", detail: "revision \(record.modRevision).\(record.modSub) is indexed but not stored")
    }

    private func payload(_ stored: UnsafeRawBufferPointer) throws(StoreError) -> UnsafeRawBufferPointer {
        guard !stored.isEmpty else { throw .corrupt(place: "revisions", detail: "a revision without bytes") }
        return UnsafeRawBufferPointer(rebasing: stored.dropFirst(1))
    }

    /// Visits the live keys of a range in order, with their records as of a revision.
    public func forEachKey(
        in range: KeyRange, at revision: Revision,
        _ visit: (UnsafeRawBufferPointer, KeyRecord) throws -> Visit
    ) throws {
        try checkReadable(revision)
        if range.isSingleKey {
            try range.key.withUnsafeBytes { key in
                guard let record = try newest(key, at: revision), !record.isTombstone else { return }
                _ = try visit(key, record)
            }
            return
        }
        guard !range.isEmpty else { return }
        openWalks += 1
        defer { openWalks -= 1 }
        var merge = try LayerMerge(self, from: range.key) { $0.environment.databases.keys }
        defer { merge.finish() }
        while let key = merge.key, range.isBelowEnd(key) {
            if let record = try merge.newest(at: revision), !record.isTombstone {
                if case .stop = try visit(key, record) { return }
            }
            try merge.next()
        }
    }

    /// How many keys of a range were live at a revision.
    public func count(in range: KeyRange, at revision: Revision) throws(StoreError) -> Int {
        try checkReadable(revision)
        if range.isSingleKey {
            let found = try range.key.withRawBytes { key throws(StoreError) in try newest(key, at: revision) }
            return found.map { $0.isTombstone ? 0 : 1 } ?? 0
        }
        guard !range.isEmpty else { return 0 }
        openWalks += 1
        defer { openWalks -= 1 }
        var merge = try LayerMerge(self, from: range.key) { $0.environment.databases.keys }
        defer { merge.finish() }
        var count = 0
        while let key = merge.key, range.isBelowEnd(key) {
            if let record = try merge.newest(at: revision), !record.isTombstone { count += 1 }
            try merge.next()
        }
        return count
    }

    /// Visits the changes of the history in (revision, sub) order, both ends included. An end beyond `revision` is
    /// taken as `revision`; a start below the compacted revision is an error, that revision itself is not.
    public func forEachChange(
        from start: Revision, through end: Revision, _ visit: (StoredChange) throws -> Visit
    ) throws {
        guard start >= compactedRevision else {
            throw StoreError.compacted(requested: start, compacted: compactedRevision)
        }
        var position = ChangePosition(start)
        try walkRevisions(from: &position, through: min(end, revision), visit)
    }

    /// Each layer's revisions all follow those of the layer behind it, or, just flushed, are there too.
    ///
    /// Moves `position` behind the last change visited.
    /// - Returns: whether `visit` stopped it.
    @discardableResult
    func walkRevisions(
        from position: inout ChangePosition, through end: Revision, _ visit: (StoredChange) throws -> Visit
    ) throws -> Bool {
        guard position.main <= end else { return false }
        openWalks += 1
        defer { openWalks -= 1 }
        for layer in [third, second, first] where !layer.isLeftOut {
            if try layer.walkRevisions(from: &position, through: end, visit) { return true }
        }
        return false
    }

    func checkReadable(_ asked: Revision) throws(StoreError) {
        guard asked <= revision else { throw .futureRevision(requested: asked, current: revision) }
        guard asked >= compactedRevision else { throw .compacted(requested: asked, compacted: compactedRevision) }
    }
}

/// A place in the history: that of a change, or just behind one.
struct ChangePosition {
    var main: Revision
    var sub: UInt32

    /// Before the first change of a revision.
    init(_ revision: Revision) {
        main = max(revision, .zero)
        sub = 0
    }
}

extension LayerReader {
    /// Visits this layer's changes from a position on and moves the position behind the last one. True: was stopped.
    fileprivate func walkRevisions(
        from position: inout ChangePosition, through end: Revision,
        _ visit: (StoredChange) throws -> Visit
    ) throws -> Bool {
        var cursor: OpaquePointer?
        try check(mdb_cursor_open(try open(), environment.databases.revisions, &cursor), "mdb_cursor_open (history)")
        defer { mdb_cursor_close(cursor) }
        return try withUnsafeTemporaryAllocation(byteCount: Layout.revisionKeySize, alignment: 8) { bytes in
            guard let address = bytes.baseAddress else { return false }
            Layout.storeRevisionKey(position.main, position.sub, at: address)
            var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: address)
            // Looked at once: what has been verified stays so.
            let pages = environment.pages.flatMap { $0.isChecking ? $0 : nil }
            try pages?.cover(transaction, mdb_cursor_dbi(cursor), .at(key))
            var value = MDB_val()
            var code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            while code == 0 {
                let (main, sub) = try Layout.revision(of: key, place: "revisions")
                if main > end { return false }
                guard let kind = value.bytes.first else {
                    throw StoreError.corrupt(place: "revisions", detail: "revision \(main).\(sub) has no bytes")
                }
                let change = StoredChange(
                    revision: main, sub: sub, isDeletion: kind == Layout.tombstoneKind,
                    keyValue: UnsafeRawBufferPointer(rebasing: value.bytes.dropFirst(1)))
                position.main = main
                position.sub = sub + 1
                if case .stop = try visit(change) { return true }
                try pages?.coverNext(cursor)
                code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
            }
            if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (history)") }
            return false
        }
    }
}
