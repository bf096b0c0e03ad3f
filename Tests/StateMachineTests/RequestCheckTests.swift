import EtcdAPI
import StateMachine
import TestSupport
import Testing

@Suite struct RequestCheckTests {
    private func put(_ key: String) -> OperationMessage { .put(PutMessage(key)) }
    private func delete(_ key: String, _ end: String = "") -> OperationMessage { .delete(DeleteMessage(key, end)) }
    private func nested(_ success: [OperationMessage], else failure: [OperationMessage] = []) -> OperationMessage {
        .txn(TxnMessage(success: success, failure: failure))
    }

    private func error(_ operations: [OperationMessage], limits: Limits = Limits()) throws -> EtcdError? {
        let machine = try Machine()
        do {
            try TxnMessage(success: operations).encoded.withUnsafeBytes {
                _ = try RequestCheck.txn($0, limits: limits, alarms: machine.machine.alarms)
            }
            return nil
        } catch let error as EtcdError {
            return error
        }
    }

    @Test func `one branch may not put a key twice nor put what it deletes, in any order`() throws {
        #expect(try error([put("a"), put("b")]) == nil)
        #expect(try error([put("a"), put("a")]) == .duplicateKey)
        #expect(try error([put("a"), delete("a")]) == .duplicateKey)
        #expect(try error([delete("a"), put("a")]) == .duplicateKey)
        #expect(try error([put("b"), delete("a", "c")]) == .duplicateKey)
        #expect(try error([put("c"), delete("a", "c")]) == nil)
        #expect(try error([delete("a", "c"), delete("b", "d"), delete("a")]) == nil, "deletions may overlap")
        #expect(try error([put("b"), delete("c", "a")]) == nil, "an empty range deletes nothing")
        #expect(try error([put("m"), delete("a", "c"), delete("x", "z"), delete("b", "y")]) == .duplicateKey)
    }

    @Test func `nested transactions count, but their own branches exclude each other`() throws {
        #expect(try error([nested([put("a")]), put("a")]) == .duplicateKey)
        #expect(try error([nested([put("a")]), nested([put("a")])]) == .duplicateKey)
        #expect(try error([nested([put("a")]), nested([], else: [put("a")])]) == .duplicateKey)
        #expect(try error([nested([put("a")], else: [put("a")])]) == nil)
        #expect(try error([nested([put("a"), put("a")])]) == .duplicateKey)
        #expect(try error([nested([put("a")]), delete("a")]) == .duplicateKey)
        #expect(try error([nested([delete("a", "c")]), put("b")]) == .duplicateKey)
        #expect(try error([nested([delete("a")]), nested([put("a")])]) == .duplicateKey)
    }

    @Test func `what etcd does not see passes here too, and is applied in order`() throws {
        let fromKey = OperationMessage.delete(DeleteMessage("a", "\0"))
        #expect(try error([put("b"), fromKey]) == nil, "a deletion without end is not compared")
        #expect(try error([nested([put("a")]), nested([delete("a")])]) == nil, "nor one in a later nested transaction")
        let machine = try Machine()
        try machine.put("a", "old")
        let reply = try machine.txn(TxnMessage(success: [fromKey, put("a"), .range(.everything)]))
        let a = KV(key: utf8("a"), create: 3, mod: 3, version: 1)
        #expect(reply.responses.last == .range(RangeReply(header: Header(revision: 3), kvs: [a], count: 1)))
        try machine.txn(TxnMessage(success: [put("b"), fromKey]))
        #expect(try machine.range(.everything).count == 0)
        #expect(try machine.range(.everything.with { $0.revision = 3 }).kvs == [a])
        var events: [String] = []
        machine.lastBatch?.events?.forEach {
            events.append("\($0.sub) \($0.isDeletion) \(String(decoding: $0.key, as: UTF8.self))")
        }
        #expect(events == ["0 false b", "1 true a", "2 true b"])
        let ignoring = PutMessage("x").with { $0.ignoreValue = true }
        try machine.put("x", "gone")
        try machine.txn(TxnMessage(success: [fromKey, .put(ignoring)]))
        #expect(try machine.get("x")?.value == [])
    }

    @Test func `a request over the size limit is refused after its shape`() throws {
        let limits = Limits(maxRequestBytes: 100)
        let machine = try Machine(limits: limits)
        #expect(throws: EtcdError.requestTooLarge) { try machine.put("a", String(repeating: "v", count: 100)) }
        #expect(throws: EtcdError.emptyKey) { try machine.put("", String(repeating: "v", count: 100)) }
        try machine.put("a", String(repeating: "v", count: 50))
        #expect(try error((0..<30).map { put("key\($0)") }, limits: limits) == .requestTooLarge)
        let ranges = (0..<30).map { OperationMessage.range(RangeMessage("key\($0)")) }
        #expect(try error(ranges, limits: limits) == nil, "a read goes in no log")
    }

    @Test func `costs are those etcd reckons`() throws {
        let put = try PutMessage("key", "value").encoded.withUnsafeBytes {
            RequestCheck.quotaCost(try PutRequestView($0))
        }
        #expect(put == 264)
        let message = TxnMessage(
            success: [self.put("a"), delete("b")],
            failure: [self.put("a"), nested([self.put("b")], else: [self.put("b"), self.put("ccc")])])
        let txn = try message.encoded.withUnsafeBytes { RequestCheck.quotaCost(try TxnRequestView($0)) }
        #expect(txn == 257 + 257 + 259)
    }

    @Test(arguments: Seeds.all)
    func `damaged requests are refused as malformed or as something etcd says, and never crash`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let machine = try Machine()
        let alarms = machine.machine.alarms
        var model = RandomRequests(seed: seed)
        for _ in 0..<2_000 {
            var bytes = model.txn(depth: 2).encoded
            for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
                let position = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[position] = .random(in: 0...255, using: &random)
                case 1: bytes.remove(at: position)
                default: bytes.removeSubrange(position...)
                }
            }
            try bytes.withUnsafeBytes { bytes in
                for check in [
                    { _ = try RequestCheck.txn(bytes, limits: Limits(), alarms: alarms) },
                    { _ = try RequestCheck.put(bytes, limits: Limits(), alarms: alarms) },
                    { _ = try RequestCheck.range(bytes) },
                    { _ = try RequestCheck.deleteRange(bytes, limits: Limits(), alarms: alarms) },
                    { _ = try RequestCheck.compaction(bytes, alarms: alarms) },
                    { _ = try RequestCheck.leaseGrant(bytes, alarms: alarms) },
                    { _ = try RequestCheck.alarm(bytes) },
                ] {
                    do { try check() } catch is EtcdError {}
                }
            }
        }
    }
}
