import EtcdAPI
import Gateway
import ProtobufWire
import StateMachine
import SwiftProtobuf

/// Bytes as the encoded form of one of the requests: Berth's own readers beside SwiftProtobuf's.
///
/// What SwiftProtobuf refuses, ours must refuse. What it accepts, ours may refuse for a field of a wire type that the
/// message does not give it (as etcd does; SwiftProtobuf takes it for unknown) or for nesting without end. What both
/// accept they must understand alike, which is compared on SwiftProtobuf's encoding of what it read, for on the raw
/// bytes they may differ: a submessage given twice is merged by one and replaced by the other, as it is by etcd.
enum ProtobufTarget {
    static func feed(_ input: UnsafeRawBufferPointer) {
        guard let (type, number, body) = chooseType(input) else { return }
        check(body)
        switch number {
        case 0: compare(body, Etcdserverpb_PutRequest.self, PutRequestView.read)
        case 1: compare(body, Etcdserverpb_RangeRequest.self, RangeRequestView.read)
        case 2: compare(body, Etcdserverpb_DeleteRangeRequest.self, DeleteRangeRequestView.read)
        case 3: compare(body, Etcdserverpb_TxnRequest.self, meaning: \.meaning, TxnRequestView.read)
        case 4: compare(body, Etcdserverpb_CompactionRequest.self, CompactionRequestView.read)
        case 5: compare(body, Etcdserverpb_LeaseGrantRequest.self, LeaseGrantRequestView.read)
        case 6: compare(body, Etcdserverpb_LeaseRevokeRequest.self, LeaseIDRequestView.read)
        case 7: compare(body, Etcdserverpb_AlarmRequest.self, AlarmRequestView.read)
        default: break
        }
        writeJSON(type, body)
    }

    /// The gateway's writer takes whatever came as a message; what is one must come out right.
    private static func writeJSON<Request: SwiftProtobuf.Message>(
        _ type: Request.Type, _ body: UnsafeRawBufferPointer
    ) {
        _ = try? JSONCodec.encode(body, type: Request.protoMessageName)
        if let message = decode(type, body), isShallow(body) { JSONTarget.write(message) }
    }

    /// SwiftProtobuf reads JSON to a depth of 100, and each level takes a few bytes.
    private static func isShallow(_ body: UnsafeRawBufferPointer) -> Bool { body.count < 200 }

    /// All checks there are, whatever the bytes were meant to be: none may stumble.
    private static func check(_ body: UnsafeRawBufferPointer) {
        let (limits, alarms) = (FuzzServices.limits, FuzzServices.alarms)
        _ = try? RequestCheck.put(body, limits: limits, alarms: alarms)
        _ = try? RequestCheck.range(body)
        _ = try? RequestCheck.deleteRange(body, limits: limits, alarms: alarms)
        if let txn = try? RequestCheck.txn(body, limits: limits, alarms: alarms) {
            _ = RequestCheck.quotaCost(txn)
            FuzzServices.stumble(over: txn)
        }
        _ = try? RequestCheck.compaction(body, alarms: alarms)
        _ = try? RequestCheck.leaseGrant(body, alarms: alarms)
        _ = try? RequestCheck.leaseRevoke(body, alarms: alarms)
        _ = try? RequestCheck.alarm(body)
        _ = try? RequestCheck.acquire(body, alarms: alarms)
    }

    private static func decode<Request: SwiftProtobuf.Message>(
        _ type: Request.Type, _ body: UnsafeRawBufferPointer
    ) -> Request? {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = 2_000  // Ours has a bound of its own.
        options.discardUnknownFields = true
        return try? Request(serializedBytes: Array(body), options: options)
    }

    private static func compare<Request: SwiftProtobuf.Message & Equatable>(
        _ body: UnsafeRawBufferPointer, _ type: Request.Type, meaning: (Request) -> Request = { $0 },
        _ read: (UnsafeRawBufferPointer) throws(WireError) -> Request
    ) {
        guard let theirs = decode(type, body) else {
            if let ours = try? read(body) { preconditionFailure("SwiftProtobuf refuses what was read as \(ours)") }
            return
        }
        do throws(WireError) {
            _ = try read(body)
        } catch {
            switch error {
            case .unexpectedType, .nestedTooDeep: return
            case .truncated, .overlongVarint, .badTag: preconditionFailure("\(error) in what is \(theirs)")
            }
        }
        guard let bytes: [UInt8] = try? theirs.serializedBytes() else { preconditionFailure("no encoding: \(theirs)") }
        guard let ours = bytes.withUnsafeBytes({ try? read($0) }) else { preconditionFailure("refused: \(theirs)") }
        precondition(ours == meaning(theirs), "read as \(ours) what is \(theirs)")
    }
}
