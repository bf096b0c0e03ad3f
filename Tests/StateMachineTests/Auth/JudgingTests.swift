import EtcdAPI
import StateMachine
import Store
import Testing
import Vocabulary

@Suite struct JudgingTests {
    @Test func `a write is judged by the state at its place in the log`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let ann = machine.now("ann")
        let put = PutMessage("a").encoded
        try machine.apply(.put, put, for: ann)
        // Proposed before the change, applied after it.
        try machine.auth(.addRole("s"), for: machine.now(.root))
        #expect(throws: EtcdError.authRevisionOld) { try machine.apply(.put, put, for: ann) }
        try machine.apply(.put, put, for: machine.now("ann"))
        try machine.auth(.deleteUser("ann"), for: machine.now(.root))
        #expect(throws: EtcdError.permissionDenied) { try machine.apply(.put, put, for: machine.now("ann")) }
    }

    @Test func `what names nobody is refused while authentication is on, and what the server does is not`() throws {
        let machine = try Machine()
        try machine.grant(1)
        try machine.put("a", lease: 1)
        let held = try machine.acquire(AcquireMessage("lock", lease: 5))
        try machine.turnAuthOn()
        let put = PutMessage("a").encoded
        #expect(throws: EtcdError.userEmpty) { try machine.apply(.put, put) }
        #expect(throws: EtcdError.userEmpty) { try machine.apply(.deleteRange, DeleteMessage("a").encoded) }
        #expect(throws: EtcdError.userEmpty) { try machine.apply(.leaseRevoke, numbers(1)) }
        #expect(throws: EtcdError.userEmpty) { try machine.release("lock/5", token: held.token) }
        #expect(throws: EtcdError.userEmpty) { try machine.breakPlace("lock") }
        #expect(throws: EtcdError.userEmpty) { try machine.acquire(AcquireMessage("lock", lease: 6)) }
        try machine.expire(1)
        #expect(try machine.range(.everything).keys == ["lock/5"])
        // A waiter that gives up: the server's doing.
        let giveUp = ReleaseView.encoded(key: utf8("lock/5"), token: held.token, at: 1, claim: held.claim)
        _ = try machine.apply(.lockRelease, giveUp)
        #expect(try machine.range(.everything).keys == [])
        try machine.auth(.disable, for: machine.now(.root))
        _ = try machine.apply(.put, put)
    }

    @Test func `the keys of a lease decide who may use and end it`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let (root, ann) = (machine.now(.root), machine.now("ann"))
        try machine.grant(1)
        try machine.apply(.put, PutMessage("a", lease: 1).encoded, for: ann)
        try machine.apply(.put, PutMessage("other", lease: 1).encoded, for: root)
        #expect(throws: EtcdError.permissionDenied) {
            try machine.apply(.put, PutMessage("a2", lease: 1).encoded, for: ann)
        }
        #expect(throws: EtcdError.permissionDenied) { try machine.apply(.leaseRevoke, numbers(1), for: ann) }
        // Who may do everything is not held to a revision here: etcd's rule.
        try machine.auth(.addRole("s"), for: root)
        try machine.apply(.leaseRevoke, numbers(1), for: root)
        #expect(try machine.range(.everything).keys == [])
    }

    @Test func `to be shown what was there takes reading`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        try machine.auth(.addUser("bob", passwordHash: []), for: machine.now(.root))
        try machine.auth(.addRole("w"), for: machine.now(.root))
        let all = KeyRange(key: [0], end: [0])
        try machine.auth(.grantPermission(AuthPermission(.write, all), to: "w"), for: machine.now(.root))
        try machine.auth(.grantRole("w", to: "bob"), for: machine.now(.root))
        let bob = machine.now("bob")
        try machine.apply(.put, PutMessage("a").encoded, for: bob)
        let showing = PutMessage("a").with { $0.prevKV = true }
        #expect(throws: EtcdError.permissionDenied) { try machine.apply(.put, showing.encoded, for: bob) }
    }

    @Test func `an acquire needs its key, its guards and its lease's keys`() throws {
        let machine = try Machine()
        try machine.turnAuthOn()
        let ann = machine.now("ann")
        func acquire(_ message: AcquireMessage) throws {
            let prefix = AuthoredEntry.prefix(ann, kind: .lockAcquire)
            let result = try machine.applyOpen(.authored, prefix + message.encoded)
            try machine.commit()
            if case .failure(let error) = result { throw error }
        }
        try acquire(AcquireMessage("a", lease: 5))
        #expect(throws: EtcdError.permissionDenied) { try acquire(AcquireMessage("b", lease: 6)) }
    }

    @Test func `an entry within an entry of its own kind is damage`() throws {
        let machine = try Machine()
        let ann = Author(name: "ann", authRevision: 1)
        let inner = AuthoredEntry.prefix(ann, kind: .put) + PutMessage("a").encoded
        #expect(throws: StoreError.self) {
            try machine.applyOpen(.authored, AuthoredEntry.prefix(ann, kind: .authored) + inner)
        }
    }
}
