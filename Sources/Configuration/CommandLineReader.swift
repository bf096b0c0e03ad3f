/// Reads flags as Go's flag package does, whose rules etcd's users know: `--name value`, `--name=value`, one dash or two;
/// a boolean's value only after `=`.
struct CommandLineReader<Target> {
    let table: SettingTable<Target>

    /// The flags in their order.
    ///
    /// - Throws: for an unknown flag, a flag without its value, and words that are no flags.
    func read(_ arguments: [String]) throws(ConfigurationError) -> [SettingValue] {
        var values: [SettingValue] = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard let (name, given) = Self.split(argument) else {
                throw ConfigurationError("'\(argument)' is not a flag; expected --NAME or --NAME=VALUE\(hint(values))")
            }
            guard let setting = table[name] else {
                let near = Suggestion.nearest(to: name, among: table.names).map { "--\($0)" }
                throw ConfigurationError("unknown flag --\(name)\(Suggestion.text(near))")
            }
            let text: String
            if let given {
                text = given
            } else if setting.kind == .boolean {
                text = "true"
            } else if let next = rest.first, !isFlag(next) {
                text = next
                rest.removeFirst()
            } else {
                throw ConfigurationError("--\(name) has no value; expected --\(name) \(setting.valueName.uppercased())")
            }
            values.append(SettingValue(name: setting.name, text: text, source: .flag("--\(name)")))
        }
        return values
    }

    /// A flag that was forgotten a value must not take the next flag for it.
    private func isFlag(_ argument: String) -> Bool {
        argument.hasPrefix("--") && Self.split(argument).flatMap { table[$0.name] } != nil
    }

    private static func split(_ argument: String) -> (name: String, value: String?)? {
        guard argument.hasPrefix("-") else { return nil }
        let body = argument.dropFirst(argument.hasPrefix("--") ? 2 : 1)
        guard let first = body.first, first != "-", first != "=" else { return nil }
        guard let equals = body.firstIndex(of: "=") else { return (String(body), nil) }
        return (String(body[..<equals]), String(body[body.index(after: equals)...]))
    }

    /// `--client-cert-auth false` is what people try first.
    private func hint(_ values: [SettingValue]) -> String {
        guard let last = values.last, table[last.name]?.kind == .boolean, last.text == "true" else { return "" }
        return ", such as --\(last.name)=false"
    }
}
