/// The encoding of `grpc-message`: printable ASCII but `%` stands for itself, every other byte is `%XX`.
package enum PercentEncoding {
    /// The bytes to send for `text`, cut to at most `limit` between two encoded bytes.
    package static func encode(_ text: String, limit: Int = .max) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity(min(text.utf8.count, limit))
        for byte in text.utf8 {
            let isPlain = byte >= 0x20 && byte <= 0x7e && byte != UInt8(ascii: "%")
            guard encoded.count + (isPlain ? 1 : 3) <= limit else { break }
            if isPlain {
                encoded.append(byte)
            } else {
                encoded.append(UInt8(ascii: "%"))
                encoded.append(hexDigit(byte >> 4))
                encoded.append(hexDigit(byte & 0xf))
            }
        }
        return encoded
    }

    /// The text that was sent. A `%` without two hex digits stands for itself, as the peer cannot be asked again, and
    /// bytes that are no UTF-8 become replacement characters.
    package static func decode(_ bytes: some Collection<UInt8>) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2, let high = digits.first.flatMap(hexValue),
                let low = digits.dropFirst().first.flatMap(hexValue)
            {
                decoded.append(high << 4 | low)
                rest = rest.dropFirst(2)
            } else {
                decoded.append(byte)
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func hexDigit(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "A") + nibble - 10
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
