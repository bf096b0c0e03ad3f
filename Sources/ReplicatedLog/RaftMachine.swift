package import CRaft
internal import DequeModule
internal import Glibc
internal import Measures
internal import Synchronization
package import Vocabulary

/// What Berth does with one libraft instance, whatever I/O lies under it: gives it entries, feeds the applier what it
/// commits, finds the context of each entry again, answers for those that fail.
///
/// It owns the `raft_fsm` that libraft calls and the table of outstanding contexts. It does not own the `raft` it is
/// attached to, starts no thread and does no I/O, which is why a virtual cluster can drive it.
///
/// Isolation: the thread it is bound to, checked at every entrance. libraft calls back on that same thread, but for the
/// flush of a checkpoint.
package final class RaftMachine {
    /// An entry given to the log, not yet applied.
    private struct Outstanding {
        let index: UInt64
        let term: UInt64
        let context: any ProposalContext
    }

    /// Bounds of the machine, taken from the log's configuration.
    package struct Limits {
        package var snapshotEntries: Int
        package var snapshotBytes: Int
        package var batchEntries: Int
        package var batchBytes: Int
        /// Calls of `raft_apply` under way at a time. With one voter 1 is best: libraft writes one batch at a time
        /// anyhow, and what waits here meanwhile becomes one larger batch. libraft searches the calls under way
        /// linearly for each entry.
        package var callsInFlight = 1
        /// Ticks to let pass after a failed checkpoint.
        package var ticksBetweenSnapshotAttempts = 10

        package init(snapshotEntries: Int, snapshotBytes: Int, batchEntries: Int, batchBytes: Int) {
            self.snapshotEntries = snapshotEntries
            self.snapshotBytes = snapshotBytes
            self.batchEntries = batchEntries
            self.batchBytes = batchBytes
        }
    }

    let applier: any LogApplier
    let limits: Limits
    /// What libraft calls; handed to `raft_init`, and valid as long as the machine.
    package let fsm: UnsafeMutablePointer<raft_fsm>
    private(set) var raft: UnsafeMutablePointer<raft>?
    var isAttached: Bool { raft != nil }
    private var owner = pthread_self()

    /// In order of index; all of one reign.
    private var outstanding = Deque<Outstanding>()
    /// Last index of each `raft_apply` under way, oldest first.
    private var callEnds = Deque<UInt64>()
    /// The first index of the newest `raft_apply`, and when it began; measured once.
    private var appendUnderWay: (first: UInt64, began: Int)?
    /// Counts of what is written.
    package let measures: LogMeasures
    private let callBuffers: UnsafeMutablePointer<raft_buffer>
    /// Failures to tell at the end of the turn: nobody is called from inside a libraft call but the applier's own steps.
    private var failures: [(context: any ProposalContext, error: ProposalError)] = []
    /// What a proposal gets whose call libraft gives up: replaced by `.stopped` on the way out.
    private var abandonment = ProposalError.notLeader
    private var reign: (isLeader: Bool, term: UInt64) = (false, 0)
    /// Applied to the applier but not yet closed by `endOfTurn`.
    private var hasOpenBatch = false
    /// Set once; after that libraft is fed nothing more, because its write buffers may still hold the failed entries.
    package private(set) var failure: ReplicatedLogError?
    /// The last entry the applier holds: those up to it are not given to it again, however often the log is opened anew.
    var appliedThrough: UInt64 = 0
    /// A checkpoint whose reference the applier has accepted before libraft loads it.
    var acceptedCheckpoint: UInt64?
    /// While set, `apply` closes batches itself and waits for the applier's room: a replay is one libraft call.
    var replay: Replay?
    var snapshots = SnapshotState()
    /// Why the last flush failed: written on the worker, hence apart from `snapshots`.
    let flushError = Mutex<String?>(nil)

    package init(applier: any LogApplier, limits: Limits, measures: LogMeasures = LogMeasures()) {
        self.measures = measures
        self.applier = applier
        self.limits = limits
        fsm = .allocate(capacity: 1)
        callBuffers = .allocate(capacity: limits.batchEntries)
        fsm.initialize(to: raft_fsm())
        fsm.pointee.version = 3
        // Unretained: libraft is closed before the machine goes.
        fsm.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        fsm.pointee.apply = { fsm, entry, result in
            result?.pointee = nil
            guard let entry, let machine = RaftMachine.of(fsm) else { return RAFT_INVALID }
            return machine.apply(UnsafeRawBufferPointer(start: entry.pointee.base, count: entry.pointee.len))
        }
        installSnapshotCallbacks()
    }

    deinit {
        fsm.deallocate()
        callBuffers.deallocate()
    }

    static func of(_ fsm: UnsafeMutablePointer<raft_fsm>?) -> RaftMachine? {
        guard let data = fsm?.pointee.data else { return nil }
        return Unmanaged<RaftMachine>.fromOpaque(data).takeUnretainedValue()
    }

    /// Binds the machine to an initialised `raft` and to the calling thread.
    package func attach(_ raft: UnsafeMutablePointer<raft>) {
        self.raft = raft
        owner = pthread_self()
        raft_set_snapshot_threshold(raft, UInt32(clamping: limits.snapshotEntries))
    }

    /// Lets go of a libraft instance that has closed, with all that was known of it. What the applier holds stays known.
    func detach() {
        raft = nil
        failure = nil
        outstanding.removeAll()
        callEnds.removeAll()
        appendUnderWay = nil
        abandonment = .notLeader
        snapshots = SnapshotState()
    }

    /// Tells the applier that this member leads no more: libraft is about to close, and will not say so.
    func leaveOffice() {
        guard reign.isLeader else { return }
        reign.isLeader = false
        applier.leadershipChanged(isLeader: false, term: RaftTerm(reign.term))
    }

    func preconditionOnLogThread() {
        precondition(pthread_equal(owner, pthread_self()) != 0, "libraft is used on the log thread alone")
    }

    // MARK: proposing

    /// Whether `submit` would give something to libraft now.
    package var canSubmit: Bool { callEnds.count < limits.callsInFlight && failure == nil }
    package var callsInFlight: Int { callEnds.count }

    /// Gives one batch from the front of `proposals` to the log, as many as fit in one call.
    ///
    /// Ownership: the entries taken are libraft's from here, or freed when it refused them; their contexts are answered
    /// by `apply` or at the end of a turn.
    /// - Returns: how many were taken, and their bytes.
    package func submit(_ proposals: ArraySlice<WaitingProposal>) -> (count: Int, bytes: Int) {
        preconditionOnLogThread()
        guard let raft, !proposals.isEmpty else { return (0, 0) }
        var count = 0
        var bytes = 0
        for proposal in proposals.prefix(limits.batchEntries) {
            let size = proposal.stored.count
            if count > 0, bytes + size > limits.batchBytes { break }
            callBuffers[count] = raft_buffer(base: proposal.stored.baseAddress, len: size)
            count += 1
            bytes += size
        }
        let taken = proposals.prefix(count)
        if let failure {
            refuse(taken, .io(failure.description))
            return (count, bytes)
        }
        let firstIndex = raft_last_index(raft) + 1
        for (offset, proposal) in taken.enumerated() {
            EntryPadding.stamp(firstIndex + UInt64(offset), into: proposal.stored)
        }
        let term = raft.pointee.current_term
        let began = MonotonicClock.nanoseconds
        let request = UnsafeMutablePointer<raft_apply>.allocate(capacity: 1)
        request.initialize(to: raft_apply())
        request.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        switch Self.callRaftApply(raft, request, callBuffers, UInt32(count), Self.callAnswered) {
        case 0:
            callEnds.append(firstIndex + UInt64(count) - 1)
            measure(count, bytes)
            appendUnderWay = (firstIndex, began)
            for (offset, proposal) in taken.enumerated() {
                outstanding.append(
                    Outstanding(index: firstIndex + UInt64(offset), term: term, context: proposal.context))
            }
        case RAFT_NOTLEADER:
            request.deallocate()
            refuse(taken, .notLeader)
        case let code:
            // libraft may still refer to the request and the entries: both are left to it, that is leaked.
            let message = Self.message(code, raft_errmsg(raft))
            for proposal in taken { failures.append((proposal.context, .io(message))) }
            // A segment that could not be opened for writing leaves libraft in order; whatever else fails at once does not,
            // and such an instance may never finish closing.
            fail(message.contains("setup writer") ? .io(message) : .resources(message))
        }
        return (count, bytes)
    }

    private func measure(_ entries: Int, _ bytes: Int) {
        measures.batchEntries.observe(entries)
        measures.batchBytes.observe(bytes)
        measures.writtenBytes.add(bytes)
    }

    /// libraft's function shares its name with a struct; its type tells them apart.
    private static let callRaftApply:
        @Sendable (
            UnsafeMutablePointer<raft>?, UnsafeMutablePointer<raft_apply>?, UnsafePointer<raft_buffer>?, UInt32,
            raft_apply_cb?
        ) -> Int32 = raft_apply

    /// For the first entry of the call alone: it was just applied, or the whole call failed.
    private static let callAnswered: raft_apply_cb = { request, status, _ in
        guard let request else { return }
        if status != 0, let data = request.pointee.data {
            Unmanaged<RaftMachine>.fromOpaque(data).takeUnretainedValue()
                .callFailed(firstIndex: request.pointee.index, status: status)
        }
        request.deallocate()
    }

    private func refuse(_ proposals: ArraySlice<WaitingProposal>, _ error: ProposalError) {
        for proposal in proposals {
            free(proposal.stored.baseAddress)
            failures.append((proposal.context, error))
        }
    }

    /// libraft gave up a call: the disk failed, leadership went, or the instance closes.
    private func callFailed(firstIndex: UInt64, status: Int32) {
        switch status {
        case RAFT_LEADERSHIPLOST, RAFT_SHUTDOWN, RAFT_CANCELED, RAFT_NOTLEADER:
            failOutstanding(from: firstIndex, abandonment)
        default:
            let message = Self.message(status, raft.map { raft_errmsg($0) } ?? nil)
            failOutstanding(from: 0, .io(message))
            fail(.io(message))
        }
    }

    /// Fails every context at or above an index: entries of later calls build on the ones that failed.
    private func failOutstanding(from index: UInt64, _ error: ProposalError) {
        while let last = outstanding.last, last.index >= index {
            failures.append((last.context, error))
            outstanding.removeLast()
        }
        while let end = callEnds.last, end >= index { callEnds.removeLast() }
    }

    func fail(_ error: ReplicatedLogError) {
        if failure == nil { failure = error }
    }

    // MARK: applying

    private func apply(_ stored: UnsafeRawBufferPointer) -> Int32 {
        preconditionOnLogThread()
        guard let raft, failure == nil else { return RAFT_SHUTDOWN }
        let index = raft.pointee.last_applied + 1
        guard let (entry, writtenIndex) = EntryPadding.strip(stored), writtenIndex == index else {
            fail(.corrupt("entry \(index) was not written by Berth, or not as entry \(index)"))
            return RAFT_CORRUPT
        }
        guard index > appliedThrough else {
            noteApplied(bytes: stored.count)
            return 0
        }
        if let replay, !replay.mayGoOn(self) { return RAFT_CANCELED }
        if let append = appendUnderWay, append.first <= index {
            if append.first == index { measures.appends.observe(MonotonicClock.nanoseconds - append.began) }
            appendUnderWay = nil
        }
        let term = Self.term(of: index, in: raft)
        hasOpenBatch = true
        noteApplied(bytes: stored.count)
        appliedThrough = index
        applier.apply(entry, index: RaftIndex(index), term: RaftTerm(term), context: takeContext(index, term))
        if let end = callEnds.first, end <= index { callEnds.removeFirst() }
        if let replay { replay.applied(index, bytes: stored.count, self) }
        return 0
    }

    private func takeContext(_ index: UInt64, _ term: UInt64) -> (any ProposalContext)? {
        while let next = outstanding.first, next.index <= index {
            outstanding.removeFirst()
            // An index alone proves nothing: another leader may have put its own entry there. Index and term do.
            if next.index == index, next.term == term { return next.context }
            failures.append((next.context, .notLeader))
        }
        return nil
    }

    /// The term an entry was made in, read from libraft's ring of entries in memory.
    private static func term(of index: UInt64, in raft: UnsafeMutablePointer<raft>) -> UInt64 {
        guard let entries = raft.pointee.log.entries, raft.pointee.log.size > 0 else { return 0 }
        let position = (raft.pointee.log.front + Int(index - raft.pointee.log.offset - 1)) % raft.pointee.log.size
        return entries[position].term
    }

    // MARK: the turn

    /// Sees what changed while libraft ran: to be called first in a turn.
    package func noticeChanges() {
        preconditionOnLogThread()
        guard let raft else { return }
        let now = (isLeader: raft_state(raft) == Int32(RAFT_LEADER), term: raft.pointee.current_term)
        guard now != reign else { return }
        // A reign that ended in the middle of a call: libraft reports calls whose first entry was not applied, no others.
        if reign.isLeader { failOutstanding(from: 0, abandonment) }
        reign = now
        if now.isLeader { commitOlderEntries(raft) }
        deliverFailures()
        applier.leadershipChanged(isLeader: now.isLeader, term: RaftTerm(now.term))
    }

    /// A new leader may hold entries of earlier reigns. They are committed only along with one of its own (Raft, 5.4.2),
    /// and libraft adds none by itself. A lone voter never has any.
    private func commitOlderEntries(_ raft: UnsafeMutablePointer<raft>) {
        guard raft.pointee.last_applied < raft_last_index(raft) else { return }
        let request = UnsafeMutablePointer<raft_barrier>.allocate(capacity: 1)
        request.initialize(to: raft_barrier())
        let code = Self.callRaftBarrier(raft, request) { request, _ in request?.deallocate() }
        if code != 0 { request.deallocate() }
    }

    private static let callRaftBarrier:
        @Sendable (UnsafeMutablePointer<raft>?, UnsafeMutablePointer<raft_barrier>?, raft_barrier_cb?) -> Int32 =
            raft_barrier

    /// Ends the turn: failures are told, the applier closes its batch. After a failure nothing is outstanding any more.
    package func finishTurn() {
        preconditionOnLogThread()
        deliverFailures()
        closeBatch()
        noticeApplierFailure()
        guard let failure else { return }
        failOutstanding(from: 0, .io(failure.description))
        deliverFailures()
    }

    /// Asks the applier whether it can go on, and ends the log's life if not. True: the log has failed.
    @discardableResult
    func noticeApplierFailure() -> Bool {
        if failure == nil, let reason = applier.hasFailed { fail(.applier(reason)) }
        return failure != nil
    }

    func closeBatch() {
        guard hasOpenBatch else { return }
        hasOpenBatch = false
        applier.endOfTurn()
    }

    /// Every 100 ms or so, between turns.
    package func tick(now: MonotonicInstant) {
        preconditionOnLogThread()
        snapshotTick()
        applier.tick(now: now)
    }

    /// Fails what is still outstanding; for a log that is about to close.
    package func abandon(_ error: ProposalError) {
        preconditionOnLogThread()
        abandonment = error
        failOutstanding(from: 0, error)
        deliverFailures()
    }

    private func deliverFailures() {
        while !failures.isEmpty {
            let told = failures
            failures.removeAll(keepingCapacity: true)
            for failure in told { failure.context.proposalFailed(failure.error) }
        }
    }

    package var status: LogStatus? {
        guard let raft else { return nil }
        return LogStatus(
            commitIndex: RaftIndex(raft.pointee.commit_index),
            appliedIndex: RaftIndex(raft.pointee.last_applied),
            lastIndex: RaftIndex(raft_last_index(raft)),
            snapshotIndex: RaftIndex(raft.pointee.log.snapshot.last_index),
            term: RaftTerm(raft.pointee.current_term),
            isLeader: raft_state(raft) == Int32(RAFT_LEADER),
            isWritable: raft_state(raft) == Int32(RAFT_LEADER) && failure == nil)
    }

    /// libraft's words for an error: its own message when it left one.
    static func message(_ code: Int32, _ detail: UnsafePointer<CChar>?) -> String {
        let name = raft_strerror(code).map { String(cString: $0) } ?? "error \(code)"
        guard let detail, detail.pointee != 0 else { return name }
        return "\(name): \(String(cString: detail))"
    }
}
