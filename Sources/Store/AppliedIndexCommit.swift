import CLMDB
import Vocabulary

/// In which transaction a flush commits the applied index. Anything but `withData` breaks the store after a crash: it is
/// there for the power-cut rig, which must notice, and no product can choose it.
package enum AppliedIndexCommit: Sendable {
    /// With the data it stands for.
    case withData
    /// In a transaction of its own, before the data.
    case beforeData
    /// In a transaction of its own, after the data.
    case afterData
}

extension Flusher {
    /// What the transaction with the data says of base.
    func state(withData state: BaseState, _ meta: MetaTable) throws(StoreError) -> BaseState {
        guard core.configuration.appliedIndexCommit == .afterData else { return state }
        var state = state
        state.appliedIndex = RaftIndex(try meta.required(.appliedIndex))
        state.appliedTerm = RaftTerm(try meta.required(.appliedTerm))
        return state
    }

    /// Commits the applied index alone.
    func commitAppliedIndex(of state: BaseState) throws(StoreError) {
        try core.base.write(commit: "mdb_txn_commit (applied index)") { transaction throws(StoreError) in
            let meta = MetaTable(transaction: transaction, database: core.base.databases.meta)
            try meta.set(.appliedIndex, state.appliedIndex.value)
            try meta.set(.appliedTerm, state.appliedTerm.value)
        }
    }
}
