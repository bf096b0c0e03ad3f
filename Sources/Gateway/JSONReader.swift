/// Turns a request's JSON into the bytes of its protobuf message, in one pass and by etcd's rules: both spellings of a
/// field's name, `null` is unset, unknown fields are passed over, 64-bit numbers as numbers or strings, enumerations by
/// name or number, bytes in padded standard base64. Of a field given twice the last counts, but of its two
/// spellings lower camel case; of a oneof's two fields, the one declared last.
struct JSONReader {
    /// Where a field of the innermost open object lies in `output`, so that a second value can replace it.
    private struct Span {
        let field: Int
        var start: Int
        var end: Int
    }

    private let schema: Schema
    private(set) var output: [UInt8] = []
    private var spans: [Span] = []

    init(_ schema: Schema, capacity: Int) {
        self.schema = schema
        output.reserveCapacity(capacity)
    }

    /// Reads one message: an object, or `null` for an empty one. `place` names it in an error.
    mutating func message(_ type: Int, _ scanner: inout JSONScanner, at place: @autoclosure () -> String)
        throws(JSONFault)
    {
        let kind = try scanner.peek()
        if kind == .null { return try scanner.null() }
        guard kind == .object else {
            throw JSONFault("\(place()): expected an object, got \(kind.rawValue)")
        }
        let base = spans.count
        var camelCased: Set<Int> = []
        try scanner.object { scanner, key throws(JSONFault) in
            let found = try key.withBytes { [schema] name throws(JSONFault) in
                schema.messages[type].position(named: name).map { ($0, name.count) }
            }
            guard let (position, length) = found else { return try scanner.skip() }
            let field = schema.messages[type].fields[position]
            // The spellings differ in their length, as one has underscores.
            if field.jsonName.count != field.protoName.count {
                if length == field.jsonName.count {
                    camelCased.insert(position)
                } else if camelCased.contains(position) {
                    return try scanner.skip()
                }
            }
            try self.field(position, of: type, &scanner, base)
        }
        spans.removeSubrange(base...)
    }

    private mutating func field(
        _ position: Int, of type: Int, _ scanner: inout JSONScanner, _ base: Int
    ) throws(JSONFault) {
        let field = schema.messages[type].fields[position]
        // What was said before is forgotten, whatever comes now.
        removeSpans(from: base) { $0 == position }
        let start = output.count
        let isNull = try scanner.peek() == .null
        if isNull {
            try scanner.null()
        } else if field.isRepeated {
            try repeated(field, of: type, &scanner)
        } else {
            try value(field, of: type, &scanner)
        }
        guard !isNull, let oneof = field.oneof else {
            if output.count > start { spans.append(Span(field: position, start: start, end: output.count)) }
            return
        }
        let fields = schema.messages[type].fields
        let span = Span(field: position, start: start, end: output.count)
        if spans[base...].contains(where: { $0.field > position && fields[$0.field].oneof == oneof }) {
            output.removeSubrange(span.start..<span.end)
        } else {
            spans.append(span)
            removeSpans(from: base) { $0 != position && fields[$0].oneof == oneof }
        }
    }

    private mutating func removeSpans(from base: Int, where isOld: (Int) -> Bool) {
        guard let old = spans[base...].firstIndex(where: { isOld($0.field) }) else { return }
        let span = spans.remove(at: old)
        let length = span.end - span.start
        output.removeSubrange(span.start..<span.end)
        for later in old..<spans.count {
            spans[later].start -= length
            spans[later].end -= length
        }
    }

    // MARK: - Values

    private mutating func repeated(
        _ field: Schema.Field, of type: Int, _ scanner: inout JSONScanner
    ) throws(JSONFault) {
        if case .message(let entry) = field.kind, schema.messages[entry].isMapEntry {
            return try map(field, of: type, entry, &scanner)
        }
        let kind = try scanner.peek()
        guard kind == .array else { throw mismatch(field, of: type, expected: "an array", got: kind) }
        try scanner.array { scanner throws(JSONFault) in
            guard try scanner.peek() == .null else { return try self.value(field, of: type, &scanner) }
            try scanner.null()
            self.zero(field)
        }
    }

    /// A `null` among a field's elements is an empty one.
    private mutating func zero(_ field: Schema.Field) {
        switch field.kind {
        case .message, .bytes, .string: tag(field, .lengthDelimited)
        default: tag(field, .varint)
        }
        output.append(0)
    }

    /// Maps here go from strings to strings.
    private mutating func map(
        _ field: Schema.Field, of type: Int, _ entry: Int, _ scanner: inout JSONScanner
    ) throws(JSONFault) {
        let kind = try scanner.peek()
        guard kind == .object else { throw mismatch(field, of: type, expected: "an object", got: kind) }
        let fields = schema.messages[entry].fields
        guard fields.count == 2, case .string = fields[0].kind, case .string = fields[1].kind else {
            preconditionFailure("\(field.name) is a map of other than strings")
        }
        try scanner.object { scanner, key throws(JSONFault) in
            self.tag(field, .lengthDelimited)
            let start = self.output.count
            self.tag(fields[0], .lengthDelimited)
            try key.withBytes { bytes throws(JSONFault) in self.text(bytes) }
            if try scanner.peek() == .null {
                try scanner.null()
            } else {
                try self.value(fields[1], of: entry, &scanner)
            }
            self.insertLength(from: start)
        }
    }

    private mutating func value(
        _ field: Schema.Field, of type: Int, _ scanner: inout JSONScanner
    ) throws(JSONFault) {
        let kind = try scanner.peek()
        switch field.kind {
        case .message(let inner):
            tag(field, .lengthDelimited)
            let start = output.count
            let owner = schema.messages[type].name
            try message(inner, &scanner, at: "\(owner).\(field.name)")
            insertLength(from: start)
        case .bytes:
            guard kind == .string else { throw mismatch(field, of: type, expected: "a base64 string", got: kind) }
            tag(field, .lengthDelimited)
            let start = output.count
            let string = try scanner.string()
            try string.withBytes { bytes throws(JSONFault) in
                try StandardBase64.decode(bytes, into: &self.output)
            }
            insertLength(from: start)
        case .string:
            guard kind == .string else { throw mismatch(field, of: type, expected: "a string", got: kind) }
            tag(field, .lengthDelimited)
            try scanner.string().withBytes { bytes throws(JSONFault) in self.text(bytes) }
        case .bool:
            guard kind == .bool else { throw mismatch(field, of: type, expected: "true or false", got: kind) }
            tag(field, .varint)
            output.append(try scanner.bool() ? 1 : 0)
        case .enumeration(let values):
            tag(field, .varint)
            varint(UInt64(bitPattern: Int64(try enumeration(values, field, of: type, &scanner))))
        case .int64:
            let number = try integer(field, of: type, &scanner, as: Int64.self)
            tag(field, .varint)
            varint(UInt64(bitPattern: number))
        case .int32:
            let number = try integer(field, of: type, &scanner, as: Int32.self)
            tag(field, .varint)
            varint(UInt64(bitPattern: Int64(number)))
        case .uint64:
            let number = try integer(field, of: type, &scanner, as: UInt64.self)
            tag(field, .varint)
            varint(number)
        case .uint32:
            let number = try integer(field, of: type, &scanner, as: UInt32.self)
            tag(field, .varint)
            varint(UInt64(number))
        }
    }

    private func mismatch(
        _ field: Schema.Field, of type: Int, expected: String, got: JSONScanner.Kind
    ) -> JSONFault {
        .type(field.name, of: schema.messages[type].name, expected: expected, got: got.rawValue)
    }

    private func enumeration(
        _ values: Int, _ field: Schema.Field, of type: Int, _ scanner: inout JSONScanner
    ) throws(JSONFault) -> Int32 {
        let kind = try scanner.peek()
        if kind == .number { return try integer(field, of: type, &scanner, as: Int32.self) }
        guard kind == .string else { throw mismatch(field, of: type, expected: "a value's name or number", got: kind) }
        let type = schema.enums[values]
        // As it stands in the text: etcd resolves no escapes here.
        let raw = try scanner.string().raw
        if let value = type.values.first(where: { $0.name.count == raw.count && $0.name.elementsEqual(raw) }) {
            return value.number
        }
        throw JSONFault(
            "unknown value \"\\\"\(String(decoding: raw.prefix(100), as: UTF8.self))\\\"\" for enum \(type.name)")
    }

    /// A whole number, bare or as a string.
    private func integer<Number: FixedWidthInteger>(
        _ field: Schema.Field, of type: Int, _ scanner: inout JSONScanner, as: Number.Type
    ) throws(JSONFault) -> Number {
        let kind = try scanner.peek()
        let text: UnsafeRawBufferPointer
        switch kind {
        case .number: text = try scanner.number()
        case .string:
            let raw = try scanner.string().raw
            var inner = JSONScanner(raw)
            guard !inner.isAtEnd(), try inner.peek() == .number else {
                throw notWhole(field, of: type, raw, Number.self)
            }
            text = try inner.number()
            guard inner.isAtEnd() else { throw notWhole(field, of: type, raw, Number.self) }
        case .object, .array, .bool, .null:
            throw mismatch(field, of: type, expected: "a whole number", got: kind)
        }
        let isNegative = text.first == UInt8(ascii: "-")
        var value: Number = 0
        for digit in text.dropFirst(isNegative ? 1 : 0) {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else {
                throw notWhole(field, of: type, text, Number.self)
            }
            let (product, isTooLong) = value.multipliedReportingOverflow(by: 10)
            let step = Number(digit - UInt8(ascii: "0"))
            let (sum, isTooLarge) =
                isNegative ? product.subtractingReportingOverflow(step) : product.addingReportingOverflow(step)
            guard !isTooLong, !isTooLarge else { throw notWhole(field, of: type, text, Number.self) }
            value = sum
        }
        return value
    }

    private func notWhole<Number: FixedWidthInteger>(
        _ field: Schema.Field, of type: Int, _ text: UnsafeRawBufferPointer, _: Number.Type
    ) -> JSONFault {
        let shown = String(decoding: text.prefix(40), as: UTF8.self)
        return JSONFault(
            "\(schema.messages[type].name).\(field.name): \(shown) is no whole number from \(Number.min) to \(Number.max)"
        )
    }

    // MARK: - Output

    private enum WireKind: Int {
        case varint = 0
        case lengthDelimited = 2
    }

    private mutating func tag(_ field: Schema.Field, _ kind: WireKind) {
        varint(UInt64(field.number << 3 | kind.rawValue))
    }

    private mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        output.append(UInt8(value))
    }

    /// A string with its length. Bytes that are no UTF-8 become U+FFFD, as protobuf's strings must be.
    private mutating func text(_ bytes: UnsafeRawBufferPointer) {
        let isASCII = bytes.allSatisfy { $0 < 0x80 }
        if isASCII {
            varint(UInt64(bytes.count))
            output.append(contentsOf: bytes)
        } else {
            let text = String(decoding: bytes, as: UTF8.self)
            varint(UInt64(text.utf8.count))
            output.append(contentsOf: text.utf8)
        }
    }

    /// Puts the length of what was written since `start` before it.
    private mutating func insertLength(from start: Int) {
        var length = output.count - start
        // Most messages and keys are shorter than 128 bytes.
        guard length >= 0x80 else { return output.insert(UInt8(length), at: start) }
        var prefix: [UInt8] = []
        while length >= 0x80 {
            prefix.append(UInt8(truncatingIfNeeded: length) | 0x80)
            length >>= 7
        }
        prefix.append(UInt8(length))
        output.insert(contentsOf: prefix, at: start)
    }
}

/// Base64 as Go's `encoding/base64.StdEncoding` takes it, and as etcd therefore does: standard alphabet, padded, line
/// ends passed over.
enum StandardBase64 {
    /// Values of the 64 characters; 0xff for any other byte.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xff, count: 256)
        for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(value) }
        return values
    }()
    static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Appends the bytes that `text` stands for.
    ///
    /// - Throws: a fault with the position that Go would name.
    static func decode(_ text: UnsafeRawBufferPointer, into output: inout [UInt8]) throws(JSONFault) {
        output.reserveCapacity(output.count + text.count / 4 * 3 + 3)
        var offset = 0
        try values.withBorrowedBytes { values throws(JSONFault) in
            while offset < text.count {
                // Four good characters at a step; anything else goes by the rules below.
                if offset + 4 <= text.count {
                    let a = values[Int(text[offset])]
                    let b = values[Int(text[offset + 1])]
                    let c = values[Int(text[offset + 2])]
                    let d = values[Int(text[offset + 3])]
                    if (a | b | c | d) < 64 {
                        output.append(a << 2 | b >> 4)
                        output.append(b << 4 | c >> 2)
                        output.append(c << 6 | d)
                        offset += 4
                        continue
                    }
                }
                try quantum(text, &offset, &output, values)
            }
        }
    }

    private static func quantum(
        _ text: UnsafeRawBufferPointer, _ offset: inout Int, _ output: inout [UInt8], _ values: UnsafeRawBufferPointer
    ) throws(JSONFault) {
        func skipLineEnds() {
            while offset < text.count, text[offset] == 0x0a || text[offset] == 0x0d { offset += 1 }
        }
        var digits: [UInt8] = []
        while digits.count < 4 {
            guard offset < text.count else {
                if digits.isEmpty { return }
                throw .base64(at: offset - digits.count)
            }
            let byte = text[offset]
            offset += 1
            if values[Int(byte)] < 64 {
                digits.append(values[Int(byte)])
                continue
            }
            if byte == 0x0a || byte == 0x0d { continue }
            guard byte == UInt8(ascii: "="), digits.count >= 2 else { throw .base64(at: offset - 1) }
            if digits.count == 2 {
                skipLineEnds()
                guard offset < text.count else { throw .base64(at: text.count) }
                guard text[offset] == UInt8(ascii: "=") else { throw .base64(at: offset - 1) }
                offset += 1
            }
            skipLineEnds()
            guard offset == text.count else { throw .base64(at: offset) }
            break
        }
        output.append(digits[0] << 2 | digits[1] >> 4)
        if digits.count > 2 { output.append(digits[1] << 4 | digits[2] >> 2) }
        if digits.count > 3 { output.append(digits[2] << 6 | digits[3]) }
    }
}
