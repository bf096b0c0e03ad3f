public import Vocabulary

/// Looks over a log that no process has open, and changes nothing.
public enum LogCheck {
    /// Something no crash leaves behind.
    public struct Finding: Equatable, Sendable, CustomStringConvertible {
        /// The file, or the folder.
        public var place: String
        /// What was found, and what was expected.
        public var detail: String

        /// Both in one line.
        public var description: String { "\(place): \(detail)" }
    }

    /// The newest checkpoint.
    public struct Checkpoint: Equatable, Sendable {
        /// The last entry it covers.
        public var index: RaftIndex
        /// That entry's term.
        public var term: RaftTerm
        /// The bytes that name the state, as the applier gave them; empty when they are damaged.
        public var reference: [UInt8]
    }

    /// What a log holds, and what is wrong with it.
    public struct Report: Equatable, Sendable {
        /// The first entry still in the log; zero when there is none.
        public var firstIndex: RaftIndex
        /// The last entry; zero when there is none.
        public var lastIndex: RaftIndex
        /// Entries in the log, those that carry no bytes of the applier's included.
        public var entries: Int
        /// Bytes of these entries, as stored.
        public var bytes: Int
        /// Lowest and highest term of the entries; nil without any.
        public var terms: ClosedRange<RaftTerm>?
        /// Ids of the servers that vote at the log's end; nil when that cannot be told.
        public var voters: [UInt64]?
        /// The newest checkpoint; nil before the first.
        public var checkpoint: Checkpoint?
        /// Bytes of a last write that did not complete: nobody was told of it, and a start cuts it off. No finding.
        public var tornBytes: Int
        /// Damage, in the order it was met, at most ``LogCheck/mostFindings``; empty when the log is sound. A start refuses a
        /// log with findings, but for those in files it does not need.
        public var findings: [Finding]
    }

    /// No more findings than this are kept.
    public static let mostFindings = 100

    /// Reads all of a log.
    /// - Parameter directory: the log's own folder.
    /// - Throws: `.directory` or `.io` when something could not be read. Damage is not thrown: it is in the report.
    public static func run(directory: String) throws(ReplicatedLogError) -> Report {
        let walk = try LogWalk(directory, everything: true)
        return Report(
            firstIndex: RaftIndex(walk.firstIndex), lastIndex: RaftIndex(walk.lastIndex), entries: walk.entries,
            bytes: walk.entryBytes,
            terms: walk.terms.map { RaftTerm($0.lowerBound)...RaftTerm($0.upperBound) }, voters: walk.voters,
            checkpoint: walk.checkpoint.map {
                Checkpoint(index: RaftIndex($0.index), term: RaftTerm($0.term), reference: $0.reference)
            },
            tornBytes: walk.tornBytes, findings: walk.findings)
    }
}
