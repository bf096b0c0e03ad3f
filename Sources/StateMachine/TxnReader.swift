public import EtcdAPI
import ProtobufWire
public import Store
public import Vocabulary

/// Answers transactions that hold nothing but ranges: they need no log entry and read one snapshot.
public enum TxnReader {
    /// The answer to a client's transaction for which `isReadOnly` holds.
    public static func response(
        to request: TxnRequestView, on snapshot: Snapshot, template: ResponseHeaderTemplate, term: RaftTerm,
        counts: StateMachineCounts? = nil
    ) throws(RequestFailure) -> [UInt8] {
        let current = snapshot.revision
        var path = try TxnPath.decided(for: request, on: snapshot, at: current)
        try path.forEachOperation(of: request) { (operation) throws(RequestFailure) in
            try operation.checkRevision(current: current, floor: try floor(of: snapshot, for: operation))
        }
        if let counts {
            var ranges = path.comparesJudged
            try path.forEachOperation(of: request) { _ in ranges += 1 }
            counts.readTxn(ranges: ranges)
        }
        var writer = WireWriter(capacity: 256)
        let succeeded = path.next()
        TxnResponse.begin(
            header: template.header(revision: current, term: term), succeeded: succeeded, to: &writer)
        for case .range(let range) in succeeded ? request.success : request.failure {
            try TxnResponse.appendOperation(.range, to: &writer) { (body) throws(RequestFailure) in
                try RangeReader.append(
                    range, from: snapshot, current: current, header: .revisionOnly(current), to: &body)
            }
        }
        return writer.bytes
    }

    /// The lowest revision that may be read. Whether it is 0 or -1 takes a look at the store, so only who asks for a
    /// negative one has it looked up.
    private static func floor(
        of snapshot: Snapshot, for operation: RequestOpView
    ) throws(RequestFailure) -> Int64 {
        guard case .range(let range) = operation, range.revision < 0 else { return snapshot.compactedRevision.value }
        do {
            return try snapshot.compactionFloor()
        } catch let error as StoreError {
            throw .store(error)
        } catch {
            throw .store(.corrupt(place: "meta", detail: "\(error)"))
        }
    }
}

extension RequestOpView {
    /// Judges the revision a range asks for, before anything of its transaction runs. Unlike alone, a range inside a
    /// transaction may not ask for a negative revision below the compacted one.
    func checkRevision(current: Revision, floor: Int64) throws(RequestFailure) {
        guard case .range(let range) = self, range.revision != 0 else { return }
        guard range.revision <= current.value else { throw .refused(.futureRevision) }
        guard range.revision >= floor else { throw .refused(.compacted) }
    }
}
