import CLMDB
import Vocabulary

/// Rewrites half-empty leaves of base's large trees, so that what was removed here and there becomes free pages.
///
/// LMDB joins leaves only when they are less than a quarter full: after every second key of a store was deleted, none of its
/// pages is free, and a store at its quota would stay there. This walks over the leaves in order, some hundred a
/// transaction, and writes the records of neighbours that fit into far fewer leaves again, one after the other, which
/// fills leaves up. Nothing changes for readers. Leaves that hold values on pages of their own are left alone: there
/// the values' pages are what counts, and those are free when the values are gone.
///
/// May stop and go on between any two steps; what it did stays right whatever happens in between.
struct Repacking {
    /// Leaves judged together.
    private static let chunkLeaves = 32
    /// Leaves looked at in one transaction, which a flush that falls due waits for.
    private static let stepLeaves = 256
    /// Rewritten when that leaves so much of the leaves, or less.
    private static let worthwhile = 0.8

    private var trees: [MDB_dbi]
    /// The first key of the next leaf to look at; nil for the tree's first.
    private var position: [UInt8]?

    init(_ base: Environment) { trees = [base.databases.revisions, base.databases.keys.short] }

    /// Neighbouring leaves and their records, copied.
    private struct Chunk {
        var leaves = 0
        /// What the records take in leaves.
        var size = 0
        var bytes: [UInt8] = []
        var records: [(key: Range<Int>, value: Range<Int>)] = []

        var isWorthRewriting: Bool {
            // A page that is full when the next record comes gives it one of its own on the way.
            let fitting = (Environment.pageSize - 16) * records.count / max(1, size) - 1
            let needed = Double(records.count) / Double(max(1, fitting))
            return leaves > 1 && needed.rounded(.up) <= Double(leaves) * Repacking.worthwhile
        }

        /// A record at the end, as LMDB counts its place: a header of 8 bytes and 2 of an index; a further value of the
        /// same key takes only itself.
        mutating func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, isFurther: Bool) {
            let start = bytes.count
            bytes.append(contentsOf: key)
            bytes.append(contentsOf: value)
            records.append((start..<(start + key.count), (start + key.count)..<bytes.count))
            size += isFurther ? value.count : 10 + key.count + value.count
        }

        mutating func append(_ other: Chunk) {
            let shift = bytes.count
            bytes += other.bytes
            for record in other.records {
                records.append(
                    (
                        (record.key.lowerBound + shift)..<(record.key.upperBound + shift),
                        (record.value.lowerBound + shift)..<(record.value.upperBound + shift)
                    ))
            }
            size += other.size
            leaves += 1
        }
    }

    /// One transaction of it. True when all is done.
    mutating func step(_ base: Environment) throws(StoreError) -> Bool {
        guard let tree = trees.first else { return true }
        let next = try base.writeIfChanged(commit: "mdb_txn_commit (repacking)") { transaction throws(StoreError) in
            let (chunks, rest) = try collect(transaction, tree)
            let worthwhile = chunks.filter(\.isWorthRewriting)
            for chunk in worthwhile { try rewrite(chunk, transaction, tree) }
            return (rest, isChanged: !worthwhile.isEmpty)
        }
        position = next
        if next == nil { trees.removeFirst() }
        return trees.isEmpty
    }

    /// Copies the next leaves. Nothing was written in the transaction yet, so all pages lie in the map, where a record's
    /// address tells its page.
    private func collect(
        _ transaction: OpaquePointer, _ tree: MDB_dbi
    ) throws(StoreError) -> (chunks: [Chunk], rest: [UInt8]?) {
        let cursor = try Cursor(transaction, tree)
        var chunks: [Chunk] = []
        var chunk = Chunk()
        var leaf = Chunk()
        var isLeafMovable = true
        var page: UInt?
        var leaves = 0

        func endLeaf() {
            if isLeafMovable, !leaf.records.isEmpty { chunk.append(leaf) }
            if !isLeafMovable || chunk.leaves >= Self.chunkLeaves {
                if chunk.leaves > 0 { chunks.append(chunk) }
                chunk = Chunk()
            }
            leaf = Chunk()
            isLeafMovable = true
        }

        var value = MDB_val()
        var key = MDB_val()
        var code = seek(cursor, &key, &value)
        while code == 0 {
            let here = Self.page(key)
            let isNewLeaf = here != page
            if isNewLeaf {
                endLeaf()
                page = here
                leaves += 1
                if leaves > Self.stepLeaves {
                    if chunk.leaves > 0 { chunks.append(chunk) }
                    return (chunks, Array(key.bytes))
                }
            }
            if Self.page(value) != here { isLeafMovable = false }
            if isLeafMovable {
                let isFurther = leaf.records.last.map { last in
                    leaf.bytes.withUnsafeBytes {
                        compareBytes(UnsafeRawBufferPointer(rebasing: $0[last.key]), key.bytes) == 0
                    }
                }
                leaf.add(key.bytes, value.bytes, isFurther: isFurther ?? false)
                code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_NEXT)
            } else {
                // Not into the many values that one key may have elsewhere.
                code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_NEXT_NODUP)
            }
        }
        if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (repacking)") }
        endLeaf()
        if chunk.leaves > 0 { chunks.append(chunk) }
        return (chunks, nil)
    }

    private func seek(_ cursor: Cursor, _ key: inout MDB_val, _ value: inout MDB_val) -> Int32 {
        guard let position else { return mdb_cursor_get(cursor.pointer, &key, &value, MDB_FIRST) }
        return position.withUnsafeBytes { bytes in
            key = MDB_val(bytes)
            return mdb_cursor_get(cursor.pointer, &key, &value, MDB_SET_RANGE)
        }
    }

    private static func page(_ item: MDB_val) -> UInt {
        UInt(bitPattern: item.mv_data) / UInt(Environment.pageSize)
    }

    private func rewrite(
        _ chunk: Chunk, _ transaction: OpaquePointer, _ tree: MDB_dbi
    ) throws(StoreError) {
        try chunk.bytes.withRawBytes { bytes throws(StoreError) in
            var last: UnsafeRawBufferPointer?
            for record in chunk.records {
                let name = UnsafeRawBufferPointer(rebasing: bytes[record.key])
                if let last, compareBytes(last, name) == 0 { continue }
                last = name
                var key = MDB_val(name)
                // All values of the key.
                try check(mdb_del(transaction, tree, &key, nil), "mdb_del (repacking)")
            }
            for record in chunk.records {
                var key = MDB_val(UnsafeRawBufferPointer(rebasing: bytes[record.key]))
                var value = MDB_val(UnsafeRawBufferPointer(rebasing: bytes[record.value]))
                try check(mdb_put(transaction, tree, &key, &value, 0), "mdb_put (repacking)")
            }
        }
    }
}

extension Environment {
    /// Changes in base's history.
    func revisionCount() throws(StoreError) -> Int {
        let transaction = try beginRead()
        defer { mdb_txn_abort(transaction) }
        var statistics = MDB_stat()
        try check(mdb_stat(transaction, databases.revisions, &statistics), "mdb_stat (revisions)")
        return statistics.ms_entries
    }
}
