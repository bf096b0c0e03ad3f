/// A dictionary by bytes, such as keys of the store.
///
/// `Dictionary<[UInt8], Value>` hashes byte by byte, with a call for each (docs/decisions/0010).
public struct BytesTable<Value> {
    @usableFromInline var entries: [HashedBytes: Value] = [:]

    /// Starts empty.
    @inlinable
    public init() {}

    /// Whether there is nothing in it.
    @inlinable
    public var isEmpty: Bool { entries.isEmpty }

    /// How many keys there are.
    @inlinable
    public var count: Int { entries.count }

    /// The keys, in no order.
    @inlinable
    public var keys: some Collection<[UInt8]> { entries.keys.lazy.map(\.bytes) }

    /// The values, in no order.
    @inlinable
    public var values: some Collection<Value> { entries.values }

    /// The value of a key.
    @inlinable
    public subscript(key: [UInt8]) -> Value? {
        get { entries[HashedBytes(bytes: key)] }
        _modify { yield &entries[HashedBytes(bytes: key)] }
    }

    /// The value of a key, or another where there is none.
    @inlinable
    public subscript(key: [UInt8], default value: @autoclosure () -> Value) -> Value {
        get { entries[HashedBytes(bytes: key)] ?? value() }
        _modify { yield &entries[HashedBytes(bytes: key), default: value()] }
    }

    /// Sets the value of a key; the one it had before.
    @discardableResult @inlinable
    public mutating func updateValue(_ value: Value, forKey key: [UInt8]) -> Value? {
        entries.updateValue(value, forKey: HashedBytes(bytes: key))
    }

    /// Forgets a key; the value it had.
    @discardableResult @inlinable
    public mutating func removeValue(forKey key: [UInt8]) -> Value? {
        entries.removeValue(forKey: HashedBytes(bytes: key))
    }
}

extension BytesTable: Sequence {
    /// The entries, in no order.
    @inlinable
    public func makeIterator() -> some IteratorProtocol<(key: [UInt8], value: Value)> {
        entries.lazy.map { (key: $0.key.bytes, value: $0.value) }.makeIterator()
    }
}

extension BytesTable: Sendable where Value: Sendable {}

/// Bytes that are hashed all at once.
@usableFromInline
struct HashedBytes: Hashable, Sendable {
    @usableFromInline let bytes: [UInt8]

    @inlinable
    init(bytes: [UInt8]) { self.bytes = bytes }

    @inlinable
    func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}
