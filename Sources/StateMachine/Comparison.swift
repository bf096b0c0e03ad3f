import EtcdAPI
import Store
import Vocabulary

/// Which branches a transaction takes: one decision for it and, in the order they are met, one for each nested
/// transaction of a branch that was taken.
///
/// All of them judge the state before the transaction, so they are made before anything runs.
struct TxnPath {
    private var decisions: [Bool] = []
    private var position = 0
    /// Compares that were looked at: those behind a false one are not.
    private(set) var comparesJudged = 0

    static func decided(
        for txn: TxnRequestView, on snapshot: Snapshot, at revision: Revision
    ) throws(RequestFailure) -> TxnPath {
        var path = TxnPath()
        do throws(StoreError) {
            try path.decide(txn, on: snapshot, at: revision)
        } catch {
            throw .store(error)
        }
        return path
    }

    private mutating func decide(
        _ txn: TxnRequestView, on snapshot: Snapshot, at revision: Revision
    ) throws(StoreError) {
        var holds = true
        for compare in txn.compares where holds {
            holds = try compare.holds(on: snapshot, at: revision)
            comparesJudged += 1
        }
        decisions.append(holds)
        for case .txn(let nested) in holds ? txn.success : txn.failure {
            try decide(nested, on: snapshot, at: revision)
        }
    }

    /// The decision for the transaction met next.
    mutating func next() -> Bool {
        defer { position += 1 }
        return decisions[position]
    }

    /// Visits the operations that will run, nested ones in place, and leaves the path as it was.
    func forEachOperation(
        of txn: TxnRequestView, _ visit: (RequestOpView) throws(RequestFailure) -> Void
    ) throws(RequestFailure) {
        var path = self
        try path.walk(txn, visit)
    }

    private mutating func walk(
        _ txn: TxnRequestView, _ visit: (RequestOpView) throws(RequestFailure) -> Void
    ) throws(RequestFailure) {
        for operation in next() ? txn.success : txn.failure {
            if case .txn(let nested) = operation { try walk(nested, visit) } else { try visit(operation) }
        }
    }
}

extension CompareView {
    /// Whether every key of the range fulfils the condition. An absent key counts as all zeros, but never fulfils one
    /// on its value.
    func holds(on snapshot: Snapshot, at revision: Revision) throws(StoreError) -> Bool {
        if rangeEnd.isEmpty {
            guard let record = try snapshot.record(of: key, at: revision) else { return holdsForAbsentKey }
            return try holds(for: record, on: snapshot)
        }
        var isAnyKey = false
        var holdsForAll = true
        try snapshot.walk(KeyRange(key: Array(key), end: Array(rangeEnd)), at: revision) {
            (_, record) throws(StoreError) in
            isAnyKey = true
            holdsForAll = try holds(for: record, on: snapshot)
            return holdsForAll ? .next : .stop
        }
        return isAnyKey ? holdsForAll : holdsForAbsentKey
    }

    private var holdsForAbsentKey: Bool {
        target != .value && accepts(order: Int64(0).compared(to: number))
    }

    private func holds(for record: KeyRecord, on snapshot: Snapshot) throws(StoreError) -> Bool {
        switch target {
        case .version: accepts(order: record.version.compared(to: number))
        case .create: accepts(order: record.createRevision.value.compared(to: number))
        case .modification: accepts(order: record.modRevision.value.compared(to: number))
        case .lease: accepts(order: record.lease.value.compared(to: number))
        case .value: accepts(order: compareBytes(try storedKeyValue(snapshot.keyValue(of: record)).value, value))
        case nil: accepts(order: 0)
        }
    }

    private func accepts(order: Int) -> Bool {
        switch result {
        case .equal: order == 0
        case .greater: order > 0
        case .less: order < 0
        case .notEqual: order != 0
        // Numbers that mean nothing are no condition, as in etcd.
        case nil: true
        }
    }
}
