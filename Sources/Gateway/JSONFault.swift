/// Why JSON was refused: one line for a person, with etcd's words where clients may know them.
public struct JSONFault: Error, Hashable, CustomStringConvertible, Sendable {
    /// The line.
    public let description: String

    init(_ description: String) { self.description = description }

    /// A character that cannot stand where it does, as Go's `encoding/json` says it.
    static func character(_ byte: UInt8, _ context: String, at offset: Int) -> JSONFault {
        let shown: String
        switch byte {
        case UInt8(ascii: "'"): shown = #"'\''"#
        case UInt8(ascii: "\\"): shown = #"'\\'"#
        case 0x20...0x7e: shown = "'\(Character(UnicodeScalar(byte)))'"
        default:
            let hex = String(byte, radix: 16)
            shown = "'\\x\(hex.count == 1 ? "0" : "")\(hex)'"
        }
        return JSONFault("invalid character \(shown) \(context) (byte \(offset) of the message)")
    }

    /// The text ends inside a value.
    static let unexpectedEnd = JSONFault("unexpected EOF")

    /// Nested deeper than anyone needs.
    static let tooDeep = JSONFault("the JSON is nested deeper than \(JSONScanner.maxDepth) levels")

    static func base64(at offset: Int) -> JSONFault { JSONFault("illegal base64 data at input byte \(offset)") }

    static func type(_ field: String, of message: String, expected: String, got: String) -> JSONFault {
        JSONFault("\(message).\(field): expected \(expected), got \(got)")
    }
}
