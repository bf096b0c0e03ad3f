/// The table as people read it: help in a terminal, and Markdown for the documentation.
extension SettingTable {
    private static var width: Int { 110 }
    private static var indent: Int { 6 }

    /// All groups with their settings. Those that are refused or without effect are only named, group by group.
    public var helpText: String {
        var text = ""
        for group in groups {
            text += "\(group.title):\n"
            let others = group.settings.filter { !$0.isUsed }
            for setting in group.settings where setting.isUsed {
                text += "  \(Self.usage(setting))\n" + Self.wrap(Self.sentence(setting))
            }
            if !others.isEmpty { text += Self.wrap(others.map { "--\($0.name)" }.joined(separator: ", "), indent: 2) }
            text += "\n"
        }
        return text
    }

    /// A table of Markdown for each group.
    public var markdown: String {
        groups.map { group in
            let isUsed = group.settings.contains { $0.isUsed }
            var text = "### \(group.title)\n\n"
            text += isUsed ? "| flag | default | `ETCD_*` | meaning |\n| --- | --- | --- | --- |\n" : Self.otherHead
            for setting in group.settings { text += isUsed ? Self.row(setting) : Self.otherRow(setting) }
            return text
        }.joined(separator: "\n")
    }

    private static var otherHead: String { "| flag | treatment | why |\n| --- | --- | --- |\n" }

    private static func usage(_ setting: Setting<Target>) -> String {
        setting.kind == .boolean ? "--\(setting.name)" : "--\(setting.name) <\(setting.valueName)>"
    }

    private static func sentence(_ setting: Setting<Target>) -> String {
        setting.meaning + (setting.standard.isEmpty ? "" : " (default: \(setting.standard))")
    }

    private static func row(_ setting: Setting<Target>) -> String {
        let also = setting.otherNames.map { " Also `\($0.count == 1 ? "-" : "--")\($0)`." }.joined()
        let block = setting.blockKey.map { " In a file also `\($0.key)` in `\($0.block)`." } ?? ""
        let standard = setting.standard.isEmpty ? "" : "`\(setting.standard)`"
        let reads = setting.reach != .commandLine && setting.origin == .etcd ? "yes" : ""
        return "| `\(usage(setting))` | \(standard) | \(reads) | \(escape(setting.meaning))\(also)\(block) |\n"
    }

    private static func otherRow(_ setting: Setting<Target>) -> String {
        let names = setting.names.map { "`--\($0)`" }.joined(separator: ", ")
        return switch setting.treatment {
        case .used: row(setting)
        case .withoutEffect(let reason): "| \(names) | without effect | \(escape(reason)) |\n"
        case .refused(let harmless, let reason): "| \(names) | \(refusal(harmless)) | \(escape(reason)) |\n"
        }
    }

    private static func refusal(_ harmless: [String]) -> String {
        let texts = harmless.filter { !$0.isEmpty }.map { "`\($0)`" }
        return texts.isEmpty ? "refused" : "refused unless \(texts.joined(separator: " or "))"
    }

    private static func escape(_ text: String) -> String { text.split(separator: "|").joined(separator: "\\|") }

    private static func wrap(_ text: String, indent: Int = Self.indent) -> String {
        let margin = String(repeating: " ", count: indent)
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, indent + line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        return (lines + [line]).map { margin + $0 + "\n" }.joined()
    }
}
