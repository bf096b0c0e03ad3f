import EtcdAPI
public import StateMachine
import Store
import Testing
import Vocabulary

extension Machine {
    /// Applies a change of users or roles.
    func auth(_ change: AuthChange, for author: Author? = nil) throws {
        _ = try apply(.auth, change.encoded(), for: author)
    }

    /// Applies an entry for somebody.
    @discardableResult
    func apply(_ kind: CommandKind, _ request: Bytes, for author: Author?) throws -> Bytes {
        guard let author else { return try apply(kind, request) }
        return try apply(.authored, AuthoredEntry.prefix(author, kind: kind) + request)
    }

    var authState: AuthState { machine.authTable.state }

    /// Users `root` and `ann`, whose role may write what begins with `a`; authentication is on.
    func turnAuthOn() throws {
        try auth(.addUser(.root, passwordHash: utf8("hash of root")))
        try auth(.grantRole(.root, to: .root))
        try auth(.addUser("ann", passwordHash: utf8("hash of ann")))
        try auth(.addRole("r"))
        try auth(.grantPermission(AuthPermission(.readWrite, KeyRange(key: utf8("a"), end: utf8("b"))), to: "r"))
        try auth(.grantRole("r", to: "ann"))
        try auth(.enable)
    }

    /// Somebody whose token is of now.
    func now(_ name: AuthName) -> Author { Author(name: name, authRevision: authState.revision) }
}

extension AuthName: ExpressibleByStringLiteral {
    /// A name as a test writes it.
    public init(stringLiteral text: String) { self.init(text) }
}

@Suite struct AuthTests {
    @Test func `what is published is what was committed`() throws {
        let machine = try Machine()
        #expect(!machine.machine.authTable.isEnabled)
        #expect(machine.authState.revision == 1)
        let before = machine.machine.authTable.reading
        _ = try machine.applyOpen(.auth, AuthChange.addUser("ann", passwordHash: [1]).encoded())
        #expect(machine.authState.users.isEmpty)
        #expect(machine.machine.authTable.isCurrent(before))
        try machine.commit()
        #expect(machine.authState.users["ann"]?.password == [1])
        #expect(machine.authState.revision == 2)
        #expect(!machine.machine.authTable.isCurrent(before))
    }

    @Test func `users, roles, the switch and the revision live through restart and replay`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        try machine.auth(.addUser("cert", passwordHash: nil), for: machine.now(.root))
        let revision = machine.authState.revision
        try machine.restart()
        #expect(machine.machine.authTable.isEnabled)
        #expect(machine.authState.revision == revision)
        #expect(machine.authState.users.keys.sorted() == ["ann", "cert", "root"])
        #expect(machine.authState.users["ann"]?.password == utf8("hash of ann"))
        #expect(machine.authState.users["cert"]?.hasNoPassword == true)
        #expect(machine.authState.users["ann"]?.roles == ["r"])
        #expect(machine.authState.roles["r"]?.permissions.count == 1)
        let put = PutMessage("a1").encoded
        try machine.apply(.put, put, for: machine.now("ann"))
        #expect(throws: EtcdError.permissionDenied) {
            try machine.apply(.put, PutMessage("b").encoded, for: machine.now("ann"))
        }
    }

    @Test func `the revision counts what changed, and nothing else`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let revision = machine.authState.revision
        #expect(revision == 7)
        let root = machine.now(.root)
        try machine.auth(.grantRole("r", to: "ann"), for: root)
        try machine.auth(.enable, for: root)
        #expect(throws: EtcdError.userExists) {
            try machine.auth(.addUser("ann", passwordHash: []), for: root)
        }
        #expect(machine.authState.revision == revision)
        try machine.auth(.disable, for: root)
        #expect(machine.authState.revision == revision + 1)
        try machine.auth(.disable)
        #expect(machine.authState.revision == revision + 1)
    }

    @Test func `each refusal is etcd's`() throws {
        let machine = try Machine()
        func refusal(_ change: AuthChange, for author: Author? = nil) -> EtcdError? {
            do {
                try machine.auth(change, for: author)
                return nil
            } catch {
                return error as? EtcdError
            }
        }
        #expect(refusal(.enable) == .rootUserMissing)
        #expect(refusal(.addUser("", passwordHash: [])) == .userEmpty)
        #expect(refusal(.addRole("")) == .roleEmpty)
        #expect(refusal(.deleteUser("x")) == .userNotFound)
        #expect(refusal(.changePassword("x", passwordHash: [])) == .userNotFound)
        #expect(refusal(.grantRole("x", to: "x")) == .userNotFound)
        #expect(refusal(.revokeRole("x", from: "x")) == .userNotFound)
        #expect(refusal(.deleteRole("x")) == .roleNotFound)
        let permission = AuthPermission(.read, KeyRange(key: [1], end: []))
        #expect(refusal(.grantPermission(permission, to: "x")) == .roleNotFound)
        #expect(refusal(.revokePermission(permission.range, from: "x")) == .roleNotFound)
        #expect(refusal(.addUser(.root, passwordHash: [])) == nil)
        #expect(refusal(.enable) == .rootRoleMissing)
        #expect(refusal(.grantRole("x", to: .root)) == .roleNotFound)
        #expect(refusal(.revokeRole("x", from: .root)) == .roleNotGranted)
        #expect(refusal(.grantRole(.root, to: .root)) == nil)
        #expect(refusal(.addRole("r")) == nil)
        #expect(refusal(.addRole("r")) == .roleExists)
        #expect(refusal(.revokePermission(permission.range, from: "r")) == .permissionNotGranted)
        for (key, end) in [([], []), ([], [0]), ([2], [1]), ([2], [2])] as [(Bytes, Bytes)] {
            let nothing = AuthPermission(.read, KeyRange(key: key, end: end))
            #expect(refusal(.grantPermission(nothing, to: "r")) == .invalidAuthManagement)
        }
        #expect(refusal(.enable) == nil)
        let root = machine.now(.root)
        #expect(refusal(.deleteUser(.root), for: root) == .invalidAuthManagement)
        #expect(refusal(.deleteRole(.root), for: root) == .invalidAuthManagement)
        #expect(refusal(.revokeRole(.root, from: .root), for: root) == .invalidAuthManagement)
        #expect(refusal(.addRole("s")) == .userEmpty)
        #expect(refusal(.addRole("s"), for: machine.now("nobody")) == .userNotFound)
        #expect(refusal(.addUser("ann", passwordHash: []), for: root) == nil)
        #expect(refusal(.addRole("s"), for: machine.now("ann")) == .permissionDenied)
    }

    @Test func `permissions are kept by key, and one range has one kind`() throws {
        let machine = try Machine()
        try machine.auth(.addRole("r"))
        func grant(_ kind: AuthPermission.Kind, _ key: String, _ end: String = "") throws {
            let range = KeyRange(key: utf8(key), end: utf8(end))
            try machine.auth(.grantPermission(AuthPermission(kind, range), to: "r"))
        }
        try grant(.read, "b")
        try grant(.read, "a", "c")
        try grant(.write, "a", "d")
        try grant(.readWrite, "a", "c")
        let permissions = try #require(machine.authState.roles["r"]?.permissions)
        #expect(permissions.map { String(decoding: $0.range.key + $0.range.end, as: UTF8.self) } == ["ac", "ad", "b"])
        #expect(permissions.map(\.kind) == [.readWrite, .write, .read])
        try machine.auth(.revokePermission(KeyRange(key: utf8("a"), end: utf8("c")), from: "r"))
        #expect(machine.authState.roles["r"]?.permissions.count == 2)
    }

    @Test func `a role that is deleted is taken from everybody`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        try machine.auth(.deleteRole("r"), for: machine.now(.root))
        #expect(machine.authState.users["ann"]?.roles == [])
        #expect(throws: EtcdError.permissionDenied) {
            try machine.apply(.put, PutMessage("a").encoded, for: machine.now("ann"))
        }
    }

    @Test func `tokens follow the entries in order`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let entry = AuthenticateEntry(
            user: "ann", tokenDigest: [9], authRevision: machine.authState.revision)
        let index = machine.nextIndex
        _ = try machine.apply(.authenticate, entry.encoded())
        #expect(machine.lastBatch?.tokenChanges == [.made(user: "ann", digest: [9], number: index)])
        var old = entry
        old.authRevision -= 1
        #expect(throws: EtcdError.authRevisionOld) { try machine.apply(.authenticate, old.encoded()) }
        var unknown = entry
        unknown.user = "nobody"
        #expect(throws: EtcdError.authenticationFailed) { try machine.apply(.authenticate, unknown.encoded()) }
        let root = machine.now(.root)
        try machine.auth(.changePassword("ann", passwordHash: [1]), for: root)
        #expect(machine.lastBatch?.tokenChanges == [.ended(user: "ann")])
        try machine.auth(.deleteUser("ann"), for: root)
        #expect(machine.lastBatch?.tokenChanges == [.ended(user: "ann")])
        try machine.auth(.disable, for: root)
        #expect(machine.lastBatch?.tokenChanges == [.allEnded])
        #expect(throws: EtcdError.authNotEnabled) { try machine.apply(.authenticate, entry.encoded()) }
    }

    @Test func `a token has ended before the change that ends it is published`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let revision = machine.authState.revision
        let change = AuthChange.changePassword("ann", passwordHash: [1]).encoded()
        _ = try machine.applyOpen(.authored, AuthoredEntry.prefix(machine.now(.root), kind: .auth) + change)
        var told: [TokenChange] = []
        var published: UInt64?
        _ = try machine.machine.commit {
            told = $0
            published = machine.authState.revision
        }
        #expect(told == [.ended(user: "ann")])
        #expect(published == revision)
        #expect(machine.authState.revision == revision + 1)
    }

    @Test func `the usual cost of passwords is counted, also after a restart`() throws {
        let machine = try Machine()
        func hash(_ cost: String) -> Bytes { utf8("$2a$\(cost)$" + String(repeating: ".", count: 53)) }
        #expect(machine.authState.usualPasswordCost == nil)
        try machine.auth(.addUser("a", passwordHash: hash("04")))
        #expect(machine.authState.usualPasswordCost == 4)
        try machine.auth(.addUser("b", passwordHash: hash("12")))
        #expect(machine.authState.usualPasswordCost == 12)
        try machine.auth(.addUser("c", passwordHash: hash("04")))
        try machine.auth(.addUser("d", passwordHash: nil))
        #expect(machine.authState.usualPasswordCost == 4)
        try machine.restart()
        #expect(machine.authState.usualPasswordCost == 4)
        try machine.auth(.deleteUser("a"))
        try machine.auth(.changePassword("c", passwordHash: hash("11")))
        #expect(machine.authState.usualPasswordCost == 12)
    }

    @Test func `a change survives its way through the log`() throws {
        let range = KeyRange(key: [0, 1], end: [0])
        let changes: [AuthChange] = [
            .enable, .disable, .addUser("é", passwordHash: [1, 2]), .addUser("c", passwordHash: nil),
            .addUser("d", passwordHash: []), .deleteUser("x"), .changePassword("x", passwordHash: [3]),
            .grantRole("r", to: "u"), .revokeRole("r", from: "u"), .addRole("r"), .deleteRole("r"),
            .grantPermission(AuthPermission(.readWrite, range), to: "r"), .revokePermission(range, from: "r"),
        ]
        for change in changes {
            #expect(try change.encoded().withUnsafeBytes { try AuthChange($0) } == change)
        }
    }
}
