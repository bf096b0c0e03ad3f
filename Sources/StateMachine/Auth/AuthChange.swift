import EtcdAPI
package import ProtobufWire
public import Store

/// One change of users, roles or the switch, as it stands in the log: `CommandKind.auth`.
///
/// Everything slow or random is in it already. A password is there as its hash alone.
public enum AuthChange: Hashable, Sendable {
    case enable
    case disable
    /// A user; nil as the hash is one who is known by a certificate alone.
    case addUser(AuthName, passwordHash: [UInt8]?)
    case deleteUser(AuthName)
    case changePassword(AuthName, passwordHash: [UInt8])
    case grantRole(AuthName, to: AuthName)
    case revokeRole(AuthName, from: AuthName)
    case addRole(AuthName)
    case deleteRole(AuthName)
    case grantPermission(AuthPermission, to: AuthName)
    case revokePermission(KeyRange, from: AuthName)

    /// The numbers are stored in logs: they never change their meaning.
    private enum Operation: Int64 {
        case enable = 1
        case disable = 2
        case addUser = 3
        case deleteUser = 4
        case changePassword = 5
        case grantRole = 6
        case revokeRole = 7
        case addRole = 8
        case deleteRole = 9
        case grantPermission = 10
        case revokePermission = 11
    }

    /// The fields of the message: operation, user, role, hash, no password, kind of permission, key, range end.
    private struct Fields {
        var operation: Operation
        var user = AuthName([])
        var role = AuthName([])
        var hash: [UInt8] = []
        var hasNoPassword = false
        var kind: Int64 = 0
        var range = KeyRange(key: [], end: [])
    }

    private var fields: Fields {
        switch self {
        case .enable: Fields(operation: .enable)
        case .disable: Fields(operation: .disable)
        case .addUser(let user, let hash):
            Fields(operation: .addUser, user: user, hash: hash ?? [], hasNoPassword: hash == nil)
        case .deleteUser(let user): Fields(operation: .deleteUser, user: user)
        case .changePassword(let user, let hash): Fields(operation: .changePassword, user: user, hash: hash)
        case .grantRole(let role, let user): Fields(operation: .grantRole, user: user, role: role)
        case .revokeRole(let role, let user): Fields(operation: .revokeRole, user: user, role: role)
        case .addRole(let role): Fields(operation: .addRole, role: role)
        case .deleteRole(let role): Fields(operation: .deleteRole, role: role)
        case .grantPermission(let permission, let role):
            Fields(operation: .grantPermission, role: role, kind: permission.kind.rawValue, range: permission.range)
        case .revokePermission(let range, let role): Fields(operation: .revokePermission, role: role, range: range)
        }
    }

    /// The entry's payload.
    public func encoded() -> [UInt8] {
        let fields = fields
        var writer = WireWriter(capacity: 128)
        writer.int64Field(1, fields.operation.rawValue)
        writer.bytesField(2, fields.user.bytes)
        writer.bytesField(3, fields.role.bytes)
        writer.bytesField(4, fields.hash)
        writer.boolField(5, fields.hasNoPassword)
        writer.int64Field(6, fields.kind)
        writer.bytesField(7, fields.range.key)
        writer.bytesField(8, fields.range.end)
        return writer.bytes
    }

    /// Reads an entry's payload.
    package init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var operation: Int64 = 0
        var fields = Fields(operation: .enable)
        var key: [UInt8] = []
        var end: [UInt8] = []
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: operation = try reader.int64(of: field)
            case 2: fields.user = AuthName(Array(try reader.bytes(of: field)))
            case 3: fields.role = AuthName(Array(try reader.bytes(of: field)))
            case 4: fields.hash = Array(try reader.bytes(of: field))
            case 5: fields.hasNoPassword = try reader.bool(of: field)
            case 6: fields.kind = try reader.int64(of: field)
            case 7: key = Array(try reader.bytes(of: field))
            case 8: end = Array(try reader.bytes(of: field))
            default: try reader.skip(field)
            }
        }
        fields.range = KeyRange(key: key, end: end)
        guard let operation = Operation(rawValue: operation) else { throw .unexpectedType(field: 1) }
        switch operation {
        case .enable: self = .enable
        case .disable: self = .disable
        case .addUser: self = .addUser(fields.user, passwordHash: fields.hasNoPassword ? nil : fields.hash)
        case .deleteUser: self = .deleteUser(fields.user)
        case .changePassword: self = .changePassword(fields.user, passwordHash: fields.hash)
        case .grantRole: self = .grantRole(fields.role, to: fields.user)
        case .revokeRole: self = .revokeRole(fields.role, from: fields.user)
        case .addRole: self = .addRole(fields.role)
        case .deleteRole: self = .deleteRole(fields.role)
        case .grantPermission:
            guard let kind = AuthPermission.Kind(rawValue: fields.kind) else { throw .unexpectedType(field: 6) }
            self = .grantPermission(AuthPermission(kind, fields.range), to: fields.role)
        case .revokePermission: self = .revokePermission(fields.range, from: fields.role)
        }
    }
}

/// A login that the log orders among the changes of users: `CommandKind.authenticate`. The token's number is the entry's
/// index, its letters are known by their digest alone.
public struct AuthenticateEntry: Hashable, Sendable {
    /// Who proved to be whom.
    public var user: AuthName
    /// What the token's letters hash to.
    public var tokenDigest: [UInt8]
    /// The auth revision at which the password was compared.
    public var authRevision: UInt64

    /// Names all three.
    public init(user: AuthName, tokenDigest: [UInt8], authRevision: UInt64) {
        self.user = user
        self.tokenDigest = tokenDigest
        self.authRevision = authRevision
    }

    /// The entry's payload.
    public func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 64)
        writer.bytesField(1, user.bytes)
        writer.bytesField(2, tokenDigest)
        writer.uint64Field(3, authRevision)
        return writer.bytes
    }

    init(_ message: UnsafeRawBufferPointer) throws(WireError) {
        self.init(user: AuthName([]), tokenDigest: [], authRevision: 0)
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: user = AuthName(Array(try reader.bytes(of: field)))
            case 2: tokenDigest = Array(try reader.bytes(of: field))
            case 3: authRevision = try reader.varint(of: field)
            default: try reader.skip(field)
            }
        }
    }
}

/// What became of tokens by a batch's entries, in order.
public enum TokenChange: Hashable, Sendable {
    /// A user logged in; the entry's index is the token's number.
    case made(user: AuthName, digest: [UInt8], number: UInt64)
    /// A user is gone, or has another password.
    case ended(user: AuthName)
    /// Authentication was turned off.
    case allEnded
}
