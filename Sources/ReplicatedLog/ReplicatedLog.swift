internal import CRaft
internal import Glibc
internal import Synchronization

/// The replicated log: libraft on its libuv loop in one dedicated thread, behind a Swift face.
///
/// It owns that thread, the log's folder and every libraft object; it orders proposals, makes them durable and hands
/// them to the applier as ordered batches. It must never look into an entry, answer a client, or truncate what the
/// applier has not made durable. No libraft call is made outside of this module or off this thread.
///
/// Isolation: every method from any thread but the log thread itself, where the applier runs.
public final class ReplicatedLog: Sendable {
    private enum Life {
        case idle(LogLoopBox)
        case started(thread: pthread_t)
        case ended
    }

    private let inbox: ProposalInbox
    private let waker = Waker()
    private let board = StatusBoard()
    private let replayGate = Gate()
    private let isReplaying = Atomic<Bool>(true)
    private let life: Mutex<Life>
    private let problem: String?
    /// What was written, in what batches, in what time; any thread.
    public let measures = LogMeasures()

    /// Makes a log that is not running yet; proposals made before ``start()`` wait.
    public init(_ configuration: ReplicatedLogConfiguration, applier: any LogApplier) {
        problem = configuration.problem
        inbox = ProposalInbox(configuration)
        let loop =
            problem == nil
            ? LogLoop(
                configuration, applier: applier, inbox: inbox, waker: waker, status: board,
                measures: measures) : nil
        life = Mutex(.idle(LogLoopBox(loop)))
    }

    deinit { stop() }

    /// Looks over the folder, replays every entry above the configuration's `appliedIndex` into the applier and begins to
    /// take proposals. Damage is refused before anything on disk is touched.
    ///
    /// Blocks until this member leads and all old entries are applied. On an error everything is closed again, and the
    /// log stays stopped.
    public func start() throws(ReplicatedLogError) {
        if let problem { throw .configuration(problem) }
        let outcome = StartOutcome()
        let startProblem = life.withLock { life -> ReplicatedLogError? in
            guard case .idle(let box) = life, let loop = box.take() else { return .stopped }
            let work = ThreadStart(loop: loop, gate: replayGate, outcome: outcome)
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { argument in
                    guard let argument else { return nil }
                    Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue().run()
                    return nil
                }, Unmanaged.passRetained(work).toOpaque())
            guard code == 0 else {
                life = .ended
                return .resources("no thread for the log: \(String(cString: strerror(code)))")
            }
            life = .started(thread: thread)
            return nil
        }
        if let startProblem { throw startProblem }
        let result = outcome.wait()
        isReplaying.store(false, ordering: .releasing)
        if case .failure(let error) = result {
            join()
            throw error
        }
    }

    /// Hands one entry to the log; consumes it. The context is answered exactly once, by ``LogApplier/apply(_:index:term:context:)``
    /// or by ``ProposalContext/proposalFailed(_:)``, unless the process ends first.
    ///
    /// Entries of one thread are committed in the order they were proposed.
    public func propose(_ entry: consuming ProposalBuffer, context: any ProposalContext) {
        switch inbox.add(entry, context: context) {
        case .accepted(mustWake: true): waker.wake()
        case .accepted: break
        case .refused(let error): context.proposalFailed(error)
        }
    }

    /// Runs a turn of the log thread: for when ``LogApplier/acceptsProposals`` may have become true. Cheap when repeated.
    public func wake() {
        if isReplaying.load(ordering: .acquiring) { replayGate.open() }
        waker.wake()
    }

    /// Runs `work` on the log thread in its next turn, before proposals of that turn are handed over. Works in the order given by
    /// one thread run in that order. After `stop()` began it may be dropped.
    /// - Returns: false when it was dropped at once.
    @discardableResult
    public func execute(_ work: @escaping @Sendable () -> Void) -> Bool {
        guard inbox.add(work: work) else { return false }
        waker.wake()
        return true
    }

    /// Where the log stands; any thread, without waiting.
    public var status: LogStatus { board.current }

    /// Proposals that wait to enter the log; any thread.
    public var waitingProposals: Int { inbox.heldProposals }
    /// How the log was opened last; nil before ``start()`` has returned.
    public var replay: ReplayReport? { board.replay }

    /// Stops in order: proposals still waiting fail with `.stopped`, those on their way to the disk are let finish for up to two
    /// seconds, then everything is closed and the thread has ended. Repeatable, and right in any state.
    public func stop() {
        inbox.requestStop()
        for proposal in inbox.close(.stopped) {
            free(proposal.stored.baseAddress)
            proposal.context.proposalFailed(.stopped)
        }
        replayGate.open()
        waker.wake()
        join()
    }

    private func join() {
        life.withLock { life in
            if case .started(let thread) = life {
                precondition(pthread_equal(thread, pthread_self()) == 0, "the log thread cannot stop itself")
                pthread_join(thread, nil)
            }
            life = .ended
        }
    }
}

/// Carries the loop from its maker to its thread.
private final class LogLoopBox: @unchecked Sendable {
    // @unchecked: taken once under the log's lock, and used by the log thread alone from then on.
    private var loop: LogLoop?

    init(_ loop: LogLoop?) { self.loop = loop }

    func take() -> LogLoop? {
        defer { loop = nil }
        return loop
    }
}

private final class StartOutcome: Sendable {
    private let result = Mutex<Result<Void, ReplicatedLogError>?>(nil)
    private let gate = Gate()

    func set(_ value: Result<Void, ReplicatedLogError>) {
        result.withLock { $0 = value }
        gate.open()
    }

    func wait() -> Result<Void, ReplicatedLogError> {
        gate.wait()
        return result.withLock { $0 } ?? .failure(.stopped)
    }
}

private final class ThreadStart: @unchecked Sendable {
    // @unchecked: made by `start`, then the log thread's alone.
    private let loop: LogLoop
    private let gate: Gate
    private let outcome: StartOutcome

    init(loop: LogLoop, gate: Gate, outcome: StartOutcome) {
        self.loop = loop
        self.gate = gate
        self.outcome = outcome
    }

    /// What `top -H` shows. Only a help for operators, so a failure is of no interest.
    private func nameThread(_ name: String) {
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = write(file, name, name.utf8.count)
        close(file)
    }

    func run() {
        nameThread("berth-log")
        loop.run(replayGate: gate) { outcome.set($0) }
    }
}
