import EtcdAPI
public import Measures

/// What the state machine has applied, for metrics. Any thread reads.
///
/// Written by the log thread alone, but for what `TxnReader` counts. Nothing of it is state: no answer and no stored byte
/// depends on it.
public final class StateMachineCounts: Sendable {
    /// Numbers that move with entries.
    public enum Number: Int, CaseIterable, Sendable {
        /// Puts, those of transactions included.
        case puts
        /// Range deletions, and keys deleted with their lease or place.
        case deletes
        /// Reads that writing requests made: ranges and compares of transactions, previous values.
        case ranges
        /// Requests, or their compares, of more than one of the above.
        case txns
        /// Bytes of keys and values put.
        case putBytes
        /// Keys created less keys deleted.
        case keys
        /// Leases granted.
        case leasesGranted
        /// Leases ended, for whatever reason.
        case leasesRevoked
        /// Leases whose time ran out.
        case leasesExpired
        /// Lines with at least one place.
        case lines
        /// Places of the longest line.
        case longestLine
        /// Places that hold.
        case placesHolding
        /// Places that wait.
        case placesWaiting
        /// Places that ended held or waiting, by why.
        case placesReleased
        case placesExpired
        case placesGivenUp
        case placesBroken
    }

    private let row = TallyRow(count: Number.allCases.count)
    /// From entering a line until holding; for those that held at once it is zero.
    public let lockWaits = Histogram.seconds(StateMachineCounts.lockBounds)
    /// From beginning to hold until the end of the place.
    public let lockHolds = Histogram.seconds(StateMachineCounts.lockBounds)
    /// Times to live of granted leases, in seconds.
    public let leaseTimes = Histogram(bounds: Histogram.doubling(1, count: 24))
    /// Reads of transactions that write nothing, and those transactions.
    public let readTxnRanges = Counter()
    /// Transactions that write nothing, of more than one read.
    public let readTxns = Counter()

    private static let lockBounds: [Double] = [
        0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 3_600, 21_600, 86_400,
    ]

    init() {}

    /// One of the numbers, as it was a moment ago.
    public subscript(_ number: Number) -> Int { row[number.rawValue] }

    func add(_ number: Number, _ amount: Int = 1) { row.add(number.rawValue, amount) }

    func set(_ number: Number, _ value: Int) { row.set(number.rawValue, value) }

    /// Forgets what a replay counted, but for what says how things stand. Before the log takes proposals.
    public func forgetReplay() {
        for number in Number.allCases {
            switch number {
            case .keys, .lines, .longestLine, .placesHolding, .placesWaiting: break
            case .puts, .deletes, .ranges, .txns, .putBytes, .leasesGranted, .leasesRevoked, .leasesExpired,
                .placesReleased, .placesExpired, .placesGivenUp, .placesBroken:
                set(number, 0)
            }
        }
        for histogram in [lockWaits, lockHolds, leaseTimes] { histogram.reset() }
    }

    /// Keys created less keys deleted count from here on.
    public func restartKeys() { set(.keys, 0) }

    /// A read-only transaction was answered.
    func readTxn(ranges: Int) {
        readTxnRanges.add(ranges)
        if ranges > 1 { readTxns.add() }
    }
}

/// The operations of one request, counted as etcd counts them: more than one make a transaction, whatever the request was.
struct OperationTally {
    var ranges = 0
    var puts = 0
    var deletes = 0

    /// A put or deletion, and the read of what was there when that is wanted too.
    mutating func put(_ request: PutRequestView) {
        puts += 1
        if request.wantsPrevious || request.ignoresValue || request.ignoresLease { ranges += 1 }
    }

    mutating func delete(_ request: DeleteRangeRequestView) {
        deletes += 1
        if request.wantsPrevious { ranges += 1 }
    }

    func count(in counts: StateMachineCounts) {
        if ranges > 0 { counts.add(.ranges, ranges) }
        if puts > 0 { counts.add(.puts, puts) }
        if deletes > 0 { counts.add(.deletes, deletes) }
        if ranges + puts + deletes > 1 { counts.add(.txns) }
    }
}
