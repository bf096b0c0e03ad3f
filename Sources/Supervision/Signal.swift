#if canImport(Glibc)
    import Glibc
#endif

/// A Unix signal.
public struct Signal: Sendable, Hashable {
    /// Its number.
    public let number: Int32

    /// A signal by its number.
    public init(_ number: Int32) { self.number = number }

    /// SIGTERM.
    public static let terminate = Signal(SIGTERM)
    /// SIGKILL.
    public static let kill = Signal(SIGKILL)
    /// SIGCONT.
    public static let `continue` = Signal(SIGCONT)
    /// SIGSTOP.
    public static let stop = Signal(SIGSTOP)
    /// SIGINT.
    public static let interrupt = Signal(SIGINT)

    /// Those passed on to a command.
    public static let passedOn = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2].map(Signal.init)

    /// Those by which somebody asks this process to end.
    public var asksToEnd: Bool { [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(number) }

    /// Sent by a terminal to a group that uses it from the background.
    var isForWantOfForeground: Bool { [SIGTTIN, SIGTTOU].contains(number) }

    /// Sent by a terminal: Ctrl-Z, or reading and writing from the background.
    var isFromTerminal: Bool { [SIGTSTP, SIGTTIN, SIGTTOU].contains(number) }
}

extension Signal: CustomStringConvertible {
    /// `SIGTERM` and the like.
    public var description: String {
        switch number {
        case SIGHUP: "SIGHUP"
        case SIGINT: "SIGINT"
        case SIGQUIT: "SIGQUIT"
        case SIGABRT: "SIGABRT"
        case SIGKILL: "SIGKILL"
        case SIGUSR1: "SIGUSR1"
        case SIGUSR2: "SIGUSR2"
        case SIGSEGV: "SIGSEGV"
        case SIGPIPE: "SIGPIPE"
        case SIGTERM: "SIGTERM"
        case SIGCONT: "SIGCONT"
        case SIGSTOP: "SIGSTOP"
        case SIGTSTP: "SIGTSTP"
        default: "signal \(number)"
        }
    }
}
