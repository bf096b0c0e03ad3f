/// Decides when a command that runs under a lease must end, and with what result. This module owns running one command:
/// starting it in a process group of its own, passing signals and the terminal on, and ending it before its lease does.
/// It must never let the command outlive the lease because a message was late, a timer slow or this process stopped;
/// and it knows nothing of servers: whoever calls it says until when the lease certainly lives, and when it is lost.
///
/// This type is the logic alone: event and time in, actions out; no clock, process or signal inside. `RunningCommand`
/// carries the actions out, and `CommandGuard` runs a second copy with half the margin in a process of its own.
///
/// A time line for a lease of 10 s, last renewed at 0, with a grace of 2.5 s and a margin of 0.2 s:
///
///       0 s                       7.3 s              9.8 s   10 s
///       renewed                   SIGTERM            SIGKILL deadline
///
public struct CommandSupervisor: Sendable {
    /// What happened.
    public enum Event: Sendable, Equatable {
        /// Time passed.
        case tick
        /// The lease certainly lives until then, unless it is revoked.
        case renewed(until: MonotonicInstant)
        /// The lock is gone, and why.
        case lost(String)
        /// Someone else has sent SIGTERM because the lock is lost: SIGKILL alone is left to do.
        case terminating
        /// This process received a signal that is meant for the command.
        case signal(Signal)
        /// The command was stopped by a signal; the terminal was its own or ours to give then, or not.
        case stopped(by: Signal, inForeground: Bool)
        /// This process was continued after it had been stopped.
        case continued
        /// The command ended; it is not reaped yet, so its process group's number is still its own.
        case ended(CommandEnd)
    }

    /// What to do about it, in the order given.
    public enum Action: Sendable, Equatable {
        /// Send a signal to the command's process group.
        case send(Signal)
        /// Stop this process too, for the shell that waits for it.
        case suspend
        /// Hand the terminal over if it is ours, and let the command go on.
        case resume
        /// It is over.
        case finish(CommandOutcome)
    }

    private enum State: Equatable {
        /// Exits: `terminating` (lost, or due), `killing` (lost or due with no time left), `finished` (it ended).
        case running
        /// SIGTERM was sent. Exits: `killing` (time is up), `finished`.
        case terminating(killAt: MonotonicInstant, reason: String)
        /// SIGKILL was sent. Exit: `finished`.
        case killing(reason: String)
        /// No exit.
        case finished
    }

    private let timing: LeaseTiming
    /// Only grows: a lease is never shortened by being renewed.
    private var deadline: MonotonicInstant
    private var state = State.running
    /// Whether the command may be stopped from the terminal.
    private let hasJobControl: Bool

    /// A command that has just been started.
    ///
    /// - Parameter deadline: until when the lease certainly lives.
    public init(timing: LeaseTiming, deadline: MonotonicInstant, hasJobControl: Bool) {
        self.timing = timing
        self.deadline = deadline
        self.hasJobControl = hasJobControl
    }

    /// When to send a `tick` at the latest; nil when only the command's end is waited for.
    public var wakeUp: MonotonicInstant? {
        switch state {
        case .running: terminateAt
        case .terminating(let killAt, _): killAt
        case .killing, .finished: nil
        }
    }

    /// Whether the command is being ended.
    public var isEnding: Bool {
        switch state {
        case .running, .finished: false
        case .terminating, .killing: true
        }
    }

    private var killAt: MonotonicInstant { deadline - timing.margin }
    private var terminateAt: MonotonicInstant { killAt - timing.grace }

    /// Takes an event and says what to do.
    public mutating func handle(_ event: Event, now: MonotonicInstant) -> [Action] {
        switch event {
        case .tick: tick(now)
        case .renewed(let until): renewed(until)
        case .lost(let reason): lost(reason, now)
        case .terminating: terminating(now)
        case .signal(let signal): pass(signal)
        case .stopped(let signal, let inForeground): stopped(by: signal, inForeground)
        case .continued: state == .finished ? [] : [.resume]
        case .ended(let end): ended(end, now)
        }
    }

    private mutating func tick(_ now: MonotonicInstant) -> [Action] {
        switch state {
        case .running: now < terminateAt ? [] : terminate(LeaseTiming.notRenewed, killAt: killAt, now)
        case .terminating(let killAt, let reason): now < killAt ? [] : kill(reason)
        case .killing, .finished: []
        }
    }

    private mutating func renewed(_ until: MonotonicInstant) -> [Action] {
        deadline = max(deadline, until)
        return []
    }

    private mutating func lost(_ reason: String, _ now: MonotonicInstant) -> [Action] {
        switch state {
        case .running: terminate(reason, killAt: min(now + timing.grace, killAt), now)
        case .terminating, .killing, .finished: []
        }
    }

    private mutating func terminating(_ now: MonotonicInstant) -> [Action] {
        guard state == .running else { return [] }
        state = .terminating(killAt: min(now + timing.grace + timing.margin, killAt), reason: LeaseTiming.notRenewed)
        return []
    }

    /// SIGCONT goes along: a stopped command would not see SIGTERM.
    private mutating func terminate(
        _ reason: String, killAt: MonotonicInstant, _ now: MonotonicInstant
    ) -> [Action] {
        guard now < killAt else { return kill(reason) }
        state = .terminating(killAt: killAt, reason: reason)
        return [.send(.terminate), .send(.continue)]
    }

    private mutating func kill(_ reason: String) -> [Action] {
        state = .killing(reason: reason)
        return [.send(.kill)]
    }

    private func pass(_ signal: Signal) -> [Action] {
        switch state {
        case .running, .terminating: [.send(signal)]
        case .killing, .finished: []
        }
    }

    /// A stop from the terminal stops this process too, or the shell would go on waiting for it. A plain SIGSTOP is
    /// somebody's wish for the command alone: the lease is renewed meanwhile. And a command that used the terminal just
    /// before that was handed over goes on.
    private func stopped(by signal: Signal, _ inForeground: Bool) -> [Action] {
        switch state {
        case .running where !hasJobControl || !signal.isFromTerminal: []
        case .running: inForeground && signal.isForWantOfForeground ? [.resume] : [.suspend]
        case .terminating: [.send(.continue)]
        case .killing, .finished: []
        }
    }

    /// What the command left behind in its group must not outlive the lock either once that is lost.
    private mutating func ended(_ end: CommandEnd, _ now: MonotonicInstant) -> [Action] {
        defer { state = .finished }
        switch state {
        // Nobody looked in time: whether it ended by itself, or by the guard, the lock was not surely held any more.
        case .running where now >= terminateAt:
            return [.send(.kill), .finish(.lost(reason: LeaseTiming.notRenewed, end))]
        case .running: return [.finish(.ended(end))]
        case .terminating(_, let reason), .killing(let reason):
            return [.send(.kill), .finish(.lost(reason: reason, end))]
        case .finished: return []
        }
    }
}
