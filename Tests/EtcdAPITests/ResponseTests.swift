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

/// The hand-made encodings must equal the generated ones byte for byte.
@Suite struct ResponseTests {
    private func full(_ header: Etcdserverpb_ResponseHeader) -> ResponseHeader {
        let identity = MemberIdentity(clusterID: header.clusterID, memberID: header.memberID)
        return ResponseHeaderTemplate(identity).header(
            revision: Revision(header.revision), term: RaftTerm(header.raftTerm))
    }

    @Test(arguments: Seeds.all)
    func `put, range and delete-range responses`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<200 {
            let header = messages.header()
            let keyValues = (0..<Int.random(in: 0...4, using: &messages.random)).map { _ in messages.keyValue() }
            let encoded = try keyValues.map { try $0.bytes }

            let put = Etcdserverpb_PutResponse.with {
                $0.header = header
                if let first = keyValues.first { $0.prevKv = first }
            }
            let written =
                encoded.first?.withUnsafeBytes { PutResponse.encoded(header: full(header), previous: $0) }
                ?? PutResponse.encoded(header: full(header))
            #expect(try written == put.bytes)

            let range = Etcdserverpb_RangeResponse.with {
                $0.header = header
                $0.kvs = keyValues
                $0.more = messages.bool()
                $0.count = Int64(UInt16.random(in: 0...9_999, using: &messages.random))
            }
            var writer = WireWriter()
            RangeResponse.begin(header: full(header), to: &writer)
            for keyValue in encoded {
                keyValue.withUnsafeBytes { RangeResponse.appendKeyValue($0, to: &writer) }
            }
            RangeResponse.end(more: range.more, count: Int(range.count), to: &writer)
            #expect(try writer.bytes == range.bytes)

            let delete = Etcdserverpb_DeleteRangeResponse.with {
                $0.header = header
                $0.deleted = Int64(keyValues.count)
                $0.prevKvs = keyValues
            }
            writer = WireWriter()
            DeleteRangeResponse.begin(header: full(header), deleted: keyValues.count, to: &writer)
            for keyValue in encoded {
                keyValue.withUnsafeBytes { DeleteRangeResponse.appendPrevious($0, to: &writer) }
            }
            #expect(try writer.bytes == delete.bytes)
        }
    }

    @Test(arguments: Seeds.all)
    func `a transaction's response, with inner headers and a nested one`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<200 {
            let header = messages.header()
            let (revision, succeeded, keyValue) = (messages.number(), messages.bool(), messages.keyValue())
            let message = Etcdserverpb_TxnResponse.with {
                $0.header = header
                $0.succeeded = succeeded
                $0.responses = [
                    .with { $0.responsePut.header.revision = revision },
                    .with {
                        $0.responseTxn.header = .init()
                        $0.responseTxn.succeeded = succeeded
                        $0.responseTxn.responses = [
                            .with {
                                $0.responseRange.header.revision = revision
                                $0.responseRange.kvs = [keyValue]
                                $0.responseRange.count = 1
                            }
                        ]
                    },
                    .with { $0.responseDeleteRange.header.revision = revision },
                ]
            }
            let inner = ResponseHeader.revisionOnly(Revision(revision))
            let encoded = try keyValue.bytes
            var writer = WireWriter()
            TxnResponse.begin(header: full(header), succeeded: succeeded, to: &writer)
            TxnResponse.appendOperation(.put, to: &writer) { PutResponse.append(header: inner, previous: nil, to: &$0) }
            TxnResponse.appendOperation(.txn, to: &writer) { nested in
                TxnResponse.begin(header: .empty, succeeded: succeeded, to: &nested)
                TxnResponse.appendOperation(.range, to: &nested) { range in
                    RangeResponse.begin(header: inner, to: &range)
                    encoded.withUnsafeBytes { RangeResponse.appendKeyValue($0, to: &range) }
                    RangeResponse.end(more: false, count: 1, to: &range)
                }
            }
            TxnResponse.appendOperation(.deleteRange, to: &writer) {
                DeleteRangeResponse.begin(header: inner, deleted: 0, to: &$0)
            }
            #expect(try writer.bytes == message.bytes)
        }
    }

    @Test(arguments: Seeds.all)
    func `watch responses, with events shared between watchers`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<200 {
            let header = messages.header()
            let id = messages.number()
            let events = (0..<Int.random(in: 0...4, using: &messages.random)).map { _ in
                Mvccpb_Event.with {
                    $0.type = messages.bool() ? .delete : .put
                    $0.kv = messages.keyValue()
                    if messages.bool() { $0.prevKv = messages.keyValue() }
                }
            }
            var shared = WireWriter()
            for event in events {
                let keyValue = try event.kv.bytes
                let previous = event.hasPrevKv ? try event.prevKv.bytes : nil
                let start = shared.bytes.count
                keyValue.withUnsafeBytes { keyValue in
                    func append(_ previous: UnsafeRawBufferPointer?) {
                        WatchResponse.appendEvent(
                            isDeletion: event.type == .delete, keyValue: keyValue, previous: previous, to: &shared)
                    }
                    if let previous { previous.withUnsafeBytes { append($0) } } else { append(nil) }
                }
                let size = WatchResponse.eventSize(
                    isDeletion: event.type == .delete, keyValueBytes: keyValue.count, previousBytes: previous?.count)
                #expect(shared.bytes.count - start == size)
            }
            let isFragment = messages.bool()
            let response = Etcdserverpb_WatchResponse.with {
                $0.header = header
                $0.watchID = id
                $0.fragment = isFragment
                $0.events = events
            }
            let written = WatchResponse.encoded(
                header: full(header).encoded, watchID: id, isFragment: isFragment, events: shared.bytes)
            #expect(try written == response.bytes)
        }
    }

    @Test func `watch responses that create, refuse and cancel`() throws {
        let header = Etcdserverpb_ResponseHeader.with {
            $0.clusterID = 1
            $0.memberID = .max
            $0.revision = 300
            $0.raftTerm = 2
        }
        let created = Etcdserverpb_WatchResponse.with {
            $0.header = header
            $0.watchID = 4
            $0.created = true
        }
        #expect(try WatchResponse.created(header: full(header), watchID: 4) == created.bytes)
        let refused = Etcdserverpb_WatchResponse.with {
            $0.header = header
            $0.watchID = -1
            $0.created = true
            $0.canceled = true
            $0.cancelReason = "mvcc: watcher range is empty"
        }
        #expect(
            try WatchResponse.refused(header: full(header), reason: "mvcc: watcher range is empty") == refused.bytes)
        let compacted = Etcdserverpb_WatchResponse.with {
            $0.header = header
            $0.header.revision = 0
            $0.canceled = true
            $0.compactRevision = 9
        }
        let written = WatchResponse.canceled(
            header: full(compacted.header), watchID: 0, compactRevision: Revision(9))
        #expect(try written == compacted.bytes)
    }

    @Test(arguments: Seeds.all)
    func `lease, alarm and header-only responses`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<200 {
            let header = messages.header()
            let grant = Etcdserverpb_LeaseGrantResponse.with {
                $0.header = header
                $0.id = messages.number()
                $0.ttl = messages.number()
            }
            let written = LeaseResponse.encoded(header: full(header), id: LeaseID(grant.id), timeToLive: grant.ttl)
            #expect(try written == grant.bytes)
            let compaction = Etcdserverpb_CompactionResponse.with { $0.header = header }
            #expect(try HeaderOnlyResponse.encoded(header: full(header)) == compaction.bytes)
            let member = UInt64(bitPattern: messages.number())
            let alarms = Etcdserverpb_AlarmResponse.with {
                $0.header = header
                $0.alarms = [
                    .with {
                        $0.memberID = member
                        $0.alarm = .nospace
                    }
                ]
            }
            let listed = AlarmResponse.encoded(header: full(header), alarms: [(memberID: member, alarm: 1)])
            #expect(try listed == alarms.bytes)
        }
    }

    @Test(arguments: Seeds.all)
    func `a stored key-value is read, made, and cut out without its value`(seed: UInt64) throws {
        var messages = RandomMessages(seed: seed)
        for _ in 0..<300 {
            let message = messages.keyValue()
            var cut = WireWriter()
            var made = WireWriter()
            try message.read { bytes in
                let view = try KeyValueView(bytes)
                #expect(Array(view.key) == Array(message.key) && Array(view.value) == Array(message.value))
                #expect(view.createRevision.value == message.createRevision && view.version == message.version)
                #expect(view.modRevision.value == message.modRevision && view.lease.value == message.lease)
                view.appendWithoutValue(2, to: &cut)
                KeyValueView.append(
                    key: view.key, createRevision: view.createRevision, modRevision: view.modRevision,
                    version: view.version, value: view.value, lease: view.lease, to: &made)
            }
            #expect(try made.bytes == message.bytes)
            var withoutValue = message
            withoutValue.value = .init()
            let range = Etcdserverpb_RangeResponse.with { $0.kvs = [withoutValue] }
            #expect(try cut.bytes == range.bytes)

            let tombstone = Mvccpb_KeyValue.with {
                $0.key = message.key
                $0.modRevision = message.modRevision
            }
            var buried = WireWriter()
            Array(message.key).withUnsafeBytes {
                KeyValueView.appendTombstone(key: $0, modRevision: Revision(message.modRevision), to: &buried)
            }
            #expect(try buried.bytes == tombstone.bytes)
        }
    }
}
