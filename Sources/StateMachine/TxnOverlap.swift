import EtcdAPI

/// What a list of operations puts and deletes, found out to refuse a transaction that changes a key twice.
///
/// The rule is etcd's, with its blind spots, since a client may rely on either: a key is not put twice, and not put in
/// a range deleted at the same level or by a nested transaction before it; a nested transaction's two branches exclude
/// each other and may put the same key. A deletion without upper end, and one in a nested transaction that stands
/// after the one that puts, are not compared.
///
/// Source: `checkIntervals` in etcd's `server/etcdserver/api/v3rpc/key.go`.
struct TxnOverlap {
    private var puts: Set<KeySlice> = []
    private var deletedKeys: Set<KeySlice> = []
    private var deletedRanges = KeyIntervals()

    /// Checks a branch; throws `.duplicateKey`.
    static func check(_ branch: [RequestOpView]) throws(EtcdError) {
        // With one operation, and no transaction in it, nothing can meet.
        if branch.count < 2 {
            guard case .txn = branch.first else { return }
        }
        _ = try TxnOverlap(branch)
    }

    private init(_ operations: [RequestOpView]) throws(EtcdError) {
        for case .deleteRange(let request) in operations {
            if request.rangeEnd.isEmpty {
                deletedKeys.insert(KeySlice(request.key))
            } else {
                deletedRanges.insert(from: KeySlice(request.key), to: KeySlice(request.rangeEnd))
            }
        }
        for case .txn(let nested) in operations {
            let success = try TxnOverlap(nested.success)
            let failure = try TxnOverlap(nested.failure)
            for key in success.puts { try insertPut(key) }
            for key in failure.puts where !success.puts.contains(key) { try insertPut(key) }
            for branch in [success, failure] {
                deletedKeys.formUnion(branch.deletedKeys)
                deletedRanges.formUnion(branch.deletedRanges)
            }
        }
        for case .put(let request) in operations {
            try insertPut(KeySlice(request.key))
        }
    }

    private mutating func insertPut(_ key: KeySlice) throws(EtcdError) {
        guard !deletedKeys.contains(key), !deletedRanges.contains(key), puts.insert(key).inserted else {
            throw .duplicateKey
        }
    }
}

/// A set of keys as sorted half-open intervals that do not touch, so that a question takes O(log n).
struct KeyIntervals {
    private var intervals: [(start: KeySlice, end: KeySlice)] = []

    /// Adds all keys from `start` up to `end`; none if the end is not above the start.
    mutating func insert(from start: KeySlice, to end: KeySlice) {
        guard start < end else { return }
        let first = partition { $0.end < start }
        let last = partition { $0.start <= end }
        var merged = (start: start, end: end)
        if first < last {
            merged = (min(start, intervals[first].start), max(end, intervals[last - 1].end))
        }
        intervals.replaceSubrange(first..<last, with: [merged])
    }

    mutating func formUnion(_ other: KeyIntervals) {
        for interval in other.intervals { insert(from: interval.start, to: interval.end) }
    }

    func contains(_ key: KeySlice) -> Bool {
        let position = partition { $0.end <= key }
        return position < intervals.count && intervals[position].start <= key
    }

    /// How many intervals from the left fulfil a condition that holds for a prefix of them.
    private func partition(_ condition: ((start: KeySlice, end: KeySlice)) -> Bool) -> Int {
        var low = 0
        var high = intervals.count
        while low < high {
            let middle = (low + high) / 2
            if condition(intervals[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
