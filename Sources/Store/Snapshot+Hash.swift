public import Vocabulary

// Checksums by which members, and Berth and etcd, compare what they hold.
extension Snapshot {
    /// etcd's HashKV: CRC-32C over the history up to a revision, as etcd would have stored it after compaction.
    ///
    /// The bytes are `key`, then for each change 8 bytes main, `_`, 8 bytes sub, `t` for a deletion, and the encoded
    /// key-value, of a deletion only the `key` field. Changes at or below the compacted revision count when they are
    /// the newest live version of their key at `revision`; when no key at all is live then, when compaction keeps
    /// them. What has been removed physically so far makes no difference.
    public func hashKV(at revision: Revision) throws -> UInt32 {
        var checksum = CRC32C()
        checksum.add(Array("key".utf8))
        // Nothing stands at a negative revision, and etcd hashes nothing rather than refuse.
        guard revision >= .zero else { return checksum.value }
        try checkReadable(revision)
        var hasLiveKeys = false
        try forEachKey(in: .all, at: revision) { _, _ in
            hasLiveKeys = true
            return .stop
        }
        try walkRevisions(from: .zero, through: revision) { change in
            let isOld = compactedRevision > .zero && change.revision <= compactedRevision
            if isOld, try !isKept(change, at: hasLiveKeys ? revision : nil) { return .next }
            checksum.add(UInt64(bitPattern: change.revision.value))
            checksum.add([UInt8(ascii: "_")])
            checksum.add(UInt64(change.sub))
            if change.isDeletion {
                checksum.add([UInt8(ascii: "t")])
                let key = try KeyValueEncoding.key(of: change.keyValue)
                let field = KeyValueEncoding(
                    key: key, value: UnsafeRawBufferPointer(start: nil, count: 0),
                    record: KeyRecord(
                        createRevision: .zero, modRevision: .zero, modSub: 0, version: 0, lease: .none))
                checksum.add(field.bytes)
            } else {
                checksum.add(change.keyValue)
            }
            return .next
        }
        return checksum.value
    }

    /// Whether a change at or below the compacted revision counts: as the newest live version at `revision`, or,
    /// without one, as something compaction leaves.
    private func isKept(_ change: StoredChange, at revision: Revision?) throws -> Bool {
        let key = try KeyValueEncoding.key(of: change.keyValue)
        let newest = try record(of: key, at: revision ?? compactedRevision)
        if let newest { return newest.modRevision == change.revision && newest.modSub == change.sub }
        return revision == nil && change.isDeletion && change.revision == compactedRevision
    }

    /// CRC-32C over all the store holds for its users: the history as `hashKV` sees it, and every table.
    ///
    /// Equal on members that have applied the same entries, whatever each has flushed or removed so far.
    public func hash() throws -> UInt32 {
        var checksum = CRC32C()
        checksum.add(UInt64(try hashKV(at: revision)))
        checksum.add(UInt64(bitPattern: revision.value))
        checksum.add(UInt64(bitPattern: compactedRevision.value))
        for table in RecordTable.allCases {
            checksum.add([table.rawValue])
            try forEachRecord(table) { key, value in
                checksum.add(UInt64(key.count))
                checksum.add(key)
                checksum.add(UInt64(value.count))
                checksum.add(value)
                return .next
            }
        }
        return checksum.value
    }
}

extension KeyValueEncoding {
    /// The encoding as bytes of its own.
    fileprivate var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            if let start = buffer.baseAddress { write(to: UnsafeMutableRawPointer(start)) }
            count = size
        }
    }
}
