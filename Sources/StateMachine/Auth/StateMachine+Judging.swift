import EtcdAPI
import ProtobufWire
import Store
import Vocabulary

// Whether the one an entry is made for may have it, on the state at the entry's place in the log. Asked only while
// authentication is on. What the server itself proposes (an expiry, an alarm, a compaction, a waiter that gives up) is
// never judged.
extension StateMachine {
    func judge(
        _ kind: CommandKind, _ request: UnsafeRawBufferPointer, _ author: Author?
    ) throws(RequestFailure) {
        switch kind {
        case .put:
            let put = try decode { () throws(WireError) in try PutRequestView(request) }
            try refuse { () throws(EtcdError) in try auth.permit(author, put: put, leases) }
        case .deleteRange:
            let delete = try decode { () throws(WireError) in try DeleteRangeRequestView(request) }
            try refuse { () throws(EtcdError) in try auth.permit(author, delete: delete) }
        case .txn:
            let txn = try decode { () throws(WireError) in try TxnRequestView(request) }
            try refuse { () throws(EtcdError) in try auth.permit(author, txn: txn, leases) }
        case .leaseRevoke:
            let revoke = try decode { () throws(WireError) in try LeaseIDRequestView(request) }
            try refuse { () throws(EtcdError) in try auth.permit(author, writingKeysOf: revoke.id, leases) }
        case .lockAcquire:
            let acquire = try decode { () throws(WireError) in try AcquireView(request) }
            try refuse { () throws(EtcdError) in try auth.permit(author, acquire: acquire, leases) }
        case .lockRelease:
            let release = try decode { () throws(WireError) in try ReleaseView(request) }
            // With a claim it is the server that gives up what a caller left behind.
            guard release.claim == nil else { return }
            try permitWrite(author, of: Array(release.key))
        case .lockBreak:
            let request = try decode { () throws(WireError) in try BreakView(request) }
            // A place that is not there is not told to whoever may not write it: it would have this key, or one like it.
            let place = place(of: request)
            try permitWrite(author, of: place?.key ?? QueueKey.line(Array(request.name)).key)
        case .identity, .compaction, .leaseGrant, .alarm, .leaseExpire, .authored, .auth, .authenticate:
            // Judged where they come in, by the one who proposes them, or within.
            break
        }
    }

    private func permitWrite(_ author: Author?, of key: [UInt8]) throws(RequestFailure) {
        try refuse { () throws(EtcdError) in try auth.permit(author, .write, KeyRange(key: key, end: [])) }
    }

    /// The place a break means; nil when it is not in line.
    func place(of request: BreakView) -> LockPlace? {
        guard let line = lines[Array(request.name)] else { return nil }
        return request.token == .zero ? line.first : line.place(token: request.token)
    }
}
