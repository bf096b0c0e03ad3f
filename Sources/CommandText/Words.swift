internal import Berth

/// Takes a line apart: words, and words in quotes. In double quotes `\n`, `\t`, `\r`, `\"`, `\\` and `\xNN` stand for
/// bytes, in single quotes nothing does.
struct Words {
    struct Mistake: Error {
        var message: String
        init(_ message: String) { self.message = message }
    }

    private var rest: Substring

    init(_ line: Substring) { rest = line }

    var isAtEnd: Bool {
        mutating get {
            skipSpace()
            return rest.isEmpty
        }
    }

    private mutating func skipSpace() { while rest.first?.isWhitespace == true { rest.removeFirst() } }

    /// Takes exactly this, if it comes next.
    mutating func take(_ text: String) -> Bool {
        skipSpace()
        guard rest.hasPrefix(text) else { return false }
        rest.removeFirst(text.count)
        return true
    }

    /// Takes letters and dashes.
    mutating func name() -> String {
        skipSpace()
        let name = rest.prefix { $0.isLetter || $0 == "-" }
        rest.removeFirst(name.count)
        return String(name)
    }

    /// Takes a word, quoted or up to white space or one of `stops`.
    mutating func next(endingAt stops: String = "") throws(Mistake) -> Bytes {
        skipSpace()
        switch rest.first {
        case nil: throw Mistake("a word is missing at the end")
        case "\"": return try doubleQuoted()
        case "'":
            rest.removeFirst()
            guard let end = rest.firstIndex(of: "'") else { throw Mistake("no ' at the end of a quoted word") }
            let word = rest[..<end]
            rest = rest[rest.index(after: end)...]
            return Bytes(word)
        default:
            let word = rest.prefix { !$0.isWhitespace && !stops.contains($0) }
            rest.removeFirst(word.count)
            return Bytes(word)
        }
    }

    private mutating func doubleQuoted() throws(Mistake) -> Bytes {
        rest.removeFirst()
        var word: [UInt8] = []
        while let character = rest.popFirst() {
            switch character {
            case "\"": return Bytes(word)
            case "\\": word += try escaped()
            default: word += character.utf8
            }
        }
        throw Mistake("no \" at the end of a quoted word")
    }

    private mutating func escaped() throws(Mistake) -> [UInt8] {
        switch rest.popFirst() {
        case "n": return [UInt8(ascii: "\n")]
        case "t": return [UInt8(ascii: "\t")]
        case "r": return [UInt8(ascii: "\r")]
        case "\"": return [UInt8(ascii: "\"")]
        case "\\": return [UInt8(ascii: "\\")]
        case "x":
            let digits = rest.prefix(2)
            rest = rest.dropFirst(2)
            guard digits.count == 2, let byte = UInt8(digits, radix: 16) else {
                throw Mistake("'\\x\(digits)' is no byte; expected two hexadecimal digits")
            }
            return [byte]
        case let other: throw Mistake("'\\\(other.map { String($0) } ?? "")' stands for nothing")
        }
    }

    mutating func comparison() throws(Mistake) -> Check.Comparison {
        if take("!=") { return .notEqual }
        if take("==") || take("=") { return .equal }
        if take("<") { return .less }
        if take(">") { return .greater }
        throw Mistake("no comparison behind the key; expected =, !=, < or >")
    }

    mutating func end() throws(Mistake) {
        if !isAtEnd { throw Mistake("'\(rest)' is too much here") }
    }
}
