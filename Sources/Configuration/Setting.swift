/// One line of a program's table of settings: its name in every place it can be given, and what its value does.
///
/// `Target` is what the values go to.
public struct Setting<Target>: Sendable {
    /// What a value looks like.
    public enum Kind: Sendable {
        /// Any text.
        case text
        /// Texts separated by commas, or a list in a file.
        case list
        /// `true` or `false`; a flag alone is true.
        case boolean
        /// A whole number.
        case integer
        /// Numbers with units such as `1h30m`. In a file a bare number counts nanoseconds, as in etcd's.
        case duration
        /// As `duration`, but a bare number counts seconds everywhere.
        case seconds
    }

    /// Whose setting it is.
    public enum Origin: Sendable {
        /// The program's own: only its own variable is read.
        case own
        /// etcd has it with the same meaning: its variable is read too.
        case etcd
    }

    /// Where it can be given.
    public enum Reach: Sendable {
        /// As a flag, as a variable and in a file.
        case everywhere
        /// As a flag and as a variable: it names the file.
        case outsideFiles
        /// As a flag.
        case commandLine
    }

    /// What a value does.
    public enum Treatment: Sendable {
        /// It goes to the target; throws when it cannot be used.
        case used(@Sendable (inout Target, SettingValue) throws -> Void)
        /// It is taken and does nothing, for this reason.
        case withoutEffect(String)
        /// It is refused, for this reason, unless it is one of these texts.
        case refused(unless: [String], String)
    }

    /// A key within a block of a file, such as `cert-file` in `client-transport-security`.
    public struct BlockKey: Hashable, Sendable {
        /// The block's name.
        public let block: String
        /// The name within it.
        public let key: String

        /// Puts both together.
        public init(_ block: String, _ key: String) {
            self.block = block
            self.key = key
        }
    }

    /// The flag without dashes, which is also the key in a file.
    public let name: String
    /// What a value looks like.
    public let kind: Kind
    /// The value when none is given, as a person would write it; empty for none.
    public let standard: String
    /// What stands for the value in a help text, such as `url`; nothing for booleans.
    public let valueName: String
    /// Whose setting it is.
    public let origin: Origin
    /// Where it can be given.
    public let reach: Reach
    /// Other spellings of the name.
    public let otherNames: [String]
    /// Its place in a block of a file, beside the one under its own name.
    public let blockKey: BlockKey?
    /// A sentence about it.
    public let meaning: String
    /// What a value does.
    public let treatment: Treatment

    /// Puts a line of the table together.
    public init(
        _ name: String, _ kind: Kind, _ valueName: String = "", standard: String = "", origin: Origin = .etcd,
        reach: Reach = .everywhere, otherNames: [String] = [], blockKey: BlockKey? = nil, _ meaning: String,
        _ treatment: Treatment
    ) {
        self.name = name
        self.kind = kind
        self.valueName = valueName
        self.standard = standard
        self.origin = origin
        self.reach = reach
        self.otherNames = otherNames
        self.blockKey = blockKey
        self.meaning = meaning
        self.treatment = treatment
    }

    /// Whether values go anywhere.
    public var isUsed: Bool {
        if case .used = treatment { true } else { false }
    }

    /// All spellings.
    var names: [String] { [name] + otherNames }

    /// The environment variable of a name: `BERTH_DATA_DIR` for `data-dir`.
    static func variable(_ prefix: String, _ name: String) -> String {
        prefix + name.uppercased().map { $0 == "-" || $0 == "." ? "_" : String($0) }.joined()
    }
}

/// Settings that belong together, under a title.
public struct SettingGroup<Target>: Sendable {
    /// A few words.
    public let title: String
    /// In the order in which they are shown and applied.
    public let settings: [Setting<Target>]

    /// Puts settings under a title.
    public init(_ title: String, _ settings: [Setting<Target>]) {
        self.title = title
        self.settings = settings
    }
}
