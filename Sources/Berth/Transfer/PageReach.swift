/// Guesses where a page will end, so that the server need not look further.
///
/// etcd finds all keys of the range that is asked for before it answers with as many as the limit says: reading a
/// million keys by a limit alone makes it find thirty million. So a page is asked for up to a key that is about twice as
/// far from here as the last page reached. Keys between two others are not known, so the guess may be wrong; then pages
/// hold fewer keys, or the limit cuts them, and nothing is lost.
package struct PageReach: Sendable, Hashable {
    /// How many bytes behind what keys have in common are counted with.
    private static let digits = 8
    private var guess: Bytes?

    package init() {}

    /// Where the next page should end at the latest; nil when nothing is known, and for the last one.
    package func end(from key: Bytes, within end: Bytes) -> Bytes? {
        guard let guess, guess > key, end == [0] || guess < end else { return nil }
        return guess
    }

    /// A page brought so many keys of those asked for.
    ///
    /// - Parameters:
    ///   - first: its first key.
    ///   - last: its last key.
    package mutating func read(first: Bytes, last: Bytes, keys: Int, limit: Int) {
        // Few keys came: here they are further apart. Without a guess they are found however far they are.
        guess = keys > limit / 4 ? Self.beyond(first, last) : nil
    }

    /// A page brought nothing.
    package mutating func readNothing() { guess = nil }

    /// About as far behind `last` as `last` is behind `first`, and a little more; nil when there is no such key.
    package static func beyond(_ first: Bytes, _ last: Bytes) -> Bytes? {
        let common = zip(first.array, last.array).prefix { $0 == $1 }.count
        let (start, end) = (number(first.array[common...]), number(last.array[common...]))
        guard end > start else { return nil }
        let (sum, overflow) = end.addingReportingOverflow(end - start)
        guard !overflow else { return nil }
        let tail = withUnsafeBytes(of: sum.bigEndian) { Array($0) }
        return Bytes(last.array[..<common] + tail)
    }

    /// The bytes as the digits of a number, as if followed by zeros.
    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        var number: UInt64 = 0
        for byte in bytes.prefix(digits) { number = number << 8 | UInt64(byte) }
        return number << UInt64(8 * (digits - min(digits, bytes.count)))
    }
}
