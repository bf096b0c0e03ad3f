public import Berth

/// Reads a transaction from text: Berth's own form, or the one `etcdctl txn` takes.
///
/// Own form, one thing a line, `#` to the end of a line is a comment:
///
///     value stock > "10"
///     create order:123/1f = 42
///     then
///       put order:123 paid
///       get stock
///     else
///       get order:123
///
/// etcdctl's form has an empty line where `then` and `else` stand here. Both forms of a comparison are read in either.
public enum TxnScript {
    /// What was wrong, and in which line.
    public struct Mistake: Error, Sendable, Hashable, CustomStringConvertible {
        /// Counted from 1.
        public var line: Int
        /// What was found and what was expected.
        public var message: String

        /// One line.
        public var description: String { "line \(line) of the transaction: \(message)" }
    }

    private enum Section { case checks, then, otherwise }

    /// Reads a whole script.
    public static func parse(_ text: String) throws(Mistake) -> Txn {
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        let isOwn = lines.contains { ["then", "else"].contains(trimmed($0)) }
        var section = Section.checks
        var txn = Txn()
        for (position, raw) in lines.enumerated() {
            let line = trimmed(raw)
            let number = position + 1
            if isOwn {
                switch line {
                case "then":
                    guard section == .checks else { throw Mistake(line: number, message: "a second 'then'") }
                    section = .then
                    continue
                case "else":
                    guard section != .otherwise else { throw Mistake(line: number, message: "a second 'else'") }
                    section = .otherwise
                    continue
                default: break
                }
                if line.isEmpty || line.hasPrefix("#") { continue }
            } else if line.isEmpty {
                switch section {
                case .checks: section = .then
                case .then: section = .otherwise
                case .otherwise: break
                }
                continue
            } else if line.hasPrefix("#") {
                continue
            }
            do throws(Words.Mistake) {
                switch section {
                case .checks: txn.checks.append(try check(line))
                case .then: txn.then.append(try operation(line))
                case .otherwise: txn.otherwise.append(try operation(line))
                }
            } catch {
                throw Mistake(line: number, message: error.message)
            }
        }
        return txn
    }

    private static func trimmed(_ line: Substring) -> Substring {
        var line = line
        while line.first?.isWhitespace == true { line.removeFirst() }
        while line.last?.isWhitespace == true { line.removeLast() }
        return line
    }

    // MARK: Comparisons

    private static func check(_ line: Substring) throws(Words.Mistake) -> Check {
        var words = Words(line)
        let target = words.name()
        let hasParenthesis = words.take("(")
        let key = try words.next(endingAt: hasParenthesis ? ")" : "=!<>")
        if hasParenthesis, !words.take(")") { throw Words.Mistake("no ')' behind the key") }
        switch target {
        case "exists", "missing":
            try words.end()
            return target == "exists" ? .exists(key) : .missing(key)
        default: break
        }
        let comparison = try words.comparison()
        let operand = try words.next()
        try words.end()
        switch target {
        case "value", "val": return .value(of: key, comparison, operand)
        case "version", "ver": return .version(of: key, comparison, try number(operand))
        case "create", "c": return .createRevision(of: key, comparison, try number(operand))
        case "mod", "m": return .modRevision(of: key, comparison, try number(operand))
        case "lease":
            guard comparison == .equal else { throw Words.Mistake("a lease is compared by = alone") }
            guard let lease = LeaseID(hex: operand.string ?? "") else {
                throw Words.Mistake("'\(operand)' is no lease; expected its hexadecimal number, or 0 for none")
            }
            return .lease(of: key, is: lease.value == 0 ? nil : lease)
        default:
            throw Words.Mistake(
                "'\(target)' cannot be compared; expected value, version, create, mod, lease, exists or missing")
        }
    }

    private static func number(_ word: Bytes) throws(Words.Mistake) -> Int64 {
        guard let number = word.string.flatMap({ Int64($0) }) else {
            throw Words.Mistake("'\(word)' is no whole number")
        }
        return number
    }

    // MARK: Operations

    private static func operation(_ line: Substring) throws(Words.Mistake) -> Txn.Operation {
        var words = Words(line)
        let verb = words.name()
        var options = OperationOptions()
        var plain: [Bytes] = []
        while !words.isAtEnd {
            if try options.take(&words) { continue }
            plain.append(try words.next())
        }
        switch verb {
        case "put":
            try options.allow(["lease", "prev-kv", "ignore-lease"], for: verb)
            guard plain.count == 2 else { throw Words.Mistake("put takes a key and a value, not \(plain.count) words") }
            var put = Put(plain[0], plain[1], lease: options.lease, previous: options.has("prev-kv"))
            put.keepsLease = options.has("ignore-lease")
            return .put(put)
        case "get":
            try options.allow(["prefix", "from-key", "limit", "rev", "keys-only", "count-only"], for: verb)
            var get = Get(try options.range(plain, verb), limit: options.numbers["limit"].map { Int($0) })
            get.revision = options.numbers["rev"]
            get.keysOnly = options.has("keys-only")
            get.countOnly = options.has("count-only")
            return .get(get)
        case "del", "delete":
            try options.allow(["prefix", "from-key", "prev-kv"], for: verb)
            return .delete(Delete(try options.range(plain, verb), previous: options.has("prev-kv")))
        default: throw Words.Mistake("'\(verb)' is no operation; expected put, get or del")
        }
    }

    private struct OperationOptions {
        private var flags: Set<String> = []
        private(set) var numbers: [String: Int64] = [:]
        private(set) var lease: LeaseID?

        func has(_ flag: String) -> Bool { flags.contains(flag) }

        /// - Returns: whether there was an option.
        mutating func take(_ words: inout Words) throws(Words.Mistake) -> Bool {
            guard words.take("--") else { return false }
            let name = words.name()
            flags.insert(name)
            switch name {
            case "prefix", "from-key", "prev-kv", "keys-only", "count-only", "ignore-lease": break
            case "limit", "rev":
                _ = words.take("=")
                numbers[name] = try TxnScript.number(try words.next())
            case "lease":
                _ = words.take("=")
                let word = try words.next()
                guard let id = LeaseID(hex: word.string ?? "") else {
                    throw Words.Mistake("'\(word)' is no lease; expected its hexadecimal number")
                }
                lease = id
            default: throw Words.Mistake("no option '--\(name)' here")
            }
            return true
        }

        func allow(_ known: Set<String>, for verb: String) throws(Words.Mistake) {
            if let other = flags.subtracting(known).min() { throw Words.Mistake("\(verb) has no option '--\(other)'") }
        }

        func range(_ plain: [Bytes], _ verb: String) throws(Words.Mistake) -> KeyRange {
            guard let key = plain.first, plain.count <= 2 else {
                throw Words.Mistake("\(verb) takes a key and perhaps the end of a range, not \(plain.count) words")
            }
            if plain.count == 2 { return KeyRange(key: key, end: plain[1]) }
            if has("prefix") { return .prefix(key) }
            return has("from-key") ? .from(key) : .key(key)
        }
    }
}
