import CommandText
import Configuration
import Logging
import Server

/// Readings of values that only `berth serve` has.
extension SettingValue {
    /// A number of things.
    func count() throws -> Int { Int(try integer(in: Int64(Int32.min)...Int64(UInt32.max))) }

    /// Addresses, each once.
    func urls() throws -> [ClientURL] {
        var urls: [ClientURL] = []
        for part in list() {
            do {
                let url = try ClientURL(parsing: part)
                if !urls.contains(url) { urls.append(url) }
            } catch {
                throw ConfigurationError("--\(name): \(error)\(source == .flag("--\(name)") ? "" : " (\(source))")")
            }
        }
        return urls
    }

    /// A time span in which a bare number counts seconds.
    func seconds() throws -> Duration {
        guard let duration = DurationText.parse(text) else { throw mistake(expected: DurationText.expected) }
        return duration
    }

    /// A time span above zero and of a hundred years at most.
    func timer(orZero: Bool = false) throws -> Duration {
        let duration = try duration()
        guard duration > .zero || orZero, duration <= .seconds(100 * 365 * 86_400) else {
            throw mistake(expected: "a time span \(orZero ? "of 0 or more" : "above 0") and below a hundred years")
        }
        return duration
    }

    /// A file's name; nil for none.
    func file() -> String? { text.isEmpty ? nil : text }

    /// A log level, by swift-log's names or etcd's.
    func logLevel() throws -> Logger.Level {
        let etcd: [String: Logger.Level] = [
            "warn": .warning, "dpanic": .critical, "panic": .critical, "fatal": .critical,
        ]
        guard let level = etcd[text] ?? Logger.Level(rawValue: text) else {
            throw mistake(expected: "one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return level
    }

    /// The member names in `name=http://host:2380,...`.
    func members() throws -> [String] {
        try list().map { part in
            guard let equals = part.firstIndex(of: "="), equals > part.startIndex else {
                throw mistake(expected: "NAME=PEER-URL of this member")
            }
            return String(part[..<equals])
        }
    }
}
