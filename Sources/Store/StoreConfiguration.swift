public import Vocabulary

/// How a store is opened.
public struct StoreConfiguration: Sendable {
    /// The data folder. Made with mode 0700 when only its parent exists.
    public var directory: String
    /// The active layer is sealed at this many revisions.
    public var sealRevisions = 32_768
    /// The active layer is sealed at this many bytes of keys and values.
    public var sealBytes = 16 << 20
    /// The active layer is sealed this long after its first write.
    public var sealAge: Duration = .seconds(5)
    /// Address space of the base layer at first; the file itself grows only with the data. Doubled when full.
    public var baseMapBytes = 64 << 30
    /// Disk space that each young layer takes at once. Growing makes all readers wait, so it should hold what the
    /// bounds above let in, with LMDB's overhead; a batch larger than that makes it grow.
    public var youngMapBytes = 64 << 20
    /// Revisions that one transaction of physical compaction walks over. A flush that falls due waits for it.
    public var compactionStep = 16_384
    /// When set, opening a folder with another identity is an error.
    public var expectedIdentity: MemberIdentity?
    /// Told what the store does in the background, on the thread that does it. Must not block, and must not call
    /// `close()`.
    public var onEvent: @Sendable (StoreEvent) -> Void = { _ in }

    /// What the next flush fails with just before its commit: a full disk, for tests.
    package var flushFault: @Sendable () -> StoreError? = { nil }
    /// In which transaction a flush commits the applied index.
    package var appliedIndexCommit = AppliedIndexCommit.withData
    /// What the next step of physical compaction fails with.
    package var compactionFault: @Sendable () -> StoreError? = { nil }
    /// What the next attempt to punch a hole fails with, as an `errno`; 0 lets it happen.
    package var punchFault: @Sendable () -> Int32 = { 0 }
    /// Free pages in a row that defragmentation gives back to the file system; fewer are not worth their place in its tables.
    package var smallestHole = 4
    /// What writing base's checksums fails with, after a transaction of base has been committed.
    package var sumsFault: @Sendable () -> StoreError? = { nil }
    /// Whether pages are verified in the background too, and not only when a read comes by.
    package var verifiesInBackground = true
    /// What starting the flusher's thread fails with; 0 starts it.
    package var flusherStartFault: Int32 = 0

    /// The usual values for a data folder.
    public init(directory: String) { self.directory = directory }

    /// Disk space that a young layer needs so that it does not grow: for `sealRevisions` and `sealBytes`, and for one
    /// batch on top, as a layer is found full only when a batch is in it.
    ///
    /// A change takes at most 160 bytes in the two trees beside its own, which half-filled pages and values a little
    /// larger than half a page make two and a half times as many. A reader that stays for long keeps LMDB from using
    /// pages again, so that a layer may grow all the same.
    public static func youngMapBytes(
        sealRevisions: Int, sealBytes: Int, batchChanges: Int, batchBytes: Int
    ) -> Int {
        let mebibyte = 1 << 20
        let batch = max(batchChanges * 160, batchBytes * 5 / 2)
        let needed = sealRevisions * 160 + sealBytes * 5 / 2 + batch + 4 * mebibyte
        // LMDB lists free pages with 8 bytes each, and the writer keeps twice that free.
        return (needed + needed / 128 + mebibyte - 1) / mebibyte * mebibyte
    }
}

/// What the store tells about its background work, for logs and metrics and to wake whoever waits for room.
public enum StoreEvent: Sendable {
    /// A sealed layer is durable in base, and the store has room again.
    case flushed(appliedIndex: RaftIndex, revisions: Int, bytes: Int, duration: Duration)
    /// A flush failed. Nothing is lost: it is tried again after `retryIn`, nil when the store is closing.
    case flushFailed(StoreError, retryIn: Duration?)
    /// Old revisions are physically gone from base.
    case compacted(through: Revision, removed: Int, duration: Duration)
    /// A step of physical compaction failed; it is tried again after `retryIn`.
    case compactionFailed(StoreError, retryIn: Duration)
    /// The background work met something that trying again cannot mend, and has stopped for good. Nothing is lost, the
    /// log holds it; but nothing more becomes durable in base, so the store should be closed. Comes once, and last.
    case failed(StoreError)
    /// Free pages of base were given back to the file system.
    case defragmented(DefragmentationReport)
    /// A layer was given more address space.
    case mapGrown(layer: String, bytes: Int)
}

/// How much disk the store takes.
public struct StoreSize: Hashable, Sendable {
    /// What base's file takes on disk, and what the young layers hold. Never zero. Freed pages count until they are given
    /// back to the file system.
    public var allocatedBytes: Int
    /// The part of `allocatedBytes` that holds data; what a quota should look at, as compaction lowers it.
    public var inUseBytes: Int
    /// What the young layers' files take in addition, whether used or not.
    public var preallocatedBytes: Int
}
