// `environ` is a plain C variable: read here, and written by nothing in this program.
@preconcurrency import Glibc

/// A process started from here, in a process group that is not this process's.
///
/// By posix_spawn and not by swift-subprocess: that one tells only of a process's end, and a command under a terminal
/// must also be seen to stop (Ctrl-Z), and its process group must be signalled between its end and its being reaped.
///
/// `wait` blocks its thread and may be called by one thread alone; everything else may be called from anywhere.
public struct ChildProcess: Sendable, Hashable {
    /// Its number.
    public let id: Int32
    /// Its process group's.
    public let group: Int32

    /// A change of its state.
    public enum Change: Sendable, Hashable {
        /// Stopped by a signal.
        case stopped(Signal)
        /// Ended, and not reaped yet.
        case ended(CommandEnd)
    }

    /// Where a standard stream of the process comes from or goes to.
    public enum Stream: Sendable, Hashable {
        /// Where this process's does.
        case inherited
        /// Nowhere.
        case null
        /// An open descriptor of this process.
        case descriptor(Int32)
    }

    /// Why it did not start.
    public struct StartFailure: Error, Sendable, Hashable, CustomStringConvertible {
        /// The command.
        public var command: String
        /// The system's number for the reason.
        public var code: Int32

        /// A failure as the system told it.
        public init(command: String, code: Int32) {
            self.command = command
            self.code = code
        }

        /// 127 for a command that does not exist, 126 for one that cannot be run, as shells have it.
        public var status: Int32 { code == ENOENT ? ExitStatus.notFound : ExitStatus.cannotRun }

        /// One line.
        public var description: String { "cannot run \(command): \(String(cString: strerror(code)))" }
    }

    /// Starts a program, found by `PATH` unless its name has a slash.
    ///
    /// - Parameters:
    ///   - arguments: its name and arguments; not empty.
    ///   - program: the program, when it is not the name.
    ///   - group: the process group to join; nil makes it the leader of its own.
    ///   - blocked: signals it cannot receive.
    ///   - variables: set in its environment, which is this process's else.
    public static func start(
        _ arguments: [String], program: String? = nil, group: Int32? = nil, blocked: [Signal] = [],
        variables: [String: String] = [:], input: Stream = .inherited, output: Stream = .inherited,
        errors: Stream = .inherited
    ) throws(StartFailure) -> ChildProcess {
        guard let program = program ?? arguments.first else { throw StartFailure(command: "nothing", code: EINVAL) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (stream, descriptor) in [(input, STDIN_FILENO), (output, STDOUT_FILENO), (errors, STDERR_FILENO)] {
            switch stream {
            case .inherited: break
            case .null:
                let mode = descriptor == STDIN_FILENO ? O_RDONLY : O_WRONLY
                posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", mode, 0)
            case .descriptor(let source): posix_spawn_file_actions_adddup2(&actions, source, descriptor)
            }
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setpgroup(&attributes, group ?? 0)
        var mask = sigset_t()
        sigemptyset(&mask)
        for signal in blocked { sigaddset(&mask, signal.number) }
        posix_spawnattr_setsigmask(&attributes, &mask)
        // What was ignored before this program began stays ignored, as nohup wants it; what it ignores for itself not.
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for signal in InitialSignals.notIgnored { sigaddset(&defaults, signal) }
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        // Copies of what is new; everything else of the environment is handed on byte for byte.
        let words = arguments.map { strdup($0) }
        let lines = variables.map { strdup("\($0)=\($1)") }
        defer { for copy in words + lines { free(copy) } }
        Descriptors.keepOwn()
        var id: pid_t = 0
        let code = posix_spawnp(
            &id, program, &actions, &attributes, words + [nil], inherited(without: variables) + lines + [nil])
        guard code == 0 else { throw StartFailure(command: program, code: code) }
        return ChildProcess(id: id, group: group ?? id)
    }

    /// Sends a signal to its whole process group; nothing when that is gone.
    public func send(_ signal: Signal) { _ = kill(-group, signal.number) }

    /// Sends a signal to it alone.
    public func sendAlone(_ signal: Signal) { _ = kill(id, signal.number) }

    /// Waits until it stops or ends. Between an end and `reap` its number stays taken, so `send` cannot hit another's
    /// group.
    public func wait() -> Change {
        while true {
            var info = siginfo_t()
            guard waitid(P_PID, id_t(id), &info, WEXITED | WSTOPPED | WNOWAIT) == 0 else {
                if errno == EINTR { continue }
                // Only if somebody else reaped it, which nobody does.
                return .ended(.exited(ExitStatus.failed))
            }
            let detail = info._sifields._sigchld.si_status
            switch info.si_code {
            case Int32(CLD_EXITED): return .ended(.exited(detail))
            case Int32(CLD_KILLED), Int32(CLD_DUMPED): return .ended(.killed(Signal(detail)))
            default:
                // Taken off, so that the next wait does not find the same stop again; never an end, which is `reap`'s.
                var taken = siginfo_t()
                waitid(P_PID, id_t(id), &taken, WSTOPPED | WNOHANG)
                return .stopped(Signal(detail))
            }
        }
    }

    /// Lets its number go; blocks until it has ended.
    public func reap() {
        var status: Int32 = 0
        while waitpid(id, &status, 0) < 0, errno == EINTR {}
    }

    private static func inherited(without variables: [String: String]) -> [UnsafeMutablePointer<CChar>?] {
        var lines: [UnsafeMutablePointer<CChar>?] = []
        var next = environ
        while let line = next.pointee {
            let name = String(cString: line).prefix { $0 != "=" }
            if variables[String(name)] == nil { lines.append(line) }
            next += 1
        }
        return lines
    }
}
