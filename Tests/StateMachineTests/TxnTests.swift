import EtcdAPI
import StateMachine
import Testing

@Suite struct TxnTests {
    private func put(_ key: String, _ value: String = "") -> OperationMessage { .put(PutMessage(key, value)) }

    private func succeeds(_ machine: Machine, _ compares: CompareMessage...) throws -> Bool {
        try machine.txn(TxnMessage(compares: compares)).succeeded
    }

    @Test func `all compares must hold, and none at all do`() throws {
        let machine = try Machine()
        #expect(try machine.txn(TxnMessage()) == TxnReply(header: header(1), succeeded: true))
        try machine.put("a", "m")
        #expect(try succeeds(machine, .init(.version, "a", .equal, 1), .init(.create, "a", .equal, 2)))
        #expect(try !succeeds(machine, .init(.version, "a", .equal, 1), .init(.create, "a", .equal, 3)))
    }

    @Test func `every target is compared by every operator`() throws {
        let machine = try Machine()
        try machine.grant(4)
        try machine.put("x")
        try machine.put("a", "m", lease: 4)
        try machine.put("a", "m", lease: 4)
        for (target, actual) in [(CompareMessage.Target.version, 2), (.create, 3), (.mod, 4), (.lease, 4)] {
            for (offset, truths) in [
                (-1, [false, true, false, true]), (0, [true, false, false, false]), (1, [false, false, true, true]),
            ] {
                for (result, truth) in zip(CompareMessage.Result.allCases, truths) {
                    #expect(try succeeds(machine, .init(target, "a", result, Int64(actual + offset))) == truth)
                }
            }
        }
        for (value, truths) in [
            ("l", [false, true, false, true]), ("m", [true, false, false, false]), ("ma", [false, false, true, true]),
        ] {
            for (result, truth) in zip(CompareMessage.Result.allCases, truths) {
                #expect(try succeeds(machine, .init(valueOf: "a", result, value)) == truth)
            }
        }
    }

    @Test func `an absent key compares as zero, its value never`() throws {
        let machine = try Machine()
        for target in [CompareMessage.Target.version, .create, .mod, .lease] {
            #expect(try succeeds(machine, .init(target, "no", .equal, 0)))
            #expect(try succeeds(machine, .init(target, "no", .less, 1)))
            #expect(try !succeeds(machine, .init(target, "no", .notEqual, 0)))
        }
        for result in CompareMessage.Result.allCases {
            #expect(try !succeeds(machine, .init(valueOf: "no", result, "")))
        }
    }

    @Test func `a compare over a range must hold for each key, and an empty range is an absent key`() throws {
        let machine = try Machine()
        try machine.put("a", "1")
        try machine.put("b", "2")
        try machine.put("b", "2")
        #expect(try succeeds(machine, .init(.version, "a", .greater, 0, end: "c")))
        #expect(try !succeeds(machine, .init(.version, "a", .equal, 1, end: "c")))
        #expect(try succeeds(machine, .init(.version, "x", .equal, 0, end: "z")))
        #expect(try !succeeds(machine, .init(valueOf: "x", .notEqual, "", end: "z")))
    }

    @Test func `an arm that is not the target's counts as zero or empty`() throws {
        let machine = try Machine()
        try machine.put("a")
        func succeeds(_ target: CompareMessage.Target, _ result: CompareMessage.Result, _ arm: CompareMessage.Arm)
            throws -> Bool
        {
            let compare = CompareMessage(target: target, key: utf8("a"), end: [], result: result, arm: arm)
            return try machine.txn(TxnMessage(compares: [compare])).succeeded
        }
        #expect(try succeeds(.version, .greater, .number(.mod, 9)))
        #expect(try succeeds(.version, .greater, .value(utf8("9"))))
        #expect(try succeeds(.value, .equal, .number(.version, 9)))
        #expect(try succeeds(.lease, .equal, .none))
    }

    @Test func `a transaction is one revision, its operations see each other, and inner headers hold it alone`() throws
    {
        let machine = try Machine()
        try machine.put("a", "0")
        let reply = try machine.txn(
            TxnMessage(success: [
                .range(RangeMessage("a")), put("a", "1"), .range(RangeMessage("a")), put("b"),
                .delete(DeleteMessage("x")), .range(.everything),
            ]))
        let old = KV(key: utf8("a"), create: 2, mod: 2, version: 1, value: utf8("0"))
        let new = KV(key: utf8("a"), create: 2, mod: 3, version: 2, value: utf8("1"))
        let b = KV(key: utf8("b"), create: 3, mod: 3, version: 1)
        #expect(
            reply
                == TxnReply(
                    header: header(3), succeeded: true,
                    responses: [
                        .range(RangeReply(header: Header(revision: 2), kvs: [old], count: 1)),
                        .put(PutReply(header: Header(revision: 3))),
                        .range(RangeReply(header: Header(revision: 3), kvs: [new], count: 1)),
                        .put(PutReply(header: Header(revision: 3))),
                        .delete(DeleteReply(header: Header(revision: 3))),
                        .range(RangeReply(header: Header(revision: 3), kvs: [new, b], count: 2)),
                    ]))
    }

    @Test func `a transaction that changes nothing takes no revision`() throws {
        let machine = try Machine()
        try machine.put("a")
        let reply = try machine.txn(TxnMessage(success: [.delete(DeleteMessage("x", "z"))]))
        #expect(reply.header == header(2))
        #expect(reply.responses == [.delete(DeleteReply(header: Header(revision: 2)))])
        #expect(machine.lastBatch?.events == nil)
    }

    @Test func `nested transactions compare with the state before, and answer with an empty header`() throws {
        let machine = try Machine()
        let inner = TxnMessage(
            compares: [.init(.version, "a", .equal, 0)], success: [put("b", "then")], failure: [put("b", "else")])
        let reply = try machine.txn(TxnMessage(success: [put("a"), .txn(inner), .range(RangeMessage("b"))]))
        #expect(reply.header == header(2))
        #expect(
            reply.responses[1]
                == .txn(
                    TxnReply(
                        header: Header(), succeeded: true,
                        responses: [.put(PutReply(header: Header(revision: 2)))])))
        #expect(try machine.get("b")?.value == utf8("then"))
        let empty = try machine.txn(TxnMessage(success: [.txn(TxnMessage())]))
        #expect(empty.header == header(2), "a nested one is no change by itself")
    }

    @Test func `what can fail is judged on the state before, puts first, and nothing is applied`() throws {
        let machine = try Machine()
        try machine.put("a")
        func error(_ operations: OperationMessage...) -> EtcdError? {
            #expect(throws: EtcdError.self) { try machine.txn(TxnMessage(success: operations)) }
        }
        let ignoring = OperationMessage.put(PutMessage("new").with { $0.ignoreValue = true })
        let leased = OperationMessage.put(PutMessage("l", lease: 77))
        let future = OperationMessage.range(RangeMessage("a").with { $0.revision = 3 })
        #expect(error(put("b"), future) == .futureRevision, "although the put makes revision 3")
        #expect(error(put("b"), leased) == .leaseNotFound)
        #expect(error(future, ignoring) == .keyNotFound, "puts are looked at before ranges")
        #expect(error(put("b"), .txn(TxnMessage(success: [leased]))) == .leaseNotFound)
        let both = OperationMessage.put(PutMessage("new", lease: 77).with { $0.ignoreValue = true })
        #expect(error(both) == .keyNotFound, "alone it would be the lease")
        #expect(try machine.range(.everything).header == header(2))
        let untaken = TxnMessage(success: [put("b")], failure: [leased, future])
        #expect(try machine.txn(untaken).succeeded)
        try machine.compact(3)
        #expect(error(put("c"), .range(RangeMessage("a").with { $0.revision = 2 })) == .compacted)
    }

    @Test func `both branches are checked for their shape`() throws {
        let machine = try Machine()
        func error(_ operation: OperationMessage) -> EtcdError? {
            #expect(throws: EtcdError.self) { try machine.txn(TxnMessage(failure: [operation])) }
        }
        #expect(error(put("")) == .emptyKey)
        #expect(error(.range(RangeMessage(""))) == .emptyKey)
        #expect(error(.delete(DeleteMessage(""))) == .emptyKey)
        #expect(error(.put(PutMessage("a", "v").with { $0.ignoreValue = true })) == .valueProvided)
        #expect(error(.put(PutMessage("a", lease: 1).with { $0.ignoreLease = true })) == .leaseProvided)
        #expect(error(.empty) == .keyNotFound)
        #expect(error(.txn(TxnMessage(success: [.empty]))) == .keyNotFound)
        #expect(throws: EtcdError.emptyKey) { try machine.txn(TxnMessage(compares: [.init(.version, "", .equal, 0)])) }
    }

    @Test func `the operation limit counts the longest list, and nested ones get what is left`() throws {
        let machine = try Machine()
        func puts(_ count: Int) -> [OperationMessage] { (0..<count).map { put("k\($0)") } }
        #expect(try machine.txn(TxnMessage(success: puts(128))).responses.count == 128)
        #expect(throws: EtcdError.tooManyOperations) { try machine.txn(TxnMessage(failure: puts(129))) }
        let compares = (0..<129).map { CompareMessage(.version, "k\($0)", .equal, 0) }
        #expect(throws: EtcdError.tooManyOperations) { try machine.txn(TxnMessage(compares: compares)) }
        #expect(try machine.txn(TxnMessage(success: [.txn(TxnMessage(success: puts(127)))])).succeeded)
        #expect(throws: EtcdError.tooManyOperations) {
            try machine.txn(TxnMessage(success: [.txn(TxnMessage(success: puts(128)))]))
        }
        var deep = TxnMessage()
        for _ in 0..<128 { deep = TxnMessage(success: [.txn(deep)]) }
        #expect(try machine.txn(deep).succeeded)
        deep = TxnMessage(success: [.txn(TxnMessage(success: [.txn(deep)]))])
        #expect(throws: EtcdError.tooManyOperations) { try machine.txn(deep) }
        for _ in 0..<1_000 { deep = TxnMessage(success: [.txn(deep)]) }
        #expect(throws: EtcdError.self) { try machine.txn(deep) }
    }

    @Test func `read-only transactions need no entry and see the same`() throws {
        let machine = try Machine()
        try machine.put("a", "1")
        let before = machine.nextIndex
        let reply = try machine.txn(
            TxnMessage(
                compares: [.init(valueOf: "a", .equal, "2")], success: [.range(RangeMessage("x"))],
                failure: [.range(RangeMessage("a")), .range(RangeMessage("x"))]))
        #expect(machine.nextIndex == before)
        #expect(!reply.succeeded && reply.header == header(2))
        #expect(
            reply.responses == [
                .range(
                    RangeReply(
                        header: Header(revision: 2),
                        kvs: [KV(key: utf8("a"), create: 2, mod: 2, version: 1, value: utf8("1"))], count: 1)),
                .range(RangeReply(header: Header(revision: 2))),
            ])
        #expect(throws: EtcdError.futureRevision) {
            try machine.txn(TxnMessage(success: [.range(RangeMessage("a").with { $0.revision = 3 })]))
        }
    }
}
