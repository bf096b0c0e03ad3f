public import ProtobufWire
public import Vocabulary

/// An encoded `mvccpb.KeyValue`, as the store keeps it and responses carry it.
public struct KeyValueView {
    /// The message.
    public let encoded: UnsafeRawBufferPointer
    /// The key.
    public private(set) var key = noBytes
    /// The value.
    public private(set) var value = noBytes
    /// The revision that began the key's current life; zero in a tombstone.
    public private(set) var createRevision = Revision.zero
    /// The revision of this write or deletion.
    public private(set) var modRevision = Revision.zero
    /// Writes since creation, 1 for the first; zero in a tombstone.
    public private(set) var version: Int64 = 0
    /// The lease the key hangs on.
    public private(set) var lease = LeaseID.none
    /// Where the value's field, tag included, stands in `encoded`; empty when there is none.
    private var valueField = 0..<0

    /// Reads a message.
    public init(_ encoded: UnsafeRawBufferPointer) throws(WireError) {
        self.encoded = encoded
        var reader = WireReader(encoded)
        var start = 0
        while let field = try reader.nextField() {
            switch field.field {
            case 1: key = try reader.bytes(of: field)
            case 2: createRevision = Revision(try reader.int64(of: field))
            case 3: modRevision = Revision(try reader.int64(of: field))
            case 4: version = try reader.int64(of: field)
            case 5:
                value = try reader.bytes(of: field)
                valueField = start..<reader.offset
            case 6: lease = LeaseID(try reader.int64(of: field))
            default: try reader.skip(field)
            }
            start = reader.offset
        }
    }

    /// Writes the message without its value as field `field`: what `keys_only` asks for. Nothing is encoded anew.
    public func appendWithoutValue(_ field: Int, to writer: inout WireWriter) {
        writer.tag(field, .lengthDelimited)
        writer.varint(UInt64(encoded.count - valueField.count))
        writer.bytes.append(contentsOf: encoded[..<valueField.lowerBound])
        writer.bytes.append(contentsOf: encoded[valueField.upperBound...])
    }

    /// Writes a whole message from its parts.
    public static func append(
        key: UnsafeRawBufferPointer, createRevision: Revision, modRevision: Revision, version: Int64,
        value: UnsafeRawBufferPointer, lease: LeaseID, to writer: inout WireWriter
    ) {
        writer.bytesField(1, key)
        writer.int64Field(2, createRevision.value)
        writer.int64Field(3, modRevision.value)
        writer.int64Field(4, version)
        writer.bytesField(5, value)
        writer.int64Field(6, lease.value)
    }

    /// Writes what a deletion leaves: the key and the deletion's revision.
    public static func appendTombstone(
        key: UnsafeRawBufferPointer, modRevision: Revision, to writer: inout WireWriter
    ) {
        writer.bytesField(1, key)
        writer.int64Field(3, modRevision.value)
    }
}
