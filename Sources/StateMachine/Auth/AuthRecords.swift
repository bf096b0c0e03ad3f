import ProtobufWire
public import Store

/// What a role lets its users do with a range of keys.
public struct AuthPermission: Hashable, Sendable {
    /// Reading, writing or both; the numbers are `authpb.Permission.Type`'s.
    public enum Kind: Int64, Sendable {
        case read = 0
        case write = 1
        case readWrite = 2

        var reads: Bool { self != .write }
        var writes: Bool { self != .read }
    }

    /// What may be done.
    public let kind: Kind
    /// To which keys.
    public let range: KeyRange

    /// Names both.
    public init(_ kind: Kind, _ range: KeyRange) {
        self.kind = kind
        self.range = range
    }
}

/// A role: permissions under a name.
public struct AuthRole: Hashable, Sendable {
    /// Its name.
    public let name: AuthName
    /// What it permits, by key; those of one key in the order in which they were given.
    public internal(set) var permissions: [AuthPermission] = []

    init(name: AuthName) { self.name = name }
}

/// A user: a password's hash and roles under a name, and what the roles come to.
public struct AuthUser: Sendable {
    /// The name.
    public let name: AuthName
    /// The password's bcrypt hash; empty when no password is right.
    public internal(set) var password: [UInt8]
    /// The user is known by a certificate alone.
    public let hasNoPassword: Bool
    /// The roles' names, in byte order.
    public internal(set) var roles: [AuthName] = []
    /// Keys the roles let the user read, and write.
    var readable = RangeSet([])
    var writable = RangeSet([])

    init(name: AuthName, password: [UInt8], hasNoPassword: Bool) {
        self.name = name
        self.password = password
        self.hasNoPassword = hasNoPassword
    }

    /// Whether the user may do everything.
    public var isRoot: Bool { roles.contains(.root) }
}

// Users and roles lie in the store as etcd keeps them: `authpb.User` and `authpb.Role` under their names.

extension AuthUser {
    /// The stored record. Options are written even when they say nothing, as etcd does.
    func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 96)
        writer.bytesField(1, name.bytes)
        writer.bytesField(2, password)
        for role in roles { writer.messageField(3, role.bytes) }
        writer.message(4) { (options) throws(Never) in options.boolField(1, hasNoPassword) }
        return writer.bytes
    }

    init(decoding record: [UInt8]) throws(WireError) {
        var name: [UInt8] = []
        var password: [UInt8] = []
        var roles: [AuthName] = []
        var hasNoPassword = false
        try record.withRawBytes { bytes throws(WireError) in
            var reader = WireReader(bytes)
            while let field = try reader.nextField() {
                switch field.field {
                case 1: name = Array(try reader.bytes(of: field))
                case 2: password = Array(try reader.bytes(of: field))
                case 3: roles.append(AuthName(Array(try reader.bytes(of: field))))
                case 4:
                    var options = WireReader(try reader.bytes(of: field))
                    while let option = try options.nextField() {
                        if option.field == 1 {
                            hasNoPassword = try options.bool(of: option)
                        } else {
                            try options.skip(option)
                        }
                    }
                default: try reader.skip(field)
                }
            }
        }
        self.init(name: AuthName(name), password: password, hasNoPassword: hasNoPassword)
        self.roles = roles.sorted()
    }
}

extension AuthRole {
    /// The stored record.
    func encoded() -> [UInt8] {
        var writer = WireWriter(capacity: 64 + 32 * permissions.count)
        writer.bytesField(1, name.bytes)
        for permission in permissions {
            writer.message(2) { (message) throws(Never) in
                message.int64Field(1, permission.kind.rawValue)
                message.bytesField(2, permission.range.key)
                message.bytesField(3, permission.range.end)
            }
        }
        return writer.bytes
    }

    init(decoding record: [UInt8]) throws(WireError) {
        var name: [UInt8] = []
        var permissions: [AuthPermission] = []
        try record.withRawBytes { bytes throws(WireError) in
            var reader = WireReader(bytes)
            while let field = try reader.nextField() {
                switch field.field {
                case 1: name = Array(try reader.bytes(of: field))
                case 2:
                    if let permission = try AuthPermission(try reader.bytes(of: field)) {
                        permissions.append(permission)
                    }
                default: try reader.skip(field)
                }
            }
        }
        self.init(name: AuthName(name))
        self.permissions = permissions
    }
}

extension AuthPermission {
    /// Nil for a kind that means nothing: etcd stores such permissions, and they permit nothing.
    init?(_ message: UnsafeRawBufferPointer) throws(WireError) {
        var kind: Int64 = 0
        var key: [UInt8] = []
        var end: [UInt8] = []
        var reader = WireReader(message)
        while let field = try reader.nextField() {
            switch field.field {
            case 1: kind = try reader.int64(of: field)
            case 2: key = Array(try reader.bytes(of: field))
            case 3: end = Array(try reader.bytes(of: field))
            default: try reader.skip(field)
            }
        }
        guard let kind = Kind(rawValue: kind) else { return nil }
        self.init(kind, KeyRange(key: key, end: end))
    }
}
