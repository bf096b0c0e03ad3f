import FoundationEssentials

public import struct Berth.Bytes

/// Turns what people type into requests, and answers into what people and scripts read. This module owns the text of
/// the command line: durations, transaction scripts, JSON, tables, the live view of a lock. It must never do I/O or ask
/// a clock: it takes values and gives values.
///
/// `JSON` keeps its fields in the order they were written, so that output is the same from one version to the next.
public enum JSON: Sendable, Hashable {
    /// No value.
    case null
    /// True or false.
    case bool(Bool)
    /// A whole number. Those that may pass 2^53, as leases do, are written as text instead.
    case number(Int64)
    /// A text.
    case text(String)
    /// A list.
    case array([JSON])
    /// Named values, in this order.
    case object([Field])

    /// A named value.
    public struct Field: Sendable, Hashable {
        /// Its name.
        public var name: String
        /// The value.
        public var value: JSON

        /// Names a value.
        public init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }

        /// Bytes: as text under `name` when they are UTF-8, else as base64 under `name_base64`.
        public init(_ name: String, _ bytes: Bytes) {
            if let text = bytes.string {
                self.init(name, .text(text))
            } else {
                self.init("\(name)_base64", .text(Data(bytes.array).base64EncodedString()))
            }
        }

        /// A text.
        public init(_ name: String, _ text: String) { self.init(name, .text(text)) }

        /// A number.
        public init(_ name: String, _ number: some BinaryInteger) { self.init(name, .number(Int64(clamping: number))) }

        /// A time span, in whole milliseconds.
        public init(_ name: String, milliseconds: Duration) {
            self.init(name, .number(Int64(milliseconds / .milliseconds(1))))
        }
    }

    /// One line, without its end.
    public var line: String {
        var text = ""
        write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let number): text += "\(number)"
        case .text(let value): Self.quote(value, into: &text)
        case .array(let values):
            text += "["
            for (position, value) in values.enumerated() {
                if position > 0 { text += "," }
                value.write(to: &text)
            }
            text += "]"
        case .object(let fields):
            text += "{"
            for (position, field) in fields.enumerated() {
                if position > 0 { text += "," }
                Self.quote(field.name, into: &text)
                text += ":"
                field.value.write(to: &text)
            }
            text += "}"
        }
    }

    private static func quote(_ value: String, into text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..<" ", "\u{7f}":
                text += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
