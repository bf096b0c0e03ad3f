import EtcdAPI
import Store
import Vocabulary

// Guarded keys: what makes a lock more than advice. Asked before anything of a request is done; free while no lock
// guards anything.
extension StateMachine {
    /// Refuses a put of a guarded key, which alone can carry no proof.
    func checkGuards(put request: PutRequestView) throws(RequestFailure) {
        guard !lines.guards.isEmpty else { return }
        try check(request, [])
    }

    /// Refuses a deletion that would take a guarded key.
    func checkGuards(delete request: DeleteRangeRequestView) throws(RequestFailure) {
        guard !lines.guards.isEmpty else { return }
        try check(request, [])
    }

    /// Refuses a transaction if the operations it will run put or delete a guarded key without proof. What proves is a
    /// compare of the transaction, or of one around it, whose success branch the operation stands in.
    func checkGuards(_ request: TxnRequestView, _ path: TxnPath) throws(RequestFailure) {
        guard !lines.guards.isEmpty else { return }
        var path = path
        try check(request, &path, [])
    }

    private func check(
        _ txn: TxnRequestView, _ path: inout TxnPath, _ given: [HolderProof]
    ) throws(RequestFailure) {
        let succeeded = path.next()
        let proofs = succeeded ? given + txn.compares.compactMap(\.proof) : given
        for operation in succeeded ? txn.success : txn.failure {
            switch operation {
            case .put(let request): try check(request, proofs)
            case .deleteRange(let request): try check(request, proofs)
            case .txn(let nested): try check(nested, &path, proofs)
            case .range, .empty: break
            }
        }
    }

    /// With proof a holder may change its place's value, but not slip out of the line with the key still there.
    private func check(_ request: PutRequestView, _ proofs: [HolderProof]) throws(RequestFailure) {
        let isPlace = QueueKey.nameCount(of: request.key, lease: request.lease) != nil
        if let refusal = lines.guards.refusal(of: request.key, isPlace: isPlace, proofs) {
            throw .refused(.locked(refusal))
        }
        guard !request.ignoresLease, let lease = lines.guards.leaseKept(by: request.key), lease != request.lease else {
            return
        }
        throw .refused(.placeKeepsLease)
    }

    /// Judged by the keys there are before the request: one that it puts itself is judged as a put.
    private func check(_ request: DeleteRangeRequestView, _ proofs: [HolderProof]) throws(RequestFailure) {
        var refusal: LockRefusal?
        let range = KeyRange(key: Array(request.key), end: Array(request.rangeEnd))
        try storing { () throws(StoreError) in
            try writer.view.walk(range, at: writer.currentRevision) { (key, record) throws(StoreError) in
                let isPlace = QueueKey.nameCount(of: key, lease: record.lease) != nil
                refusal = lines.guards.refusal(of: key, isPlace: isPlace, proofs)
                return refusal == nil ? .next : .stop
            }
        }
        if let refusal { throw .refused(.locked(refusal)) }
    }
}

extension CompareView {
    /// What this proves, being true: that a single key has a create revision.
    fileprivate var proof: HolderProof? {
        guard target == .create, result == .equal, rangeEnd.isEmpty, number > 0 else { return nil }
        return HolderProof(key: key, token: Revision(number))
    }
}
