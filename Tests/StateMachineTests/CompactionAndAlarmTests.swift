import EtcdAPI
import StateMachine
import Testing

@Suite struct CompactionTests {
    @Test func `a compaction must be above the last one and not in the future`() throws {
        let machine = try Machine()
        for _ in 0..<4 { try machine.put("a") }
        #expect(throws: EtcdError.futureRevision) { try machine.compact(6) }
        #expect(throws: EtcdError.compacted) { try machine.compact(-1) }
        #expect(try machine.compact(3) == NumbersReply(header: header(5)))
        #expect(throws: EtcdError.compacted) { try machine.compact(3) }
        #expect(throws: EtcdError.compacted) { try machine.compact(0) }
        #expect(try machine.compact(5) == NumbersReply(header: header(5)))
    }

    @Test func `revision 0 is accepted once, across restarts`() throws {
        let machine = try Machine()
        try machine.compact(0)
        #expect(throws: EtcdError.compacted) { try machine.compact(0) }
        try machine.restart()
        #expect(throws: EtcdError.compacted) { try machine.compact(0) }
        #expect(try machine.compact(1) == NumbersReply(header: header(1)))
    }

    @Test func `live keys survive a compaction as they are`() throws {
        let machine = try Machine()
        try machine.put("a", "1")
        try machine.put("a", "2")
        try machine.put("b")
        try machine.delete("b")
        let before = try machine.range(.everything)
        try machine.compact(5)
        #expect(try machine.range(.everything) == before)
        #expect(try machine.get("a")?.version == 2)
    }
}

@Suite struct AlarmTests {
    @Test func `alarms are raised once, listed by kind, and cleared by name`() throws {
        let machine = try Machine()
        let noSpace: [Int: Int64] = [1: 5, 2: 1]
        #expect(try machine.alarm(action: 1, member: 5, kind: 1) == AlarmReply(header: header(1), alarms: [noSpace]))
        #expect(try machine.alarm(action: 1, member: 5, kind: 1).alarms == [noSpace])
        #expect(try machine.alarm(action: 1, member: 6, kind: 2).alarms == [[1: 6, 2: 2]])
        #expect(try machine.alarm(action: 0).alarms == [noSpace, [1: 6, 2: 2]])
        #expect(try machine.alarm(action: 0, kind: 2).alarms == [[1: 6, 2: 2]])
        #expect(try machine.alarm(action: 2, member: 9, kind: 1).alarms.isEmpty)
        #expect(try machine.alarm(action: 2, member: 5, kind: 1).alarms == [noSpace])
        #expect(try machine.alarm(action: 0).alarms == [[1: 6, 2: 2]])
    }

    @Test func `kind NONE does nothing, and an unknown action is refused`() throws {
        let machine = try Machine()
        #expect(try machine.alarm(action: 1, member: 5).alarms.isEmpty)
        #expect(try machine.alarm(action: 2, member: 5).alarms.isEmpty)
        #expect(throws: EtcdError.unknownMethod) { try machine.alarm(action: 3) }
    }

    @Test(arguments: [false, true])
    func `NOSPACE refuses what adds data and nothing else`(bypassingCheck: Bool) throws {
        let machine = try Machine()
        try machine.grant(1)
        try machine.put("a", lease: 1)
        try machine.put("b")
        try machine.alarm(action: 1, member: 5, kind: 1)
        let put = TxnMessage(
            compares: [.init(.version, "a", .equal, 1)], failure: [.txn(TxnMessage(failure: [.put(PutMessage("c"))]))])
        if bypassingCheck {
            #expect(throws: EtcdError.noSpace) { try machine.apply(.put, PutMessage("c").encoded) }
            #expect(throws: EtcdError.noSpace) { try machine.apply(.leaseGrant, numbers(60, 2)) }
            #expect(throws: EtcdError.noSpace) { try machine.apply(.txn, put.encoded) }
        } else {
            #expect(throws: EtcdError.noSpace) { try machine.put("c") }
            #expect(throws: EtcdError.noSpace) { try machine.grant(2) }
            #expect(throws: EtcdError.noSpace) { try machine.txn(put) }
        }
        #expect(try machine.txn(TxnMessage(success: [.delete(DeleteMessage("b"))])).header == header(4))
        try machine.compact(4)
        try machine.revoke(1)
        #expect(try machine.range(.everything).header == header(5))
        try machine.alarm(action: 2, member: 5, kind: 1)
        #expect(try machine.put("c").header == header(6))
    }

    @Test func `CORRUPT refuses every write and no read`() throws {
        let machine = try Machine()
        try machine.grant(1)
        try machine.put("a")
        try machine.alarm(action: 1, member: 5, kind: 2)
        for (kind, request) in [
            (.put, PutMessage("a").encoded), (.deleteRange, DeleteMessage("a").encoded), (.compaction, numbers(2)),
            (.txn, TxnMessage(success: [.delete(DeleteMessage("a"))]).encoded), (.leaseGrant, numbers(60, 2)),
            (.leaseRevoke, numbers(1)),
        ] as [(CommandKind, Bytes)] {
            #expect(throws: EtcdError.corrupt) { try machine.apply(kind, request) }
        }
        #expect(throws: EtcdError.corrupt) { try machine.put("a") }
        #expect(try machine.range(.everything).count == 1)
        #expect(try machine.txn(TxnMessage(success: [.range(.everything)])).succeeded)
    }
}
