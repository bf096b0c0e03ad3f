import CLMDB
import Vocabulary

/// Copies everything a sealed layer holds into base's open transaction: revisions appended, keys in order. The
/// layouts are the same, so bytes are copied as they are.
struct LayerCopier {
    private let young: Environment
    private let source: OpaquePointer
    private let base: Environment
    private let target: OpaquePointer
    private let isCancelled: () -> Bool

    init(
        from young: Environment, _ source: OpaquePointer, to base: Environment, _ target: OpaquePointer,
        isCancelled: @escaping () -> Bool
    ) {
        self.young = young
        self.source = source
        self.base = base
        self.target = target
        self.isCancelled = isCancelled
    }

    func copyRevisions() throws(StoreError) {
        let reader = try Cursor(source, young.databases.revisions)
        let writer = try Cursor(target, base.databases.revisions)
        var key = MDB_val()
        var value = MDB_val()
        var code = mdb_cursor_get(reader.pointer, &key, &value, MDB_FIRST)
        if let pages = base.pages, pages.isChecking { try pages.cover(target, base.databases.revisions, .last) }
        var copied = 0
        while code == 0 {
            try check(
                mdb_cursor_put(writer.pointer, &key, &value, UInt32(MDB_APPEND)), "mdb_cursor_put (base revision)")
            copied += 1
            try checkCancelled(copied)
            code = mdb_cursor_get(reader.pointer, &key, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (sealed revision)") }
    }

    func copyKeys() throws(StoreError) {
        let scan = try LayerScan(young, young.databases.keys, layer: 0, transaction: source)
        let short = try Cursor(target, base.databases.keys.short)
        let long = try Cursor(target, base.databases.keys.long)
        let scratch = Scratch()
        try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        var copied = 0
        while let key = scan.key {
            var place = try LongKeys.make(key, in: base.databases.keys, target, scratch: scratch.pointer)
            if let pages = base.pages, pages.isChecking { try pages.cover(target, place.database, .at(place.key)) }
            let writer = place.database == base.databases.keys.short ? short : long
            let reader = try scan.cursor()
            var here = MDB_val()
            var value = MDB_val()
            var code = mdb_cursor_get(reader, &here, &value, MDB_GET_CURRENT)
            while code == 0 {
                try check(mdb_cursor_put(writer.pointer, &place.key, &value, 0), "mdb_cursor_put (base key)")
                copied += 1
                try checkCancelled(copied)
                code = mdb_cursor_get(reader, &here, &value, MDB_NEXT_DUP)
            }
            if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (sealed key)") }
            try scan.next()
        }
    }

    func copyRecords() throws(StoreError) {
        let scan = try LayerScan(young, young.databases.records[0], layer: 0, transaction: source)
        let scratch = Scratch()
        try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        if scan.key != nil, let pages = base.pages, pages.isChecking {
            // Here entries are removed too, and LMDB then merges pages that no search led to. The tables are small.
            let trees = base.databases.records
            try pages.coverAll(target, trees.map(\.short) + trees.prefix(1).map(\.long))
        }
        while let tagged = scan.key {
            guard let number = tagged.first, let table = RecordTable(rawValue: number),
                let index = RecordTable.allCases.firstIndex(of: table)
            else { throw .corrupt(place: "young records", detail: "a record of an unknown table") }
            let key = UnsafeRawBufferPointer(rebasing: tagged.dropFirst())
            let stored = try scan.value()
            let tree = base.databases.records[index]
            if stored.first == 1 {
                var place = try LongKeys.make(key, in: tree, target, scratch: scratch.pointer)
                var value = MDB_val(UnsafeRawBufferPointer(rebasing: stored.dropFirst()))
                try check(mdb_put(target, place.database, &place.key, &value, 0), "mdb_put (base record)")
            } else if var place = try LongKeys.find(key, in: tree, target, scratch: scratch.pointer) {
                let code = mdb_del(target, place.database, &place.key, nil)
                if code != MDB_NOTFOUND { try check(code, "mdb_del (base record)") }
                try LongKeys.prune(key, in: tree, target, scratch: scratch.pointer)
            }
            try scan.next()
        }
    }

    /// A store that is being dropped does not wait for a long copy.
    private func checkCancelled(_ copied: Int) throws(StoreError) {
        if copied % 1_024 == 0, isCancelled() { throw .closed }
    }
}

/// A cursor that is closed with its last user.
final class Cursor {
    let pointer: OpaquePointer

    init(_ transaction: OpaquePointer, _ database: MDB_dbi) throws(StoreError) {
        var opened: OpaquePointer?
        try check(mdb_cursor_open(transaction, database, &opened), "mdb_cursor_open")
        guard let opened else { throw .from(MDB_BAD_DBI, "mdb_cursor_open") }
        pointer = opened
    }

    deinit { mdb_cursor_close(pointer) }
}

/// Memory for `LongKeys`.
final class Scratch {
    let pointer = UnsafeMutableRawPointer.allocate(byteCount: LongKeys.scratchSize, alignment: 8)
    deinit { pointer.deallocate() }
}
