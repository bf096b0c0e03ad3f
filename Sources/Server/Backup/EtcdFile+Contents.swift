import BoltFile
import Store
import Vocabulary

extension SnapshotFile {
    /// What a file of etcd's holds that was read to its end and found whole.
    public struct EtcdDescription: Hashable, Sendable {
        /// CRC-32C over the names of all buckets and what is in them, as `etcdctl snapshot status` prints it.
        public var hash: UInt32 = 0
        /// The newest revision in its history; zero without any.
        public var revision: Int64 = 0
        /// Entries of all buckets, as `etcdctl snapshot status` counts keys.
        public var totalKeys: UInt64 = 0
        /// Bytes of the database's pages, as `etcdctl snapshot status` prints them.
        public var totalSizeInBytes = 0
        /// Revisions below are gone; nil when nothing was ever compacted.
        public var compactedRevision: Int64?
        /// Changes in its history.
        public var changes: UInt64 = 0
        /// Leases, users and roles.
        public var leases: UInt64 = 0
        /// See `leases`.
        public var users: UInt64 = 0
        /// See `leases`.
        public var roles: UInt64 = 0
        /// The last entry of the log whose effects it holds.
        public var consistentIndex: UInt64 = 0
        /// Whether it ends with its SHA-256, and so was saved by a client.
        public var hasDigest = false
        /// Buckets that are none of etcd's.
        public var unknownBuckets: [String] = []
    }
}

/// Walks all of a file, bucket by bucket, and describes it on the way.
struct EtcdFileScan {
    private(set) var description = SnapshotFile.EtcdDescription()
    private let file: EtcdFile
    private let progress: (_ read: Int, _ size: Int) -> Void
    private var hash = CRC32C()
    private var read = 0
    private var toldAt = 0

    /// Bytes between two words of progress.
    private static let progressStep = 1 << 20

    init(_ file: EtcdFile, progress: @escaping (_ read: Int, _ size: Int) -> Void) {
        self.file = file
        self.progress = progress
        description.hasDigest = file.hasDigest
    }

    /// Hands out every entry of etcd's own buckets.
    mutating func run(
        _ visit: (EtcdBucket, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(SnapshotError) -> Void
    ) throws(SnapshotError) {
        let database = try file.database()
        description.totalSizeInBytes = database.usedBytes
        guard database.buckets.contains(where: { $0.text == EtcdBucket.key.rawValue }) else {
            throw .refused(
                path: file.path, detail: "it is a bbolt database, but has no bucket \"key\": not one of etcd's")
        }
        for bucket in database.buckets {
            hash.add(bucket.name)
            let known = EtcdBucket(rawValue: bucket.text)
            if known == nil { description.unknownBuckets.append(bucket.text) }
            let entries = try reading { () throws(BoltError) in try database.entries(of: bucket) }
            while try reading({ () throws(BoltError) in try entries.next() }) {
                guard !entries.isBucket else {
                    throw file.damaged(.damaged(page: entries.page, detail: "bucket \(bucket.text) has one inside it"))
                }
                note(known, entries.key, entries.value)
                if let known { try visit(known, entries.key, entries.value) }
            }
        }
        description.hash = hash.value
    }

    private func reading<Value>(_ body: () throws(BoltError) -> Value) throws(SnapshotError) -> Value {
        do throws(BoltError) { return try body() } catch { throw file.damaged(error) }
    }

    private mutating func note(
        _ bucket: EtcdBucket?, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) {
        hash.add(key)
        hash.add(value)
        description.totalKeys += 1
        read += key.count + value.count
        if read - toldAt >= Self.progressStep {
            toldAt = read
            progress(min(read, file.size), file.size)
        }
        switch bucket {
        case .key:
            description.changes += 1
            if let (revision, _) = EtcdRevision.read(key) { description.revision = revision.main.value }
        case .lease: description.leases += 1
        case .authUsers: description.users += 1
        case .authRoles: description.roles += 1
        case .meta:
            let name = Array(key)
            if name == EtcdName.consistentIndex, value.count == 8 {
                description.consistentIndex = UInt64(bigEndian: value.loadUnaligned(as: UInt64.self))
            } else if name == EtcdName.finishedCompaction || name == EtcdName.scheduledCompaction,
                let (revision, _) = EtcdRevision.read(value)
            {
                // One that is scheduled counts from then on, whatever has been removed so far.
                description.compactedRevision = max(description.compactedRevision ?? 0, revision.main.value)
            }
        case .alarm, .auth, .cluster, .members, .membersRemoved, nil: break
        }
    }
}
