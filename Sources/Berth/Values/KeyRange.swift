/// The keys a request means: one key, the keys with a prefix, an interval, or all. A string literal is one key.
///
/// On the wire a range is `key` and `range_end` as etcd defines them.
public struct KeyRange: Sendable, Hashable {
    /// The first key.
    public let key: Bytes
    /// Empty for one key, one zero byte for "all from `key` on", else the first key past the range.
    public let end: Bytes

    /// A range as it stands on the wire.
    public init(key: Bytes, end: Bytes) {
        self.key = key
        self.end = end
    }

    /// One key.
    public static func key(_ key: Bytes) -> KeyRange { KeyRange(key: key, end: []) }

    /// All keys that begin with `prefix`; with an empty one all keys there are.
    public static func prefix(_ prefix: Bytes) -> KeyRange {
        guard !prefix.isEmpty else { return .all }
        return KeyRange(key: prefix, end: end(ofPrefix: prefix))
    }

    /// The keys from `bounds.lowerBound` up to, but not with, `bounds.upperBound`.
    public static func range(_ bounds: Range<Bytes>) -> KeyRange {
        KeyRange(key: bounds.lowerBound, end: bounds.upperBound)
    }

    /// The key given and all behind it.
    public static func from(_ key: Bytes) -> KeyRange { KeyRange(key: key, end: [0]) }

    /// Every key.
    public static let all = KeyRange(key: [0], end: [0])

    /// Whether `candidate` lies in the range.
    public func contains(_ candidate: Bytes) -> Bool {
        if end.isEmpty { return candidate == key }
        return candidate >= key && (end == [0] || candidate < end)
    }

    /// Whether this is one key.
    public var isSingleKey: Bool { end.isEmpty }

    /// A prefix of 0xff bytes alone has no first key past it: then the range is open.
    private static func end(ofPrefix prefix: Bytes) -> Bytes {
        var end = prefix.array
        while let last = end.popLast() {
            if last < 0xff { return Bytes(end + [last + 1]) }
        }
        return [0]
    }
}

extension KeyRange: ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    /// The one key a literal names.
    public init(stringLiteral key: String) { self = .key(Bytes(key)) }
}

extension KeyRange: CustomStringConvertible {
    /// The key, or the bounds.
    public var description: String {
        if end.isEmpty { return key.description }
        return end == [0] ? "\(key)…" : "\(key)..<\(end)"
    }
}
