import CLMDB
import Measures

// How base is written: the one way for all who do.
extension Environment {
    /// Runs `body` in the write transaction and commits it. In base the checksums of the transaction before are on disk
    /// when it begins, and its own when this returns, unless the disk refuses: then the next one waits for them.
    ///
    /// - Parameter commit: what a failed commit is called.
    func write<R>(
        commit: StaticString, _ body: (OpaquePointer) throws(StoreError) -> R
    ) throws(StoreError) -> R {
        try writeIfChanged(commit: commit) { transaction throws(StoreError) in (try body(transaction), true) }
    }

    /// Like `write`, for a `body` that also says whether it has changed anything: otherwise nothing is committed.
    func writeIfChanged<R>(
        commit: StaticString, _ body: (OpaquePointer) throws(StoreError) -> (R, isChanged: Bool)
    ) throws(StoreError) -> R {
        try pages?.catchUp()
        let transaction = try beginWrite()
        let result: R
        let isChanged: Bool
        do throws(StoreError) {
            (result, isChanged) = try body(transaction)
        } catch {
            mdb_txn_abort(transaction)
            throw error
        }
        guard isChanged else {
            mdb_txn_abort(transaction)
            return result
        }
        let began = MonotonicClock.nanoseconds
        defer { commitTimes.observe(MonotonicClock.nanoseconds - began) }
        try check(mdb_txn_commit(transaction), commit)
        do throws(StoreError) {
            try pages?.catchUp()
        } catch {
            // What was committed stands, and must not be taken for failed. A full disk may have room again by the next
            // time; anything else ends the store's background work.
            if !error.isWorthRetrying { pages?.onDamage(error) }
        }
        return result
    }
}
