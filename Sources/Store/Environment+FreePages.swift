import CLMDB
import Glibc

/// What LMDB's list of free pages says, and what the file takes on disk.
extension Environment {
    /// The environment's file; LMDB's own descriptor, not to be closed.
    func fileDescriptor() throws(StoreError) -> Int32 {
        var file: Int32 = -1
        try check(mdb_env_get_fd(pointer, &file), "mdb_env_get_fd")
        return file
    }

    /// Bytes of disk space that the file takes, holes not counted. Nil when the system does not tell.
    var diskBytes: Int? {
        var status = stat()
        guard let file = try? fileDescriptor(), fstat(file, &status) == 0 else { return nil }
        return Int(status.st_blocks) * 512
    }

    /// The free pages that nobody needs any more, in order.
    ///
    /// LMDB's own rule for using a page again: it was freed by a transaction older than the newest one, as a crash may
    /// bring the one before back, and not younger than any reader's snapshot. Readers of other processes count. The
    /// answer holds until the next write transaction, so only the writer's thread may act on it.
    func reusablePages() throws(StoreError) -> [UInt] {
        let transaction = try beginRead()
        defer { mdb_txn_abort(transaction) }
        let bound = min(mdb_txn_id(transaction), try oldestReader())
        let cursor = try Cursor(transaction, 0)
        var key = MDB_val()
        var value = MDB_val()
        var pages: [UInt] = []
        var code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_FIRST)
        while code == 0, let freedBy = key.mv_data?.loadUnaligned(as: Int.self), freedBy < bound {
            guard let list = value.mv_data, value.mv_size >= 8 else { break }
            let count = list.loadUnaligned(as: Int.self)
            guard count >= 0, value.mv_size >= (count + 1) * 8 else {
                throw .corrupt(place: "\(name)/free list", detail: "\(count) pages in \(value.mv_size) bytes")
            }
            for position in 0..<count {
                pages.append(list.loadUnaligned(fromByteOffset: (position + 1) * 8, as: UInt.self))
            }
            code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (free list)") }
        pages.sort()
        return pages
    }

    /// The newest transaction. Changes with every commit.
    var lastTransaction: Int {
        var info = MDB_envinfo()
        mdb_env_info(pointer, &info)
        return info.me_last_txnid
    }

    /// The transaction that the oldest read transaction looks at; the largest number when nobody reads.
    private func oldestReader() throws(StoreError) -> Int {
        // LMDB tells about its readers in text alone: a heading, then a line "pid thread transaction" each, the
        // transaction "-" for one that is not reading now.
        final class Lines { var text = "" }
        let lines = Lines()
        let code = mdb_reader_list(
            pointer,
            { line, context in
                guard let line, let context else { return 0 }
                Unmanaged<Lines>.fromOpaque(context).takeUnretainedValue().text += String(cString: line)
                return 0
            }, Unmanaged.passUnretained(lines).toOpaque())
        guard code >= 0 else { throw .from(code, "mdb_reader_list") }
        var oldest = Int.max
        for line in lines.text.split(separator: "\n").dropFirst() {
            guard let last = line.split(separator: " ").last, last != "-" else { continue }
            guard let transaction = Int(last) else {
                throw .lmdb(code: MDB_INVALID, operation: "mdb_reader_list: '\(line)' is no reader")
            }
            oldest = min(oldest, transaction)
        }
        return oldest
    }
}
