import CLMDB
import Vocabulary

// Which key hangs on which lease, found anew from the index: for stores that come from a file that does not say it.
extension BaseBuilder {
    /// Attachments in memory at once, in bytes of keys.
    private static let chunkBytes = 8 << 20
    /// Subs of attachments whose write is gone: above any that a transaction reaches.
    private static let firstUnknownSub: UInt32 = 1 << 31

    private struct Attachment {
        var lease: LeaseID
        var revision: Revision
        var sub: UInt32
        var key: [UInt8]
    }

    /// Writes the attachments of all keys that exist and hang on a lease. Called behind `finish`.
    ///
    /// A key hangs on its lease since the oldest write, in one go, that named it: so places in line keep their order. Where
    /// compaction has taken that write, since the key was created, which is the order etcd's clients go by.
    ///
    /// - Parameter exists: whether there is such a lease.
    /// - Returns: attachments, and keys that name a lease which does not exist.
    func attachKeys(_ exists: (LeaseID) -> Bool) throws(SnapshotError) -> (attached: Int, orphans: Int) {
        var last: [UInt8]?
        var attached = 0
        var orphans = 0
        var unknown = Self.firstUnknownSub
        while true {
            let found: [Attachment]
            do throws(StoreError) {
                found = try collect(&last, &unknown)
            } catch {
                throw .store(error)
            }
            for attachment in found {
                guard exists(attachment.lease) else {
                    orphans += 1
                    continue
                }
                var record = BigEndianBytes()
                record.add(attachment.lease.value)
                record.add(attachment.revision.value)
                record.add(attachment.sub)
                try attachment.key.withRawBytes { key throws(SnapshotError) in
                    try record.bytes.withRawBytes { record throws(SnapshotError) in try add(.leaseKeys, record, key) }
                }
                attached += 1
            }
            if last == nil { break }
        }
        try commitAll()
        return (attached, orphans)
    }

    /// The next attachments behind the key `last`, which becomes the last key looked at, nil at the end.
    private func collect(_ last: inout [UInt8]?, _ unknown: inout UInt32) throws(StoreError) -> [Attachment] {
        let scan = try scanKeys()
        if let start = last {
            try start.withRawBytes { start throws(StoreError) in try scan.seek(start) }
            try scan.next()
        } else {
            try scan.seek(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        var found: [Attachment] = []
        var bytes = 0
        while let key = scan.key {
            if var attachment = try Self.attachment(try scan.cursor(), &unknown) {
                attachment.key = Array(key)
                bytes += key.count + MemoryLayout<Attachment>.stride
                found.append(attachment)
            }
            if bytes >= Self.chunkBytes {
                last = Array(key)
                return found
            }
            try scan.next()
        }
        last = nil
        return found
    }

    /// How the key that the cursor stands on hangs on its lease; nil when it hangs on none or does not exist.
    private static func attachment(
        _ cursor: OpaquePointer, _ unknown: inout UInt32
    ) throws(StoreError) -> Attachment? {
        guard let newest = try record(cursor, MDB_LAST_DUP), !newest.isTombstone, newest.lease != .none else {
            return nil
        }
        var oldest = newest
        var before = try record(cursor, MDB_PREV_DUP)
        while let record = before, !record.isTombstone, record.lease == newest.lease {
            oldest = record
            before = try Self.record(cursor, MDB_PREV_DUP)
        }
        guard before == nil, oldest.version > 1 else {
            return Attachment(lease: newest.lease, revision: oldest.modRevision, sub: oldest.modSub, key: [])
        }
        // Attachments are told apart by their writes, so each of these has a number of its own.
        unknown = unknown == .max ? firstUnknownSub : unknown + 1
        return Attachment(lease: newest.lease, revision: newest.createRevision, sub: unknown, key: [])
    }

    private static func record(
        _ cursor: OpaquePointer, _ operation: MDB_cursor_op
    ) throws(StoreError) -> KeyRecord? {
        var key = MDB_val()
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, operation)
        if code == MDB_NOTFOUND { return nil }
        try check(code, "mdb_cursor_get (attachment)")
        return try Layout.record(of: value, layer: 2)
    }
}
