import Measures
import StateMachine

/// Times that applying entries took, by what they ask for and whether they were refused.
///
/// The log thread adds; any thread reads.
final class ApplyTimes: Sendable {
    /// An entry that takes longer is counted as slow: etcd's `--warning-apply-duration`.
    static let slowNanoseconds = 100_000_000

    /// Entries that took too long.
    let slow = Counter()
    /// By the number of the kind, twice: refused, done.
    private let times: [Histogram?]

    init() {
        var times = [Histogram?](repeating: nil, count: 2 * 256)
        for kind in CommandKind.allCases {
            for success in 0...1 {
                times[2 * Int(kind.rawValue) + success] = .seconds(Histogram.doubling(0.0001, count: 20))
            }
        }
        self.times = times
    }

    /// An entry of a kind was applied.
    func took(_ kind: CommandKind, isSuccess: Bool, nanoseconds: Int) {
        times[2 * Int(kind.rawValue) + (isSuccess ? 1 : 0)]?.observe(nanoseconds)
        if nanoseconds > Self.slowNanoseconds { slow.add() }
    }

    /// What was applied at least once, under etcd's names.
    var readings: [(operation: String, isSuccess: Bool, reading: HistogramReading)] {
        var found: [String: [HistogramReading]] = [:]
        var order: [String] = []
        // The entry that names the cluster is nobody's request.
        for kind in CommandKind.allCases where kind != .identity {
            let name = kind.operationName
            if found[name] == nil { order.append(name) }
            for success in 0...1 {
                guard let reading = times[2 * Int(kind.rawValue) + success]?.reading else { continue }
                found[name, default: []].append(reading)
            }
        }
        var result: [(operation: String, isSuccess: Bool, reading: HistogramReading)] = []
        for name in order {
            for success in 0...1 {
                // Kinds that etcd has one name for follow each other: refused, done, refused, done.
                let parts = (found[name] ?? []).enumerated().filter { $0.offset % 2 == success }.map(\.element)
                guard let first = parts.first else { continue }
                let whole = parts.dropFirst().reduce(first) { $0.adding($1) }
                if whole.count > 0 { result.append((name, success == 1, whole)) }
            }
        }
        return result
    }
}

extension CommandKind {
    /// What etcd calls such an entry where it has one, as in `LeaseRevoke`.
    var operationName: String {
        if self == .leaseExpire { return CommandKind.leaseRevoke.operationName }
        let name = String(describing: self)
        return name.prefix(1).uppercased() + name.dropFirst()
    }
}

extension HistogramReading {
    /// Both together; they must have the same bounds.
    func adding(_ other: HistogramReading) -> HistogramReading {
        HistogramReading(
            bounds: bounds, counts: zip(counts, other.counts).map { $0 + $1 }, sum: sum + other.sum)
    }
}
