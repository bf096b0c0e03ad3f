import EtcdAPI
import ProtobufWire
import Store
import Vocabulary

// Users, roles and the switch. The rules, and the order in which they refuse, are etcd's (`server/auth/store.go`). What
// is refused has changed nothing.
extension StateMachine {
    private static let enabledKey = Array("authEnabled".utf8)
    private static let revisionKey = Array("authRevision".utf8)

    func applyAuth(_ change: AuthChange, _ author: Author?, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try auth.permitRoot(author) }
        switch change {
        case .enable: try enableAuth()
        case .disable: try disableAuth()
        case .addUser(let name, let hash): try addUser(name, hash)
        case .deleteUser(let name): try deleteUser(name)
        case .changePassword(let name, let hash): try changePassword(name, hash)
        case .grantRole(let role, let name): try grantRole(role, to: name)
        case .revokeRole(let role, let name): try revokeRole(role, from: name)
        case .addRole(let name): try addRole(name)
        case .deleteRole(let name): try deleteRole(name)
        case .grantPermission(let permission, let name): try grantPermission(permission, to: name)
        case .revokePermission(let range, let name): try revokePermission(range, from: name)
        }
        return HeaderOnlyResponse.encoded(header: header(term))
    }

    /// Orders a login among the changes: the password was compared before, at a revision that must still stand. The answer's
    /// token is the number alone; the letters are for the one who proposed it to add.
    func applyAuthenticate(
        _ entry: AuthenticateEntry, index: RaftIndex, _ term: RaftTerm
    ) throws(RequestFailure) -> [UInt8] {
        guard auth.isEnabled else { throw .refused(.authNotEnabled) }
        guard let user = auth.users[entry.user], !user.hasNoPassword else { throw .refused(.authenticationFailed) }
        guard entry.authRevision == auth.revision else { throw .refused(.authRevisionOld) }
        tokenChanges.append(.made(user: entry.user, digest: entry.tokenDigest, number: index.value))
        return AuthenticateResponse.encoded(header: header(term), token: Array(index.description.utf8))
    }

    // MARK: - The switch

    private func enableAuth() throws(RequestFailure) {
        guard !auth.isEnabled else { return }
        guard let root = auth.users[.root] else { throw .refused(.rootUserMissing) }
        guard root.isRoot else { throw .refused(.rootRoleMissing) }
        try storing { () throws(StoreError) in try writer.setRecord(.meta, key: Self.enabledKey, value: [1]) }
        auth.isEnabled = true
        hasAuthChanged = true
    }

    private func disableAuth() throws(RequestFailure) {
        guard auth.isEnabled else { return }
        try storing { () throws(StoreError) in try writer.setRecord(.meta, key: Self.enabledKey, value: [0]) }
        auth.isEnabled = false
        tokenChanges.append(.allEnded)
        try nextAuthRevision()
    }

    // MARK: - Users

    private func addUser(_ name: AuthName, _ hash: [UInt8]?) throws(RequestFailure) {
        guard !name.bytes.isEmpty else { throw .refused(.userEmpty) }
        guard auth.users[name] == nil else { throw .refused(.userExists) }
        guard auth.users.count < AuthLimits.users else {
            throw .refused(.tooManyAuthRecords("there are \(AuthLimits.users) users, the most there may be"))
        }
        try store(AuthUser(name: name, password: hash ?? [], hasNoPassword: hash == nil))
        try nextAuthRevision()
    }

    private func deleteUser(_ name: AuthName) throws(RequestFailure) {
        guard !(auth.isEnabled && name == .root) else { throw .refused(.invalidAuthManagement) }
        _ = try user(name)
        auth.set(nil, named: name)
        try storing { () throws(StoreError) in try writer.setRecord(.users, key: name.bytes, value: nil) }
        tokenChanges.append(.ended(user: name))
        try nextAuthRevision()
    }

    private func changePassword(_ name: AuthName, _ hash: [UInt8]) throws(RequestFailure) {
        var user = try user(name)
        user.password = user.hasNoPassword ? [] : hash
        try store(user)
        tokenChanges.append(.ended(user: name))
        try nextAuthRevision()
    }

    private func grantRole(_ role: AuthName, to name: AuthName) throws(RequestFailure) {
        var user = try user(name)
        // Root's role need not be there to be granted.
        guard role == .root || auth.roles[role] != nil else { throw .refused(.roleNotFound) }
        guard !user.roles.contains(role) else { return }
        guard user.roles.count < AuthLimits.rolesOfUser else {
            throw .refused(.tooManyAuthRecords("the user holds \(AuthLimits.rolesOfUser) roles, the most there may be"))
        }
        user.roles.append(role)
        user.roles.sort()
        try store(user)
        try nextAuthRevision()
    }

    private func revokeRole(_ role: AuthName, from name: AuthName) throws(RequestFailure) {
        guard !(auth.isEnabled && name == .root && role == .root) else { throw .refused(.invalidAuthManagement) }
        var user = try user(name)
        guard let position = user.roles.firstIndex(of: role) else { throw .refused(.roleNotGranted) }
        user.roles.remove(at: position)
        try store(user)
        try nextAuthRevision()
    }

    // MARK: - Roles

    private func addRole(_ name: AuthName) throws(RequestFailure) {
        guard !name.bytes.isEmpty else { throw .refused(.roleEmpty) }
        guard auth.roles[name] == nil else { throw .refused(.roleExists) }
        guard auth.roles.count < AuthLimits.roles else {
            throw .refused(.tooManyAuthRecords("there are \(AuthLimits.roles) roles, the most there may be"))
        }
        try store(AuthRole(name: name))
        try nextAuthRevision()
    }

    private func deleteRole(_ name: AuthName) throws(RequestFailure) {
        guard !(auth.isEnabled && name == .root) else { throw .refused(.invalidAuthManagement) }
        guard auth.roles.removeValue(forKey: name) != nil else { throw .refused(.roleNotFound) }
        try storing { () throws(StoreError) in try writer.setRecord(.roles, key: name.bytes, value: nil) }
        for var user in holders(of: name) {
            user.roles.removeAll { $0 == name }
            try store(user)
        }
        try nextAuthRevision()
    }

    private func grantPermission(_ permission: AuthPermission, to name: AuthName) throws(RequestFailure) {
        guard permission.range.isGrantable else { throw .refused(.invalidAuthManagement) }
        var role = try role(name)
        if let known = role.permissions.firstIndex(where: { $0.range == permission.range }) {
            role.permissions[known] = permission
        } else {
            guard role.permissions.count < AuthLimits.permissionsOfRole else {
                throw .refused(
                    .tooManyAuthRecords(
                        "the role holds \(AuthLimits.permissionsOfRole) permissions, the most there may be"))
            }
            let key = permission.range.key
            let place = role.permissions.firstIndex { key.lexicographicallyPrecedes($0.range.key) }
            role.permissions.insert(permission, at: place ?? role.permissions.count)
        }
        try store(role)
        try nextAuthRevision()
    }

    private func revokePermission(_ range: KeyRange, from name: AuthName) throws(RequestFailure) {
        var role = try role(name)
        let before = role.permissions.count
        role.permissions.removeAll { $0.range == range }
        guard role.permissions.count < before else { throw .refused(.permissionNotGranted) }
        try store(role)
        try nextAuthRevision()
    }

    // MARK: - Parts

    private func user(_ name: AuthName) throws(RequestFailure) -> AuthUser {
        guard let user = auth.users[name] else { throw .refused(.userNotFound) }
        return user
    }

    private func role(_ name: AuthName) throws(RequestFailure) -> AuthRole {
        guard let role = auth.roles[name] else { throw .refused(.roleNotFound) }
        return role
    }

    private func store(_ user: AuthUser) throws(RequestFailure) {
        try storing { () throws(StoreError) in
            try writer.setRecord(.users, key: user.name.bytes, value: user.encoded())
        }
        auth.set(user, named: user.name)
        auth.refresh(user.name)
    }

    private func store(_ role: AuthRole) throws(RequestFailure) {
        try storing { () throws(StoreError) in
            try writer.setRecord(.roles, key: role.name.bytes, value: role.encoded())
        }
        auth.roles[role.name] = role
        for user in holders(of: role.name) { auth.refresh(user.name) }
    }

    /// In order of their names, as everything that writes to the store is.
    private func holders(of role: AuthName) -> [AuthUser] {
        auth.users.values.filter { $0.roles.contains(role) }.sorted { $0.name < $1.name }
    }

    private func nextAuthRevision() throws(RequestFailure) {
        auth.revision += 1
        hasAuthChanged = true
        let value = withUnsafeBytes(of: auth.revision.bigEndian) { Array($0) }
        try storing { () throws(StoreError) in try writer.setRecord(.meta, key: Self.revisionKey, value: value) }
    }
}

extension KeyRange {
    /// Whether a role may be granted this: a key, or a range that can hold one.
    var isGrantable: Bool { !key.isEmpty && !isEmpty }
}

extension AuthState {
    /// What a store's base holds; entries replayed afterwards bring it up to date.
    init(loading store: Store) throws(StoreError) {
        try visitRecords(of: store, in: .roles) { (key, value) throws(StoreError) in
            let role = try Self.decode("roles", key) { () throws(WireError) in try AuthRole(decoding: value) }
            roles[AuthName(key)] = role
        }
        try visitRecords(of: store, in: .users) { (key, value) throws(StoreError) in
            let user = try Self.decode("users", key) { () throws(WireError) in try AuthUser(decoding: value) }
            set(user, named: AuthName(key))
        }
        for name in Array(users.keys) { refresh(name) }
        try visitRecords(of: store, in: .meta) { (key, value) throws(StoreError) in
            if key == Array("authEnabled".utf8) { isEnabled = value == [1] }
            guard key == Array("authRevision".utf8) else { return }
            guard value.count == 8 else {
                throw .corrupt(place: "settings", detail: "an auth revision of \(value.count) bytes, not 8")
            }
            revision = max(1, value.reduce(0) { $0 << 8 | UInt64($1) })
        }
    }

    private static func decode<Record>(
        _ table: String, _ name: [UInt8], _ body: () throws(WireError) -> Record
    ) throws(StoreError) -> Record {
        do throws(WireError) {
            return try body()
        } catch {
            throw .corrupt(place: table, detail: "the record '\(AuthName(name))' is no message: \(error)")
        }
    }
}
