import EtcdAPI
import ProtobufWire
import SwiftProtobuf
import TestSupport
import Testing
import Vocabulary

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Asserts that a view, borrowed for the call, says what the generated message says.
@Suite struct RequestViewTests {
    @Test(arguments: Seeds.all)
    func `views read what the generated messages encode`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<300 {
            let put = messages.put()
            try put.read { expect(try PutRequestView($0), equals: put) }
            let range = messages.range()
            try range.read { expect(try RangeRequestView($0), equals: range) }
            let delete = messages.deleteRange()
            try delete.read { expect(try DeleteRangeRequestView($0), equals: delete) }
            let txn = messages.txn(depth: 3)
            try txn.read { expect(try TxnRequestView($0), equals: txn) }
        }
    }

    @Test(arguments: Seeds.all)
    func `small requests are read and written as the generated messages are`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<300 {
            let compaction = Etcdserverpb_CompactionRequest.with {
                $0.revision = messages.number()
                $0.physical = messages.bool()
            }
            let compactionView = try compaction.read { bytes in
                let view = try CompactionRequestView(bytes)
                return (view.revision, view.isPhysical)
            }
            #expect(compactionView == (compaction.revision, compaction.physical))

            let grant = Etcdserverpb_LeaseGrantRequest.with {
                $0.ttl = messages.number()
                $0.id = messages.number()
            }
            let grantView = try grant.read { try LeaseGrantRequestView($0) }
            #expect(grantView.timeToLive == grant.ttl && grantView.id.value == grant.id)
            #expect(try grantView.encoded() == grant.bytes)

            let revoke = Etcdserverpb_LeaseRevokeRequest.with { $0.id = messages.number() }
            let revokeView = try revoke.read { try LeaseIDRequestView($0) }
            #expect(revokeView.id.value == revoke.id)
            #expect(try revokeView.encoded() == revoke.bytes)

            let alarm = Etcdserverpb_AlarmRequest.with {
                $0.action = messages.enumeration(Etcdserverpb_AlarmRequest.AlarmAction.self)
                $0.memberID = UInt64(bitPattern: messages.number())
                $0.alarm = messages.enumeration(Etcdserverpb_AlarmType.self)
            }
            let alarmView = try alarm.read { try AlarmRequestView($0) }
            #expect(alarmView.rawAction == Int64(alarm.action.rawValue) && alarmView.memberID == alarm.memberID)
            #expect(alarmView.alarm == Int64(alarm.alarm.rawValue))
            #expect(try alarmView.encoded() == alarm.bytes)
        }
    }

    @Test func `a transaction is read-only when both branches hold nothing but ranges`() throws {
        func isReadOnly(_ change: (inout Etcdserverpb_TxnRequest) -> Void) throws -> Bool {
            try Etcdserverpb_TxnRequest.with(change).read { try TxnRequestView($0).isReadOnly }
        }
        let range = Etcdserverpb_RequestOp.with { $0.requestRange = .init() }
        #expect(try isReadOnly { _ in })
        #expect(
            try isReadOnly {
                $0.success = [range]
                $0.failure = [range, range]
            })
        #expect(
            try !isReadOnly {
                $0.success = [range]
                $0.failure = [.with { $0.requestPut = .init() }]
            })
        #expect(try !isReadOnly { $0.success = [.with { $0.requestTxn = .init() }] })
    }

    @Test func `nesting deeper than any limit is refused without recursion to match`() throws {
        var message: [UInt8] = []
        for _ in 0..<100_000 {
            var operation = WireWriter()
            operation.tag(4, .lengthDelimited)
            operation.varint(UInt64(message.count))
            var txn = WireWriter()
            txn.tag(2, .lengthDelimited)
            txn.varint(UInt64(operation.bytes.count + message.count))
            message = txn.bytes + operation.bytes + message
            if message.count > 4_096 { break }
        }
        #expect(throws: WireError.nestedTooDeep) {
            try message.withUnsafeBytes { _ = try TxnRequestView($0) }
        }
    }

    private func expect(_ view: PutRequestView, equals message: Etcdserverpb_PutRequest) {
        #expect(Data(view.key) == message.key && Data(view.value) == message.value)
        #expect(view.lease.value == message.lease)
        #expect(view.wantsPrevious == message.prevKv)
        #expect(view.ignoresValue == message.ignoreValue && view.ignoresLease == message.ignoreLease)
    }

    private func expect(_ view: RangeRequestView, equals message: Etcdserverpb_RangeRequest) {
        #expect(Data(view.key) == message.key && Data(view.rangeEnd) == message.rangeEnd)
        #expect(view.limit == message.limit && view.revision == message.revision)
        #expect(view.rawSortOrder == Int64(message.sortOrder.rawValue))
        #expect(view.rawSortTarget == Int64(message.sortTarget.rawValue))
        #expect(view.isSerializable == message.serializable)
        #expect(view.keysOnly == message.keysOnly && view.countOnly == message.countOnly)
        #expect(view.minModRevision == message.minModRevision && view.maxModRevision == message.maxModRevision)
        #expect(view.minCreateRevision == message.minCreateRevision)
        #expect(view.maxCreateRevision == message.maxCreateRevision)
    }

    private func expect(_ view: DeleteRangeRequestView, equals message: Etcdserverpb_DeleteRangeRequest) {
        #expect(Data(view.key) == message.key && Data(view.rangeEnd) == message.rangeEnd)
        #expect(view.wantsPrevious == message.prevKv)
    }

    private func expect(_ view: CompareView, equals message: Etcdserverpb_Compare) {
        #expect(view.rawResult == Int64(message.result.rawValue) && view.rawTarget == Int64(message.target.rawValue))
        #expect(Data(view.key) == message.key && Data(view.rangeEnd) == message.rangeEnd)
        #expect(Data(view.value) == message.value)
        let number: Int64 =
            switch (message.target, message.targetUnion) {
            case (.version, .version(let number)), (.create, .createRevision(let number)),
                (.mod, .modRevision(let number)), (.lease, .lease(let number)):
                number
            default: 0
            }
        #expect(view.number == number)
    }

    private func expect(_ view: TxnRequestView, equals message: Etcdserverpb_TxnRequest) {
        #expect(view.compares.count == message.compare.count)
        for (view, message) in zip(view.compares, message.compare) { expect(view, equals: message) }
        for (views, messages) in [(view.success, message.success), (view.failure, message.failure)] {
            #expect(views.count == messages.count)
            for (view, message) in zip(views, messages) {
                switch (view, message.request) {
                case (.range(let view), .requestRange(let message)): expect(view, equals: message)
                case (.put(let view), .requestPut(let message)): expect(view, equals: message)
                case (.deleteRange(let view), .requestDeleteRange(let message)): expect(view, equals: message)
                case (.txn(let view), .requestTxn(let message)): expect(view, equals: message)
                case (.empty, nil): break
                default: Issue.record("another arm than \(message)")
                }
            }
        }
    }
}
