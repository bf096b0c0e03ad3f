import CLMDB
import Vocabulary

/// Base as it was at one moment, entry by entry: for whoever writes it down in a format of their own.
///
/// Holds LMDB's pages as they were until it is closed. Used by one thread at a time, not always the same.
public final class BaseReader {
    /// What base says of itself.
    public let header: SnapshotHeader

    private let base: Environment
    private let reader: LayerReader
    /// Whether base still has changes that compaction is about to remove.
    private let hasRemains: Bool
    private var history: HistoryCursor?
    private var scan: (table: RecordTable, scan: LayerScan)?

    init(_ base: Environment, takenAtMilliseconds: Int64) throws(StoreError) {
        self.base = base
        reader = LayerReader(base, number: 2, ownsTransaction: true)
        do throws(StoreError) {
            try reader.begin()
            header = try SnapshotHeader(
                MetaTable(transaction: try reader.open(), database: base.databases.meta),
                takenAtMilliseconds: takenAtMilliseconds)
            hasRemains = header.compaction.done < header.compactedRevision
        } catch {
            reader.close()
            throw error
        }
    }

    deinit { close() }

    /// Lets go of the transaction. Base must still be open. Harmless when repeated.
    func close() {
        history = nil
        scan = nil
        reader.close()
    }

    /// Begins all walks anew.
    public func rewind() {
        history = nil
        scan = nil
    }

    /// The next change of the history, oldest first; nil behind the last. The bytes are valid until the next call.
    public func nextChange() throws(StoreError) -> StoredChange? {
        let history: HistoryCursor
        if let open = self.history {
            history = open
        } else {
            history = try HistoryCursor(base, try reader.open())
            self.history = history
        }
        return try history.next()?.change
    }

    /// The next record of a table, in the order of the keys; nil behind the last. A table is walked to its end before
    /// another one is begun. The bytes are valid until the next call.
    public func nextRecord(
        of table: RecordTable
    ) throws(StoreError) -> (key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)? {
        let scan: LayerScan
        if let open = self.scan, open.table == table {
            scan = open.scan
            try scan.next()
        } else {
            guard let number = RecordTable.allCases.firstIndex(of: table) else { return nil }
            scan = try reader.scan(base.databases.records[number])
            self.scan = (table, scan)
            try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        guard let key = scan.key else {
            self.scan = nil
            return nil
        }
        return (key, try scan.value())
    }

    /// Whether compaction leaves a change, which may not have come to it yet: those behind the compacted revision, and
    /// of earlier ones the newest of each key. Of deletions at or below that revision only those made by it exactly are
    /// kept, for watchers that begin there.
    public func isKept(_ change: StoredChange) throws(StoreError) -> Bool {
        guard hasRemains, change.revision <= header.compactedRevision else { return true }
        if change.isDeletion, change.revision < header.compactedRevision { return false }
        guard let newest = try reader.newest(try change.key(), at: header.compactedRevision) else { return false }
        return newest.modRevision == change.revision && newest.modSub == change.sub
    }
}

extension StoredChange {
    /// The key that was changed; valid as long as the change's bytes.
    public func key() throws(StoreError) -> UnsafeRawBufferPointer { try KeyValueEncoding.key(of: keyValue) }
}

extension SnapshotHeader {
    /// Reads what base says of itself.
    init(_ meta: MetaTable, takenAtMilliseconds: Int64) throws(StoreError) {
        self.init(
            layout: UInt32(Layout.formatVersion),
            identity: MemberIdentity(
                clusterID: try meta.required(.clusterID), memberID: try meta.required(.memberID)),
            appliedIndex: RaftIndex(try meta.required(.appliedIndex)),
            appliedTerm: RaftTerm(try meta.required(.appliedTerm)),
            currentRevision: try meta.revision(.currentRevision),
            compactedRevision: try meta.revision(.compactedRevision), compaction: try meta.compactionProgress(),
            takenAtMilliseconds: takenAtMilliseconds)
    }
}
