import CommandText
import Configuration

/// What `berth serve --check-config` prints: a config file that says the same as flags, variables and file together, with
/// each value's source behind it. No setting holds a secret; passwords and keys are in files and users.
enum EffectiveSettings {
    static func write(
        _ effective: [GivenSettings<ServeChoices>.Effective], _ notices: [GivenSettings<ServeChoices>.Notice]
    ) {
        for notice in notices { print("# \(notice.isWarning ? "warning" : "notice"): \(notice.text)") }
        for entry in effective where !(entry.value.source == .standard && entry.value.text.isEmpty) {
            print("\(entry.setting.name): \(text(entry))  # \(entry.value.source)")
        }
    }

    private static func text(_ entry: GivenSettings<ServeChoices>.Effective) -> String {
        switch entry.setting.kind {
        case .boolean: (try? entry.value.boolean()).map { "\($0)" } ?? entry.value.text
        case .integer: entry.value.text
        case .text, .list, .duration, .seconds: JSON.text(entry.value.text).line
        }
    }
}
