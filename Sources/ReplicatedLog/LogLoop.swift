internal import CRaft
internal import Glibc
internal import Vocabulary

/// The life of the log thread: opens libraft on a libuv loop, turns until it is told to stop, closes everything again.
///
/// Owns every libuv and libraft object but the waker's handle. Isolation: made by the starter, then used by the log
/// thread alone until that thread has ended.
final class LogLoop {
    private enum Phase {
        case running
        /// No new proposals; what libraft has is let finish for so many ticks.
        case draining(ticksLeft: Int)
        case closed
    }

    private let configuration: ReplicatedLogConfiguration
    private let inbox: ProposalInbox
    private let waker: Waker
    private let status: StatusBoard
    private let machine: RaftMachine
    private let transport = SilentTransport()

    private let loop = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
    private let check = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
    private let timer = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
    private let io = UnsafeMutablePointer<raft_io>.allocate(capacity: 1)
    private let raft = UnsafeMutablePointer<raft>.allocate(capacity: 1)
    /// How to undo what was opened, newest last. Each step only begins to close; the loop then drains.
    private var undo: [() -> Void] = []

    private var phase = Phase.running
    private var staged: [WaitingProposal] = []
    private var stagedNext = 0
    private var releasedCount = 0
    private var releasedBytes = 0

    private static let tickMilliseconds: UInt64 = 100
    private static let ticksToDrain = 20

    init(
        _ configuration: ReplicatedLogConfiguration, applier: any LogApplier, inbox: ProposalInbox, waker: Waker,
        status: StatusBoard
    ) {
        self.configuration = configuration
        self.inbox = inbox
        self.waker = waker
        self.status = status
        machine = RaftMachine(
            applier: applier,
            limits: RaftMachine.Limits(
                snapshotEntries: configuration.snapshotEntries, snapshotBytes: configuration.snapshotBytes,
                batchEntries: configuration.batchEntries, batchBytes: configuration.batchBytes))
        loop.initialize(to: uv_loop_t())
        check.initialize(to: uv_check_t())
        timer.initialize(to: uv_timer_t())
        io.initialize(to: raft_io())
        raft.initialize(to: CRaft.raft())
    }

    deinit {
        loop.deallocate()
        check.deallocate()
        timer.deallocate()
        io.deallocate()
        raft.deallocate()
    }

    /// The log thread's whole life.
    /// - Parameters:
    ///   - replayGate: lets a replay that waits for room go on.
    ///   - started: called once, when old entries are applied or the start failed.
    func run(replayGate: Gate, started: (Result<Void, ReplicatedLogError>) -> Void) {
        do throws(ReplicatedLogError) {
            try open(replayGate)
            started(.success(()))
            waker.wake()  // for what was proposed meanwhile
            uv_run(loop, UV_RUN_DEFAULT)
        } catch {
            close(.stopped)
            drain()
            started(.failure(error))
            return
        }
        drain()
    }

    // MARK: opening

    private func open(_ replayGate: Gate) throws(ReplicatedLogError) {
        guard uv_loop_init(loop) == 0 else { throw .resources("no event loop could be made") }
        undo.append {}
        try LogFolder.make(configuration.directory)
        try LogFolder.prepare(configuration.directory)
        try openRaft()
        try bootstrapIfNew()
        try check(uv_check_init(loop, check), "check handle")
        check.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        undo.append { [check] in Self.closeHandle(check) }
        try check(uv_timer_init(loop, timer), "timer")
        timer.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        undo.append { [timer] in Self.closeHandle(timer) }
        try check(waker.open(on: loop), "wake-up handle")
        undo.append { [waker] in waker.close() }
        try replay(replayGate)
        try check(
            uv_check_start(check) { handle in LogLoop.of(handle?.pointee.data)?.turn() }, "check handle")
        try check(
            uv_timer_start(
                timer, { handle in LogLoop.of(handle?.pointee.data)?.tick() }, Self.tickMilliseconds,
                Self.tickMilliseconds), "timer")
    }

    private static func of(_ data: UnsafeMutableRawPointer?) -> LogLoop? {
        data.map { Unmanaged<LogLoop>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func closeHandle<Handle>(_ handle: UnsafeMutablePointer<Handle>) {
        UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) { uv_close($0, nil) }
    }

    private func check(_ code: Int32, _ what: String) throws(ReplicatedLogError) {
        guard code == 0 else { throw .resources("\(what): \(String(cString: uv_strerror(code)))") }
    }

    private func openRaft() throws(ReplicatedLogError) {
        var code = raft_uv_init(io, loop, configuration.directory, transport.pointer)
        guard code == 0 else { throw LogFolder.error(configuration.directory, code, io) }
        // 0.15 offers asynchronous work but still announces version 1, with which `raft_init` refuses a `raft_fsm` of
        // version 3.
        if io.pointee.async_work != nil { io.pointee.version = 2 }
        raft_uv_set_segment_size(io, configuration.segmentBytes)
        _ = raft_uv_set_snapshot_compression(io, false)  // a reference is a few dozen bytes
        raft_uv_set_auto_recovery(io, false)  // it would rename damaged segments and go on without their entries
        code = raft_init(raft, io, machine.fsm, configuration.serverID, "\(configuration.serverID)")
        guard code == 0 else {
            let error = LogFolder.error(configuration.directory, code, io)
            raft_uv_close(io)
            throw error
        }
        undo.append { [raft] in raft_close(raft) { _ in } }
        machine.attach(raft)
        raft_set_snapshot_trailing(raft, UInt32(clamping: configuration.trailingEntries))
        // A lone voter elects itself at start and has nobody to send heartbeats to: this is libraft's timer, kept slow.
        raft_set_election_timeout(raft, 5_000)
        raft_set_heartbeat_timeout(raft, 1_000)
    }

    private func bootstrapIfNew() throws(ReplicatedLogError) {
        var members = raft_configuration()
        raft_configuration_init(&members)
        defer { raft_configuration_close(&members) }
        guard
            raft_configuration_add(&members, configuration.serverID, "\(configuration.serverID)", Int32(RAFT_VOTER))
                == 0
        else { throw .resources("no memory for the cluster's configuration") }
        var code = raft_bootstrap(raft, &members)
        if code == RAFT_CANTBOOTSTRAP {
            // Was started before. If that start died between its two files, the second one is missing.
            guard configuration.appliedIndex == .zero, LogFolder.isEmpty(configuration.directory) else { return }
            code = raft_recover(raft, &members)
        }
        guard code == 0 else { throw LogFolder.error(configuration.directory, code, io) }
    }

    /// A lone voter becomes leader inside `raft_start`, which also applies every entry it finds.
    private func replay(_ gate: Gate) throws(ReplicatedLogError) {
        let inbox = inbox
        machine.replay = Replay(gate: gate, isCancelled: { inbox.stopRequested })
        let code = raft_start(raft)
        machine.replay = nil
        // The last slice: what its commit brings to light must not wait for the first turn.
        machine.closeBatch()
        machine.noticeApplierFailure()
        if let failure = machine.failure { throw failure }
        if inbox.stopRequested { throw .stopped }
        guard code == 0 else {
            if let refusal = machine.snapshots.restoreError { throw .restore(refusal) }
            throw LogFolder.error(configuration.directory, code, io)
        }
        guard let reached = machine.status else { throw .stopped }
        guard reached.lastIndex >= configuration.appliedIndex else {
            throw .behindStore(last: reached.lastIndex, applied: configuration.appliedIndex)
        }
        guard reached.isLeader, reached.appliedIndex == reached.lastIndex else {
            throw .notVoter(serverID: configuration.serverID)
        }
        machine.noticeChanges()
        machine.finishTurn()
        status.publish(reached)
    }

    // MARK: turning

    /// Runs after each poll of the loop, so after every burst of applies.
    ///
    /// The next batch goes to the disk first and the applied one is closed second: the disk works while the applier
    /// commits and answers.
    private func turn() {
        machine.noticeChanges()
        let stop = takeIn()
        if let now = machine.status { status.publish(now) }
        machine.finishTurn()
        if machine.failure != nil { shutInbox(.io(machine.failure?.description ?? "")) }
        advanceStop(stop)
    }

    /// Looks into the inbox and gives libraft what it can take. Returns whether a stop was asked for.
    private func takeIn() -> Bool {
        while true {
            let intake = inbox.collect(
                into: &staged, releasedCount: releasedCount, releasedBytes: releasedBytes,
                turnIsDue: !machine.canSubmit)
            releasedCount = 0
            releasedBytes = 0
            // What a work sees must be what readers see: no batch is open meanwhile.
            if !intake.work.isEmpty { machine.closeBatch() }
            for work in intake.work { work() }
            guard case .running = phase, !staged.isEmpty else { return intake.stopRequested }
            while stagedNext < staged.count, machine.canSubmit, machine.applier.acceptsProposals {
                let taken = machine.submit(staged[stagedNext...])
                stagedNext += taken.count
                releasedCount += taken.count
                releasedBytes += taken.bytes
            }
            guard stagedNext == staged.count else { return intake.stopRequested }
            staged.removeAll(keepingCapacity: true)
            stagedNext = 0
            // With room for another call a proposal that comes now must wake the loop: look again, and say so.
            guard machine.canSubmit else { return intake.stopRequested }
        }
    }

    private func tick() {
        machine.tick(now: .now)
        if case .draining(let ticksLeft) = phase { phase = .draining(ticksLeft: ticksLeft - 1) }
    }

    // MARK: stopping

    private func shutInbox(_ reason: ProposalError) {
        let unsent = staged[stagedNext...] + inbox.close(reason)
        staged.removeAll()
        stagedNext = 0
        for proposal in unsent {
            free(proposal.stored.baseAddress)
            proposal.context.proposalFailed(reason)
        }
    }

    private func advanceStop(_ requested: Bool) {
        switch phase {
        case .running where requested:
            shutInbox(.stopped)
            phase = .draining(ticksLeft: Self.ticksToDrain)
            advanceStop(true)
        case .draining(let ticksLeft) where ticksLeft <= 0 || machine.callsInFlight == 0 || machine.failure != nil:
            close(.stopped)
        case .running, .draining, .closed:
            break
        }
    }

    /// Begins to close whatever is open; the loop runs on until all of it is closed.
    private func close(_ reason: ProposalError) {
        phase = .closed
        shutInbox(reason)
        if machine.raft != nil { machine.abandon(reason) }
        for step in undo.reversed() { step() }
        if machine.raft != nil { machine.abandon(reason) }
    }

    private func drain() {
        guard !undo.isEmpty else { return }
        uv_run(loop, UV_RUN_DEFAULT)
        if machine.raft != nil { raft_uv_close(io) }
        precondition(uv_loop_close(loop) == 0, "every handle of the loop is closed by now")
        undo.removeAll()
    }
}
