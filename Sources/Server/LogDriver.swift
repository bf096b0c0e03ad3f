import EtcdAPI
import Logging
import Measures
import NIOCore
import ReplicatedLog
import StateMachine
import Store
import Synchronization
import Vocabulary

/// Stands between the log and the state machine: applies entries, commits a turn's batch, and sends each event loop
/// its answers and events in one hop.
///
/// It must never wait for an event loop, and never answer before the batch is committed and its revision published.
///
/// Isolation: the log thread, but for `snapshotFlush`, which libraft runs on a worker. `@unchecked Sendable` rests on
/// that and on `store` being Sendable.
final class LogDriver: LogApplier, @unchecked Sendable {
    private let store: Store
    private let machine: StateMachine
    private let loops: [ServerLoop]
    private let interest: LoopInterest
    /// Loops with followers of lines.
    private let lineInterest: LoopInterest
    private var routing = WaitRouting()
    private let leases: LeaseKeeper
    private let tokens: TokenKeeper
    private let onFailure: @Sendable (String) -> Void
    private let metrics: ServerMetrics
    private let logger: Logger
    /// Whether `hold` was told that proposals are held back.
    private var isHolding = false
    private var isLeader = false
    /// From the log's disk failing until proposals are taken again: leadership comes back a little earlier.
    private var isSuspended = false
    /// As the loops were told last.
    private var condition = MemberCondition.withoutLeader

    /// Answers of the open turn, by loop number.
    private var answers: [[ProposalAnswer]]
    private var isBatchOpen = false
    /// When the open batch began, or its last entry was applied: so the clock is read once an entry.
    private var measuredAt = 0
    /// Set by the first error: from then on nothing is applied or answered until the process restarts.
    private var failure: String?

    /// Why nothing can be applied any more; nil while all is well.
    var hasFailed: String? { failure }
    /// Last entry in the store when the snapshot under way was sealed; the worker reads it after the log thread wrote
    /// it, and libraft runs one snapshot at a time.
    private var sealedIndex = RaftIndex.zero
    /// A planted fault: the log may be cut before base holds what it drops. Set before the log starts.
    var truncatesBeforeFlush = false

    init(
        store: Store, machine: StateMachine, loops: [ServerLoop], interest: LoopInterest,
        lineInterest: LoopInterest, leases: LeaseKeeper, tokens: TokenKeeper, metrics: ServerMetrics,
        logger: Logger, onFailure: @escaping @Sendable (String) -> Void
    ) {
        self.store = store
        self.machine = machine
        self.loops = loops
        self.interest = interest
        self.lineInterest = lineInterest
        self.leases = leases
        self.tokens = tokens
        self.metrics = metrics
        self.logger = logger
        self.onFailure = onFailure
        answers = Array(repeating: [], count: loops.count)
    }

    var acceptsProposals: Bool {
        guard failure == nil else { return false }
        let hasRoom = store.writer.hasRoom
        // Asked with proposals waiting only. The clock is read when it changes, not with every turn.
        if hasRoom == isHolding {
            isHolding = !hasRoom
            let hold = metrics.proposals
            if isHolding { hold.begin(now: LeaseKeeper.now()) } else { hold.end(now: LeaseKeeper.now()) }
        }
        return hasRoom
    }

    /// Who waits for room is told when there is none to come before the disk is mended.
    var refusal: String? {
        guard failure == nil, let failure = metrics.moments.flushFailure else { return nil }
        return "nothing can be written at present, the store cannot be flushed to disk: \(failure)"
    }

    func apply(
        _ entry: UnsafeRawBufferPointer, index: RaftIndex, term: RaftTerm, context: (any ProposalContext)?
    ) {
        if let failure {
            // It is in the log, and the next start applies it.
            context?.proposalFailed(.io(failure))
            return
        }
        if !isBatchOpen {
            isBatchOpen = true
            machine.recordsEvents = interest.isAny
            measuredAt = MonotonicClock.nanoseconds
        }
        do {
            // A replay's times are not those of anybody's request.
            machine.measuredAt = context == nil ? 0 : measuredAt
            var result = try machine.apply(entry, index: index, term: term)
            guard let context else { return }
            measure(machine.appliedKind, result)
            // Every context this server proposes with is one.
            let proposal = unsafeDowncast(context, to: PendingProposal.self)
            switch result {
            case .entered(let place):
                // One that holds already is heard of too: its lease's time may be up before the caller is told.
                if place.holder == nil { routing.waits(place.key, on: proposal.loop.number) }
            case .failure(var error):
                guard var lock = error.lock else { break }
                metrics.lockRefusals.add()
                lock.remainingMilliseconds = leases.remaining(lock.lease)?.milliseconds
                error.lock = lock
                result = .failure(error)
            case .response, .skipped: break
            }
            answers[proposal.loop.number].append(ProposalAnswer(proposal: proposal, result: result))
        } catch {
            fail("entry \(index) could not be applied: \(error)")
            context?.proposalFailed(.io("\(error)"))
        }
    }

    private func measure(_ kind: CommandKind, _ result: ApplyResult) {
        let now = MonotonicClock.nanoseconds
        defer { measuredAt = now }
        switch result {
        case .response, .entered: metrics.applies.took(kind, isSuccess: true, nanoseconds: now - measuredAt)
        case .failure: metrics.applies.took(kind, isSuccess: false, nanoseconds: now - measuredAt)
        case .skipped: break
        }
    }

    func endOfTurn() {
        guard failure == nil, isBatchOpen else { return }
        isBatchOpen = false
        let batch: CommittedBatch
        do {
            batch = try machine.commit(tokens: tokens.follow)
        } catch {
            return fail("a batch could not be committed: \(error)")
        }
        if !batch.leaseChanges.isEmpty { leases.follow(batch.leaseChanges) }
        let hasRevisions = batch.lastRevision >= batch.firstRevision
        for loop in loops {
            let wantsEvents = hasRevisions && interest.wants(loop.number)
            let mine = answers[loop.number]
            let lines = lineEvents(of: batch, for: loop)
            guard wantsEvents || !mine.isEmpty || !lines.isEmpty else { continue }
            answers[loop.number] = []
            loop.eventLoop.execute { loop.deliver(mine, wantsEvents ? batch : nil, lines) }
        }
        for event in batch.lineEvents { routing.told(event) }
    }

    private func lineEvents(of batch: CommittedBatch, for loop: ServerLoop) -> [LineEvent] {
        guard !batch.lineEvents.isEmpty, !lineInterest.wants(loop.number) else { return batch.lineEvents }
        return batch.lineEvents.filter { routing.wants($0, loop.number) }
    }

    func tick(now: MonotonicInstant) {
        guard failure == nil else { return }
        store.writer.sealIfDue(now: now)
        // Who waited may have been refused; then nobody asks for room any more.
        if isHolding { _ = acceptsProposals }
        tellCondition()
    }

    func leadershipChanged(isLeader: Bool, term: RaftTerm) {
        if isLeader { metrics.leaderChanges.add() }
        self.isLeader = isLeader
        tellCondition()
    }

    private func tellCondition() {
        let now: MemberCondition =
            !isLeader || isSuspended
            ? .withoutLeader : store.writer.hasRoom || refusal == nil ? .serving : .refusingWrites
        guard now != condition else { return }
        condition = now
        for loop in loops { loop.eventLoop.execute { loop.conditionChanged(now) } }
    }

    // MARK: - Log truncation

    func snapshotSeal(at index: RaftIndex) -> Bool {
        // libraft asks in the middle of a turn: what it counts as applied must be committed before it is sealed.
        endOfTurn()
        guard failure == nil, store.writer.seal() else { return false }
        // Barriers and configuration changes have indices too but never reach the store.
        sealedIndex = store.writer.appliedIndex
        return true
    }

    func snapshotFlush() throws {
        guard !truncatesBeforeFlush else { return }
        try store.flushSealed(upTo: sealedIndex)
    }

    func snapshotReference() -> [UInt8] {
        LogReference(clusterID: store.identity.clusterID, appliedIndex: sealedIndex).encoded
    }

    func restore(reference: [UInt8]) throws {
        try LogReference(decoding: reference).check(store.identity, appliedIndex: store.writer.appliedIndex)
    }

    func failed(_ error: ReplicatedLogError) {
        fail("the log can no longer be written: \(error)")
    }

    func logSuspended(_ error: ReplicatedLogError) {
        metrics.logSuspensions.add()
        isSuspended = true
        tellCondition()
        logger.error(
            "nothing can be written; nothing acknowledged is lost, and the log is opened anew until that succeeds",
            metadata: ["error": "\(error)"])
    }

    func logResumed(_ replay: ReplayReport) {
        metrics.replay = replay
        isSuspended = false
        tellCondition()
        logger.notice("the log can be written again", metadata: Logger.metadata(of: replay))
    }

    /// Stops applying for good. What was proposed stays in the log; the next start applies it.
    private func fail(_ reason: String) {
        guard failure == nil else { return }
        failure = reason
        // Half a batch must never reach base.
        store.writer.poison()
        for index in answers.indices {
            for answer in answers[index] { answer.proposal.proposalFailed(.io(reason)) }
            answers[index] = []
        }
        onFailure(reason)
    }
}

extension Logger {
    /// From where the log was replayed, how much, how long.
    static func metadata(of replay: ReplayReport) -> Metadata {
        [
            "store-index": "\(replay.storeIndex)", "from-index": "\(replay.firstIndex)",
            "to-index": "\(replay.lastIndex)", "entries": "\(replay.entries)", "bytes": "\(replay.bytes)",
            "seconds": "\(replay.duration / .seconds(1))", "torn-bytes": "\(replay.tornBytes)",
        ]
    }
}
