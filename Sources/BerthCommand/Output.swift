import ArgumentParser
import Berth
import CommandText

#if canImport(Glibc)
    import Glibc
#endif

/// How answers are written.
enum WriteOut: String, ExpressibleByArgument, CaseIterable {
    /// For people.
    case simple
    /// For scripts: one JSON object a line.
    case json
}

/// Writes to the standard streams.
enum Output {
    /// A line on standard output, at once.
    static func line(_ text: String) {
        print(text)
        fflush(nil)
    }

    /// A JSON line on standard output, at once.
    static func line(_ json: JSON) { line(json.line) }

    /// Bytes as they are, and the end of a line.
    static func line(_ bytes: Bytes) {
        // Through the same buffer as everything else, which keeps the order.
        for byte in bytes.array { putchar(Int32(byte)) }
        putchar(Int32(UInt8(ascii: "\n")))
    }

    /// One line on standard error.
    static func complain(_ text: String) {
        let words = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        fflush(nil)
        var message = "berth: \(LockText.printable(words))\n"
        message.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    /// Whether a person reads standard output.
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
    /// Whether a person reads standard error.
    static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
