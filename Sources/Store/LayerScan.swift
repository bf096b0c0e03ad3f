import CLMDB
import Glibc
import Vocabulary

/// Walks the keys of one tree of one layer in order, through buckets of long keys as if there were none.
///
/// Outside buckets `key` points into LMDB; inside, it is put together in a buffer of this object's own.
final class LayerScan {
    let tree: Environment.Tree
    private let layer: UInt8
    private var transaction: OpaquePointer
    private var short: OpaquePointer
    private var long: OpaquePointer?
    private var isLongBound = false
    /// The key the walk stands on; nil at the end.
    private(set) var key: UnsafeRawBufferPointer?

    /// Numbers of the buckets the walk is inside of, outermost first.
    private var buckets: [UInt64] = []
    /// The key inside buckets: 490 bytes, then 482 for each further bucket, then the rest.
    private var path: UnsafeMutableRawBufferPointer?
    private let scratch = UnsafeMutableRawPointer.allocate(byteCount: LongKeys.markSize, alignment: 8)

    init(
        _ environment: Environment, _ tree: Environment.Tree, layer: UInt8, transaction: OpaquePointer
    ) throws(StoreError) {
        var cursor: OpaquePointer?
        try check(mdb_cursor_open(transaction, tree.short, &cursor), "mdb_cursor_open (walk)")
        guard let cursor else { throw .from(ENOMEM, "mdb_cursor_open (walk)") }
        self.tree = tree
        self.layer = layer
        self.transaction = transaction
        short = cursor
        isLongBound = true
    }

    deinit {
        mdb_cursor_close(short)
        if let long { mdb_cursor_close(long) }
        path?.deallocate()
        scratch.deallocate()
    }

    /// Makes a walk of an earlier read transaction usable in this one.
    func bind(to transaction: OpaquePointer) throws(StoreError) {
        try check(mdb_cursor_renew(transaction, short), "mdb_cursor_renew (walk)")
        self.transaction = transaction
        isLongBound = long == nil
        buckets.removeAll(keepingCapacity: true)
        key = nil
    }

    /// Goes to the first key at or after `start`.
    func seek(_ start: UnsafeRawBufferPointer) throws(StoreError) {
        buckets.removeAll(keepingCapacity: true)
        guard start.count > LongKeys.plainLimit else {
            return try land(short, start.isEmpty ? MDB_FIRST : MDB_SET_RANGE, MDB_val(start))
        }
        // Follow the marks as far as they exist; then the first key behind is the one.
        var rest = start
        while true {
            let room = buckets.isEmpty ? LongKeys.plainLimit : LongKeys.chunkLimit
            let target = place(rest, room)
            guard rest.count > room else { return try land(try cursor(), MDB_SET_RANGE, target) }
            var found = target
            var value = MDB_val()
            let code = try get(try cursor(), &found, &value, MDB_SET_RANGE)
            guard code == 0, compareBytes(found.bytes, target.bytes) == 0 else {
                return try settle(code, found, value)
            }
            _ = try enter(found, value)
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(room))
        }
    }

    /// Goes to the next key.
    func next() throws(StoreError) {
        guard key != nil else { return }
        try land(try cursor(), MDB_NEXT_NODUP, MDB_val())
    }

    /// The newest record at or before `revision` of the key the walk stands on.
    func newest(at revision: Revision) throws(StoreError) -> KeyRecord? {
        try LayerReader.newest(try cursor(), at: revision, layer: layer, tree.pages)
    }

    /// The value of the key the walk stands on, in a database with one value a key.
    func value() throws(StoreError) -> UnsafeRawBufferPointer {
        var key = MDB_val()
        var value = MDB_val()
        try check(mdb_cursor_get(try cursor(), &key, &value, MDB_GET_CURRENT), "mdb_cursor_get (value)")
        return value.bytes
    }

    /// The cursor that stands on the present key.
    func cursor() throws(StoreError) -> OpaquePointer {
        if buckets.isEmpty { return short }
        if let long {
            if !isLongBound { try check(mdb_cursor_renew(transaction, long), "mdb_cursor_renew (walk)") }
            isLongBound = true
            return long
        }
        try check(mdb_cursor_open(transaction, tree.long, &long), "mdb_cursor_open (walk)")
        guard let long else { throw .from(ENOMEM, "mdb_cursor_open (walk)") }
        isLongBound = true
        return long
    }

    /// What the walk's cursor must look for to find `rest` in the present bucket.
    private func place(_ rest: UnsafeRawBufferPointer, _ room: Int) -> MDB_val {
        var end = 0
        if let bucket = buckets.last {
            scratch.storeBytes(of: bucket.bigEndian, as: UInt64.self)
            end = LongKeys.numberSize
        }
        let count = min(rest.count, room)
        if let source = rest.baseAddress { memcpy(scratch + end, source, count) }
        end += count
        if rest.count > room {
            scratch.storeBytes(of: 0, toByteOffset: end, as: UInt8.self)
            end += 1
        }
        return MDB_val(mv_size: end, mv_data: scratch)
    }

    private func land(_ cursor: OpaquePointer, _ operation: MDB_cursor_op, _ target: MDB_val) throws(StoreError) {
        var found = target
        var value = MDB_val()
        let code = try get(cursor, &found, &value, operation)
        try settle(code, found, value)
    }

    /// Moves a cursor. In base, what LMDB will touch is verified first, as long as that may be needed.
    private func get(
        _ cursor: OpaquePointer, _ found: inout MDB_val, _ value: inout MDB_val, _ operation: MDB_cursor_op
    ) throws(StoreError) -> Int32 {
        if let pages = tree.pages, pages.isChecking {
            switch operation {
            case MDB_FIRST: try pages.cover(transaction, mdb_cursor_dbi(cursor), .first)
            case MDB_NEXT_NODUP: try pages.coverNext(cursor)
            default: try pages.cover(transaction, mdb_cursor_dbi(cursor), .at(found))
            }
        }
        return mdb_cursor_get(cursor, &found, &value, operation)
    }

    /// Takes what the cursor has reached: a key, a mark to follow, or something past the bucket's end. A loop and no
    /// recursion, as a key of a megabyte is some thousand buckets deep.
    private func settle(_ reached: Int32, _ entry: MDB_val, _ entryValue: MDB_val) throws(StoreError) {
        var code = reached
        var found = entry
        var value = entryValue
        while true {
            if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (walk)") }
            let bucket = buckets.last
            if code == 0, bucket == nil || LongKeys.number(ofKey: found) == bucket {
                guard found.mv_size == LongKeys.markSize else { return stand(on: found) }
                scratch.storeBytes(of: try enter(found, value).bigEndian, as: UInt64.self)
                found = MDB_val(mv_size: LongKeys.numberSize, mv_data: scratch)
                code = try get(try cursor(), &found, &value, MDB_SET_RANGE)
            } else {
                // No further key in this bucket: go on behind its mark.
                guard buckets.popLast() != nil else {
                    key = nil
                    return
                }
                try returnToMark()
                code = try get(try cursor(), &found, &value, MDB_NEXT_NODUP)
            }
        }
    }

    private func stand(on found: MDB_val) {
        guard !buckets.isEmpty else {
            key = found.bytes
            return
        }
        key = keep(UnsafeRawBufferPointer(rebasing: found.bytes.dropFirst(LongKeys.numberSize)), at: pathLength)
    }

    /// Goes into the bucket whose mark was found.
    private func enter(_ mark: MDB_val, _ value: MDB_val) throws(StoreError) -> UInt64 {
        let start = pathLength
        let head = buckets.isEmpty ? 0 : LongKeys.numberSize
        _ = keep(UnsafeRawBufferPointer(rebasing: mark.bytes[head..<(mark.mv_size - 1)]), at: start)
        let number = try LongKeys.number(ofMark: value)
        buckets.append(number)
        return number
    }

    /// Having left a bucket: the long cursor, shared by all of them, back to the mark in the bucket around it.
    private func returnToMark() throws(StoreError) {
        guard let bucket = buckets.last, let path = path?.baseAddress else { return }
        scratch.storeBytes(of: bucket.bigEndian, as: UInt64.self)
        memcpy(scratch + LongKeys.numberSize, path + pathLength, LongKeys.chunkLimit)
        scratch.storeBytes(of: 0, toByteOffset: LongKeys.plainLimit, as: UInt8.self)
        var key = MDB_val(mv_size: LongKeys.markSize, mv_data: scratch)
        var value = MDB_val()
        try check(try get(try cursor(), &key, &value, MDB_SET), "mdb_cursor_get (bucket's mark)")
    }

    /// Bytes of the key that the buckets entered so far stand for.
    private var pathLength: Int {
        buckets.isEmpty ? 0 : LongKeys.plainLimit + (buckets.count - 1) * LongKeys.chunkLimit
    }

    /// Keeps bytes of the path and lends the path up to their end.
    private func keep(_ bytes: UnsafeRawBufferPointer, at start: Int) -> UnsafeRawBufferPointer {
        let end = start + bytes.count
        let buffer = room(for: end)
        if let target = buffer.baseAddress, let source = bytes.baseAddress {
            memcpy(target + start, source, bytes.count)
        }
        return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[0..<end])
    }

    private func room(for count: Int) -> UnsafeMutableRawBufferPointer {
        if let path, path.count >= count { return path }
        let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1_024, count * 2), alignment: 8)
        if let path {
            grown.copyMemory(from: UnsafeRawBufferPointer(path))
            path.deallocate()
        }
        path = grown
        return grown
    }
}
