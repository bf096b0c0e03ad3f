public import ProtobufWire

/// JSON to protobuf and back, as the gateway does it: the pure part, for any thread.
public enum JSONCodec {
    /// The first JSON value of `text` as the bytes of a message. Nothing but space is an empty message; what follows the
    /// first value is not looked at, as in etcd.
    ///
    /// - Parameters:
    ///   - text: UTF-8 text.
    ///   - type: the message type's full name, such as `etcdserverpb.PutRequest`.
    /// - Throws: what is wrong and where.
    public static func decode(
        _ text: UnsafeRawBufferPointer, type: String, schema: Schema = .current
    ) throws(JSONFault) -> [UInt8] {
        guard let position = schema.message(type) else { throw JSONFault("there is no message type \(type)") }
        return try decode(text, type: position, schema: schema)
    }

    /// A message's bytes as JSON.
    ///
    /// - Throws: what makes the bytes no message.
    public static func encode(
        _ message: UnsafeRawBufferPointer, type: String, schema: Schema = .current
    ) throws(WireError) -> [UInt8] {
        guard let position = schema.message(type) else { return [] }
        var writer = JSONWriter(schema, capacity: message.count * 2)
        try writer.message(position, message)
        return writer.output
    }

    static func decode(
        _ text: UnsafeRawBufferPointer, type: Int, schema: Schema
    ) throws(JSONFault) -> [UInt8] {
        var scanner = JSONScanner(text)
        if scanner.isAtEnd() { return [] }
        // Base64 is longer than what it stands for, and so are names than numbers.
        var reader = JSONReader(schema, capacity: min(text.count, 4 << 20))
        try reader.message(type, &scanner, at: schema.messages[type].name)
        return reader.output
    }
}
