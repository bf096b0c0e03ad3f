public import Vocabulary

/// Why a proposal got no answer.
public enum ProposalError: Error, Equatable, Sendable {
    /// The queue's bound was reached. The entry was not taken; try again later.
    case queueFull
    /// This member does not lead, or lost leadership with the entry on its way: it may or may not be committed.
    case notLeader
    /// The log is stopping or stopped. An entry already on its way may or may not be in the log.
    case stopped
    /// The entry is larger than the configured bound. Not taken.
    case tooLarge
    /// The log's disk failed, with this message, while the entry was on its way: it may or may not be in the log.
    case io(String)
    /// Nothing is taken at present, for this reason: the disk is full, or fails. The entry was not taken; try again later.
    case refused(String)
}

/// Why the log did not start, or cannot go on.
public enum ReplicatedLogError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The log's folder is missing, not a folder, or not usable.
    case directory(path: String, reason: String)
    /// The configuration makes no sense; the text says what and what to choose.
    case configuration(String)
    /// Files of the log are damaged. The log refuses rather than drop entries.
    case corrupt(String)
    /// The state that the newest checkpoint refers to was not accepted by the state machine.
    case restore(String)
    /// The state machine cannot go on, for the reason it gives: entries are in the log but cannot be applied.
    case applier(String)
    /// The log ends before what the store already holds: the folders do not belong together, or log files are missing.
    case behindStore(last: RaftIndex, applied: RaftIndex)
    /// The log on disk belongs to a cluster that this server is not a voter of.
    case notVoter(serverID: UInt64)
    /// Reading or writing failed.
    case io(String)
    /// Memory, threads or handles ran out.
    case resources(String)
    /// `stop()` was called first, or `start()` was called twice.
    case stopped

    /// What was wrong and what to do about it.
    public var description: String {
        switch self {
        case .directory(let path, let reason): "log folder \(path): \(reason)"
        case .configuration(let text): "log configuration: \(text)"
        case .corrupt(let text): "log is damaged: \(text); restore this member's data folder from a backup"
        case .restore(let text): "log's checkpoint was refused: \(text)"
        case .applier(let reason): "log entries cannot be applied: \(reason)"
        case .behindStore(.zero, let applied):
            """
            log folder holds no entries but the store has applied \(applied) (expected a log that reaches it): \
            put the log that belongs to this store back, or restore the data folder from a backup
            """
        case .behindStore(let last, let applied):
            """
            log ends at entry \(last) but the store has applied \(applied) (expected a log that reaches it): \
            the data folder is mixed or log files are missing; restore it from a backup
            """
        case .notVoter(let serverID):
            "log belongs to a cluster in which server \(serverID) has no vote: "
                + "put log and base of one data folder together"
        case .io(let text): "log i/o failed: \(text)"
        case .resources(let text): "out of resources: \(text)"
        case .stopped: "log is stopped"
        }
    }
}
