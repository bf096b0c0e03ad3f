import FoundationEssentials

/// A key or a value: bytes of any content. A string literal stands for its UTF-8 bytes.
public struct Bytes: Sendable, Hashable {
    /// The bytes themselves.
    public var array: [UInt8]

    /// No bytes.
    public init() { array = [] }

    /// Takes the bytes of any sequence.
    public init(_ bytes: some Sequence<UInt8>) { array = Array(bytes) }

    /// The UTF-8 bytes of a text.
    public init(_ text: some StringProtocol) { array = Array(text.utf8) }

    /// The text these bytes are, nil when they are not UTF-8.
    public var string: String? { String(validating: array, as: UTF8.self) }

    /// Number of bytes.
    public var count: Int { array.count }

    /// Whether there are none.
    public var isEmpty: Bool { array.isEmpty }

    /// Whether these bytes begin with `prefix`.
    public func hasPrefix(_ prefix: Bytes) -> Bool { array.starts(with: prefix.array) }

    init(_ data: Data) { array = Array(data) }
    var data: Data { Data(array) }

    /// These bytes with one zero byte behind them: the first key after this one.
    var successor: Bytes { Bytes(array + [0]) }
}

extension Bytes: ExpressibleByStringLiteral, ExpressibleByStringInterpolation, ExpressibleByArrayLiteral {
    /// The UTF-8 bytes of a literal.
    public init(stringLiteral text: String) { self.init(text) }

    /// The bytes listed.
    public init(arrayLiteral bytes: UInt8...) { array = bytes }
}

extension Bytes: Comparable {
    /// Bytewise, as the store orders keys.
    public static func < (a: Bytes, b: Bytes) -> Bool { a.array.lexicographicallyPrecedes(b.array) }
}

extension Bytes: CustomStringConvertible {
    /// The text, when these bytes are printable UTF-8; else each unprintable byte as `\xNN`.
    public var description: String {
        if let string, !string.unicodeScalars.contains(where: Self.steersTerminals) { return string }
        var text = ""
        for byte in array {
            if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "\\") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                text += digits.utf8.count == 1 ? "\\x0\(digits)" : "\\x\(digits)"
            }
        }
        return text
    }

    /// Controls, C1 ones too, line separators and marks that turn the direction of writing.
    private static func steersTerminals(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f...0x9f, 0x2028...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}
