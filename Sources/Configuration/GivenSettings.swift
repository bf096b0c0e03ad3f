/// What a program was told by flags, environment and file: read by one table of settings, merged, and applied.
///
/// This module owns the rules of reading and merging, and knows no setting by name except `config-file`. It never prints,
/// and never reads the environment or a file by itself: both are handed in.
///
/// A flag wins over a variable, a variable over the file, the file over the default. What etcd's rules settle otherwise is
/// refused rather than guessed: see `merge`.
public struct GivenSettings<Target> {
    /// Something to tell the operator once there is a log.
    public struct Notice: Hashable, Sendable {
        /// Whether it may be a mistake.
        public let isWarning: Bool
        /// One line.
        public let text: String

        /// Puts a notice together.
        public init(isWarning: Bool, text: String) {
            self.isWarning = isWarning
            self.text = text
        }
    }

    /// A setting that is used, with its value.
    public struct Effective {
        /// The setting.
        public let setting: Setting<Target>
        /// The value that won, or the default.
        public let value: SettingValue
    }

    /// What to tell the operator, in the order of the table.
    public private(set) var notices: [Notice] = []
    private let table: SettingTable<Target>
    private var values: [String: SettingValue] = [:]

    /// Reads everything.
    ///
    /// - Parameters:
    ///   - arguments: those after the command's name.
    ///   - variables: the environment.
    ///   - readFile: gives a file's text; its error is shown as it is.
    /// - Throws: `ConfigurationError` for whatever is unknown, has no value, or contradicts.
    public init(
        _ table: SettingTable<Target>, arguments: [String], variables: [String: String],
        readFile: (String) throws -> String
    ) throws(ConfigurationError) {
        self.table = table
        var given = try CommandLineReader(table: table).read(arguments)
        // `--help` and its like answer whatever else is wrong.
        if given.contains(where: { table[$0.name]?.reach == .commandLine && $0.name != "check-config" }) {
            for value in given where table[value.name]?.reach == .commandLine { values[value.name] = value }
            return
        }
        var findings = try EnvironmentReader(table: table).read(variables)
        let places = (given + findings.values).filter { table[$0.name]?.reach == .outsideFiles }
        if let file = try merge(places) {
            passOverEtcdVariables(&findings.values)
            given += try read(file, readFile)
        }
        for name in findings.unknown {
            notices.append(Notice(isWarning: true, text: "\(name) is not known and has no effect"))
        }
        let byName = Dictionary(grouping: given + findings.values, by: \.name)
        for setting in table.settings {
            guard let given = byName[setting.name] else { continue }
            values[setting.name] = try merge(given)
        }
    }

    /// The value of a setting, if it was given.
    public subscript(name: String) -> SettingValue? { values[name] }

    /// Hands every value that was given to the target, and notes those without effect.
    ///
    /// - Throws: `ConfigurationError`, or what a setting's own check throws.
    public mutating func apply(to target: inout Target) throws {
        for setting in table.settings {
            guard let value = values[setting.name] else { continue }
            switch setting.treatment {
            case .used(let apply): try apply(&target, value)
            case .withoutEffect(let reason):
                try check(value, setting.kind)
                guard canonical(value.text, setting) != canonical(setting.standard, setting) else { continue }
                notices.append(
                    Notice(isWarning: false, text: "--\(setting.name)\(value.place) has no effect: \(reason)"))
            case .refused(let harmless, let reason):
                let text = canonical(value.text, setting)
                guard !(harmless.contains { canonical($0, setting) == text }) else { continue }
                throw ConfigurationError("--\(setting.name)\(value.place) cannot be used: \(reason)")
            }
        }
    }

    /// All settings that are used and can stand in a file, with what they are now.
    public var effective: [Effective] {
        table.settings.filter { $0.isUsed && $0.reach == .everywhere }.map { setting in
            let standard = SettingValue(name: setting.name, text: setting.standard, source: .standard)
            return Effective(setting: setting, value: values[setting.name] ?? standard)
        }
    }

    /// A mistake that names settings as flags, with the places where those were given.
    public func placed(_ mistake: String) -> ConfigurationError {
        var places: [String] = []
        for word in mistake.split(whereSeparator: { $0 == " " || $0 == "," || $0 == ";" || $0 == ":" }) {
            guard word.hasPrefix("--"), let value = values[String(word.dropFirst(2))] else { continue }
            guard !value.place.isEmpty, !places.contains("--\(value.name) is from \(value.source)") else { continue }
            places.append("--\(value.name) is from \(value.source)")
        }
        return ConfigurationError(places.isEmpty ? mistake : "\(mistake) (\(places.joined(separator: ", ")))")
    }

    // MARK: - Merging

    /// The value that wins among those given for one setting.
    ///
    /// - A flag wins over the program's own variable, and a variable over the file; that is noted.
    /// - Two values of one rank that differ contradict: a flag given twice, two spellings of a name, `BERTH_` and `ETCD_`.
    /// - A flag and a differing `ETCD_` variable contradict, as in etcd.
    private mutating func merge(_ values: [SettingValue]) throws(ConfigurationError) -> SettingValue? {
        let ordered = values.sorted { $0.source.rank > $1.source.rank }
        guard let winner = ordered.first, let setting = table[winner.name] else { return nil }
        for (place, value) in ordered.enumerated() {
            for other in ordered[..<place] where differ(value, other, setting) {
                if value.source.rank == other.source.rank || isEtcdVariable(value) {
                    // What is refused may be a password.
                    let (a, b) = setting.isUsed ? (other.told, value.told) : ("\(other.source)", "\(value.source)")
                    throw ConfigurationError(
                        "--\(setting.name) is given twice and differently: \(a) and \(b); leave one out")
                }
            }
            guard differ(value, winner, setting), setting.isUsed else { continue }
            notices.append(
                Notice(isWarning: false, text: "--\(setting.name): \(winner.told) is used, not \(value.told)"))
        }
        return winner
    }

    private func differ(_ a: SettingValue, _ b: SettingValue, _ setting: Setting<Target>) -> Bool {
        canonical(a.text, setting) != canonical(b.text, setting)
    }

    /// With a file etcd reads no variables. One that is left over from etcd's days must not change what the file says.
    private mutating func passOverEtcdVariables(_ values: inout [SettingValue]) {
        let names = values.filter { isEtcdVariable($0) && table[$0.name]?.reach == .everywhere }
        guard !names.isEmpty else { return }
        values.removeAll { names.contains($0) }
        let list = names.map(\.source.description).joined(separator: ", ")
        notices.append(
            Notice(isWarning: true, text: "not read, as there is a config file: \(list); \(table.prefix) variables are")
        )
    }

    private func read(
        _ file: SettingValue, _ readFile: (String) throws -> String
    ) throws(ConfigurationError) -> [SettingValue] {
        let text: String
        do {
            text = try readFile(file.text)
        } catch {
            throw ConfigurationError("--\(file.name)\(file.place): cannot read '\(file.text)': \(error)")
        }
        return try ConfigurationFile(table: table, path: file.text).read(text)
    }

    private func isEtcdVariable(_ value: SettingValue) -> Bool {
        if case .variable(let name) = value.source {
            name.hasPrefix(EnvironmentReader<Target>.etcdPrefix)
        } else {
            false
        }
    }

    private func canonical(_ text: String, _ setting: Setting<Target>) -> String {
        SettingValue.canonical(text, setting.kind)
    }

    /// What has no effect must be well formed all the same: it may be a slip for something that has.
    private func check(_ value: SettingValue, _ kind: Setting<Target>.Kind) throws(ConfigurationError) {
        switch kind {
        case .text, .list, .seconds: break
        case .boolean: _ = try value.boolean()
        case .integer: _ = try value.integer()
        case .duration: _ = try value.duration()
        }
    }
}
