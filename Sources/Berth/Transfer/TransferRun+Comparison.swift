import EtcdAPI

// Reading both sides anew, and comparing them.
extension TransferRun {
    /// Reads the source at the revision that was copied, and the target at its present one.
    mutating func compare() async throws(Reason) -> TransferReport {
        progress.stage = .verifying
        let (written, bytes) = (progress.written, progress.bytes)
        (progress.keys, progress.bytes) = (0, 0)
        let targetRevision = try await Self.page(target, .target, range, countOnly: false).revision
        var comparison = TransferComparison(allowsOthers: transfer.overwrites, endedLeases: endedLeases)
        let reader = reader
        var other = TargetSide(reader: TransferReader(caller: target, range: range, revision: targetRevision))
        var current = try await Self.page(reader, at: reader.start)
        while true {
            let (page, next) = current
            // The next page is on its way while this one is compared.
            async let following = Self.result(reader, next)
            var side = TransferComparison.Side(page)
            try await other.compare(&side, &comparison)
            var told = progress
            told.keys += page.entries.count
            told.bytes += Int64(page.byteCount)
            progress = told
            guard let page = try await following.get() else { break }
            current = page
        }
        try await other.finish(&comparison)
        return TransferReport(
            sourceRevision: revision, targetRevision: targetRevision, countedKeys: progress.total,
            writtenKeys: written, keys: comparison.sourceKeys, bytes: bytes, leases: held.count,
            lostLeases: try await lostLeases(), endedKeys: comparison.skippedKeys, otherKeys: comparison.otherKeys,
            sourceHash: comparison.sourceDigest, targetHash: comparison.targetDigest,
            targetKeys: comparison.targetKeys, differences: comparison.differences,
            firstDifferences: comparison.firstDifferences)
    }

    private static func result(
        _ reader: TransferReader, _ cursor: TransferReader.Cursor?
    ) async -> Result<(page: TransferPage, next: TransferReader.Cursor?)?, Reason> {
        guard let cursor else { return .success(nil) }
        do throws(Reason) { return .success(try await page(reader, at: cursor)) } catch { return .failure(error) }
    }

    /// The target's keys, read in step with the source's: a page is asked for up to the last key of the source's page,
    /// so that the server counts no more than that.
    private struct TargetSide {
        let reader: TransferReader
        var cursor: TransferReader.Cursor

        init(reader: TransferReader) {
            self.reader = reader
            cursor = reader.start
        }

        /// Compares a page of the source with all keys of the target up to its last.
        mutating func compare(
            _ source: inout TransferComparison.Side, _ comparison: inout TransferComparison
        ) async throws(Reason) {
            guard let last = source.page.entries.last else { return }
            let end = source.page.key(of: last).successor
            try await read(upTo: end) { page in
                comparison.compare(&source, &page)
                comparison.finish(target: &page)
            }
            comparison.finish(source: &source)
        }

        /// Nothing of the source is left.
        mutating func finish(_ comparison: inout TransferComparison) async throws(Reason) {
            try await read(upTo: nil) { comparison.finish(target: &$0) }
        }

        private mutating func read(
            upTo end: Bytes?, _ body: (inout TransferComparison.Side) -> Void
        ) async throws(Reason) {
            while true {
                let page: TransferPage
                let next: TransferReader.Cursor?
                do throws(BerthError) {
                    (page, next) = try await reader.page(at: cursor, upTo: end)
                } catch {
                    throw .failed(.target, error)
                }
                var side = TransferComparison.Side(page)
                body(&side)
                guard let next else { break }
                cursor = next
            }
            if let end { cursor.key = end }
        }
    }
}
