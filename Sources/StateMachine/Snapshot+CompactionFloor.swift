public import Store
import Vocabulary

extension Snapshot {
    /// Whether the store was compacted to revision 0, which is accepted once and removes nothing. For a store that was
    /// compacted further since it is of no interest.
    public func wasCompactedToZero() throws -> Bool {
        try record(in: .meta, key: StateMachine.compactedToZeroKey) != nil
    }

    /// etcd's compact revision: -1 in a store that was never compacted.
    func compactionFloor() throws -> Int64 {
        if compactedRevision > .zero { return compactedRevision.value }
        return try wasCompactedToZero() ? 0 : -1
    }
}
