import EtcdAPI
import ProtobufWire
import Store
import Vocabulary

// Transactions that write: compares first, then everything that can be refused, then the operations, which cannot be
// refused any more.
extension StateMachine {
    func applyTxn(_ request: TxnRequestView, _ term: RaftTerm) throws(RequestFailure) -> [UInt8] {
        try refuse { () throws(EtcdError) in try alarms.refuseWrite(thatGrows: request.containsPut) }
        let base = writer.currentRevision
        var path = try TxnPath.decided(for: request, on: view, at: base)
        var reads = OperationTally(ranges: path.comparesJudged)
        // Puts before ranges, as etcd checks them: it decides which error is told.
        try path.forEachOperation(of: request) { (operation) throws(RequestFailure) in
            try checkPut(operation, at: base)
            if case .put(let request) = operation, request.ignoresValue || request.ignoresLease { reads.ranges += 1 }
        }
        try checkGuards(request, path)
        let floor = try compactionFloor
        try path.forEachOperation(of: request) { (operation) throws(RequestFailure) in
            try operation.checkRevision(current: base, floor: floor)
        }
        reads.count(in: counts)
        var tally = OperationTally()
        try path.forEachOperation(of: request) { operation in tally.add(operation) }
        tally.count(in: counts)
        var changes = Changes(base: base)
        var operations = WireWriter(capacity: 64)
        let succeeded = try run(request, &path, &changes, into: &operations)
        // Only now is the header's revision known.
        var response = WireWriter(capacity: operations.bytes.count + 52)
        TxnResponse.begin(
            header: template.header(revision: changes.revision, term: term), succeeded: succeeded, to: &response)
        response.bytes.append(contentsOf: operations.bytes)
        return response.bytes
    }

    private func checkPut(_ operation: RequestOpView, at revision: Revision) throws(RequestFailure) {
        guard case .put(let request) = operation else { return }
        if request.ignoresValue || request.ignoresLease {
            let previous: KeyRecord?
            do throws(StoreError) {
                previous = try writer.view.record(of: request.key, at: revision)
            } catch {
                throw .store(error)
            }
            guard previous != nil else { throw .refused(.keyNotFound) }
        }
        if request.lease != .none, !leases.exists(request.lease) { throw .refused(.leaseNotFound) }
    }

    /// Runs a branch and appends its answers; returns which.
    private func run(
        _ txn: TxnRequestView, _ path: inout TxnPath, _ changes: inout Changes, into response: inout WireWriter
    ) throws(RequestFailure) -> Bool {
        let succeeded = path.next()
        for operation in succeeded ? txn.success : txn.failure {
            guard let arm = operation.arm else { continue }
            try TxnResponse.appendOperation(arm, to: &response) { (body) throws(RequestFailure) in
                try run(operation, &path, &changes, into: &body)
            }
        }
        return succeeded
    }

    private func run(
        _ operation: RequestOpView, _ path: inout TxnPath, _ changes: inout Changes, into body: inout WireWriter
    ) throws(RequestFailure) {
        switch operation {
        case .range(let request):
            try RangeReader.append(
                request, from: view, current: changes.revision, header: .revisionOnly(changes.revision),
                to: &body)
        case .txn(let nested):
            var operations = WireWriter(capacity: 64)
            let succeeded = try run(nested, &path, &changes, into: &operations)
            TxnResponse.begin(header: .empty, succeeded: succeeded, to: &body)
            body.bytes.append(contentsOf: operations.bytes)
        case .put, .deleteRange:
            do throws(StoreError) {
                try change(operation, &changes, into: &body)
            } catch {
                throw .store(error)
            }
        case .empty:
            break
        }
    }

    private func change(
        _ operation: RequestOpView, _ changes: inout Changes, into body: inout WireWriter
    ) throws(StoreError) {
        switch operation {
        case .put(let request):
            // An earlier operation may have deleted what `ignore_value` or `ignore_lease` was promised: the value is
            // then empty and the lease none.
            let previous = try writer.view.record(of: request.key, at: changes.revision)
            try put(
                request, previous: previous, header: .revisionOnly(changes.base.next), changes: &changes,
                response: &body)
        case .deleteRange(let request):
            try deleteRange(request, changes: &changes, response: &body) { .revisionOnly($0) }
        case .range, .txn, .empty:
            break
        }
    }
}

extension OperationTally {
    fileprivate mutating func add(_ operation: RequestOpView) {
        switch operation {
        case .range: ranges += 1
        case .put(let request): put(request)
        case .deleteRange(let request): delete(request)
        case .txn, .empty: break
        }
    }
}

extension RequestOpView {
    /// Which arm of the response answers this; none for an operation with no arm, which no check lets through.
    fileprivate var arm: TxnResponse.Arm? {
        switch self {
        case .range: .range
        case .put: .put
        case .deleteRange: .deleteRange
        case .txn: .txn
        case .empty: nil
        }
    }
}
