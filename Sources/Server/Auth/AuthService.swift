import EtcdAPI
import FoundationEssentials
import GRPCTransport
import Identity
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// `etcdserverpb.Auth`: users, roles, permissions and the switch. Changes go through the log, with passwords as hashes;
/// questions are answered from the published state.
struct AuthService: Sendable {
    let context: ServerContext

    private var access: AccessControl { context.access }

    func register(in table: inout ServiceTable) {
        table.unary("/etcdserverpb.Auth/AuthEnable") { call, _ in change(.enable, call) }
        table.unary("/etcdserverpb.Auth/AuthDisable") { call, _ in change(.disable, call) }
        table.unary("/etcdserverpb.Auth/AuthStatus") { call, _ in status(call) }
        table.unary("/etcdserverpb.Auth/Authenticate") { Login(context: context).authenticate($0, $1) }
        table.unary("/etcdserverpb.Auth/UserAdd") { addUser($0, $1) }
        table.unary("/etcdserverpb.Auth/UserGet") { getUser($0, $1) }
        table.unary("/etcdserverpb.Auth/UserList") { call, _ in listUsers(call) }
        table.unary("/etcdserverpb.Auth/UserChangePassword") { changePassword($0, $1) }
        table.unary("/etcdserverpb.Auth/RoleGet") { getRole($0, $1) }
        table.unary("/etcdserverpb.Auth/RoleList") { call, _ in listRoles(call) }
        table.unary("/etcdserverpb.Auth/RoleGrantPermission") { grantPermission($0, $1) }
        changing("UserDelete", in: &table) { (request: Etcdserverpb_AuthUserDeleteRequest) in
            .deleteUser(AuthName(request.name))
        }
        changing("UserGrantRole", in: &table) { (request: Etcdserverpb_AuthUserGrantRoleRequest) in
            .grantRole(AuthName(request.role), to: AuthName(request.user))
        }
        changing("UserRevokeRole", in: &table) { (request: Etcdserverpb_AuthUserRevokeRoleRequest) in
            .revokeRole(AuthName(request.role), from: AuthName(request.name))
        }
        changing("RoleAdd", in: &table) { (request: Etcdserverpb_AuthRoleAddRequest) in
            .addRole(AuthName(request.name))
        }
        changing("RoleDelete", in: &table) { (request: Etcdserverpb_AuthRoleDeleteRequest) in
            .deleteRole(AuthName(request.role))
        }
        changing("RoleRevokePermission", in: &table) { (request: Etcdserverpb_AuthRoleRevokePermissionRequest) in
            .revokePermission(
                KeyRange(key: [UInt8](request.key), end: [UInt8](request.rangeEnd)), from: AuthName(request.role))
        }
    }

    // MARK: - Changes

    /// A method whose request says the change by itself.
    private func changing<Request: Message>(
        _ method: String, in table: inout ServiceTable, _ make: @escaping @Sendable (Request) -> AuthChange
    ) {
        table.unary("/etcdserverpb.Auth/\(method)") { call, request in
            guard let decoded = decode(Request.self, request, call) else { return }
            change(make(decoded), call)
        }
    }

    /// Proposes a change, for whoever makes the call.
    private func change(_ change: AuthChange, _ call: ServerCall) {
        do throws(EtcdError) {
            let caller = try access.caller(of: call)
            try caller?.state.permitRoot(caller?.author)
            for name in change.names { try Self.check(name) }
            let payload = change.encoded()
            guard payload.count <= context.limits.maxRequestBytes else { throw .requestTooLarge }
            payload.withUnsafeBytes { context.propose(.auth, $0, for: caller?.author, answering: call) }
        } catch {
            call.fail(error)
        }
    }

    private func addUser(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthUserAddRequest.self, request, call) else { return }
        let name = AuthName(decoded.name)
        guard !decoded.options.noPassword else { return change(.addUser(name, passwordHash: nil), call) }
        do throws(EtcdError) {
            guard !name.bytes.isEmpty else { throw .userEmpty }
            try Self.check(name)
            // Hashing is dear: not for what is refused anyway.
            guard access.table.state.users[name] == nil else { throw .userExists }
        } catch {
            return call.fail(error)
        }
        hash(decoded.password, call) { change(.addUser(name, passwordHash: $0), call) }
    }

    private func changePassword(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthUserChangePasswordRequest.self, request, call) else { return }
        let name = AuthName(decoded.name)
        guard let user = access.table.state.users[name] else { return call.fail(EtcdError.userNotFound) }
        // Without a password no password is right any more; who is known by a certificate has none.
        guard !decoded.password.isEmpty, !user.hasNoPassword else {
            return change(.changePassword(name, passwordHash: []), call)
        }
        hash(decoded.password, call) { change(.changePassword(name, passwordHash: $0), call) }
    }

    private func hash(_ password: String, _ call: ServerCall, _ body: @escaping ([UInt8]) -> Void) {
        let password = Array(password.utf8)
        if let problem = PasswordHash.problem(with: password) {
            return call.fail(EtcdError.invalidAuthRequest(problem))
        }
        access.passwords.hash(password, for: call) { result in
            switch result {
            case .success(let hash): body(hash)
            case .failure(let error): call.fail(error)
            }
        }
    }

    private func grantPermission(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthRoleGrantPermissionRequest.self, request, call) else { return }
        guard decoded.hasPerm else { return call.fail(EtcdError.permissionNotGiven) }
        guard let kind = AuthPermission.Kind(rawValue: Int64(decoded.perm.permType.rawValue)) else {
            return call.fail(
                EtcdError.invalidAuthRequest(
                    "permType \(decoded.perm.permType.rawValue) means nothing; expected READ, WRITE or READWRITE"))
        }
        let range = KeyRange(key: [UInt8](decoded.perm.key), end: [UInt8](decoded.perm.rangeEnd))
        change(.grantPermission(AuthPermission(kind, range), to: AuthName(decoded.name)), call)
    }

    private static func check(_ name: AuthName) throws(EtcdError) {
        guard name.bytes.count <= AuthLimits.nameBytes else {
            throw .invalidAuthRequest(
                "the name has \(name.bytes.count) bytes; at most \(AuthLimits.nameBytes) are allowed")
        }
    }

    // MARK: - Questions

    private func status(_ call: ServerCall) {
        let state = access.table.state
        var response = Etcdserverpb_AuthStatusResponse()
        response.header = context.header
        response.enabled = state.isEnabled
        response.authRevision = state.revision
        call.respond(response)
    }

    /// For `root`, and for everybody about themselves.
    private func getUser(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthUserGetRequest.self, request, call) else { return }
        let name = AuthName(decoded.name)
        do throws(EtcdError) {
            let caller = try access.caller(of: call)
            let state = caller?.state ?? access.table.state
            if let caller, caller.author.name != name { try state.permitRoot(caller.author) }
            guard let user = state.users[name] else { throw .userNotFound }
            var response = Etcdserverpb_AuthUserGetResponse()
            response.header = context.header
            response.roles = user.roles.map(\.description)
            call.respond(response)
        } catch {
            call.fail(error)
        }
    }

    private func listUsers(_ call: ServerCall) {
        var response = Etcdserverpb_AuthUserListResponse()
        response.header = context.header
        response.users = access.table.state.users.keys.sorted().map(\.description)
        call.respond(response)
    }

    /// For `root`, and for everybody about their own roles.
    private func getRole(_ call: ServerCall, _ request: UnsafeRawBufferPointer) {
        guard let decoded = decode(Etcdserverpb_AuthRoleGetRequest.self, request, call) else { return }
        let name = AuthName(decoded.role)
        do throws(EtcdError) {
            let caller = try access.caller(of: call)
            let state = caller?.state ?? access.table.state
            if let caller, state.users[caller.author.name]?.roles.contains(name) != true {
                try state.permitRoot(caller.author)
            }
            guard let role = state.roles[name] else { throw .roleNotFound }
            var response = Etcdserverpb_AuthRoleGetResponse()
            response.header = context.header
            response.perm = role.permissions.map { permission in
                .with {
                    $0.permType = Authpb_Permission.TypeEnum(rawValue: Int(permission.kind.rawValue)) ?? .read
                    $0.key = Data(permission.range.key)
                    $0.rangeEnd = Data(permission.range.end)
                }
            }
            call.respond(response)
        } catch {
            call.fail(error)
        }
    }

    private func listRoles(_ call: ServerCall) {
        var response = Etcdserverpb_AuthRoleListResponse()
        response.header = context.header
        response.roles = access.table.state.roles.keys.sorted().map(\.description)
        call.respond(response)
    }
}

extension AuthChange {
    /// Names a change brings into the store; others only have to be found there.
    fileprivate var names: [AuthName] {
        switch self {
        case .addUser(let name, _): [name]
        case .addRole(let name): [name]
        default: []
        }
    }
}
