/// What makes bytes no protobuf message.
public enum WireError: Error, Hashable, Sendable {
    /// The bytes end inside a field.
    case truncated
    /// A number of more than ten bytes.
    case overlongVarint
    /// A tag with field number zero, an unknown wire type or more than five bytes.
    case badTag
    /// The field has another wire type than its message says.
    case unexpectedType(field: Int)
    /// Messages within messages, deeper than any honest sender goes.
    case nestedTooDeep
}

/// Reads protobuf fields from memory it does not own; the memory must outlive it and the slices it gives out.
///
/// Every length is checked against what is left, so that a lying prefix is an error and never a read out of bounds.
public struct WireReader {
    /// All of the message, read or not.
    public let buffer: UnsafeRawBufferPointer
    /// Where the next field starts.
    public var offset: Int { position }
    @usableFromInline var position = 0

    /// Reads `buffer` from its start.
    @inlinable
    public init(_ buffer: UnsafeRawBufferPointer) { self.buffer = buffer }

    /// Reads the next tag, or nil at the end of the message.
    @inlinable
    public mutating func nextField() throws(WireError) -> (field: Int, type: WireType)? {
        let start = position
        let field = try fieldOfAnyLength()
        guard position - start <= 5 else { throw .badTag }
        return field
    }

    /// Reads the next tag, also one of more than five bytes, which SwiftProtobuf takes inside groups alone.
    @inlinable
    mutating func fieldOfAnyLength() throws(WireError) -> (field: Int, type: WireType)? {
        guard position < buffer.count else { return nil }
        let tag = try varint()
        guard let type = WireType(rawValue: UInt8(tag & 7)), tag >> 3 != 0, tag >> 3 <= 0x1fff_ffff else {
            throw .badTag
        }
        return (Int(tag >> 3), type)
    }

    /// Reads a base-128 number.
    @inlinable
    public mutating func varint() throws(WireError) -> UInt64 {
        // Most numbers on the wire are tags and short lengths: one byte.
        if position < buffer.count, buffer[position] < 0x80 {
            position += 1
            return UInt64(buffer[position - 1])
        }
        return try longVarint()
    }

    @usableFromInline
    mutating func longVarint() throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < buffer.count {
            let byte = buffer[position]
            position += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
            guard shift < 70 else { throw .overlongVarint }
        }
        throw .truncated
    }

    /// Reads a varint field's value, having read its tag.
    @inlinable
    public mutating func varint(of field: (field: Int, type: WireType)) throws(WireError) -> UInt64 {
        guard field.type == .varint else { throw .unexpectedType(field: field.field) }
        return try varint()
    }

    /// Reads an `int64`, having read its tag.
    @inlinable
    public mutating func int64(of field: (field: Int, type: WireType)) throws(WireError) -> Int64 {
        Int64(bitPattern: try varint(of: field))
    }

    /// Reads a `bool`, having read its tag.
    @inlinable
    public mutating func bool(of field: (field: Int, type: WireType)) throws(WireError) -> Bool {
        try varint(of: field) != 0
    }

    /// Reads `bytes`, a `string` or a submessage, having read its tag. The slice is rebased: its indices start at 0.
    @inlinable
    public mutating func bytes(of field: (field: Int, type: WireType)) throws(WireError) -> UnsafeRawBufferPointer {
        guard field.type == .lengthDelimited else { throw .unexpectedType(field: field.field) }
        let length = try varint()
        guard length <= UInt64(buffer.count - position) else { throw .truncated }
        let start = position
        position += Int(length)
        return UnsafeRawBufferPointer(rebasing: buffer[start..<position])
    }

    /// Passes over a field nobody asked for, having read its tag.
    public mutating func skip(_ field: (field: Int, type: WireType)) throws(WireError) {
        switch field.type {
        case .varint: _ = try varint()
        case .lengthDelimited: _ = try bytes(of: field)
        case .fixed64: try advance(by: 8)
        case .fixed32: try advance(by: 4)
        case .startGroup: try skipGroup(field.field)
        case .endGroup: throw .badTag
        }
    }

    private mutating func advance(by count: Int) throws(WireError) {
        guard buffer.count - position >= count else { throw .truncated }
        position += count
    }

    /// Groups may nest; a depth count instead of recursion keeps a hostile message from exhausting the stack.
    private mutating func skipGroup(_ number: Int) throws(WireError) {
        var open = [number]
        while let innermost = open.last {
            guard let field = try fieldOfAnyLength() else { throw .truncated }
            switch field.type {
            case .startGroup: open.append(field.field)
            case .endGroup:
                guard field.field == innermost else { throw .badTag }
                open.removeLast()
            case .varint, .fixed64, .lengthDelimited, .fixed32: try skip(field)
            }
        }
    }
}
