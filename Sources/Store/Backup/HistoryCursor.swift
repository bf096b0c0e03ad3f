import CLMDB
import Vocabulary

/// Walks the history of base in order through one read transaction.
final class HistoryCursor {
    private let base: Environment
    private let cursor: Cursor
    private var isAtStart = true

    init(_ base: Environment, _ transaction: OpaquePointer) throws(StoreError) {
        self.base = base
        cursor = try Cursor(transaction, base.databases.revisions)
    }

    /// The next change; nil behind the last. The bytes are valid until the next step.
    func next() throws(StoreError) -> (key: MDB_val, value: MDB_val, change: StoredChange)? {
        let operation = isAtStart ? MDB_FIRST : MDB_NEXT
        isAtStart = false
        // A page that was not looked at yet is verified first.
        if let pages = base.pages, pages.isChecking {
            if operation == MDB_FIRST {
                try pages.cover(mdb_cursor_txn(cursor.pointer), mdb_cursor_dbi(cursor.pointer), .first)
            } else {
                try pages.coverNext(cursor.pointer)
            }
        }
        var key = MDB_val()
        var value = MDB_val()
        let code = mdb_cursor_get(cursor.pointer, &key, &value, operation)
        guard code != MDB_NOTFOUND else { return nil }
        try check(code, "mdb_cursor_get (history)")
        let (main, sub) = try Layout.revision(of: key, place: "base/revisions")
        guard let kind = value.bytes.first else {
            throw .corrupt(place: "base/revisions", detail: "revision \(main).\(sub) has no bytes")
        }
        let change = StoredChange(
            revision: main, sub: sub, isDeletion: kind == Layout.tombstoneKind,
            keyValue: UnsafeRawBufferPointer(rebasing: value.bytes.dropFirst()))
        return (key, value, change)
    }
}
