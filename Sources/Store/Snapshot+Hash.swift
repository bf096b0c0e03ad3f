public import Vocabulary

// Checksums by which members, and Berth and etcd, compare what they hold.
extension Snapshot {
    /// etcd's HashKV at a revision, in one go; `Store.hashKV` is for stores that go on working meanwhile.
    public func hashKV(at revision: Revision) throws -> UInt32 {
        var checksum = try HistoryChecksum(of: self, at: revision)
        _ = try checksum.add(.max, from: self)
        return checksum.value
    }

    /// CRC-32C over all the store holds for its users: the history as `hashKV` sees it, and every table.
    ///
    /// Equal on members that have applied the same entries, whatever each has flushed or removed so far.
    public func hash() throws -> UInt32 {
        Self.combine(
            history: try hashKV(at: revision), revision: revision, compacted: compactedRevision,
            records: try recordsHash())
    }

    static func combine(
        history: UInt32, revision: Revision, compacted: Revision, records: UInt32
    ) -> UInt32 {
        var checksum = CRC32C()
        checksum.add(UInt64(history))
        checksum.add(UInt64(bitPattern: revision.value))
        checksum.add(UInt64(bitPattern: compacted.value))
        checksum.add(UInt64(records))
        return checksum.value
    }

    fileprivate func recordsHash() throws -> UInt32 {
        var checksum = RecordsChecksum()
        for table in RecordTable.allCases {
            checksum.begin(table)
            // What compaction has still to take from a history is not part of the state.
            let start = table.isHistory ? compactedRevision.recordKey : []
            try forEachRecord(table, from: start) { key, value in
                checksum.add(key, value)
                return .next
            }
        }
        return checksum.value
    }
}

/// The part of the store's hash that is over the tables: each table in the order of its number, each record in that of
/// its key.
struct RecordsChecksum {
    private var checksum = CRC32C()

    var value: UInt32 { checksum.value }

    mutating func begin(_ table: RecordTable) { checksum.add([table.rawValue]) }

    mutating func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        checksum.add(UInt64(key.count))
        checksum.add(key)
        checksum.add(UInt64(value.count))
        checksum.add(value)
    }
}

extension Store {
    /// Times a walk begins again because the store was compacted in its midst; then it is done in one snapshot.
    private static let restarts = 8

    /// etcd's HashKV at a revision, from a fresh snapshot for every `slice` changes: a map can grow in between.
    ///
    /// - Parameter slice: changes that one snapshot reads; 4 MiB of values end it earlier.
    /// - Returns: the hash, the compacted revision it is for (zero: never compacted), and the newest revision when the
    ///   walk began.
    /// - Throws: `futureRevision`, and `compacted` also when a compaction passes the revision meanwhile. One that does
    ///   not pass it changes what counts, so the walk begins again.
    public func hashKV(
        at revision: Revision, slice: Int = 4_096
    ) throws -> (hash: UInt32, compacted: Revision, current: Revision) {
        precondition(slice > 0, "a slice takes at least one change")
        for _ in 0..<Self.restarts {
            var (checksum, current) = try withSnapshot { snapshot in
                (try HistoryChecksum(of: snapshot, at: revision), snapshot.revision)
            }
            if try complete(&checksum, slice: slice) { return (checksum.value, checksum.compacted, current) }
        }
        return try withSnapshot { snapshot in
            (try snapshot.hashKV(at: revision), snapshot.compactedRevision, snapshot.revision)
        }
    }

    /// CRC-32C over all the store holds for its users at its newest revision, which comes with it. The history is
    /// walked in slices, as `hashKV` does; the tables, which are small, in the first of them.
    public func hash() throws -> (UInt32, Revision) {
        for _ in 0..<Self.restarts {
            var (checksum, records) = try withSnapshot { snapshot in
                (try HistoryChecksum(of: snapshot, at: snapshot.revision), try snapshot.recordsHash())
            }
            guard try complete(&checksum, slice: 4_096) else { continue }
            return (
                Snapshot.combine(
                    history: checksum.value, revision: checksum.revision, compacted: checksum.compacted,
                    records: records), checksum.revision
            )
        }
        return try withSnapshot { (try $0.hash(), $0.revision) }
    }

    /// Walks to the end, a snapshot a slice. False: the store was compacted to a higher revision meanwhile.
    private func complete(_ checksum: inout HistoryChecksum, slice: Int) throws -> Bool {
        while true {
            let step: Bool? = try withSnapshot { snapshot in
                guard snapshot.compactedRevision == checksum.compacted else { return nil }
                return try checksum.add(slice, from: snapshot)
            }
            guard let isUnfinished = step else { return false }
            if !isUnfinished { return true }
        }
    }
}
