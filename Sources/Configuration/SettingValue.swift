/// A text that was given for a setting, and where. Each reading of it throws a `ConfigurationError` that names the setting,
/// the text, the place and what was expected.
public struct SettingValue: Hashable, Sendable {
    /// The setting's name, without dashes.
    public let name: String
    /// As it was given; lists of a file are joined with commas.
    public let text: String
    /// Where it was given.
    public let source: SettingSource

    /// Puts a value together.
    public init(name: String, text: String, source: SettingSource) {
        self.name = name
        self.text = text
        self.source = source
    }

    /// That the text cannot be used.
    ///
    /// - Parameter expected: what would be right, after "expected".
    public func mistake(expected: String) -> ConfigurationError {
        let shown = Self.integer(text) == nil ? "'\(text)'" : text
        return ConfigurationError("--\(name) is \(shown)\(place); expected \(expected)")
    }

    /// ` (BERTH_NAME)`, where the flag's name alone does not tell.
    var place: String {
        if case .flag("--\(name)") = source { "" } else { " (\(source))" }
    }

    /// `'text' (place)`.
    var told: String { "'\(text)' (\(source))" }

    /// A whole number: decimal, or hexadecimal after `0x`.
    public func integer() throws(ConfigurationError) -> Int64 {
        guard let number = Self.integer(text) else { throw mistake(expected: "a whole number") }
        return number
    }

    /// A whole number within a range.
    public func integer(in range: ClosedRange<Int64>) throws(ConfigurationError) -> Int64 {
        let number = try integer()
        guard range.contains(number) else {
            throw mistake(expected: "\(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// What Go's `strconv.ParseBool` takes.
    public func boolean() throws(ConfigurationError) -> Bool {
        guard let value = Self.boolean(text) else { throw mistake(expected: "true or false") }
        return value
    }

    /// A time span with its units.
    public func duration() throws(ConfigurationError) -> Duration {
        guard let value = GoDuration.parse(text) else { throw mistake(expected: GoDuration.expected) }
        return value
    }

    /// The parts between commas, without spaces around them; empty ones are left out.
    public func list() -> [String] { Self.list(text) }

    /// The text, if it is one of a few.
    public func oneOf(_ known: [String]) throws(ConfigurationError) -> String {
        guard known.contains(text) else { throw mistake(expected: "one of \(known.joined(separator: ", "))") }
        return text
    }

    static func integer(_ text: String) -> Int64? {
        if text.hasPrefix("0x") { return Int64(text.dropFirst(2), radix: 16) }
        // Go reads a leading zero as octal, people do not: neither is guessed.
        let digits = text.drop { $0 == "-" || $0 == "+" }
        guard digits.count == 1 || !digits.hasPrefix("0") else { return nil }
        return Int64(text)
    }

    static func boolean(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        default: nil
        }
    }

    static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }.filter { !$0.isEmpty }
    }

    /// The text in one spelling of its kind, for comparing two values: `60s` and `1m` are one.
    static func canonical<Target>(_ text: String, _ kind: Setting<Target>.Kind) -> String {
        switch kind {
        case .text: text
        case .list: list(text).joined(separator: ",")
        case .boolean: boolean(text).map(String.init) ?? text
        case .integer: integer(text).map(String.init) ?? text
        case .seconds where integer(text) != nil: canonical("\(text)s", kind)
        case .duration, .seconds: GoDuration.parse(text).map { "\($0)" } ?? text
        }
    }
}
