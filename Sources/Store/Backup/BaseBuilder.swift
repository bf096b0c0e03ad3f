import CLMDB
import Glibc
import Vocabulary

/// Writes a new base from the entries of a snapshot: revisions appended, records in order, the index made anew. Nothing
/// is synced before the end, so what a killed restore leaves is worth nothing.
final class BaseBuilder {
    /// Bytes that one transaction takes, at most about: its pages are in memory.
    private static let transactionBytes = 32 << 20

    /// Who the new store belongs to: random.
    let identity: MemberIdentity
    private let base: Environment
    private var transaction: OpaquePointer?
    private var written = 0
    private var index = KeyIndexBuilder()
    private let scratch = Scratch()
    private var isClosed = false

    /// - Parameter fileBytes: size of the snapshot, from which the address space follows. Data takes at most a few times
    ///   as much in base as in the file.
    init(_ path: String, fileBytes: Int) throws(SnapshotError) {
        var random = SystemRandomNumberGenerator()
        identity = MemberIdentity(
            clusterID: .random(in: 1 ... .max, using: &random), memberID: .random(in: 1 ... .max, using: &random))
        let mapSize = max(1 << 30, fileBytes * 16) / Environment.pageSize * Environment.pageSize
        do throws(StoreError) {
            base = try Environment(name: "base", kind: .base, path: path, mapSize: mapSize)
            do throws(StoreError) {
                try check(mdb_env_set_flags(base.pointer, UInt32(MDB_NOSYNC), 1), "mdb_env_set_flags")
            } catch {
                base.close()
                throw error
            }
        } catch {
            throw .store(error)
        }
    }

    /// Gives everything up, or ends what was synced. Harmless when repeated.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        if let transaction { mdb_txn_abort(transaction) }
        transaction = nil
        base.close()
    }

    func add(
        _ revision: Revision, _ sub: UInt32, _ stored: UnsafeRawBufferPointer, _ record: KeyRecord
    ) throws(SnapshotError) {
        try storing { () throws(StoreError) in
            let transaction = try step(stored.count + Layout.revisionKeySize)
            Layout.storeRevisionKey(revision, sub, at: scratch.pointer)
            var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: scratch.pointer)
            var value = MDB_val(stored)
            try check(
                mdb_put(transaction, base.databases.revisions, &key, &value, UInt32(MDB_APPEND)), "mdb_put (revision)")
            index.add(try KeyValueEncoding.key(of: UnsafeRawBufferPointer(rebasing: stored.dropFirst())), record)
            if index.isFull { try index.write(to: base, step) }
        }
    }

    func add(_ table: RecordTable, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(SnapshotError)
    {
        try storing { () throws(StoreError) in
            let transaction = try step(key.count + value.count)
            guard let number = RecordTable.allCases.firstIndex(of: table) else { return }
            var place = try LongKeys.make(
                key, in: base.databases.records[number], transaction, scratch: scratch.pointer)
            var value = MDB_val(value)
            try check(mdb_put(transaction, place.database, &place.key, &value, 0), "mdb_put (record)")
        }
    }

    /// Writes what is left of the index, and what base says of itself.
    func finish(_ header: SnapshotHeader) throws(SnapshotError) {
        try storing { () throws(StoreError) in
            try index.write(to: base, step)
            let meta = MetaTable(transaction: try step(0), database: base.databases.meta)
            try meta.set(.format, Layout.formatVersion)
            try meta.set(.clusterID, identity.clusterID)
            try meta.set(.memberID, identity.memberID)
            try meta.set(
                BaseState(currentRevision: header.currentRevision, compactedRevision: header.compactedRevision))
            try meta.set(header.compaction)
            try commit()
        }
    }

    /// Reads all that was written, and compares it with what the snapshot says of itself.
    func compare(with summary: SnapshotSummary, _ file: String) throws(SnapshotError) {
        let walk: BaseWalk
        do throws(StoreError) {
            walk = try BaseWalk(base, takenAtMilliseconds: 0)
            while try walk.next() != nil {}
        } catch {
            throw .store(error)
        }
        defer { walk.close() }
        let found = walk.trailer
        guard
            found.revisions == summary.revisions, found.liveKeys == summary.liveKeys,
            found.records.allSatisfy({ summary.records[$0.key, default: 0] == $0.value }), found.hash == summary.hash
        else { throw .hashDiffers(path: file, expected: summary.hash, found: found.hash) }
    }

    /// Takes out the records that shall not go along; says how many.
    func leaveOut(_ keeps: (RecordTable, [UInt8]) -> Bool) throws(SnapshotError) -> Int {
        var count = 0
        try storing { () throws(StoreError) in
            for (table, tree) in zip(RecordTable.allCases, base.databases.records) {
                let transaction = try step(0)
                var doomed: [[UInt8]] = []
                let scan = try LayerScan(base, tree, layer: 2, transaction: transaction)
                try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
                while let key = scan.key {
                    if !keeps(table, Array(key)) { doomed.append(Array(key)) }
                    try scan.next()
                }
                for key in doomed {
                    try key.withRawBytes { key throws(StoreError) in
                        guard var place = try LongKeys.find(key, in: tree, transaction, scratch: scratch.pointer) else {
                            return
                        }
                        try check(mdb_del(transaction, place.database, &place.key, nil), "mdb_del (record)")
                        try LongKeys.prune(key, in: tree, transaction, scratch: scratch.pointer)
                    }
                }
                count += doomed.count
            }
            try commit()
        }
        return count
    }

    /// Raises the newest revision, and compacts to it: whoever knows an earlier one learns that it is gone.
    func bump(_ header: SnapshotHeader, to revision: Revision) throws(SnapshotError) {
        guard revision > header.currentRevision else { return }
        try storing { () throws(StoreError) in
            let meta = MetaTable(transaction: try step(0), database: base.databases.meta)
            try meta.set(BaseState(currentRevision: revision, compactedRevision: revision))
            try commit()
        }
    }

    /// A walk over the keys written so far. It must end before the next step.
    func scanKeys() throws(StoreError) -> LayerScan {
        try LayerScan(base, base.databases.keys, layer: 2, transaction: try step(0))
    }

    /// Commits what is not committed yet.
    func commitAll() throws(SnapshotError) {
        try storing { () throws(StoreError) in try commit() }
    }

    /// A walk over all that was committed.
    func walkBase() throws(StoreError) -> BaseWalk { try BaseWalk(base, takenAtMilliseconds: 0) }

    /// Makes everything durable.
    func sync() throws(SnapshotError) {
        try storing { () throws(StoreError) in try check(mdb_env_sync(base.pointer, 1), "mdb_env_sync") }
    }

    // MARK: -

    /// The transaction to write with; one that has become large is committed first.
    private func step(_ bytes: Int) throws(StoreError) -> OpaquePointer {
        if written > Self.transactionBytes { try commit() }
        written += bytes
        if let transaction { return transaction }
        let fresh = try base.beginWrite()
        transaction = fresh
        return fresh
    }

    private func commit() throws(StoreError) {
        written = 0
        guard let transaction else { return }
        self.transaction = nil
        try check(mdb_txn_commit(transaction), "mdb_txn_commit (restore)")
    }

    private func storing(_ body: () throws(StoreError) -> Void) throws(SnapshotError) {
        do throws(StoreError) {
            try body()
        } catch {
            throw .store(error)
        }
    }
}
