import Glibc

/// The keys a request names, by etcd's rules for `key` and `range_end`:
/// an empty end means the single key, an end of one zero byte all keys from `key` on, otherwise `key <= k < end`;
/// an end at or below `key` holds nothing.
public struct KeyRange: Hashable, Sendable {
    /// The first key.
    public let key: [UInt8]
    /// The end, as in the request.
    public let end: [UInt8]

    /// Names the keys of a request.
    public init(key: [UInt8], end: [UInt8]) {
        self.key = key
        self.end = end
    }

    /// All bytes of each at once, not one by one.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(key.count)
        key.withUnsafeBytes { hasher.combine(bytes: $0) }
        end.withUnsafeBytes { hasher.combine(bytes: $0) }
    }

    /// Every key there is.
    public static let all = KeyRange(key: [0], end: [0])

    /// Whether this is one key.
    public var isSingleKey: Bool { end.isEmpty }
    /// Whether this has no upper end.
    public var isUnbounded: Bool { end.count == 1 && end[0] == 0 }

    /// Whether no key at all can be in here.
    public var isEmpty: Bool {
        guard !isSingleKey, !isUnbounded else { return false }
        return key.withUnsafeBytes { start in end.withUnsafeBytes { compareBytes($0, start) <= 0 } }
    }

    /// Whether `candidate` is in the range.
    public func contains(_ candidate: UnsafeRawBufferPointer) -> Bool {
        let order = key.withUnsafeBytes { compareBytes(candidate, $0) }
        if isSingleKey { return order == 0 }
        return order >= 0 && isBelowEnd(candidate)
    }

    /// Whether `candidate` is in the range.
    public func contains(_ candidate: [UInt8]) -> Bool {
        candidate.withUnsafeBytes { contains($0) }
    }

    /// The upper half of `contains`, for a walk that began at `key`. Not for a single key.
    func isBelowEnd(_ candidate: UnsafeRawBufferPointer) -> Bool {
        isUnbounded || end.withUnsafeBytes { compareBytes(candidate, $0) < 0 }
    }
}

/// Bytewise order: negative, zero or positive.
@inline(__always)
package func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    let shorter = min(a.count, b.count)
    if shorter > 0, let left = a.baseAddress, let right = b.baseAddress {
        let order = memcmp(left, right, shorter)
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}

extension [UInt8] {
    /// `withUnsafeBytes` that keeps the type of what the closure throws.
    @inline(__always)
    package func withRawBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try withUnsafeBufferPointer { buffer throws(E) in try body(UnsafeRawBufferPointer(buffer)) }
    }
}
