extension Snapshot {
    /// Whether a walk over a range would meet more than `limit` keys. Deleted keys that compaction has not yet taken
    /// count too, as a walk has to pass them: this tells what a range costs, not what it answers.
    public func hasMoreKeys(than limit: Int, in range: KeyRange) throws(StoreError) -> Bool {
        guard !range.isSingleKey, !range.isEmpty else { return false }
        openWalks += 1
        defer { openWalks -= 1 }
        var merge = try LayerMerge(self, from: range.key) { $0.environment.databases.keys }
        defer { merge.finish() }
        var met = 0
        while let key = merge.key, range.isBelowEnd(key) {
            met += 1
            if met > limit { return true }
            try merge.next()
        }
        return false
    }
}
