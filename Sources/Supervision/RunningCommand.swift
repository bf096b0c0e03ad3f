import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// Runs a command under a lease: carries out what `CommandSupervisor` decides.
public struct RunningCommand: Sendable {
    /// What a command lives by.
    public struct Lease: Sendable {
        /// How it ends in time.
        public var timing: LeaseTiming
        /// How long the lease certainly lives, asked often; zero once it ended.
        public var remaining: @Sendable () -> Duration
        /// Waits until the lock is lost and says why; nil when the waiting task was cancelled first.
        public var lost: @Sendable () async -> String?

        /// Puts the three together.
        public init(
            timing: LeaseTiming, remaining: @escaping @Sendable () -> Duration,
            lost: @escaping @Sendable () async -> String?
        ) {
            self.timing = timing
            self.remaining = remaining
            self.lost = lost
        }
    }

    /// Longest time between two looks at the lease.
    private static let pulse = Duration.milliseconds(250)

    private let process: ChildProcess
    private let lease: Lease
    private let terminal: Terminal?
    private let guardian: GuardLink?

    /// Starts the command and runs it to its end. Cancelling the task does nothing: signals end a command.
    ///
    /// - Parameters:
    ///   - guardProgram: this program as a guard, see `CommandGuard`; nil runs without one.
    ///   - report: told in one line why the command is being ended, when it is.
    public static func run(
        _ arguments: [String], variables: [String: String], lease: Lease, signals: SignalRouter,
        guardProgram: GuardProgram?, report: @escaping @Sendable (String) -> Void
    ) async throws(ChildProcess.StartFailure) -> CommandOutcome {
        let terminal = Terminal()
        defer { terminal?.close() }
        let isForeground = terminal?.isOurs ?? false
        let guardian = guardProgram.flatMap {
            GuardLink($0, timing: lease.timing, deadline: .now + lease.remaining())
        }
        defer { guardian?.dismiss() }
        let process = try ChildProcess.start(arguments, group: guardian?.process.group, variables: variables)
        if isForeground { terminal?.give(to: process.group) }
        let running = RunningCommand(process: process, lease: lease, terminal: terminal, guardian: guardian)
        let outcome = await running.supervise(signals, report: report)
        terminal?.takeBack(from: process.group)
        process.reap()
        return outcome
    }

    private func supervise(_ signals: SignalRouter, report: @Sendable (String) -> Void) async -> CommandOutcome {
        // Bounded by what can happen: one stop at a time, one end, and signals, which the kernel keeps once per kind.
        let (events, feed) = AsyncStream.makeStream(of: CommandSupervisor.Event.self)
        signals.route { feed.yield($0 == .continue ? .continued : .signal($0)) }
        defer { signals.route(to: nil) }
        let lost = lease.lost
        let watcher = Task { if let reason = await lost() { feed.yield(.lost(reason)) } }
        defer { watcher.cancel() }
        let timer = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "supervision"))
        timer.setEventHandler { feed.yield(.tick) }
        timer.schedule(deadline: .now())
        timer.activate()
        defer { timer.cancel() }
        waitInBackground(feed)

        let start = MonotonicInstant.now
        var machine = CommandSupervisor(
            timing: lease.timing, deadline: start + lease.remaining(), hasJobControl: terminal != nil)
        for await event in events {
            renew(&machine)
            let now = MonotonicInstant.now
            let wasEnding = machine.isEnding
            for action in machine.handle(event, now: now) {
                if let outcome = perform(action) { return outcome }
            }
            if machine.isEnding, !wasEnding {
                guardian?.tellEnding()
                report(Self.reason(of: event))
            }
            let pause = machine.wakeUp.map { min(Self.pulse, max(.zero, $0 - .now)) } ?? Self.pulse
            timer.schedule(deadline: .now() + .nanoseconds(Int(pause / .nanoseconds(1))), leeway: .milliseconds(1))
        }
        preconditionFailure("the stream of events ends with the command only")
    }

    /// A lease that ended keeps its old deadline: its command had been promised no more.
    private func renew(_ machine: inout CommandSupervisor) {
        let asked = MonotonicInstant.now
        let remaining = lease.remaining()
        guard remaining > .zero else { return }
        _ = machine.handle(.renewed(until: asked + remaining), now: asked)
        guardian?.tell(deadline: asked + remaining)
    }

    private func perform(_ action: CommandSupervisor.Action) -> CommandOutcome? {
        switch action {
        case .send(let signal): process.send(signal)
        case .suspend:
            terminal?.takeBack(from: process.group)
            // The whole job, as the terminal would have done it.
            _ = kill(0, SIGTSTP)
        case .resume:
            if let terminal, terminal.isOurs { terminal.give(to: process.group) }
            process.send(.continue)
        case .finish(let outcome): return outcome
        }
        return nil
    }

    private func waitInBackground(_ feed: AsyncStream<CommandSupervisor.Event>.Continuation) {
        let process = process
        let terminal = terminal
        // A thread of its own: it blocks as long as the command lives.
        DispatchQueue(label: "waiting for the command").async {
            while true {
                switch process.wait() {
                case .stopped(let signal):
                    let inForeground = terminal?.isAvailable(to: process.group) ?? false
                    feed.yield(.stopped(by: signal, inForeground: inForeground))
                case .ended(let end):
                    feed.yield(.ended(end))
                    return
                }
            }
        }
    }

    private static func reason(of event: CommandSupervisor.Event) -> String {
        if case .lost(let reason) = event { reason } else { LeaseTiming.notRenewed }
    }
}
