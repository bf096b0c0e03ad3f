import CLMDB
import Vocabulary

/// Reads all of base through one read transaction, block by block, as the bytes of a snapshot file, and computes the
/// store's hash and counts on the way.
///
/// Holds LMDB's pages as they were until it is closed. Used by one thread at a time, not always the same.
final class BaseWalk: CopyWalk {
    private enum Phase {
        case preamble
        case revisions
        /// The table that comes next, by its place in `RecordTable.allCases`.
        case records(Int)
        case keys
        case trailer
        case done
    }

    /// Keys that one step of counting passes.
    private static let keysAStep = 20_000

    let header: SnapshotHeader
    /// Entries that will be read, and that have been.
    let total: UInt64
    private(set) var done: UInt64 = 0
    /// Grows with the walk; complete when that has ended.
    private(set) var trailer = SnapshotTrailer()
    /// etcd's HashKV at the newest revision; complete when the walk has ended.
    var hashKV: UInt32 { history.value }

    /// Told of every change on the way, with its stored bytes.
    var onChange: ((Revision, UInt32, UnsafeRawBufferPointer) -> Void)?

    private let base: Environment
    private let reader: LayerReader
    private var phase = Phase.preamble
    private var encoder = SnapshotEncoder()
    private var history: HistoryChecksum
    private var tables = RecordsChecksum()
    private var revisions: HistoryCursor?
    private var scan: LayerScan?

    init(_ base: Environment, takenAtMilliseconds: Int64) throws(StoreError) {
        self.base = base
        reader = LayerReader(base, number: 2, ownsTransaction: true)
        do throws(StoreError) {
            try reader.begin()
            let meta = MetaTable(transaction: try reader.open(), database: base.databases.meta)
            header = try SnapshotHeader(meta, takenAtMilliseconds: takenAtMilliseconds)
            let (current, compacted) = (header.currentRevision, header.compactedRevision)
            history = HistoryChecksum(
                revision: current, compacted: compacted,
                hasLiveKeys: compacted > .zero ? try Self.hasLiveKeys(base, reader, at: current) : false)
            var entries = try base.entries(of: base.databases.revisions, try reader.open())
            for tree in base.databases.records { entries += try base.entries(of: tree.short, try reader.open()) }
            // One for all tables. The marks of long keys' buckets count too: `done` takes the last step at once.
            if let tree = base.databases.records.first { entries += try base.entries(of: tree.long, try reader.open()) }
            total = entries
        } catch {
            reader.close()
            throw error
        }
    }

    deinit { close() }

    /// Lets go of the transaction. Base must still be open.
    func close() {
        revisions = nil
        scan = nil
        phase = .done
        reader.close()
    }

    func nextPiece() throws(StoreError) -> SnapshotCopy.Piece? {
        try next().map { SnapshotCopy.Piece(bytes: $0, done: done, total: total) }
    }

    /// The next bytes of the file, none when there is nothing to tell yet; nil at the end.
    func next() throws(StoreError) -> [UInt8]? {
        switch phase {
        case .preamble:
            phase = .revisions
            return encoder.preamble() + encoder.block(.header, header.encoded)
        case .revisions: return try nextRevisions()
        case .records(let index): return try nextRecords(index)
        case .keys: return try countKeys()
        case .trailer:
            phase = .done
            trailer.hash = Snapshot.combine(
                history: history.value, revision: header.currentRevision, compacted: header.compactedRevision,
                records: tables.value)
            done = total
            return encoder.block(.trailer, trailer.encoded)
        case .done: return nil
        }
    }

    private func nextRevisions() throws(StoreError) -> [UInt8] {
        let cursor: HistoryCursor
        if let open = revisions {
            cursor = open
        } else {
            cursor = try HistoryCursor(base, try reader.open())
            revisions = cursor
        }
        guard let first = try cursor.next() else { return endRevisions() }
        encoder.begin(.revisions)
        try add(first.key, first.value, first.change)
        while !encoder.isFull {
            guard let (key, value, change) = try cursor.next() else {
                _ = endRevisions()
                return encoder.take()
            }
            try add(key, value, change)
        }
        return encoder.take()
    }

    private func endRevisions() -> [UInt8] {
        revisions = nil
        phase = .records(0)
        return []
    }

    private func add(_ key: MDB_val, _ value: MDB_val, _ change: StoredChange) throws(StoreError) {
        encoder.add(key.bytes)
        encoder.add(UInt32(value.mv_size))
        encoder.add(value.bytes)
        onChange?(change.revision, change.sub, value.bytes)
        try history.add(change) { (key, revision) throws(StoreError) in
            try reader.newest(key, at: revision).flatMap { $0.isTombstone ? nil : $0 }
        }
        trailer.revisions += 1
        done += 1
    }

    private func nextRecords(_ index: Int) throws(StoreError) -> [UInt8] {
        let table = RecordTable.allCases[index]
        let scan: LayerScan
        if let open = self.scan {
            scan = open
        } else {
            scan = try reader.scan(base.databases.records[index])
            self.scan = scan
            try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
            tables.begin(table)
            trailer.records[table] = 0
        }
        guard scan.key != nil else { return endTable(index) }
        encoder.begin(.records)
        encoder.add(table.rawValue)
        let start = table.isHistory ? header.compactedRevision.recordKey : []
        while let key = scan.key {
            let value = try scan.value()
            encoder.add(UInt32(key.count))
            encoder.add(UInt32(value.count))
            encoder.add(key)
            encoder.add(value)
            // What compaction has still to take from a history is not part of the state.
            if start.withUnsafeBytes({ compareBytes(key, $0) >= 0 }) { tables.add(key, value) }
            trailer.records[table, default: 0] += 1
            done += 1
            try scan.next()
            if encoder.isFull { return encoder.take() }
        }
        _ = endTable(index)
        return encoder.take()
    }

    private func endTable(_ index: Int) -> [UInt8] {
        scan = nil
        phase = index + 1 < RecordTable.allCases.count ? .records(index + 1) : .keys
        return []
    }

    private func countKeys() throws(StoreError) -> [UInt8] {
        let scan: LayerScan
        if let open = self.scan {
            scan = open
        } else {
            scan = try reader.scan(base.databases.keys)
            self.scan = scan
            try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        for _ in 0..<Self.keysAStep {
            guard scan.key != nil else {
                self.scan = nil
                phase = .trailer
                return []
            }
            if let record = try scan.newest(at: header.currentRevision), !record.isTombstone { trailer.liveKeys += 1 }
            try scan.next()
        }
        return []
    }

    private static func hasLiveKeys(
        _ base: Environment, _ reader: LayerReader, at revision: Revision
    ) throws(StoreError) -> Bool {
        let scan = try reader.scan(base.databases.keys)
        try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        while scan.key != nil {
            if let record = try scan.newest(at: revision), !record.isTombstone { return true }
            try scan.next()
        }
        return false
    }
}

extension MetaTable {
    func compactionProgress() throws(StoreError) -> CompactionPosition {
        CompactionPosition(
            done: Revision(Int64(bitPattern: try number(.compactionDone) ?? 0)),
            main: Revision(Int64(bitPattern: try number(.compactionMain) ?? 0)),
            sub: UInt32(truncatingIfNeeded: try number(.compactionSub) ?? 0))
    }

    func set(_ progress: CompactionPosition) throws(StoreError) {
        try set(.compactionDone, UInt64(bitPattern: progress.done.value))
        try set(.compactionMain, UInt64(bitPattern: progress.main.value))
        try set(.compactionSub, UInt64(progress.sub))
    }
}

extension Environment {
    /// Entries of a database.
    fileprivate func entries(of database: MDB_dbi, _ transaction: OpaquePointer) throws(StoreError) -> UInt64 {
        var statistics = MDB_stat()
        try check(mdb_stat(transaction, database, &statistics), "mdb_stat")
        return UInt64(statistics.ms_entries)
    }
}
