import Vocabulary

/// etcd's HashKV in the making: CRC-32C over the history up to a revision, as etcd would have stored it after
/// compaction. May be fed from one snapshot after another, as long as none of them has been compacted further.
///
/// The bytes are `key`, then for each change 8 bytes main, `_`, 8 bytes sub, `t` for a deletion, and the encoded
/// key-value, of a deletion only the `key` field. Changes at or below the compacted revision count when they are the
/// newest live version of their key at the revision; when no key at all is live then, when compaction keeps them.
/// What has been removed physically so far makes no difference.
struct HistoryChecksum {
    /// Values that one slice reads at most, about: a slice keeps a map from growing.
    private static let sliceBytes = 4 << 20

    typealias Lookup = (UnsafeRawBufferPointer, Revision) throws(StoreError) -> KeyRecord?

    let revision: Revision
    let compacted: Revision
    private let hasLiveKeys: Bool
    private var position = ChangePosition(.zero)
    private var checksum = CRC32C()

    var value: UInt32 { checksum.value }

    /// - Throws: `compacted` and `futureRevision`, when the revision is not one the snapshot can answer for.
    init(of snapshot: Snapshot, at revision: Revision) throws {
        self.revision = revision
        compacted = snapshot.compactedRevision
        checksum.add(Array("key".utf8))
        // Nothing stands at a negative revision, and etcd hashes nothing rather than refuse.
        guard revision >= .zero else {
            hasLiveKeys = false
            return
        }
        try snapshot.checkReadable(revision)
        var found = false
        if compacted > .zero {
            try snapshot.forEachKey(in: .all, at: revision) { _, _ in
                found = true
                return .stop
            }
        }
        hasLiveKeys = found
    }

    /// For a caller that walks by itself: all changes up to `revision` are to be added, in order.
    ///
    /// - Parameter hasLiveKeys: whether any key is live at the revision; of no interest when nothing was ever compacted.
    init(revision: Revision, compacted: Revision, hasLiveKeys: Bool) {
        self.revision = revision
        self.compacted = compacted
        self.hasLiveKeys = hasLiveKeys
        checksum.add(Array("key".utf8))
    }

    /// Takes up to `limit` changes in. False: that was all.
    mutating func add(_ limit: Int, from snapshot: Snapshot) throws -> Bool {
        precondition(snapshot.compactedRevision == compacted, "a checksum stays with one compacted revision")
        var place = position
        defer { position = place }
        var left = limit
        var bytes = 0
        return try snapshot.walkRevisions(from: &place, through: revision) { change in
            try add(change) { (key, revision) throws(StoreError) in try snapshot.record(of: key, at: revision) }
            left -= 1
            bytes += change.keyValue.count
            return left <= 0 || bytes >= Self.sliceBytes && limit < .max ? .stop : .next
        }
    }

    /// Takes a change in.
    ///
    /// - Parameter live: a key's record as it was at a revision; nil when the key did not exist then.
    mutating func add(_ change: StoredChange, live: Lookup) throws(StoreError) {
        let isOld = compacted > .zero && change.revision <= compacted
        if isOld, try !isKept(change, live) { return }
        checksum.add(UInt64(bitPattern: change.revision.value))
        checksum.add([UInt8(ascii: "_")])
        checksum.add(UInt64(change.sub))
        guard change.isDeletion else { return checksum.add(change.keyValue) }
        checksum.add([UInt8(ascii: "t")])
        let key = try KeyValueEncoding.key(of: change.keyValue)
        let field = KeyValueEncoding(
            key: key, value: UnsafeRawBufferPointer(start: nil, count: 0),
            record: KeyRecord(createRevision: .zero, modRevision: .zero, modSub: 0, version: 0, lease: .none))
        checksum.add(field.bytes)
    }

    /// Whether a change at or below the compacted revision counts: as the newest live version at `revision`, or,
    /// without any, as something compaction leaves.
    private func isKept(_ change: StoredChange, _ live: Lookup) throws(StoreError) -> Bool {
        let key = try KeyValueEncoding.key(of: change.keyValue)
        let newest = try live(key, hasLiveKeys ? revision : compacted)
        if let newest { return newest.modRevision == change.revision && newest.modSub == change.sub }
        return !hasLiveKeys && change.isDeletion && change.revision == compacted
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
