internal import Yams

/// Reads a YAML file whose keys are the settings' names, with blocks such as `client-transport-security`.
struct ConfigurationFile<Target> {
    /// Longest file that is read, in bytes; a longer one is refused.
    static var maxBytes: Int { 1 << 20 }

    let table: SettingTable<Target>
    let path: String

    /// The settings in the order of the file. A key without a value counts as none.
    ///
    /// - Throws: for text that is not YAML, unknown keys, and values of the wrong shape.
    func read(_ text: String) throws(ConfigurationError) -> [SettingValue] {
        guard text.utf8.count <= Self.maxBytes else {
            throw ConfigurationError("\(path) is longer than \(Self.maxBytes) bytes; expected a file of settings")
        }
        guard let root = try parse(text), !isNull(root) else { return [] }
        guard let mapping = root.mapping else {
            throw ConfigurationError("\(path) holds no settings; expected lines such as name: default")
        }
        var values: [SettingValue] = []
        for (keyNode, node) in mapping {
            let key = try name(keyNode)
            if let setting = table[key], setting.reach == .everywhere {
                try add(node, setting, at: keyNode, to: &values)
            } else if let block = table.block(key) {
                try read(node, block, called: key, into: &values)
            } else {
                let known = table.settings.filter { $0.reach == .everywhere }.map(\.name) + table.blocks
                throw unknown(key, keyNode, "setting", Suggestion.nearest(to: key, among: known))
            }
        }
        return values
    }

    private func read(
        _ node: Node, _ block: [String: Setting<Target>], called name: String, into values: inout [SettingValue]
    ) throws(ConfigurationError) {
        guard !isNull(node) else { return }
        guard let mapping = node.mapping else {
            throw ConfigurationError(
                "\(place(node)): \(name) is no block of settings; expected indented lines below it")
        }
        for (keyNode, node) in mapping {
            let key = try self.name(keyNode)
            // The flag's own name is as clear within the block.
            guard let setting = block[key] ?? block.values.first(where: { $0.name == key }) else {
                throw unknown(key, keyNode, "key in \(name)", Suggestion.nearest(to: key, among: block.keys.sorted()))
            }
            try add(node, setting, at: keyNode, to: &values)
        }
    }

    private func add(
        _ node: Node, _ setting: Setting<Target>, at keyNode: Node, to values: inout [SettingValue]
    ) throws(ConfigurationError) {
        guard let text = try text(node, setting) else { return }
        let source = SettingSource.file(path: path, line: (node.mark ?? keyNode.mark)?.line ?? 0)
        values.append(SettingValue(name: setting.name, text: text, source: source))
    }

    /// A value as it would be written on the command line; nil for none.
    private func text(_ node: Node, _ setting: Setting<Target>) throws(ConfigurationError) -> String? {
        if isNull(node) { return nil }
        if let sequence = node.sequence, setting.kind == .list {
            var parts: [String] = []
            for part in sequence {
                guard let text = part.scalar?.string else { throw shape(part, setting, "a list of texts") }
                parts.append(text)
            }
            return parts.joined(separator: ",")
        }
        guard let scalar = node.scalar else {
            // What is refused anyhow is refused for its reason.
            if case .refused = setting.treatment { return "{...}" }
            throw shape(node, setting, setting.kind == .list ? "a list or a text with commas" : "one value")
        }
        let isPlain = scalar.style == .plain || scalar.style == .any
        switch setting.kind {
        case .boolean where isPlain: return Self.boolean(scalar.string) ?? scalar.string
        case .duration where isPlain && (Int64(scalar.string) ?? 0) != 0: return scalar.string + "ns"
        default: return scalar.string
        }
    }

    /// YAML 1.1's words for truth, which etcd's reader knows.
    private static func boolean(_ text: String) -> String? {
        switch text.lowercased() {
        case "yes", "on", "y": "true"
        case "no", "off", "n": "false"
        default: nil
        }
    }

    private func parse(_ text: String) throws(ConfigurationError) -> Node? {
        do {
            return try compose(yaml: text)
        } catch YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _)
        {
            throw ConfigurationError("\(path), line \(mark.line): not YAML: \(problem)")
        } catch YamlError.duplicatedKeysInMapping(let names, let context) {
            throw ConfigurationError(
                "\(path), line \(context.mark.line): \(names.joined(separator: ", ")) stands there twice; leave one")
        } catch {
            throw ConfigurationError("\(path) is not YAML: \(error)")
        }
    }

    private func name(_ node: Node) throws(ConfigurationError) -> String {
        guard let name = node.scalar?.string else {
            throw ConfigurationError("\(place(node)): a key is no text; expected a setting's name")
        }
        return name
    }

    private func isNull(_ node: Node) -> Bool {
        guard let scalar = node.scalar else { return false }
        guard scalar.style == .plain || scalar.style == .any else { return scalar.string.isEmpty }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private func place(_ node: Node) -> String { "\(path), line \(node.mark?.line ?? 0)" }

    private func unknown(_ key: String, _ node: Node, _ what: String, _ near: String?) -> ConfigurationError {
        ConfigurationError("\(place(node)): unknown \(what): \(key)\(Suggestion.text(near))")
    }

    private func shape(_ node: Node, _ setting: Setting<Target>, _ expected: String) -> ConfigurationError {
        ConfigurationError("\(place(node)): \(setting.name) has another shape; expected \(expected)")
    }
}
