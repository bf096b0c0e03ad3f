/// How many keys to ask for at once, so that an answer is about four mebibytes whatever the sizes of values.
///
/// Servers bound an answer by the number of keys alone, and count the rest of the range for each answer. So pages should
/// hold many keys when values are small, and few when they are large; the sizes of those to come are not known. It starts
/// small, grows at most fourfold from one page to the next, and shrinks at once.
package struct PageSize: Sendable, Hashable {
    /// Keys to ask for.
    package private(set) var limit = 64
    private static let wantedBytes = 4 << 20
    private static let bounds = 1...16_384

    /// A page to begin with.
    package init() {}

    /// A page of so many keys took so many bytes.
    package mutating func read(keys: Int, bytes: Int) {
        guard keys > 0 else { return }
        let fitting = Self.wantedBytes / max(1, bytes / keys)
        limit = min(max(min(fitting, limit * 4), Self.bounds.lowerBound), Self.bounds.upperBound)
    }

    /// The answer was larger than this client takes.
    ///
    /// - Returns: false when it was asked for one key alone: nothing smaller can be asked for.
    package mutating func refused() -> Bool {
        guard limit > 1 else { return false }
        limit = max(1, limit / 8)
        return true
    }
}
