public import Measures

/// What the log counts of its writing. Any thread reads; the log thread writes.
public final class LogMeasures: Sendable {
    /// Time from handing a batch to libraft until its first entry came back committed: the writing and flushing of the log's
    /// file, and the way there and back. libraft writes each batch with one call that returns when it is on disk
    /// (`RWF_DSYNC`), so writing and flushing are not told apart.
    public let appends = Histogram.seconds(Histogram.doubling(0.001, count: 14))
    /// Entries in a batch.
    public let batchEntries = Histogram(bounds: Histogram.doubling(1, count: 11))
    /// Bytes of a batch's entries.
    public let batchBytes = Histogram(bounds: Histogram.doubling(64, count: 16))
    /// Bytes of all entries that were handed over.
    public let writtenBytes = Counter()

    package init() {}
}
