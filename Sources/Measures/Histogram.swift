import Synchronization

/// Values counted by their size: durations in nanoseconds, bytes, entries. Any thread adds and reads; adding is a search
/// among the bounds and two atomic additions.
public final class Histogram: Sendable {
    /// Upper bounds, each included, in the unit that is shown.
    public let bounds: [Double]
    /// The unit that is shown, in the unit that is counted: a thousand million for seconds counted as nanoseconds.
    public let scale: Double
    private let limits: [Int]
    /// One number a bound, one for what is above the last, and the sum.
    private let row: TallyRow

    /// - Parameters:
    ///   - bounds: in rising order, in the unit that is shown.
    ///   - scale: how many of the unit that is counted make one of it.
    public init(bounds: [Double], scale: Double = 1) {
        precondition(bounds == bounds.sorted() && !bounds.isEmpty, "a histogram's bounds rise")
        self.bounds = bounds
        self.scale = scale
        limits = bounds.map { Int(($0 * scale).rounded()) }
        row = TallyRow(count: bounds.count + 2)
    }

    /// Of durations, shown in seconds.
    public static func seconds(_ bounds: [Double]) -> Histogram { Histogram(bounds: bounds, scale: 1e9) }

    /// `first`, and each next one twice as large.
    public static func doubling(_ first: Double, count: Int) -> [Double] {
        (0..<count).map { first * Double(1 << $0) }
    }

    /// Counts a value.
    public func observe(_ value: Int) {
        var position = 0
        while position < limits.count, value > limits[position] { position += 1 }
        row.share(position, 1)
        row.share(limits.count + 1, value)
    }

    /// Counts a duration.
    public func observe(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        observe(Int(clamping: seconds) &* 1_000_000_000 &+ Int(clamping: attoseconds / 1_000_000_000))
    }

    /// How many values were counted.
    public var count: Int { reading.count }

    /// What was counted, at one moment.
    public var reading: HistogramReading {
        HistogramReading(
            bounds: bounds, counts: (0...limits.count).map { row[$0] },
            sum: Double(row[limits.count + 1]) / scale)
    }

    /// Forgets what was counted. Values that come meanwhile may be lost.
    public func reset() {
        for position in 0..<row.count { row.set(position, 0) }
    }
}

/// What a histogram had counted at one moment.
public struct HistogramReading: Sendable, Equatable {
    /// Upper bounds, in rising order.
    public let bounds: [Double]
    /// Values up to each bound and above the one before; the last number is of what is above all bounds.
    public var counts: [Int]
    /// All values together.
    public var sum: Double

    /// A reading put together from parts.
    public init(bounds: [Double], counts: [Int], sum: Double) {
        precondition(counts.count == bounds.count + 1, "a histogram has a count for each bound and one above")
        self.bounds = bounds
        self.counts = counts
        self.sum = sum
    }

    /// How many values.
    public var count: Int { counts.reduce(0, +) }
}

extension TallyRow {
    /// Adds to one number that several threads add to.
    fileprivate func share(_ position: Int, _ amount: Int) {
        numbers[position].wrappingAdd(amount, ordering: .relaxed)
    }
}
