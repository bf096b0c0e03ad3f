/// How a process ended.
public enum CommandEnd: Sendable, Hashable {
    /// By itself, with a status.
    case exited(Int32)
    /// By a signal.
    case killed(Signal)

    /// As a shell tells it: the status, or 128 and the signal's number.
    public var status: Int32 {
        switch self {
        case .exited(let status): status
        case .killed(let signal): 128 + signal.number
        }
    }
}

extension CommandEnd: CustomStringConvertible {
    /// In words, to stand behind "the command".
    public var description: String {
        switch self {
        case .exited(let status): "ended with status \(status)"
        case .killed(let signal): "was ended by \(signal)"
        }
    }
}

/// What came of running a command under a lease.
public enum CommandOutcome: Sendable, Hashable {
    /// It ended while the lock was held.
    case ended(CommandEnd)
    /// The lock was lost, and the command made to end.
    case lost(reason: String, CommandEnd)
}

/// What `berth lock` and `berth elect` say by their exit status, beside the command's own. They stand just below the
/// shell's, 126 and up, and take 124 and 125 from `timeout` and `env`.
public enum ExitStatus {
    /// A write was refused, as a lock that somebody else holds guards the key.
    public static let locked: Int32 = 121
    /// No server could be reached, or none answered in time.
    public static let unreachable: Int32 = 122
    /// The lock was lost before the command ended.
    public static let lost: Int32 = 123
    /// Not acquired in time.
    public static let notAcquired: Int32 = 124
    /// `berth` itself failed or was called wrongly.
    public static let failed: Int32 = 125
    /// The command was found but could not be run.
    public static let cannotRun: Int32 = 126
    /// The command was not found.
    public static let notFound: Int32 = 127
}
