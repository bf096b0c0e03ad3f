/// The name of a user or a role: UTF-8, compared byte by byte, so that no two spellings of one text are ever the same
/// account.
public struct AuthName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The name as it came.
    public let bytes: [UInt8]

    /// Wraps a name's bytes.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Wraps a name's bytes.
    public init(_ text: String) { bytes = Array(text.utf8) }

    /// The user, and the role, that may do everything.
    public static let root = AuthName("root")

    /// In byte order, as lists are sorted.
    public static func < (a: AuthName, b: AuthName) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }

    /// The name as text.
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// Bounds of what the users and roles of a store may come to: all of them are kept in memory.
public enum AuthLimits {
    /// Bytes of a user's or a role's name.
    public static let nameBytes = 1_024
    /// Users there may be.
    public static let users = 65_536
    /// Roles there may be.
    public static let roles = 65_536
    /// Roles one user may hold.
    public static let rolesOfUser = 1_024
    /// Permissions one role may hold.
    public static let permissionsOfRole = 16_384
}
