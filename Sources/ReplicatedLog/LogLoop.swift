internal import CRaft
internal import CRaftHost
internal import Glibc
internal import Vocabulary

/// The life of the log thread: opens libraft on a libuv loop, turns until it is told to stop, opens libraft anew when its disk
/// failed, closes everything again.
///
/// Owns every libuv and libraft object but the waker's handle. Isolation: made by the starter, then used by the log
/// thread alone until that thread has ended.
final class LogLoop {
    enum Phase {
        case running
        /// The disk failed: libraft closes or is closed, and is opened anew when the time has come.
        case suspended(Suspension)
        /// Nothing goes any more, but works and ticks, until it is told to stop.
        case failed
        /// No new proposals; what libraft has is let finish for so many ticks.
        case draining(ticksLeft: Int)
        case closed
    }

    let configuration: ReplicatedLogConfiguration
    let inbox: ProposalInbox
    let waker: Waker
    let status: StatusBoard
    let machine: RaftMachine
    let transport = SilentTransport()

    let loop = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
    private let check = UnsafeMutablePointer<uv_check_t>.allocate(capacity: 1)
    private let timer = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
    let io = UnsafeMutablePointer<raft_io>.allocate(capacity: 1)
    let raft = UnsafeMutablePointer<raft>.allocate(capacity: 1)
    var raftLife = RaftLife.none
    /// How to undo what was opened, newest last. Each step only begins to close; the loop then drains.
    private var undo: [() -> Void] = []

    var phase = Phase.running
    private var staged: [WaitingProposal] = []
    private var stagedNext = 0
    private var releasedCount = 0
    private var releasedBytes = 0
    /// Lets a replay that waits for room go on.
    private(set) var replayGate = Gate()

    private static let tickMilliseconds: UInt64 = 100
    private static let ticksToDrain = 20

    init(
        _ configuration: ReplicatedLogConfiguration, applier: any LogApplier, inbox: ProposalInbox, waker: Waker,
        status: StatusBoard, measures: LogMeasures
    ) {
        self.configuration = configuration
        self.inbox = inbox
        self.waker = waker
        self.status = status
        machine = RaftMachine(
            applier: applier,
            limits: RaftMachine.Limits(
                snapshotEntries: configuration.snapshotEntries, snapshotBytes: configuration.snapshotBytes,
                batchEntries: configuration.batchEntries, batchBytes: configuration.batchBytes),
            measures: measures)
        machine.appliedThrough = configuration.appliedIndex.value
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
        self.replayGate = replayGate
        raft_host_sees_listing_errors(true)
        do throws(ReplicatedLogError) {
            try open()
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

    private func open() throws(ReplicatedLogError) {
        guard uv_loop_init(loop) == 0 else { throw .resources("no event loop could be made") }
        undo.append {}
        try check(uv_check_init(loop, check), "check handle")
        check.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        undo.append { [check] in Self.closeHandle(check) }
        try check(uv_timer_init(loop, timer), "timer")
        timer.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        undo.append { [timer] in Self.closeHandle(timer) }
        try check(waker.open(on: loop), "wake-up handle")
        undo.append { [waker] in waker.close() }
        try openLog(.start)
        try check(
            uv_check_start(check) { handle in LogLoop.of(handle?.pointee.data)?.turn() }, "check handle")
        try check(
            uv_timer_start(
                timer, { handle in LogLoop.of(handle?.pointee.data)?.tick() }, Self.tickMilliseconds,
                Self.tickMilliseconds), "timer")
    }

    static func of(_ data: UnsafeMutableRawPointer?) -> LogLoop? {
        data.map { Unmanaged<LogLoop>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func closeHandle<Handle>(_ handle: UnsafeMutablePointer<Handle>) {
        UnsafeMutableRawPointer(handle).withMemoryRebound(to: uv_handle_t.self, capacity: 1) { uv_close($0, nil) }
    }

    private func check(_ code: Int32, _ what: String) throws(ReplicatedLogError) {
        guard code == 0 else { throw .resources("\(what): \(String(cString: uv_strerror(code)))") }
    }

    /// The handles that stay open while libraft comes and goes.
    var ownHandles: [UnsafeRawPointer] { [UnsafeRawPointer(check), UnsafeRawPointer(timer), waker.address] }

    // MARK: turning

    /// Runs after each poll of the loop, so after every burst of applies.
    ///
    /// The next batch goes to the disk first and the applied one is closed second: the disk works while the applier
    /// commits and answers.
    private func turn() {
        if machine.isAttached, raftLife == .open { machine.noticeChanges() }
        let stop = takeIn()
        switch phase {
        case .running, .draining:
            if let now = machine.status { status.publish(now) }
            machine.finishTurn()
            if let failure = machine.failure { failed(failure) }
        case .suspended: goOnSuspended(stop)
        case .failed, .closed: break
        }
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
            if !machine.applier.acceptsProposals, let text = machine.applier.refusal {
                refuse([], .refused(text))
                continue
            }
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
        switch phase {
        case .draining(let ticksLeft): phase = .draining(ticksLeft: ticksLeft - 1)
        case .suspended(var suspension):
            suspension.ticksLeft -= 1
            phase = .suspended(suspension)
        case .running, .failed, .closed: break
        }
    }

    // MARK: stopping

    /// Fails what is staged and what has been taken from the inbox: none of it was given to libraft.
    func refuse(_ waiting: [WaitingProposal], _ reason: ProposalError) {
        let unsent = staged[stagedNext...]
        releasedCount += unsent.count
        for proposal in unsent { releasedBytes += proposal.stored.count }
        let all = unsent + waiting
        staged.removeAll()
        stagedNext = 0
        for proposal in all {
            free(proposal.stored.baseAddress)
            proposal.context.proposalFailed(reason)
        }
    }

    func shutInbox(_ reason: ProposalError) { refuse(inbox.close(reason), reason) }

    private func advanceStop(_ requested: Bool) {
        switch phase {
        case .running where requested:
            shutInbox(.stopped)
            phase = .draining(ticksLeft: Self.ticksToDrain)
            advanceStop(true)
        case .suspended where requested, .failed where requested: close(.stopped)
        case .draining(let ticksLeft) where ticksLeft <= 0 || machine.callsInFlight == 0 || machine.failure != nil:
            close(.stopped)
        case .running, .suspended, .failed, .draining, .closed:
            break
        }
    }

    /// Begins to close whatever is open; the loop runs on until all of it is closed.
    private func close(_ reason: ProposalError) {
        phase = .closed
        shutInbox(reason)
        status.publishClosed()
        if machine.isAttached { machine.abandon(reason) }
        for step in undo.reversed() { step() }
        beginClosingRaft()
        if machine.isAttached { machine.abandon(reason) }
    }

    private func drain() {
        guard !undo.isEmpty else { return }
        uv_run(loop, UV_RUN_DEFAULT)
        finishClosingRaft()
        precondition(uv_loop_close(loop) == 0, "every handle of the loop is closed by now")
        undo.removeAll()
    }
}
