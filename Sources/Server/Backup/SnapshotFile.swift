import StateMachine
import Store
import Vocabulary

/// Snapshot files, for those who hold one: what is in it, and a data folder made from it. Blocks the calling thread.
public enum SnapshotFile {
    /// What a file holds that was read to its end and found whole.
    public struct Description: Hashable, Sendable {
        /// The newest revision in it.
        public var revision: Int64
        /// Revisions below are gone; zero when nothing was ever compacted.
        public var compactedRevision: Int64
        /// Keys that exist at that revision.
        public var keys: UInt64
        /// Changes in its history.
        public var changes: UInt64
        /// Leases.
        public var leases: UInt64
        /// Bytes of the file.
        public var sizeInBytes: Int
        /// The store's hash, as etcd's `Hash` call answers it.
        public var hash: UInt32
        /// The cluster it was taken from.
        public var clusterID: UInt64
        /// The member it was taken from.
        public var memberID: UInt64
        /// The last entry of the log whose effects it holds.
        public var appliedIndex: UInt64
        /// When it was taken, in milliseconds since 1970 by the server's clock.
        public var takenAtMilliseconds: Int64
        /// Version of the file's format.
        public var format: UInt32
    }

    /// What a file holds, by its format.
    public enum Contents: Hashable, Sendable {
        /// One of Berth's own.
        case berth(Description)
        /// One of etcd's.
        case etcd(EtcdDescription)
    }

    /// A data folder that was made.
    public struct Restored: Hashable, Sendable {
        /// What it was made from.
        public var contents: Contents
        /// The newest revision in that.
        public var sourceRevision: Int64
        /// The store's hash at that revision, as `Maintenance.Hash` answers it.
        public var hash: UInt32
        /// etcd's HashKV at that revision; nil where the file's own hash was compared.
        public var hashKV: UInt32?
        /// Keys that exist.
        public var keys: UInt64
        /// The new cluster.
        public var clusterID: UInt64
        /// Its only member.
        public var memberID: UInt64
        /// NOSPACE alarms that stayed behind.
        public var clearedAlarms: Int
        /// Keys that name a lease the file does not have; they hang on none.
        public var orphanedKeys = 0
        /// The newest revision of the new store.
        public var revision: Int64
    }

    /// Why a file cannot be used.
    public struct Failure: Error, CustomStringConvertible {
        /// One line for a person.
        public let description: String
    }

    /// Reads a file to its end.
    ///
    /// - Parameter progress: told the bytes read so far and the file's size, now and then.
    public static func describe(
        _ path: String, progress: (_ read: Int, _ size: Int) -> Void = { _, _ in }
    ) throws(Failure) -> Description {
        do throws(SnapshotError) {
            return Description(try SnapshotReader.verify(path, progress: progress))
        } catch {
            throw Failure(description: "\(error)")
        }
    }

    /// Reads a file of either format to its end; which it is shows in its first bytes.
    ///
    /// - Parameters:
    ///   - skipHashCheck: takes a file of etcd's without a SHA-256, or with a wrong one.
    ///   - progress: told the bytes read so far and the file's size, now and then.
    public static func inspect(
        _ path: String, skipHashCheck: Bool = false,
        progress: @escaping (_ read: Int, _ size: Int) -> Void = { _, _ in }
    ) throws(Failure) -> Contents {
        guard EtcdFile.isEtcd(path) else { return .berth(try describe(path, progress: progress)) }
        do throws(SnapshotError) {
            let file = try EtcdFile(path)
            if !skipHashCheck { try file.checkDigest(progress) }
            var scan = EtcdFileScan(file, progress: progress)
            try scan.run { (_, _, _) throws(SnapshotError) in }
            return .etcd(scan.description)
        } catch {
            throw Failure(description: "\(error)")
        }
    }

    /// Makes a data folder from a file of either format. It belongs to a new cluster of one new member; what told of the
    /// old cluster's members stays behind: the list of them, and alarms about the space of one. An alarm about damaged
    /// data comes along, as the data does.
    ///
    /// - Parameters:
    ///   - bump: added to the newest revision, so that revisions given out after the snapshot are not given out again; what
    ///     is older than that is compacted then. Not negative.
    ///   - skipHashCheck: as of `inspect`.
    ///   - progress: told the bytes read so far and the file's size, now and then.
    /// - Throws: why not; then nothing was made.
    public static func restore(
        _ path: String, into directory: String, bump: Int64 = 0, skipHashCheck: Bool = false,
        progress: @escaping (_ read: Int, _ size: Int) -> Void = { _, _ in }
    ) throws(Failure) -> Restored {
        do throws(SnapshotError) {
            return EtcdFile.isEtcd(path)
                ? try restoreEtcd(path, directory, bump, skipHashCheck, progress)
                : try restoreBerth(path, directory, bump, progress)
        } catch {
            throw Failure(description: "\(error)")
        }
    }

    private static func restoreBerth(
        _ path: String, _ directory: String, _ bump: Int64, _ progress: (_ read: Int, _ size: Int) -> Void
    ) throws(SnapshotError) -> Restored {
        var cleared = 0
        let report = try SnapshotRestore.run(
            file: path, into: directory, bump: bump,
            keeps: { table, key in
                switch table {
                case .members: return false
                case .alarms:
                    guard AlarmSet.Alarm(recordKey: key)?.kind == .noSpace else { return true }
                    cleared += 1
                    return false
                case .leases, .leaseKeys, .users, .roles, .meta, .places, .lineEvents: return true
                }
            }, progress: progress)
        let description = Description(report.snapshot)
        return Restored(
            contents: .berth(description), sourceRevision: description.revision, hash: description.hash,
            keys: description.keys, clusterID: report.identity.clusterID, memberID: report.identity.memberID,
            clearedAlarms: cleared, revision: report.revision.value)
    }

    private static func restoreEtcd(
        _ path: String, _ directory: String, _ bump: Int64, _ skipHashCheck: Bool,
        _ progress: @escaping (_ read: Int, _ size: Int) -> Void
    ) throws(SnapshotError) -> Restored {
        // The file first: a folder is not made for one that is none.
        let file = try EtcdFile(path)
        if !skipHashCheck { try file.checkDigest(progress) }
        var scan = EtcdFileScan(file, progress: progress)
        var cleared = 0
        var source = Revision.zero
        let report = try StoreImport.run(from: path, bytes: file.size, into: directory, bump: bump) {
            (target) throws(SnapshotError) in
            var restore = EtcdRestore(target)
            try scan.run { (bucket, key, value) throws(SnapshotError) in try restore.add(bucket, key, value) }
            cleared = restore.clearedAlarms
            let position = try restore.finish(scan.description)
            source = position.currentRevision
            return position
        }
        return Restored(
            contents: .etcd(scan.description), sourceRevision: source.value, hash: report.hash, hashKV: report.hashKV,
            keys: report.keys, clusterID: report.identity.clusterID, memberID: report.identity.memberID,
            clearedAlarms: cleared, orphanedKeys: report.orphanedKeys, revision: report.revision.value)
    }
}

extension SnapshotFile.Description {
    fileprivate init(_ summary: SnapshotSummary) {
        self.init(
            revision: summary.header.currentRevision.value,
            compactedRevision: summary.header.compactedRevision.value, keys: summary.liveKeys,
            changes: summary.revisions, leases: summary.records[.leases] ?? 0, sizeInBytes: summary.sizeInBytes,
            hash: summary.hash, clusterID: summary.header.identity.clusterID,
            memberID: summary.header.identity.memberID, appliedIndex: summary.header.appliedIndex.value,
            takenAtMilliseconds: summary.header.takenAtMilliseconds, format: summary.format)
    }
}
