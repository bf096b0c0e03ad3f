import CLMDB
import Glibc
import Vocabulary

/// Point look-ups in one layer through one transaction, and the walks over it.
///
/// Owns a read transaction that is reset and renewed from one use to the next together with its cursors, or borrows
/// the log thread's write transaction. Used by one thread at a time.
final class LayerReader {
    let environment: Environment
    /// 0 and 1 are the young layers, 2 is base: where a record says it was found.
    let number: UInt8
    private(set) var transaction: OpaquePointer?
    private let ownsTransaction: Bool
    /// Holds nothing for now, and has no transaction: look-ups find nothing, walks are not made.
    private(set) var isLeftOut = false
    private let pages: BasePages?
    private var keys = PooledCursor()
    private var longKeys = PooledCursor()
    private var revisions = PooledCursor()
    private var spareScans: [LayerScan] = []
    private let scratch = UnsafeMutableRawPointer.allocate(byteCount: LongKeys.scratchSize, alignment: 8)

    init(_ environment: Environment, number: UInt8, ownsTransaction: Bool) {
        self.environment = environment
        pages = environment.pages
        self.number = number
        self.ownsTransaction = ownsTransaction
    }

    deinit {
        close()
        scratch.deallocate()
    }

    /// Begins a read transaction on the layer as it stands now, unless it is known to be empty.
    func begin(unless isEmpty: Bool = false) throws(StoreError) {
        isLeftOut = isEmpty
        if isEmpty { return }
        if let transaction {
            try check(mdb_txn_renew(transaction), "mdb_txn_renew")
        } else {
            transaction = try environment.beginRead()
        }
    }

    /// Lets go of what `begin` saw. Pointers into the layer end here.
    func end() {
        guard ownsTransaction else { return detach() }
        guard !isLeftOut else { return }
        if let transaction { mdb_txn_reset(transaction) }
        keys.unbind()
        longKeys.unbind()
        revisions.unbind()
    }

    /// Reads through a write transaction until `end`, which must come before the transaction's own.
    func attach(_ transaction: OpaquePointer) { self.transaction = transaction }

    private func detach() {
        keys.close()
        longKeys.close()
        revisions.close()
        spareScans = []
        transaction = nil
    }

    /// Frees the transaction. LMDB's environment must still be open.
    func close() {
        let owned = transaction
        detach()
        if ownsTransaction, let owned { mdb_txn_abort(owned) }
    }

    func open() throws(StoreError) -> OpaquePointer {
        guard let transaction, !isLeftOut else { throw .closed }
        return transaction
    }

    func keysCursor() throws(StoreError) -> OpaquePointer {
        try keys.bound(to: try open(), environment.databases.keys.short)
    }

    func longKeysCursor() throws(StoreError) -> OpaquePointer {
        try longKeys.bound(to: try open(), environment.databases.keys.long)
    }

    func revisionsCursor() throws(StoreError) -> OpaquePointer {
        try revisions.bound(to: try open(), environment.databases.revisions)
    }

    /// The newest record of `key` at or before `revision`, a deletion's mark included.
    func newest(_ key: UnsafeRawBufferPointer, at revision: Revision) throws(StoreError) -> KeyRecord? {
        guard !isLeftOut, !key.isEmpty else { return nil }
        var place = MDB_val(key)
        let cursor: OpaquePointer
        if key.count <= LongKeys.plainLimit {
            cursor = try keysCursor()
        } else {
            let tree = environment.databases.keys
            guard let found = try LongKeys.find(key, in: tree, try open(), scratch: scratch) else { return nil }
            place = found.key
            cursor = try longKeysCursor()
        }
        if let pages, pages.isChecking { try pages.cover(transaction, mdb_cursor_dbi(cursor), .at(place)) }
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &place, &value, MDB_SET)
        if code == MDB_NOTFOUND { return nil }
        try check(code, "mdb_cursor_get (key)")
        return try Self.newest(cursor, at: revision, layer: number, pages)
    }

    /// The newest record at or before `revision` of the key that `cursor` stands on.
    static func newest(
        _ cursor: OpaquePointer, at revision: Revision, layer: UInt8, _ pages: BasePages?
    ) throws(StoreError) -> KeyRecord? {
        var key = MDB_val()
        var value = MDB_val()
        try check(mdb_cursor_get(cursor, &key, &value, MDB_LAST_DUP), "mdb_cursor_get (newest record)")
        if try Layout.modRevision(of: value) <= revision { return try Layout.record(of: value, layer: layer) }
        // Records are sorted by age: the first one past the revision, then one back.
        try check(mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT), "mdb_cursor_get (key)")
        return try withUnsafeTemporaryAllocation(byteCount: Layout.recordSize, alignment: 8) {
            bound throws(StoreError) -> KeyRecord? in
            guard let address = bound.baseAddress else { return nil }
            memset(address, 0, Layout.recordSize)
            Layout.storeRevisionKey(revision.next, 0, at: address)
            value = MDB_val(mv_size: Layout.recordSize, mv_data: address)
            if let pages, pages.isChecking { try pages.coverValues(cursor, at: value) }
            try check(mdb_cursor_get(cursor, &key, &value, MDB_GET_BOTH_RANGE), "mdb_cursor_get (record)")
            let code = mdb_cursor_get(cursor, &key, &value, MDB_PREV_DUP)
            if code == MDB_NOTFOUND { return nil }
            try check(code, "mdb_cursor_get (older record)")
            return try Layout.record(of: value, layer: layer)
        }
    }

    /// The stored value of a revision, its kind byte included.
    func revision(_ main: Revision, _ sub: UInt32) throws(StoreError) -> UnsafeRawBufferPointer? {
        if isLeftOut { return nil }
        let cursor = try revisionsCursor()
        Layout.storeRevisionKey(main, sub, at: scratch)
        var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: scratch)
        if let pages, pages.isChecking { try pages.cover(transaction, mdb_cursor_dbi(cursor), .at(key)) }
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY)
        if code == MDB_NOTFOUND { return nil }
        try check(code, "mdb_cursor_get (revision)")
        return value.bytes
    }

    /// A walk over a tree of this layer, to be given back with `finish`.
    func scan(_ tree: Environment.Tree) throws(StoreError) -> LayerScan {
        if let index = spareScans.lastIndex(where: { $0.tree.short == tree.short }) {
            let scan = spareScans.remove(at: index)
            try scan.bind(to: try open())
            return scan
        }
        return try LayerScan(environment, tree, layer: number, transaction: try open())
    }

    func finish(_ scan: LayerScan) {
        // Cursors of a write transaction do not outlive it.
        guard ownsTransaction, spareScans.count < 4 else { return }
        spareScans.append(scan)
    }
}

/// A cursor that is kept from one transaction to the next.
private struct PooledCursor {
    private var cursor: OpaquePointer?
    private var isBound = false

    @inline(__always)
    mutating func bound(to transaction: OpaquePointer, _ database: UInt32) throws(StoreError) -> OpaquePointer {
        if isBound, let cursor { return cursor }
        return try bindAgain(to: transaction, database)
    }

    private mutating func bindAgain(
        to transaction: OpaquePointer, _ database: UInt32
    ) throws(StoreError) -> OpaquePointer {
        if let cursor {
            try check(mdb_cursor_renew(transaction, cursor), "mdb_cursor_renew")
        } else {
            try check(mdb_cursor_open(transaction, database, &cursor), "mdb_cursor_open")
        }
        guard let cursor else { throw .from(ENOMEM, "mdb_cursor_open") }
        isBound = true
        return cursor
    }

    mutating func unbind() { isBound = false }

    mutating func close() {
        if let cursor { mdb_cursor_close(cursor) }
        cursor = nil
        isBound = false
    }
}
