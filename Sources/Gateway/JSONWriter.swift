import ProtobufWire

/// Turns a response's protobuf bytes into JSON as etcd's gateway writes it: names as in the .proto files, fields in order
/// of declaration, defaults left out, 64-bit numbers as strings, bytes in base64.
struct JSONWriter {
    private let schema: Schema
    private(set) var output: [UInt8] = []

    init(_ schema: Schema, capacity: Int) {
        self.schema = schema
        output.reserveCapacity(capacity)
    }

    /// A field's value as it lies in the message.
    private struct Value {
        let position: Int
        let number: UInt64
        let bytes: UnsafeRawBufferPointer
    }

    /// Puts text between messages.
    mutating func literal(_ text: StaticString) {
        output.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Writes one message.
    mutating func message(_ type: Int, _ bytes: UnsafeRawBufferPointer) throws(WireError) {
        let values = try self.values(type, bytes)
        output.append(UInt8(ascii: "{"))
        var isFirst = true
        var next = 0
        while next < values.count {
            var end = next + 1
            while end < values.count, values[end].position == values[next].position { end += 1 }
            let field = schema.messages[type].fields[values[next].position]
            try write(field, values[next..<end], &isFirst)
            next = end
        }
        output.append(UInt8(ascii: "}"))
    }

    /// A message's known fields in order of declaration, packed numbers taken apart.
    private func values(_ type: Int, _ bytes: UnsafeRawBufferPointer) throws(WireError) -> [Value] {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        var values: [Value] = []
        var isOrdered = true
        var reader = WireReader(bytes)
        while let field = try reader.nextField() {
            guard let position = schema.messages[type].position(ofNumber: field.field) else {
                try reader.skip(field)
                continue
            }
            if let last = values.last, last.position > position { isOrdered = false }
            switch field.type {
            case .varint: values.append(Value(position: position, number: try reader.varint(), bytes: none))
            case .lengthDelimited:
                let content = try reader.bytes(of: field)
                if schema.messages[type].fields[position].isLengthDelimited {
                    values.append(Value(position: position, number: 0, bytes: content))
                } else {
                    var packed = WireReader(content)
                    while packed.offset < content.count {
                        values.append(Value(position: position, number: try packed.varint(), bytes: none))
                    }
                }
            case .fixed64, .fixed32, .startGroup, .endGroup: throw .unexpectedType(field: field.field)
            }
        }
        if !isOrdered {
            // A stable sort: elements of one field keep their order.
            let sorted = values.enumerated().sorted {
                ($0.element.position, $0.offset) < ($1.element.position, $1.offset)
            }
            values = sorted.map(\.element)
        }
        return values
    }

    private mutating func write(
        _ field: Schema.Field, _ values: ArraySlice<Value>, _ isFirst: inout Bool
    ) throws(WireError) {
        guard let last = values.last else { return }
        // Present is what is a message, one of a oneof, or not the default.
        if !field.isRepeated, field.oneof == nil, field.isDefault(last.number, last.bytes) { return }
        if !isFirst { output.append(UInt8(ascii: ",")) }
        isFirst = false
        output.append(UInt8(ascii: "\""))
        output.append(contentsOf: field.protoName)
        literal("\":")
        guard field.isRepeated else { return try value(field, last) }
        if case .message(let entry) = field.kind, schema.messages[entry].isMapEntry {
            return try map(entry, values)
        }
        output.append(UInt8(ascii: "["))
        for (place, element) in values.enumerated() {
            if place > 0 { output.append(UInt8(ascii: ",")) }
            try value(field, element)
        }
        output.append(UInt8(ascii: "]"))
    }

    private mutating func map(_ entry: Int, _ values: ArraySlice<Value>) throws(WireError) {
        output.append(UInt8(ascii: "{"))
        for (place, element) in values.enumerated() {
            if place > 0 { output.append(UInt8(ascii: ",")) }
            let parts = try self.values(entry, element.bytes)
            let none = UnsafeRawBufferPointer(start: nil, count: 0)
            string(parts.last { $0.position == 0 }?.bytes ?? none)
            output.append(UInt8(ascii: ":"))
            string(parts.last { $0.position == 1 }?.bytes ?? none)
        }
        output.append(UInt8(ascii: "}"))
    }

    private mutating func value(_ field: Schema.Field, _ value: Value) throws(WireError) {
        switch field.kind {
        case .int64: quoted(Int64(bitPattern: value.number))
        case .uint64: quoted(value.number)
        case .int32: decimal(Int32(truncatingIfNeeded: value.number))
        case .uint32: decimal(UInt32(truncatingIfNeeded: value.number))
        case .bool: literal(value.number != 0 ? "true" : "false")
        case .string: string(value.bytes)
        case .bytes: base64(value.bytes)
        case .message(let inner): try message(inner, value.bytes)
        case .enumeration(let values):
            let number = Int32(truncatingIfNeeded: value.number)
            guard let known = schema.enums[values].values.first(where: { $0.number == number }) else {
                return decimal(number)
            }
            output.append(UInt8(ascii: "\""))
            output.append(contentsOf: known.name)
            output.append(UInt8(ascii: "\""))
        }
    }

    private mutating func quoted(_ number: some FixedWidthInteger) {
        output.append(UInt8(ascii: "\""))
        decimal(number)
        output.append(UInt8(ascii: "\""))
    }

    /// Writes a number as it is.
    mutating func number(_ number: Int) { decimal(number) }

    private mutating func decimal(_ number: some FixedWidthInteger) { output.append(contentsOf: String(number).utf8) }

    /// Writes a JSON string. Bytes that are no UTF-8 become U+FFFD.
    mutating func string(_ bytes: UnsafeRawBufferPointer) {
        output.append(UInt8(ascii: "\""))
        if bytes.allSatisfy({ $0 < 0x80 }) {
            escaped(bytes)
        } else {
            let text = String(decoding: bytes, as: UTF8.self)
            var rest = text.unicodeScalars[...]
            // Line ends to JavaScript though not to JSON: Go escapes them.
            while let place = rest.firstIndex(where: { $0 == "\u{2028}" || $0 == "\u{2029}" }) {
                escaped(text.utf8[rest.startIndex..<place])
                literal(rest[place] == "\u{2028}" ? "\\u2028" : "\\u2029")
                rest = rest[rest.index(after: place)...]
            }
            escaped(text.utf8[rest.startIndex...])
        }
        output.append(UInt8(ascii: "\""))
    }

    private mutating func escaped(_ bytes: some Sequence<UInt8>) {
        let digits = Array("0123456789abcdef".utf8)
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""): literal("\\\"")
            case UInt8(ascii: "\\"): literal("\\\\")
            case 0x0a: literal("\\n")
            case 0x0d: literal("\\r")
            case 0x09: literal("\\t")
            // As Go writes them, so that text in a page is no markup.
            case 0..<0x20, UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"):
                literal("\\u00")
                output.append(digits[Int(byte >> 4)])
                output.append(digits[Int(byte & 0xf)])
            default: output.append(byte)
            }
        }
    }

    private mutating func base64(_ bytes: UnsafeRawBufferPointer) {
        output.append(UInt8(ascii: "\""))
        output.reserveCapacity(output.count + (bytes.count + 2) / 3 * 4 + 1)
        let alphabet = StandardBase64.alphabet
        var offset = 0
        while offset + 3 <= bytes.count {
            let group = UInt32(bytes[offset]) << 16 | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2])
            output.append(alphabet[Int(group >> 18)])
            output.append(alphabet[Int(group >> 12 & 63)])
            output.append(alphabet[Int(group >> 6 & 63)])
            output.append(alphabet[Int(group & 63)])
            offset += 3
        }
        let left = bytes.count - offset
        if left > 0 {
            let group = UInt32(bytes[offset]) << 16 | (left == 2 ? UInt32(bytes[offset + 1]) << 8 : 0)
            output.append(alphabet[Int(group >> 18)])
            output.append(alphabet[Int(group >> 12 & 63)])
            output.append(left == 2 ? alphabet[Int(group >> 6 & 63)] : UInt8(ascii: "="))
            output.append(UInt8(ascii: "="))
        }
        output.append(UInt8(ascii: "\""))
    }
}

extension Schema.Field {
    fileprivate var isLengthDelimited: Bool {
        switch kind {
        case .message, .bytes, .string: true
        default: false
        }
    }

    fileprivate func isDefault(_ number: UInt64, _ bytes: UnsafeRawBufferPointer) -> Bool {
        switch kind {
        case .message: false
        case .bytes, .string: bytes.isEmpty
        default: number == 0
        }
    }
}
