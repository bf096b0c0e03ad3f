import EtcdAPI
import StateMachine
import Testing
import Vocabulary

@Suite struct LeaseTests {
    @Test func `a grant raises a short time to live to the minimum and takes no revision`() throws {
        let machine = try Machine()
        for (asked, given) in [(60, 60), (2, 2), (1, 2), (0, 2), (-5, 2), (9_000_000_000, 9_000_000_000)]
            as [(Int64, Int64)]
        {
            let id = 1_000 + asked % 1_000
            let reply = try machine.grant(id, seconds: asked)
            #expect(reply == NumbersReply(header: header(1), numbers: [2: id, 3: given]))
            #expect(machine.machine.leases.timeToLive(LeaseID(id)) == given)
            #expect(machine.lastBatch?.leaseChanges == [.granted(LeaseID(id), timeToLiveSeconds: given)])
            try machine.revoke(id)
        }
    }

    @Test func `a grant of a taken id, with too long a time, or without an id is refused`() throws {
        let machine = try Machine()
        try machine.grant(-7)
        #expect(throws: EtcdError.leaseExists) { try machine.grant(-7) }
        #expect(throws: EtcdError.leaseTimeToLiveTooLarge) { try machine.grant(8, seconds: 9_000_000_001) }
        #expect(throws: EtcdError.leaseNotFound) { try machine.apply(.leaseGrant, numbers(60, 0)) }
        #expect(machine.machine.leases.all().map(\.id) == [LeaseID(-7)])
    }

    @Test func `a revoke deletes the attached keys in byte order at one revision, then the lease`() throws {
        let machine = try Machine()
        try machine.grant(1)
        for key in ["b", "a", "\u{e9}", "aa"] { try machine.put(key, lease: 1) }
        try machine.put("other")
        #expect(try machine.revoke(1) == NumbersReply(header: header(7)))
        var deleted: [String] = []
        try #require(machine.lastBatch?.events).forEach {
            deleted.append("\($0.revision).\($0.sub) \(String(decoding: $0.key, as: UTF8.self))")
        }
        #expect(deleted == ["7.0 a", "7.1 aa", "7.2 b", "7.3 \u{e9}"])
        #expect(machine.lastBatch?.leaseChanges == [.revoked(LeaseID(1))])
        #expect(try machine.range(.everything).keys == ["other"])
        #expect(!machine.machine.leases.exists(LeaseID(1)))
        #expect(throws: EtcdError.leaseNotFound) { try machine.revoke(1) }
    }

    @Test func `a revoke of a lease without keys takes no revision`() throws {
        let machine = try Machine()
        try machine.grant(1)
        #expect(try machine.revoke(1) == NumbersReply(header: header(1)))
        #expect(machine.lastBatch?.events == nil)
    }

    @Test func `a key hangs on the lease of its last put, and on none after a deletion`() throws {
        let machine = try Machine()
        let leases = machine.machine.leases
        try machine.grant(1)
        try machine.grant(2)
        try machine.put("a", lease: 1)
        try machine.put("b", lease: 1)
        #expect(leases.keys(of: LeaseID(1)) == [utf8("a"), utf8("b")])
        try machine.put("a", lease: 2)
        #expect(leases.keys(of: LeaseID(1)) == [utf8("b")] && leases.keys(of: LeaseID(2)) == [utf8("a")])
        try machine.put("a", lease: 2)
        #expect(leases.keys(of: LeaseID(2)) == [utf8("a")])
        try machine.put("a")
        try machine.delete("b")
        #expect(leases.keys(of: LeaseID(1)).isEmpty && leases.keys(of: LeaseID(2)).isEmpty)
        try machine.txn(TxnMessage(success: [.put(PutMessage("c", lease: 1)), .put(PutMessage("d", lease: 2))]))
        try machine.txn(TxnMessage(success: [.delete(DeleteMessage("a", "z"))]))
        #expect(leases.keys(of: LeaseID(1)).isEmpty && leases.keys(of: LeaseID(2)).isEmpty)
        try machine.revoke(1)
        try machine.revoke(2)
        #expect(try machine.range(.everything).header == header(9))
    }

    @Test func `leases, attachments and alarms are there again after a restart`() throws {
        let machine = try Machine()
        let longKey = Bytes(repeating: 7, count: 2_000)
        try machine.grant(1, seconds: 10)
        try machine.grant(2, seconds: 20)
        try machine.grant(3, seconds: 30)
        try machine.put(PutMessage("a", lease: 1))
        try machine.put(PutMessage("b", lease: 1))
        try machine.put(PutMessage(longKey, lease: 2))
        try machine.delete("b")
        try machine.revoke(3)
        try machine.alarm(action: 1, member: 5, kind: 2)
        try machine.alarm(action: 1, member: 5, kind: 1)
        try machine.alarm(action: 2, member: 5, kind: 2)
        try machine.restart()
        let leases = machine.machine.leases
        #expect(leases.all().map(\.id) == [LeaseID(1), LeaseID(2)])
        #expect(leases.all().map(\.timeToLiveSeconds) == [10, 20])
        #expect(leases.keys(of: LeaseID(1)) == [utf8("a")] && leases.keys(of: LeaseID(2)) == [longKey])
        #expect(machine.machine.alarms.list().map(\.kind) == [.noSpace])
        try machine.revoke(2)
        #expect(try machine.range(.everything).keys == ["a"])
    }
}
