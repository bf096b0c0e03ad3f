import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// The second pair of eyes on a command under a lease: a process of its own, which leads the command's process group.
///
/// `berth` can be stopped or killed while its command runs on, and nobody renews the lease then. The guard reads from
/// its standard input how long the lease lives. It ends the command before that time when no better news came, and at
/// once, with the usual grace, when the other end of the line is gone. It does nothing else; its supervisor kills it when
/// the command has ended.
///
/// It leads the group, and is there first, so that no moment exists in which the command runs unguarded, and so that the
/// group's number cannot pass to anyone else while the guard may still use it.
public enum CommandGuard {
    /// What is said to it, one line each.
    public enum Message: Sendable, Hashable {
        /// The lease lives until then.
        case deadline(MonotonicInstant)
        /// SIGTERM was sent already.
        case ending

        /// The line, without its end.
        public var line: String {
            switch self {
            case .deadline(let instant): "until \(Int64(instant.sinceBoot / .nanoseconds(1)))"
            case .ending: "ending"
            }
        }

        /// Reads a line; nil for one that nobody here writes.
        public init?(_ line: some StringProtocol) {
            let words = line.split(separator: " ")
            switch (words.first, words.count) {
            case ("until", 2):
                guard let nanoseconds = Int64(words[1]) else { return nil }
                self = .deadline(MonotonicInstant(sinceBoot: .nanoseconds(nanoseconds)))
            case ("ending", 1): self = .ending
            default: return nil
            }
        }
    }

    /// What a terminal or a person sends to the command's group, the guard in it included.
    static let ignored = Signal.passedOn + [SIGTSTP, SIGTTIN, SIGTTOU].map { Signal($0) }

    /// Makes this process deaf to what is meant for the command. The first thing a guard does: it is started with these
    /// signals blocked, but Swift's runtime lets the main thread receive them.
    public static func ignoreSignals() {
        for signal in ignored { _ = Glibc.signal(signal.number, SIG_IGN) }
    }

    /// Guards the process group of the calling process, which has no other business. Blocks.
    ///
    /// - Parameter arguments: as `GuardLink` makes them.
    /// - Returns: false for arguments nobody here makes.
    public static func run(_ arguments: [String]) -> Bool {
        let numbers = arguments.compactMap { Int64($0) }
        // It kills its group in the end: that must not be the group of whoever typed this.
        guard numbers.count == 3, arguments.count == 3, getpgrp() == getpid() else { return false }
        var timing = LeaseTiming(timeToLive: .zero)
        timing.grace = .milliseconds(numbers[0])
        timing.margin = .milliseconds(numbers[1])
        run(timing, deadline: MonotonicInstant(sinceBoot: .nanoseconds(numbers[2])))
        return true
    }

    static func arguments(timing: LeaseTiming, deadline: MonotonicInstant) -> [String] {
        [timing.grace / .milliseconds(1), timing.margin / .milliseconds(1), deadline.sinceBoot / .nanoseconds(1)]
            .map { "\(Int64($0))" }
    }

    private static func run(_ timing: LeaseTiming, deadline: MonotonicInstant) {
        var machine = CommandSupervisor(timing: timing.forGuard, deadline: deadline, hasJobControl: false)
        var reader = LineReader(descriptor: STDIN_FILENO)
        // Without a wake-up SIGKILL was sent, to this process as well.
        while let wakeUp = machine.wakeUp {
            let wasAlone = reader.isAtEnd
            for line in reader.read(within: max(.zero, wakeUp - .now)) {
                switch Message(line) {
                case .deadline(let instant): _ = machine.handle(.renewed(until: instant), now: .now)
                case .ending: _ = machine.handle(.terminating, now: .now)
                case nil: break
                }
            }
            if reader.isAtEnd, !wasAlone { perform(machine.handle(.lost("berth is gone"), now: .now)) }
            perform(machine.handle(.tick, now: .now))
        }
    }

    private static func perform(_ actions: [CommandSupervisor.Action]) {
        for case .send(let signal) in actions { _ = kill(0, signal.number) }
    }

    /// Reads lines from a descriptor, for no longer than asked.
    private struct LineReader {
        let descriptor: Int32
        var rest: [UInt8] = []
        var isAtEnd = false

        mutating func read(within time: Duration) -> [String] {
            guard !isAtEnd else {
                _ = poll(nil, 0, milliseconds(time))
                return []
            }
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wanted, 1, milliseconds(time)) > 0 else { return [] }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else {
                isAtEnd = count == 0 || errno != EINTR
                return []
            }
            rest += buffer.prefix(count)
            var lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            rest = Array(lines.removeLast())
            return lines.map { String(decoding: $0, as: UTF8.self) }
        }

        /// Rounded up, so that a wait does not end just before its time.
        private func milliseconds(_ time: Duration) -> Int32 {
            Int32(clamping: Int64((time + .nanoseconds(999_999)) / .milliseconds(1)))
        }
    }
}

/// What to start as a guard.
public struct GuardProgram: Sendable, Hashable {
    /// The program's file.
    public var path: String
    /// Its name, and what makes it call `CommandGuard.run` with the arguments behind.
    public var arguments: [String]

    /// A program with its first arguments.
    public init(path: String, arguments: [String]) {
        self.path = path
        self.arguments = arguments
    }
}

/// The supervisor's end of the line to its guard.
final class GuardLink: Sendable {
    /// The guard; its group is the command's too.
    let process: ChildProcess
    private let descriptor: Int32
    private let lastDeadline = Mutex<MonotonicInstant?>(nil)

    /// Starts a guard; nil when it cannot be had, and the supervisor does without.
    init?(_ program: GuardProgram, timing: LeaseTiming, deadline: MonotonicInstant) {
        var ends: [Int32] = [-1, -1]
        // A socket and not a pipe: writing to a guard that is gone must not end this process by SIGPIPE.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            return nil
        }
        defer { close(ends[1]) }
        let task = CommandGuard.arguments(timing: timing, deadline: deadline)
        do throws(ChildProcess.StartFailure) {
            process = try ChildProcess.start(
                program.arguments + task, program: program.path, blocked: CommandGuard.ignored,
                input: .descriptor(ends[1]),
                output: .null,
                errors: .null)
        } catch {
            close(ends[0])
            return nil
        }
        descriptor = ends[0]
    }

    func tell(deadline: MonotonicInstant) {
        // A lease is renewed every few seconds and asked much oftener.
        let isNews = lastDeadline.withLock { last in
            if let last, deadline - last < .milliseconds(20) { return false }
            last = deadline
            return true
        }
        if isNews { send(.deadline(deadline)) }
    }

    func tellEnding() { send(.ending) }

    /// Ends the guard. It has nothing to tidy up, and might be stopped.
    func dismiss() {
        process.sendAlone(.kill)
        process.reap()
        close(descriptor)
    }

    private func send(_ message: CommandGuard.Message) {
        let line = Array((message.line + "\n").utf8)
        // A guard that does not read for long enough to fill the socket is stopped: nothing to be done about it.
        _ = Glibc.send(descriptor, line, line.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    }
}
