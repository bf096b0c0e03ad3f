public import Vocabulary

/// Who waits for a proposal's outcome. A successful one reaches its context through ``LogApplier/apply(_:index:term:context:)``.
public protocol ProposalContext: AnyObject, Sendable {
    /// The proposal did not get an answer and never will. Called at most once, and never after `apply` got this context.
    ///
    /// Runs on the log thread, or on the proposer's own before `propose` returns when it was refused at once.
    func proposalFailed(_ error: ProposalError)
}

/// The state machine's side of the log: it is fed committed entries in order and asked for checkpoints.
///
/// Isolation: every call comes from the log thread, but for ``snapshotFlush()``. While ``ReplicatedLog/start()``
/// replays old entries the same calls come from the same thread. No call may block for long, nor call `stop()`.
public protocol LogApplier: AnyObject {
    /// Asked each turn before proposals are handed to the log; false holds them in the bounded queue.
    /// Whoever makes it true again calls ``ReplicatedLog/wake()``; it is asked again on every tick in any case.
    /// During replay, false pauses the replay.
    var acceptsProposals: Bool { get }

    /// Asked when ``acceptsProposals`` is false: nil lets proposals wait, a text fails those that wait with
    /// ``ProposalError/refused(_:)``, and those that come later as long as it stands.
    var refusal: String? { get }

    /// Why the applier cannot go on, nil while it can. Asked after each slice of a replay, while a replay waits for
    /// room, and at the end of each turn; once it is set ``ReplicatedLog/start()`` throws `.applier`, and a running log
    /// fails all proposals and calls ``failed(_:)``.
    var hasFailed: String? { get }

    /// One committed entry: the bytes as they were proposed, borrowed for the call.
    ///
    /// Begins after the configuration's `appliedIndex`. Indices only grow; they skip the places of configuration changes and barriers, which carry no bytes.
    /// - Parameter context: who proposed it, when that was this process in the present term; else nil.
    func apply(_ entry: UnsafeRawBufferPointer, index: RaftIndex, term: RaftTerm, context: (any ProposalContext)?)

    /// The applies since the last call belong together: commit them, publish, answer.
    ///
    /// Comes once after the applies of a loop turn, after each slice of a replay, and before ``snapshotSeal(at:)``
    /// so that a seal never meets an open batch.
    func endOfTurn()

    /// About every 100 ms, between batches.
    func tick(now: MonotonicInstant)

    /// This member began or ceased to lead. Outstanding proposals of the old reign have failed by then.
    func leadershipChanged(isLeader: Bool, term: RaftTerm)

    /// First step of a checkpoint: set aside everything applied, which is exactly all entries up to `index`.
    /// - Returns: false when that is not possible now; asked again after later applies, the log is kept meanwhile.
    func snapshotSeal(at index: RaftIndex) -> Bool

    /// Second step, on a worker thread: returns when all that was sealed is durable. An error drops the checkpoint and
    /// keeps the log; it is tried again a while later.
    func snapshotFlush() throws

    /// The bytes that name the sealed state, asked for right after a successful seal. They are written only once the
    /// flush has succeeded, so the log never refers to state that is not on disk.
    func snapshotReference() -> [UInt8]

    /// Before any entry, at start and whenever the log is opened anew: the newest checkpoint's reference. Throw when the state
    /// it names is not there; `start()` then fails with that error's description, and nothing on disk has been touched.
    func restore(reference: [UInt8]) throws

    /// The log's disk failed. What was on its way has failed with `.io`, proposals are refused, and the log is opened anew, again
    /// and again, until ``logResumed(_:)`` or ``failed(_:)``. Ticks and works go on. `snapshotFlush` may still run.
    func logSuspended(_ error: ReplicatedLogError)

    /// The log was opened anew and takes proposals. Entries it turned out to hold, whose proposers were told `.io`, have been
    /// applied by then.
    func logResumed(_ replay: ReplayReport)

    /// The log cannot go on, because an entry is damaged, the applier has failed, or what was acknowledged is no longer on
    /// disk. Called at most once; all proposals fail from then on.
    func failed(_ error: ReplicatedLogError)
}

extension LogApplier {
    /// An applier that never fails.
    public var hasFailed: String? { nil }
    /// An applier that lets proposals wait.
    public var refusal: String? { nil }
    /// An applier to which a pause is of no interest.
    public func logSuspended(_ error: ReplicatedLogError) {}
    /// An applier to which a pause is of no interest.
    public func logResumed(_ replay: ReplayReport) {}
}
