// The pass over all pages that nobody has looked at yet. On the flusher's thread, when nothing else is to be done.
extension BasePages {
    /// Pages of one slice: a flush that falls due waits for it.
    private static let slice = 256

    /// Verifies some more pages, in the file's order. After the last one nothing is checked any more.
    ///
    /// What has a sum is in use by base's last transaction, as this thread writes both.
    func sweep() throws(StoreError) {
        var left = Self.slice
        while left > 0 {
            guard sweepPosition < UInt64(sums.count) else { return endChecking() }
            if sums[sweepPosition] != 0 {
                try verify(sweepPosition)
                left -= 1
            }
            sweepPosition += 1
        }
    }
}
