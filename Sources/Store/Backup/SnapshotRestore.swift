import CLMDB
import Glibc
public import Vocabulary

/// Builds the store of a new data folder from a snapshot file.
///
/// The new store holds the same history, records and compacted revision, and belongs to a new cluster of one new member:
/// its identity is random, and its applied index is zero, so that its log begins anew. Everything that was built is
/// walked once more, and must come to the counts and the hash that the file names, before the folder is made good.
public enum SnapshotRestore {
    /// What was made.
    public struct Report: Hashable, Sendable {
        /// What the file held.
        public var snapshot: SnapshotSummary
        /// Who the new store belongs to.
        public var identity: MemberIdentity
        /// Records that were left out.
        public var leftOut: Int
        /// The newest revision of the new store.
        public var revision: Revision
    }

    /// Restores `file` into `directory`, which must not exist or be empty. Blocks; runs on the calling thread.
    ///
    /// - Parameters:
    ///   - bump: added to the newest revision, so that revisions given out after the snapshot are not given out again. The
    ///     new store is compacted to its newest revision then. Not negative.
    ///   - keeps: whether a record goes along. Only what belongs to the old cluster should stay behind: the store's hash
    ///     is compared before records are left out.
    ///   - progress: told the bytes of the file read so far and its size, now and then.
    /// - Throws: why not; then the folder is as it was before. What an earlier try left in it is gone, unless it was the
    ///   folder that was refused.
    public static func run(
        file: String, into directory: String, bump: Int64 = 0, keeps: (RecordTable, [UInt8]) -> Bool = { _, _ in true },
        progress: (_ read: Int, _ size: Int) -> Void = { _, _ in }
    ) throws(SnapshotError) -> Report {
        // The file first: a folder is not made for one that is none.
        let reader = try SnapshotReader(file)
        let folder = try RestoreFolder(directory)
        let builder = try BaseBuilder(folder.partial, fileBytes: reader.size)
        do throws(SnapshotError) {
            let summary = try reader.read(progress: progress) { (entry) throws(SnapshotError) in
                switch entry {
                case .record(let table, let key, let value): try builder.add(table, key, value)
                case .revision(let revision, let sub, let stored):
                    guard let kind = stored.first,
                        let record = KeyRecord(
                            revision, sub, kind: kind, keyValue: UnsafeRawBufferPointer(rebasing: stored.dropFirst()))
                    else { throw reader.damaged("revision \(revision).\(sub) is no change of a key") }
                    try builder.add(revision, sub, stored, record)
                }
            }
            try builder.finish(summary.header)
            try builder.compare(with: summary, file)
            let leftOut = try builder.leaveOut(keeps)
            let revision = try summary.header.revision(bumpedBy: bump)
            try builder.bump(summary.header, to: revision)
            try builder.sync()
            builder.close()
            try folder.finish()
            return Report(snapshot: summary, identity: builder.identity, leftOut: leftOut, revision: revision)
        } catch {
            // Before the folder removes its files.
            builder.close()
            throw error
        }
    }
}

extension SnapshotHeader {
    /// The newest revision of a store that is restored with a higher one.
    func revision(bumpedBy bump: Int64) throws(SnapshotError) -> Revision {
        let (sum, overflows) = currentRevision.value.addingReportingOverflow(bump)
        // Half of what there is must be left for the future.
        guard bump >= 0, !overflows, sum <= .max / 2 else {
            throw .bumpTooLarge(bump: bump, revision: currentRevision)
        }
        return Revision(sum)
    }
}
