public import Vocabulary

/// Builds the store of a new data folder from the entries of another system's file.
///
/// The caller adds the history and the records; which key hangs on which lease is found here. All that was built is read
/// once more and compared with what was added, before the folder is made good.
public final class StoreImport {
    /// What the file says of its store as a whole.
    public struct Position: Hashable, Sendable {
        /// The newest revision; at least that of the last change.
        public var currentRevision: Revision
        /// Revisions below are gone; zero for none.
        public var compactedRevision: Revision

        /// Names both.
        public init(currentRevision: Revision, compactedRevision: Revision) {
            self.currentRevision = currentRevision
            self.compactedRevision = compactedRevision
        }
    }

    /// What was made.
    public struct Report: Hashable, Sendable {
        /// Who the new store belongs to.
        public var identity: MemberIdentity
        /// The newest revision of the new store.
        public var revision: Revision
        /// Changes in its history.
        public var changes: UInt64
        /// Keys that exist at its newest revision.
        public var keys: UInt64
        /// Records of each table.
        public var records: [RecordTable: UInt64]
        /// `Store.hash()` of what was read, before a revision was added.
        public var hash: UInt32
        /// etcd's HashKV of what was read, before a revision was added.
        public var hashKV: UInt32
        /// Keys that name a lease there is no more. They stay, and hang on none.
        public var orphanedKeys: Int
    }

    private let path: String
    private let builder: BaseBuilder
    private var last = (main: Revision.zero, sub: UInt32(0))
    private var changes: UInt64 = 0
    private var records: [RecordTable: UInt64] = [:]
    private var leases: Set<LeaseID> = []
    private var checksum = CRC32C()

    private init(_ path: String, _ builder: BaseBuilder) {
        self.path = path
        self.builder = builder
    }

    /// Makes the folder, which must not exist or be empty. Blocks; runs on the calling thread.
    ///
    /// - Parameters:
    ///   - path: the file's, for messages.
    ///   - bytes: its size, from which the room to be set aside follows.
    ///   - bump: as of `SnapshotRestore.run`.
    ///   - fill: adds everything, and says what the store is as a whole.
    /// - Throws: why not; then the folder is as it was before.
    public static func run(
        from path: String, bytes: Int, into directory: String, bump: Int64,
        fill: (StoreImport) throws(SnapshotError) -> Position
    ) throws(SnapshotError) -> Report {
        let folder = try RestoreFolder(directory)
        let builder = try BaseBuilder(folder.partial, fileBytes: bytes)
        do throws(SnapshotError) {
            let target = StoreImport(path, builder)
            let header = try target.header(try fill(target))
            try builder.finish(header)
            let (attached, orphans) = try builder.attachKeys { target.leases.contains($0) }
            target.records[.leaseKeys] = UInt64(attached)
            let walk = try builder.walked(target.checksum.value)
            defer { walk.close() }
            let found = walk.trailer
            guard found.revisions == target.changes,
                found.records.allSatisfy({ target.records[$0.key, default: 0] == $0.value })
            else { throw target.refused("what was built is not what was read; the disk may be at fault") }
            let revision = try header.revision(bumpedBy: bump)
            let report = Report(
                identity: builder.identity, revision: revision, changes: found.revisions, keys: found.liveKeys,
                records: found.records, hash: found.hash, hashKV: walk.hashKV, orphanedKeys: orphans)
            walk.close()
            try builder.bump(header, to: revision)
            try builder.sync()
            builder.close()
            try folder.finish()
            return report
        } catch {
            // Before the folder removes its files.
            builder.close()
            throw error
        }
    }

    /// Adds a change. Changes come in the order of their revisions.
    ///
    /// - Parameter keyValue: the encoded `mvccpb.KeyValue`, its key first; of a deletion with key and `mod_revision` only.
    public func add(
        _ revision: Revision, _ sub: UInt32, isDeletion: Bool, keyValue: [UInt8]
    ) throws(SnapshotError) {
        guard revision > .zero, (revision, sub) > last || changes == 0 else {
            throw refused("revision \(revision).\(sub) is out of order")
        }
        let kind = isDeletion ? Layout.tombstoneKind : Layout.liveKind
        let stored = [kind] + keyValue
        try stored.withRawBytes { stored throws(SnapshotError) in
            let encoded = UnsafeRawBufferPointer(rebasing: stored.dropFirst())
            guard let record = KeyRecord(revision, sub, kind: kind, keyValue: encoded) else {
                throw refused("revision \(revision).\(sub) is no change of a key")
            }
            // A revision writes a key once, so no number that is counted up from here overflows.
            guard record.version <= revision.value - record.createRevision.value + 1 else {
                throw refused(
                    "revision \(revision).\(sub) is version \(record.version) of a key created at revision "
                        + "\(record.createRevision), which cannot be")
            }
            try builder.add(revision, sub, stored, record)
            checksum.add(change: revision, sub, stored)
        }
        last = (revision, sub)
        changes += 1
    }

    /// Adds a record. Tables and keys come in any order.
    public func add(_ table: RecordTable, key: [UInt8], value: [UInt8]) throws(SnapshotError) {
        guard !key.isEmpty else { throw refused("a record of table \(table) has no name") }
        if table == .leases, key.count == 8 {
            leases.insert(LeaseID(Int64(bitPattern: key.reduce(0) { $0 << 8 | UInt64($1) })))
        }
        try key.withRawBytes { key throws(SnapshotError) in
            try value.withRawBytes { value throws(SnapshotError) in try builder.add(table, key, value) }
        }
        records[table, default: 0] += 1
    }

    /// The newest revision of what was added; zero without any.
    public var newestRevision: Revision { last.main }

    /// Says why the file cannot be used.
    public func refused(_ detail: String) -> SnapshotError { .refused(path: path, detail: detail) }

    private func header(_ position: Position) throws(SnapshotError) -> SnapshotHeader {
        let (current, compacted) = (position.currentRevision, position.compactedRevision)
        // Beyond half of what a revision can be, there is no room for those to come.
        guard current >= .initial, current.value <= .max / 2, current >= last.main, compacted >= .zero,
            compacted <= current
        else {
            throw refused("its newest revision is \(current) and it is compacted to \(compacted), which cannot be")
        }
        return SnapshotHeader(
            layout: UInt32(Layout.formatVersion), identity: builder.identity, appliedIndex: .zero, appliedTerm: .zero,
            currentRevision: current, compactedRevision: compacted, compaction: CompactionPosition(),
            takenAtMilliseconds: 0)
    }
}

extension CRC32C {
    fileprivate mutating func add(change revision: Revision, _ sub: UInt32, _ stored: UnsafeRawBufferPointer) {
        add(UInt64(bitPattern: revision.value))
        add(UInt64(sub))
        add(stored)
    }
}

extension BaseBuilder {
    /// Reads all that was written; the history must come to this checksum.
    fileprivate func walked(_ expected: UInt32) throws(SnapshotError) -> BaseWalk {
        do throws(StoreError) {
            let walk = try walkBase()
            var checksum = CRC32C()
            walk.onChange = { checksum.add(change: $0, $1, $2) }
            while try walk.next() != nil {}
            walk.onChange = nil
            guard checksum.value == expected else {
                throw .corrupt(place: "base/revisions", detail: "what was written is not what is read")
            }
            return walk
        } catch {
            throw .store(error)
        }
    }
}
