public import Store

/// The keys some grants reach together: runs that neither overlap nor adjoin, in ascending order. So a range is reached
/// if one run holds all of it, however many grants that run was made of.
///
/// Worked example: `[a, c)`, `[c, f)` and the single key `z` make two runs, `[a, f)` and `[z, z\0)`.
public struct RangeSet: Sendable {
    private struct Run: Sendable {
        let start: [UInt8]
        /// Nil: no upper end.
        var end: [UInt8]?
    }

    private var runs: [Run] = []

    /// Joins grants, in any order; a grant that holds no key adds nothing.
    public init(_ ranges: [KeyRange]) {
        let sorted = ranges.filter { !$0.isEmpty }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        for range in sorted {
            // The key right behind a single key is that key and a zero byte.
            let end: [UInt8]? = range.isUnbounded ? nil : range.isSingleKey ? range.key + [0] : range.end
            guard let last = runs.last else {
                runs.append(Run(start: range.key, end: end))
                continue
            }
            guard let lastEnd = last.end else { return }
            guard !lastEnd.lexicographicallyPrecedes(range.key) else {
                runs.append(Run(start: range.key, end: end))
                continue
            }
            if let end, !lastEnd.lexicographicallyPrecedes(end) { continue }
            runs[runs.count - 1].end = end
        }
    }

    /// Whether nothing is reached.
    public var isEmpty: Bool { runs.isEmpty }

    /// Whether everything that a request's `key` and `end` name is reached.
    ///
    /// An end at or below `key` names nothing. As in etcd it counts as reached when a run holds what lies between the two,
    /// so that such a request tells nothing of who may do what elsewhere.
    public func covers(_ key: UnsafeRawBufferPointer, _ end: UnsafeRawBufferPointer) -> Bool {
        if end.isEmpty { return run(atOrBelow: key).map { isBefore(key, $0.end) } ?? false }
        if end.count == 1, end[0] == 0 { return run(atOrBelow: key).map { $0.end == nil } ?? false }
        guard compare(key, end) < 0 else {
            return run(below: end).map { isBefore(key, $0.end) } ?? false
        }
        guard let run = run(atOrBelow: key) else { return false }
        guard let limit = run.end else { return true }
        return limit.withUnsafeBytes { compare(end, $0) } <= 0
    }

    /// The last run that starts at or below a key.
    private func run(atOrBelow key: UnsafeRawBufferPointer) -> Run? {
        last { $0.start.withUnsafeBytes { compare($0, key) } <= 0 }
    }

    /// The last run that starts below a key.
    private func run(below key: UnsafeRawBufferPointer) -> Run? {
        last { $0.start.withUnsafeBytes { compare($0, key) } < 0 }
    }

    /// The last run for which something holds that holds for all runs before it.
    private func last(_ holds: (Run) -> Bool) -> Run? {
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if holds(runs[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : runs[low - 1]
    }

    private func isBefore(_ key: UnsafeRawBufferPointer, _ end: [UInt8]?) -> Bool {
        guard let end else { return true }
        return end.withUnsafeBytes { compare(key, $0) } < 0
    }

    private func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int { compareBytes(a, b) }
}
