internal import Synchronization
public import Vocabulary

/// Where the log stands. Each number is exact for some recent moment; together they may be a turn apart.
public struct LogStatus: Equatable, Sendable {
    /// The last entry known to be committed.
    public var commitIndex: RaftIndex
    /// The last entry handed to the applier; its batch may be just about to be published.
    public var appliedIndex: RaftIndex
    /// The last entry of the log, written or on its way.
    public var lastIndex: RaftIndex
    /// The last entry covered by a checkpoint; zero when there was none yet.
    public var snapshotIndex: RaftIndex
    /// The present term.
    public var term: RaftTerm
    /// Whether this member leads.
    public var isLeader: Bool
    /// Whether the log takes proposals: it leads, and is neither suspended by a failing disk nor failed nor stopped. What the
    /// applier accepts is for the applier to say.
    public var isWritable: Bool
}

/// The status as any thread may read it: written by the log thread alone.
final class StatusBoard: Sendable {
    private let commitIndex = Atomic<UInt64>(0)
    private let appliedIndex = Atomic<UInt64>(0)
    private let lastIndex = Atomic<UInt64>(0)
    private let snapshotIndex = Atomic<UInt64>(0)
    private let term = Atomic<UInt64>(0)
    private let isLeader = Atomic<Bool>(false)
    private let isWritable = Atomic<Bool>(false)
    private let lastReplay = Mutex<ReplayReport?>(nil)

    func publish(_ status: LogStatus) {
        commitIndex.store(status.commitIndex.value, ordering: .releasing)
        appliedIndex.store(status.appliedIndex.value, ordering: .releasing)
        lastIndex.store(status.lastIndex.value, ordering: .releasing)
        snapshotIndex.store(status.snapshotIndex.value, ordering: .releasing)
        term.store(status.term.value, ordering: .releasing)
        isLeader.store(status.isLeader, ordering: .releasing)
        isWritable.store(status.isWritable, ordering: .releasing)
    }

    /// The log is closed, for a while or for good: the numbers stay, but nobody leads or writes.
    func publishClosed() {
        isWritable.store(false, ordering: .releasing)
        isLeader.store(false, ordering: .releasing)
    }

    /// How the log was opened last.
    var replay: ReplayReport? {
        get { lastReplay.withLock { $0 } }
        set { lastReplay.withLock { $0 = newValue } }
    }

    var current: LogStatus {
        LogStatus(
            commitIndex: RaftIndex(commitIndex.load(ordering: .acquiring)),
            appliedIndex: RaftIndex(appliedIndex.load(ordering: .acquiring)),
            lastIndex: RaftIndex(lastIndex.load(ordering: .acquiring)),
            snapshotIndex: RaftIndex(snapshotIndex.load(ordering: .acquiring)),
            term: RaftTerm(term.load(ordering: .acquiring)),
            isLeader: isLeader.load(ordering: .acquiring),
            isWritable: isWritable.load(ordering: .acquiring))
    }
}
