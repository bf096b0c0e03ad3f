import CLMDB

// How base is written: the one way for all who do.
extension Environment {
    /// Runs `body` in the write transaction and commits it. In base the checksums of the transaction before are on disk
    /// when it begins, and its own when this returns, unless the disk refuses: then the next one waits for them.
    ///
    /// - Parameter commit: what a failed commit is called.
    func write<R>(
        commit: StaticString, _ body: (OpaquePointer) throws(StoreError) -> R
    ) throws(StoreError) -> R {
        try pages?.catchUp()
        let transaction = try beginWrite()
        let result: R
        do throws(StoreError) {
            result = try body(transaction)
        } catch {
            mdb_txn_abort(transaction)
            throw error
        }
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
