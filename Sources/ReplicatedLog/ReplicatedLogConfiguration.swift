public import Vocabulary

/// What a log needs to know before it starts. Sizes are in bytes.
public struct ReplicatedLogConfiguration: Sendable {
    /// The log's own folder; made with mode 0700 when only its parent exists. Nobody else may use it.
    public var directory: String
    /// This server's id in the cluster; not zero, and the same at every start.
    public var serverID: UInt64
    /// The last entry that the store holds durably. A log that ends before it is refused.
    public var appliedIndex: RaftIndex

    /// Entries applied since the last checkpoint that make a new one due.
    public var snapshotEntries = 32_768
    /// Bytes applied since the last checkpoint that make a new one due: the log keeps all untruncated entries in memory.
    public var snapshotBytes = 64 << 20
    /// Entries kept in the log behind a checkpoint, for followers a little behind. At least 1, as libraft takes 0 for
    /// "replace the whole log".
    public var trailingEntries = 8
    /// Size of one segment file; two unused ones are always held ready.
    public var segmentBytes = 8 << 20

    /// Proposals waiting to enter the log; one more fails with `.queueFull`.
    public var queueEntries = 16_384
    /// Bytes waiting to enter the log; beyond it proposals fail with `.queueFull`.
    public var queueBytes = 64 << 20
    /// Most entries written by one call; what is left waits for the next turn.
    public var batchEntries = 1_024
    /// Most bytes written by one call, unless a single entry is larger.
    public var batchBytes = 2 << 20
    /// Largest single entry; a larger one fails with `.tooLarge`. At most half a segment.
    public var entryBytes = 3 << 20

    /// - Parameters:
    ///   - directory: the log's own folder, in one that exists.
    ///   - serverID: this server's id, not zero.
    ///   - appliedIndex: the last entry the store holds durably, zero when it holds none.
    public init(directory: String, serverID: UInt64, appliedIndex: RaftIndex = .zero) {
        self.directory = directory
        self.serverID = serverID
        self.appliedIndex = appliedIndex
    }

    /// The largest entry that ``fit(entryBytes:)`` takes: requests of 64 MiB, and what is around them.
    public static let largestEntryBytes = 65 << 20

    /// Raises the bounds that stand in the way of entries of this size, kind byte included; lowers none.
    ///
    /// Segments become at least twice as large, and two unused ones are always held ready: the disk must have room for
    /// six entries beside the log itself. The queue takes two such entries at a time.
    /// - Parameter size: 1 ... ``largestEntryBytes``.
    public mutating func fit(entryBytes size: Int) {
        precondition((1...Self.largestEntryBytes).contains(size), "entries have 1 byte to 65 MiB")
        let mebibyte = 1 << 20
        // As stored: the padding, and the header of a batch, have their place too.
        let segment = (2 * (size + 4_096) + mebibyte - 1) / mebibyte * mebibyte
        entryBytes = max(entryBytes, size)
        segmentBytes = max(segmentBytes, segment)
        queueBytes = max(queueBytes, 2 * (size + 16))
    }

    /// The first thing wrong with these settings, or nil.
    var problem: String? {
        if serverID == 0 { return "server id is 0; choose another number" }
        if snapshotEntries < 1 || snapshotBytes < 1 { return "checkpoint bounds must be at least 1" }
        if trailingEntries < 1 { return "trailingEntries must be at least 1" }
        if segmentBytes < 64 << 10 || segmentBytes > 1 << 30 { return "segmentBytes must be in 64 KiB ... 1 GiB" }
        if queueEntries < 1 || queueBytes < 1 || batchBytes < 1 { return "queue and batch bounds must be at least 1" }
        // libraft refuses a stored batch of more than 262,144 entries when it reads it back.
        if !(1...65_536).contains(batchEntries) { return "batchEntries must be in 1 ... 65,536" }
        if entryBytes < 1 || entryBytes > segmentBytes / 2 { return "entryBytes must be in 1 ... segmentBytes / 2" }
        if batchBytes > segmentBytes / 2 { return "batchBytes must be at most segmentBytes / 2" }
        return nil
    }
}
