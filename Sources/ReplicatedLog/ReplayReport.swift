public import Vocabulary

/// What opening the log took: at start, and each time it came back after its disk had failed.
public struct ReplayReport: Equatable, Sendable {
    /// The last entry the applier held already; those up to it were not given to it again.
    public var storeIndex: RaftIndex
    /// The first entry that was applied; the one after `storeIndex` when none was.
    public var firstIndex: RaftIndex
    /// The log's last entry.
    public var lastIndex: RaftIndex
    /// Entries applied.
    public var entries: Int
    /// Their bytes, as stored.
    public var bytes: Int
    /// From the first look at the folder to the last entry applied.
    public var duration: Duration
    /// Bytes of a last write that had not completed, which were cut off: nobody had been told of it.
    public var tornBytes: Int
}
