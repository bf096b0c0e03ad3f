/// All settings of a program, by name, by variable and by block of a file.
public struct SettingTable<Target>: Sendable {
    /// In the order in which they are shown and applied.
    public let groups: [SettingGroup<Target>]
    /// How the program's own variables begin, such as `BERTH_`.
    public let prefix: String
    private let byName: [String: Setting<Target>]
    private let byBlock: [String: [String: Setting<Target>]]
    private let isOthersVariable: @Sendable (String) -> Bool

    /// - Parameters:
    ///   - prefix: how the program's own variables begin.
    ///   - isOthersVariable: whether a variable with one of the prefixes that names no setting is meant for somebody else,
    ///     and passed over.
    public init(
        _ groups: [SettingGroup<Target>], prefix: String, isOthersVariable: @escaping @Sendable (String) -> Bool
    ) {
        self.groups = groups
        self.prefix = prefix
        self.isOthersVariable = isOthersVariable
        let settings = groups.flatMap(\.settings)
        byName = Dictionary(settings.flatMap { setting in setting.names.map { ($0, setting) } }) { first, _ in
            preconditionFailure("two settings are called \(first.name)")
        }
        byBlock = settings.reduce(into: [:]) { blocks, setting in
            guard let place = setting.blockKey else { return }
            blocks[place.block, default: [:]][place.key] = setting
        }
    }

    /// Every setting.
    public var settings: [Setting<Target>] { groups.flatMap(\.settings) }

    /// The setting of a name or another spelling of it.
    public subscript(name: String) -> Setting<Target>? { byName[name] }

    /// The names that can be given on the command line.
    var names: [String] { byName.keys.sorted() }

    /// The keys of a block of a file; nil when there is no such block.
    func block(_ name: String) -> [String: Setting<Target>]? { byBlock[name] }

    /// The blocks of a file.
    var blocks: [String] { byBlock.keys.sorted() }

    /// The settings by the variables with this prefix.
    func variables(_ prefix: String, where isIncluded: (Setting<Target>) -> Bool) -> [String: Setting<Target>] {
        byName.reduce(into: [:]) { variables, entry in
            guard entry.value.reach != .commandLine, isIncluded(entry.value) else { return }
            variables[Setting<Target>.variable(prefix, entry.key)] = entry.value
        }
    }

    /// Whether a variable is somebody else's.
    func isForOthers(_ variable: String) -> Bool { isOthersVariable(variable) }
}
