/// Reads JSON text (RFC 8259) piece by piece from one buffer, without making values of it. Checks what it passes over:
/// also what is skipped must be JSON. Depth is bounded; time is linear.
struct JSONScanner {
    /// Objects and arrays inside each other. etcd's deepest request, a transaction in a transaction, takes a dozen.
    static let maxDepth = 100

    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0
    private var depth = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// A value's kind, by its first byte.
    enum Kind: String {
        case object = "an object"
        case array = "an array"
        case string = "a string"
        case number = "a number"
        case bool = "a boolean"
        case null = "null"
    }

    mutating func skipSpace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x09, 0x0a, 0x0d: offset += 1
            default: return
            }
        }
    }

    /// Whether nothing but space is left.
    mutating func isAtEnd() -> Bool {
        skipSpace()
        return offset == bytes.count
    }

    /// The kind of the value that begins here.
    mutating func peek() throws(JSONFault) -> Kind {
        skipSpace()
        let byte = try current()
        switch byte {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        default: throw .character(byte, "looking for beginning of value", at: offset)
        }
    }

    private func current() throws(JSONFault) -> UInt8 {
        guard offset < bytes.count else { throw .unexpectedEnd }
        return bytes[offset]
    }

    /// Takes one byte, skipping space before it, if it is this one.
    private mutating func take(_ byte: UInt8) throws(JSONFault) -> Bool {
        skipSpace()
        guard try current() == byte else { return false }
        offset += 1
        return true
    }

    /// Reads an object: `body` is called with each key, its colon taken, and must take the value.
    mutating func object(
        _ body: (inout JSONScanner, JSONString) throws(JSONFault) -> Void
    ) throws(JSONFault) {
        guard try take(UInt8(ascii: "{")) else { return }
        try enter()
        defer { depth -= 1 }
        if try take(UInt8(ascii: "}")) { return }
        while true {
            skipSpace()
            let byte = try current()
            guard byte == UInt8(ascii: "\"") else {
                throw .character(byte, "looking for beginning of object key string", at: offset)
            }
            let key = try string()
            guard try take(UInt8(ascii: ":")) else {
                throw .character(try current(), "after object key", at: offset)
            }
            try body(&self, key)
            if try take(UInt8(ascii: ",")) { continue }
            if try take(UInt8(ascii: "}")) { return }
            throw .character(try current(), "after object key:value pair", at: offset)
        }
    }

    /// Reads an array: `body` must take one element each time.
    mutating func array(_ body: (inout JSONScanner) throws(JSONFault) -> Void) throws(JSONFault) {
        guard try take(UInt8(ascii: "[")) else { return }
        try enter()
        defer { depth -= 1 }
        if try take(UInt8(ascii: "]")) { return }
        while true {
            try body(&self)
            if try take(UInt8(ascii: ",")) { continue }
            if try take(UInt8(ascii: "]")) { return }
            throw .character(try current(), "after array element", at: offset)
        }
    }

    private mutating func enter() throws(JSONFault) {
        depth += 1
        guard depth <= Self.maxDepth else { throw .tooDeep }
    }

    /// Reads a string; the quote must be next.
    mutating func string() throws(JSONFault) -> JSONString {
        skipSpace()
        offset += 1
        let start = offset
        var isPlain = true
        while offset < bytes.count {
            let byte = bytes[offset]
            if byte == UInt8(ascii: "\"") {
                let raw = UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
                offset += 1
                return JSONString(raw: raw, isPlain: isPlain)
            }
            if byte == UInt8(ascii: "\\") {
                isPlain = false
                offset += 1
                try escape()
            } else if byte < 0x20 {
                throw .character(byte, "in string literal", at: offset)
            } else {
                offset += 1
            }
        }
        throw .unexpectedEnd
    }

    private mutating func escape() throws(JSONFault) {
        let byte = try current()
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            offset += 1
        case UInt8(ascii: "u"):
            offset += 1
            for _ in 0..<4 {
                let digit = try current()
                guard JSONString.hexValue(digit) != nil else {
                    throw .character(digit, "in \\u hexadecimal character escape", at: offset)
                }
                offset += 1
            }
        default: throw .character(byte, "in string escape code", at: offset)
        }
    }

    /// Reads a number as its text.
    mutating func number() throws(JSONFault) -> UnsafeRawBufferPointer {
        skipSpace()
        let start = offset
        if try current() == UInt8(ascii: "-") { offset += 1 }
        if try current() == UInt8(ascii: "0") {
            offset += 1
        } else {
            try digits("in numeric literal")
        }
        if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
            offset += 1
            try digits("after decimal point in numeric literal")
        }
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            offset += 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
                offset += 1
            }
            try digits("in exponent of numeric literal")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
    }

    private mutating func digits(_ context: String) throws(JSONFault) {
        let first = try current()
        guard first >= UInt8(ascii: "0"), first <= UInt8(ascii: "9") else {
            throw .character(first, context, at: offset)
        }
        while offset < bytes.count, bytes[offset] >= UInt8(ascii: "0"), bytes[offset] <= UInt8(ascii: "9") {
            offset += 1
        }
    }

    /// Reads `true` or `false`.
    mutating func bool() throws(JSONFault) -> Bool {
        skipSpace()
        let isTrue = try current() == UInt8(ascii: "t")
        try word(isTrue ? "true" : "false")
        return isTrue
    }

    /// Reads `null`.
    mutating func null() throws(JSONFault) {
        skipSpace()
        try word("null")
    }

    private mutating func word(_ word: StaticString) throws(JSONFault) {
        for position in 0..<word.utf8CodeUnitCount {
            let byte = try current()
            guard byte == word.utf8Start[position] else {
                throw .character(byte, "in literal \(word)", at: offset)
            }
            offset += 1
        }
    }

    /// Passes over one value of any kind.
    mutating func skip() throws(JSONFault) {
        switch try peek() {
        case .object: try object { scanner, _ throws(JSONFault) in try scanner.skip() }
        case .array: try array { scanner throws(JSONFault) in try scanner.skip() }
        case .string: _ = try string()
        case .number: _ = try number()
        case .bool: _ = try bool()
        case .null: try null()
        }
    }
}

/// A string as it stands in the text, between its quotes.
struct JSONString {
    let raw: UnsafeRawBufferPointer
    /// There is no escape in it.
    let isPlain: Bool

    /// Calls `body` with the string's UTF-8. Escapes are resolved; half a surrogate pair becomes U+FFFD.
    func withBytes<Result>(
        _ body: (UnsafeRawBufferPointer) throws(JSONFault) -> Result
    ) throws(JSONFault) -> Result {
        if isPlain { return try body(raw) }
        let bytes = resolved()
        return try bytes.withBorrowedBytes(body)
    }

    private func resolved() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(raw.count)
        var offset = 0
        while offset < raw.count {
            let byte = raw[offset]
            offset += 1
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            let code = raw[offset]
            offset += 1
            switch code {
            case UInt8(ascii: "b"): bytes.append(0x08)
            case UInt8(ascii: "f"): bytes.append(0x0c)
            case UInt8(ascii: "n"): bytes.append(0x0a)
            case UInt8(ascii: "r"): bytes.append(0x0d)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "u"): bytes.append(contentsOf: scalar(&offset))
            default: bytes.append(code)
            }
        }
        return bytes
    }

    /// The character that `\u` and four hexadecimal digits mean, or two such of a surrogate pair.
    private func scalar(_ offset: inout Int) -> [UInt8] {
        var value = unit(at: offset)
        offset += 4
        if value & 0xfc00 == 0xd800, offset + 6 <= raw.count, raw[offset] == UInt8(ascii: "\\"),
            raw[offset + 1] == UInt8(ascii: "u")
        {
            let low = unit(at: offset + 2)
            if low & 0xfc00 == 0xdc00 {
                value = 0x10000 + (value & 0x3ff) << 10 + low & 0x3ff
                offset += 6
            }
        }
        return Array(String(Character(UnicodeScalar(value) ?? "\u{fffd}")).utf8)
    }

    /// Four hexadecimal digits, which the scanner has seen.
    private func unit(at offset: Int) -> UInt32 {
        raw[offset..<(offset + 4)].reduce(0) { $0 << 4 | UInt32(Self.hexValue($1) ?? 0) }
    }

    static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension [UInt8] {
    /// `withUnsafeBytes` with a typed error.
    func withBorrowedBytes<Result>(
        _ body: (UnsafeRawBufferPointer) throws(JSONFault) -> Result
    ) throws(JSONFault) -> Result {
        let outcome = withUnsafeBytes { bytes -> Swift.Result<Result, JSONFault> in
            do throws(JSONFault) {
                return .success(try body(bytes))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }
}
