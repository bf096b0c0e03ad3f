/// Reads the program's own variables and etcd's. An empty variable counts as none.
struct EnvironmentReader<Target> {
    static var etcdPrefix: String { "ETCD_" }

    let table: SettingTable<Target>

    /// What was found.
    struct Findings {
        var values: [SettingValue] = []
        /// Variables that begin with `ETCD_` and mean nothing here.
        var unknown: [String] = []
    }

    /// - Throws: for a variable with the program's own prefix that names no setting.
    func read(_ variables: [String: String]) throws(ConfigurationError) -> Findings {
        var findings = Findings()
        let own = table.variables(table.prefix) { _ in true }
        let etcd = table.variables(Self.etcdPrefix) { $0.origin == .etcd }
        for (variable, text) in variables.sorted(by: { $0.key < $1.key }) where !text.isEmpty {
            if let setting = own[variable] ?? etcd[variable] {
                findings.values.append(SettingValue(name: setting.name, text: text, source: .variable(variable)))
            } else if variable.hasPrefix(table.prefix), !table.isForOthers(variable) {
                let near = Suggestion.text(Suggestion.nearest(to: variable, among: own.keys))
                throw ConfigurationError(
                    "unknown environment variable \(variable)\(near.isEmpty ? "; expected a flag's name in capitals" : near)"
                )
            } else if variable.hasPrefix(Self.etcdPrefix), !table.isForOthers(variable) {
                findings.unknown.append(variable)
            }
        }
        return findings
    }
}
