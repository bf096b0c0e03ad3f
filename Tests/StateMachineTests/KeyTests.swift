import EtcdAPI
import StateMachine
import Store
import Testing
import Vocabulary

@Suite struct KeyTests {
    @Test func `an empty store is at revision 1 and the first write makes 2`() throws {
        let machine = try Machine()
        #expect(try machine.range(.everything).header == header(1))
        #expect(try machine.put("a", "1").header == header(2))
        #expect(try machine.get("a") == KV(key: utf8("a"), create: 2, mod: 2, version: 1, value: utf8("1")))
    }

    @Test func `a put counts versions within a life, and a deletion ends the life`() throws {
        let machine = try Machine()
        try machine.put("a", "1")
        try machine.put("a", "1")
        #expect(try machine.get("a") == KV(key: utf8("a"), create: 2, mod: 3, version: 2, value: utf8("1")))
        #expect(try machine.delete("a") == DeleteReply(header: header(4), deleted: 1))
        #expect(try machine.get("a") == nil)
        try machine.put("a", "2")
        #expect(try machine.get("a") == KV(key: utf8("a"), create: 5, mod: 5, version: 1, value: utf8("2")))
    }

    @Test func `prev_kv of a put is what the key held, and absent for a new key`() throws {
        let machine = try Machine()
        let first = try machine.put(PutMessage("a", "1").with { $0.prevKV = true })
        #expect(first == PutReply(header: header(2), previous: nil))
        let second = try machine.put(PutMessage("a", "2").with { $0.prevKV = true })
        #expect(
            second
                == PutReply(
                    header: header(3), previous: KV(key: utf8("a"), create: 2, mod: 2, version: 1, value: utf8("1"))))
    }

    @Test func `ignore_value keeps the value and ignore_lease the lease, together too`() throws {
        let machine = try Machine()
        try machine.grant(5)
        try machine.put("a", "1", lease: 5)
        try machine.put(PutMessage("a").with { $0.ignoreValue = true })
        #expect(try machine.get("a") == KV(key: utf8("a"), create: 2, mod: 3, version: 2, value: utf8("1")))
        #expect(machine.machine.leases.keys(of: LeaseID(5)).isEmpty)
        try machine.put("a", "2", lease: 5)
        try machine.put(PutMessage("a", "3").with { $0.ignoreLease = true })
        #expect(try machine.get("a")?.lease == 5)
        try machine.put(
            PutMessage("a").with {
                $0.ignoreLease = true
                $0.ignoreValue = true
            })
        #expect(try machine.get("a") == KV(key: utf8("a"), create: 2, mod: 6, version: 5, value: utf8("3"), lease: 5))
    }

    @Test func `a put is checked in the order key, value, lease, lease's existence, previous key`() throws {
        let machine = try Machine()
        func error(_ change: (inout PutMessage) -> Void) -> EtcdError? {
            #expect(throws: EtcdError.self) { try machine.put(PutMessage("a", "v", lease: 9).with(change)) }
        }
        #expect(
            error {
                $0.key = []
                $0.ignoreValue = true
            } == .emptyKey)
        #expect(
            error {
                $0.ignoreValue = true
                $0.ignoreLease = true
            } == .valueProvided)
        #expect(error { $0.ignoreLease = true } == .leaseProvided)
        #expect(
            error {
                $0.value = []
                $0.ignoreValue = true
            } == .leaseNotFound)
        #expect(
            error {
                $0.value = []
                $0.lease = 0
                $0.ignoreValue = true
            } == .keyNotFound)
        #expect(try machine.range(.everything).header == header(1))
    }

    @Test func `a range deletion takes one revision, answers in key order, and none for nothing`() throws {
        let machine = try Machine()
        for key in ["b", "a", "c"] { try machine.put(key, key) }
        let reply = try machine.delete(DeleteMessage("a", "c", prevKV: true))
        #expect(reply.header == header(5))
        #expect(reply.deleted == 2)
        #expect(reply.previous.map(\.key) == [utf8("a"), utf8("b")])
        #expect(reply.previous.map(\.mod) == [3, 2])
        #expect(try machine.delete("a", "c") == DeleteReply(header: header(5)))
        #expect(try machine.delete("c", "a") == DeleteReply(header: header(5)), "an end below the key is no range")
        #expect(try machine.range(.everything).keys == ["c"])
        #expect(try machine.delete(DeleteMessage([0], [0])).deleted == 1)
    }

    @Test func `changes come out as events in order, and none when nobody watches`() throws {
        let machine = try Machine()
        try machine.put("a", "1")
        try machine.put("b", "2")
        _ = try machine.applyOpen(.put, PutMessage("a", "3").encoded)
        _ = try machine.applyOpen(.deleteRange, DeleteMessage("a", "z").encoded)
        let batch = try machine.commit()
        #expect(batch.firstRevision == Revision(4) && batch.lastRevision == Revision(5))
        var seen: [String] = []
        try #require(batch.events).forEach { event in
            let key = String(decoding: event.key, as: UTF8.self)
            seen.append("\(event.revision).\(event.sub) \(event.isDeletion) \(event.isCreation) \(key)")
        }
        #expect(seen == ["4.0 false false a", "5.0 true false a", "5.1 true false b"])
        machine.machine.recordsEvents = false
        try machine.put("c")
        #expect(machine.lastBatch?.events == nil)
    }

    @Test func `an entry of an unknown kind or with a broken message stops the member`() throws {
        let machine = try Machine()
        #expect(throws: StoreError.self) { try machine.applyOpen(.put, [0x0a, 9]) }
        #expect(throws: StoreError.self) {
            try Bytes([99]).withUnsafeBytes {
                _ = try machine.machine.apply($0, index: RaftIndex(2), term: Machine.term)
            }
        }
    }

    @Test func `an identity entry of another cluster stops the member, its own passes`() throws {
        let machine = try Machine()
        #expect(try machine.apply(.identity, Machine.identity.encoded()).isEmpty)
        let foreign = MemberIdentity(clusterID: 1, memberID: 2).encoded()
        #expect(throws: StoreError.self) { _ = try machine.applyOpen(.identity, foreign) }
    }
}
