import CLMDB
import Glibc

/// Where keys stand that are longer than LMDB allows, in order with all others.
///
/// Keys over 490 bytes share a bucket per 490-byte prefix. The bucket is marked in the tree's short database by the
/// prefix and one zero byte (491 bytes, which no other key there has): that sorts behind the prefix itself and before
/// any key that does not begin with it, just where the bucket's keys belong. The mark's value is the bucket's number.
/// The bucket's keys stand in the long database: number (8 bytes, big-endian), then the rest of the key. A rest over
/// 482 bytes does the same again: its first 482 bytes and a zero byte mark an inner bucket.
///
/// Example: a 1,000-byte key K is mark K[0..<490]+0 → 7; mark 7+K[490..<972]+0 → 8; 8+K[972..<1000] → record.
///
/// Marks' values have 40 bytes, as all values of `keys` must be of one size.
enum LongKeys {
    static let plainLimit = 490
    static let markSize = 491
    static let numberSize = 8
    static let chunkLimit = plainLimit - numberSize

    /// LMDB's key for a user key: which database, and the bytes there.
    struct Place {
        var database: MDB_dbi
        var key: MDB_val
    }

    /// Levels below the short database that a key of this length needs.
    static func levels(_ count: Int) -> Int {
        count <= plainLimit ? 0 : 1 + (count - plainLimit - 1) / chunkLimit
    }

    /// Finds where `key` stands. Nil when its bucket does not exist, so that it cannot either.
    /// `scratch` holds the place's bytes and has room for `scratchSize`.
    static func find(
        _ key: UnsafeRawBufferPointer, in tree: Environment.Tree, _ transaction: OpaquePointer,
        scratch: UnsafeMutableRawPointer
    ) throws(StoreError) -> Place? {
        guard key.count > plainLimit else { return Place(database: tree.short, key: MDB_val(key)) }
        var walk = Walk(key, tree, scratch)
        while !walk.isAtEnd {
            guard let number = try walk.number(transaction) else { return nil }
            walk.descend(into: number)
        }
        return walk.place
    }

    /// Finds where `key` belongs and makes the buckets on the way.
    static func make(
        _ key: UnsafeRawBufferPointer, in tree: Environment.Tree, _ transaction: OpaquePointer,
        scratch: UnsafeMutableRawPointer
    ) throws(StoreError) -> Place {
        guard key.count > plainLimit else { return Place(database: tree.short, key: MDB_val(key)) }
        var walk = Walk(key, tree, scratch)
        while !walk.isAtEnd {
            if let number = try walk.number(transaction) {
                walk.descend(into: number)
            } else {
                let number = max(try lastNumber(tree, transaction), walk.bucket ?? 0) + 1
                try walk.mark(transaction, number)
                walk.descend(into: number)
            }
        }
        return walk.place
    }

    /// Takes away the buckets on the way to `key` that have become empty.
    static func prune(
        _ key: UnsafeRawBufferPointer, in tree: Environment.Tree, _ transaction: OpaquePointer,
        scratch: UnsafeMutableRawPointer
    ) throws(StoreError) {
        guard key.count > plainLimit else { return }
        var numbers: [UInt64] = []
        var walk = Walk(key, tree, scratch)
        while !walk.isAtEnd, let number = try walk.number(transaction) {
            numbers.append(number)
            walk.descend(into: number)
        }
        while let innermost = numbers.popLast(), try isEmpty(innermost, tree, transaction, scratch) {
            var outer = Walk(key, tree, scratch)
            for number in numbers { outer.descend(into: number) }
            var place = outer.place
            try check(mdb_del(transaction, place.database, &place.key, nil), "mdb_del (bucket)")
        }
    }

    private static func isEmpty(
        _ number: UInt64, _ tree: Environment.Tree, _ transaction: OpaquePointer, _ scratch: UnsafeMutableRawPointer
    ) throws(StoreError) -> Bool {
        var cursor: OpaquePointer?
        try check(mdb_cursor_open(transaction, tree.long, &cursor), "mdb_cursor_open (bucket)")
        defer { mdb_cursor_close(cursor) }
        scratch.storeBytes(of: number.bigEndian, as: UInt64.self)
        var key = MDB_val(mv_size: numberSize, mv_data: scratch)
        if let pages = tree.pages, pages.isChecking { try pages.cover(transaction, tree.long, .at(key)) }
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
        if code == MDB_NOTFOUND { return true }
        try check(code, "mdb_cursor_get (bucket)")
        return Self.number(ofKey: key) != number
    }

    /// The highest bucket number in use, or zero. A bucket is never without a key, so the last key has it.
    private static func lastNumber(
        _ tree: Environment.Tree, _ transaction: OpaquePointer
    ) throws(StoreError) -> UInt64 {
        var cursor: OpaquePointer?
        try check(mdb_cursor_open(transaction, tree.long, &cursor), "mdb_cursor_open (bucket)")
        defer { mdb_cursor_close(cursor) }
        if let pages = tree.pages, pages.isChecking { try pages.cover(transaction, tree.long, .last) }
        var key = MDB_val()
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, MDB_LAST)
        if code == MDB_NOTFOUND { return 0 }
        try check(code, "mdb_cursor_get (bucket)")
        return number(ofKey: key)
    }

    /// The number at the start of a key of the long database.
    static func number(ofKey key: MDB_val) -> UInt64 {
        guard key.mv_size >= numberSize, let address = key.mv_data else { return 0 }
        return UInt64(bigEndian: address.loadUnaligned(as: UInt64.self))
    }

    /// The number in a mark's value.
    static func number(ofMark value: MDB_val) throws(StoreError) -> UInt64 {
        guard value.mv_size == Layout.recordSize, let address = value.mv_data else {
            throw .corrupt(place: "long keys", detail: "a bucket's mark has \(value.mv_size) bytes")
        }
        return UInt64(bigEndian: address.loadUnaligned(as: UInt64.self))
    }
}

extension LongKeys {
    /// The way of a long key from the short database inwards.
    struct Walk {
        private let key: UnsafeRawBufferPointer
        private let tree: Environment.Tree
        private let scratch: UnsafeMutableRawPointer
        private var offset = 0
        private(set) var bucket: UInt64?

        init(_ key: UnsafeRawBufferPointer, _ tree: Environment.Tree, _ scratch: UnsafeMutableRawPointer) {
            self.key = key
            self.tree = tree
            self.scratch = scratch
        }

        private var room: Int { bucket == nil ? plainLimit : chunkLimit }

        /// Whether the rest of the key fits here, so that the place is the key's own and no mark.
        var isAtEnd: Bool { key.count - offset <= room }

        /// The key's own place, or the mark's.
        var place: Place {
            let rest = min(key.count - offset, room)
            var end = 0
            if let bucket {
                scratch.storeBytes(of: bucket.bigEndian, as: UInt64.self)
                end = numberSize
            }
            if let source = key.baseAddress { memcpy(scratch + end, source + offset, rest) }
            end += rest
            if !isAtEnd {
                scratch.storeBytes(of: 0, toByteOffset: end, as: UInt8.self)
                end += 1
            }
            return Place(
                database: bucket == nil ? tree.short : tree.long, key: MDB_val(mv_size: end, mv_data: scratch))
        }

        mutating func descend(into number: UInt64) {
            offset += room
            bucket = number
        }

        /// The number of the bucket marked here.
        func number(_ transaction: OpaquePointer) throws(StoreError) -> UInt64? {
            var place = place
            if let pages = tree.pages, pages.isChecking {
                try pages.cover(transaction, place.database, .at(place.key))
            }
            var value = MDB_val()
            let code = mdb_get(transaction, place.database, &place.key, &value)
            if code == MDB_NOTFOUND { return nil }
            try check(code, "mdb_get (bucket)")
            return try LongKeys.number(ofMark: value)
        }

        /// Marks a new bucket here.
        func mark(_ transaction: OpaquePointer, _ number: UInt64) throws(StoreError) {
            var place = place
            // The mark's value stands behind the key's bytes: scratch has room for both.
            let bytes = scratch + 512
            memset(bytes, 0, Layout.recordSize)
            bytes.storeBytes(of: number.bigEndian, as: UInt64.self)
            var value = MDB_val(mv_size: Layout.recordSize, mv_data: bytes)
            try check(mdb_put(transaction, place.database, &place.key, &value, 0), "mdb_put (bucket)")
        }
    }

    /// Bytes of scratch memory that the functions here need.
    static let scratchSize = 512 + Layout.recordSize
}
