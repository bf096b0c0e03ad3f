/// Where a value was given.
public enum SettingSource: Hashable, Sendable, CustomStringConvertible {
    /// On the command line, as it was spelt.
    case flag(String)
    /// In the environment.
    case variable(String)
    /// In a file.
    case file(path: String, line: Int)
    /// Nowhere: it is the default.
    case standard

    /// How a person finds it.
    public var description: String {
        switch self {
        case .flag(let name): name
        case .variable(let name): name
        case .file(let path, let line): "\(path), line \(line)"
        case .standard: "default"
        }
    }

    /// Flags win over variables, these over files.
    var rank: Int {
        switch self {
        case .flag: 3
        case .variable: 2
        case .file: 1
        case .standard: 0
        }
    }
}

/// What is wrong with a configuration: which setting, where it was given, what was expected.
public struct ConfigurationError: Error, CustomStringConvertible, Hashable {
    /// One line for a person.
    public let description: String

    /// Wraps the line.
    public init(_ description: String) { self.description = description }
}
