/// Protocol buffers' wire format, and nothing of any message: what the hot paths use where a generated message would
/// decode into objects only to encode them again. It must never know a message type.
///
/// Source: the protobuf encoding guide, https://protobuf.dev/programming-guides/encoding/.

/// Appends protobuf fields to an array of bytes.
///
/// Fields with a default value are left out by the `...Field` methods, as proto3 encoders do, so that an encoding
/// made here equals the generated one byte for byte when fields are written in ascending order.
///
/// Inlinable throughout: each call is a few instructions on the way of every put and range.
public struct WireWriter: Sendable {
    /// What has been written so far.
    public var bytes: [UInt8]

    /// Starts empty, with room for `capacity` bytes.
    @inlinable
    public init(capacity: Int = 64) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    /// Writes a base-128 number.
    @inlinable
    public mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Writes a field's tag.
    @inlinable
    public mutating func tag(_ field: Int, _ type: WireType) {
        varint(UInt64(field) << 3 | UInt64(type.rawValue))
    }

    /// Writes an `int64`, `enum` or `bool`-like field unless it is zero.
    @inlinable
    public mutating func int64Field(_ field: Int, _ value: Int64) {
        guard value != 0 else { return }
        tag(field, .varint)
        varint(UInt64(bitPattern: value))
    }

    /// Writes a `uint64` field unless it is zero.
    @inlinable
    public mutating func uint64Field(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        tag(field, .varint)
        varint(value)
    }

    /// Writes a `bool` field unless it is false.
    @inlinable
    public mutating func boolField(_ field: Int, _ value: Bool) {
        guard value else { return }
        tag(field, .varint)
        bytes.append(1)
    }

    /// Writes a `bytes` or `string` field unless it is empty.
    @inlinable
    public mutating func bytesField(_ field: Int, _ value: UnsafeRawBufferPointer) {
        guard !value.isEmpty else { return }
        messageField(field, value)
    }

    /// Writes a `bytes` or `string` field unless it is empty.
    @inlinable
    public mutating func bytesField(_ field: Int, _ value: [UInt8]) {
        value.withUnsafeBytes { bytesField(field, $0) }
    }

    /// Writes a submessage, or an element of a repeated field, from its encoding; an empty one is written too.
    @inlinable
    public mutating func messageField(_ field: Int, _ encoded: UnsafeRawBufferPointer) {
        tag(field, .lengthDelimited)
        varint(UInt64(encoded.count))
        bytes.append(contentsOf: encoded)
    }

    /// Writes a submessage, or an element of a repeated field, from its encoding; an empty one is written too.
    @inlinable
    public mutating func messageField(_ field: Int, _ encoded: [UInt8]) {
        encoded.withUnsafeBytes { messageField(field, $0) }
    }

    /// Writes a submessage whose fields `body` appends; an empty one is written too.
    ///
    /// The length stands before the contents and is known only after them. One byte is left for it, which is enough
    /// for most; longer contents are moved up.
    @inlinable
    public mutating func message<Failure: Error>(
        _ field: Int, _ body: (inout WireWriter) throws(Failure) -> Void
    ) throws(Failure) {
        tag(field, .lengthDelimited)
        let lengthPosition = bytes.count
        bytes.append(0)
        try body(&self)
        let length = bytes.count - lengthPosition - 1
        if length < 0x80 {
            bytes[lengthPosition] = UInt8(length)
        } else {
            var prefix = WireWriter(capacity: 10)
            prefix.varint(UInt64(length))
            bytes.replaceSubrange(lengthPosition...lengthPosition, with: prefix.bytes)
        }
    }

    /// Bytes that `varint(value)` takes, for lengths that must be known before their contents are written.
    @inlinable
    public static func varintSize(_ value: UInt64) -> Int {
        (64 - (value | 1).leadingZeroBitCount + 6) / 7
    }
}

/// How a field's contents are laid out.
public enum WireType: UInt8, Sendable {
    case varint = 0
    case fixed64 = 1
    case lengthDelimited = 2
    case startGroup = 3
    case endGroup = 4
    case fixed32 = 5
}
