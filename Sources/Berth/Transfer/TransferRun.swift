import DequeModule
import EtcdAPI

/// One transfer as it goes on.
struct TransferRun {
    typealias Reason = TransferError.Reason

    let transfer: Transfer
    private let onProgress: @Sendable (TransferProgress) -> Void
    var progress = TransferProgress() {
        didSet { onProgress(progress) }
    }
    /// The source's revision that is copied.
    var revision: Int64 = 0
    /// Keys that hang on leases, put aside to be written last.
    var leased: [TransferOrder.Key] = []
    /// Leases granted on the target, kept alive until the end.
    var held: [Lease] = []
    /// Leases that ended in the source meanwhile. Their keys are left out.
    var endedLeases: Set<Int64> = []

    /// Transactions on their way at once.
    static let transactionsInFlight = 16

    init(_ transfer: Transfer, _ onProgress: @escaping @Sendable (TransferProgress) -> Void) {
        self.transfer = transfer
        self.onProgress = onProgress
    }

    var range: KeyRange { .prefix(transfer.prefix) }
    var source: Caller { transfer.source.core.caller }
    var target: Caller { transfer.target.core.caller }
    var reader: TransferReader { TransferReader(caller: source, range: range, revision: revision) }
    private var writer: TransferWriter { TransferWriter(caller: target, overwrites: transfer.overwrites) }

    // MARK: The whole

    mutating func copyAndCompare() async throws(Reason) -> TransferReport {
        try await count()
        try await refuseSameStore()
        if !transfer.overwrites { try await refuseKeysInTheWay() }
        let differing = try await leasesInTheWay()
        if let first = differing.first {
            throw .leaseTaken(first.id, source: first.source, target: first.target)
        }
        progress.stage = .copying
        try await forEachPage(writing: true)
        try await grantLeases()
        try await copyLeasedKeys()
        return try await compare()
    }

    mutating func survey() async throws(Reason) -> TransferSurvey {
        try await count()
        try await refuseSameStore()
        let inTheWay = try await keysInTheWay()
        let differing = try await leasesInTheWay()
        progress.stage = .reading
        let largest = try await forEachPage(writing: false)
        let leases = try await leasesToGrant()
        return TransferSurvey(
            sourceRevision: revision, keys: progress.keys, bytes: progress.bytes, largest: largest,
            leasedKeys: leased.count, leases: leases.count, keysInTheWay: inTheWay.count,
            leasesInTheWay: differing.map(\.id))
    }

    // MARK: Before

    /// Fixes the source's revision, and counts.
    private mutating func count() async throws(Reason) {
        let page = try await Self.page(source, .source, range, countOnly: true)
        revision = page.revision
        progress.total = page.count
    }

    /// An empty store may look like another empty one, and has nothing to copy.
    private func refuseSameStore() async throws(Reason) {
        guard progress.total > 0 else { return }
        let before = StorePosition(try await Self.status(transfer.source, .source))
        let target = StorePosition(try await Self.status(transfer.target, .target))
        let after = StorePosition(try await Self.status(transfer.source, .source))
        switch target.relation(toSource: before, after) {
        case .apart: break
        case .same: throw .sameStore
        case .oneCluster: throw .sameCluster
        }
    }

    private func keysInTheWay() async throws(Reason) -> RangePage {
        try await Self.page(target, .target, range, countOnly: false)
    }

    private func refuseKeysInTheWay() async throws(Reason) {
        let page = try await keysInTheWay()
        if let first = page.values.first { throw .targetNotEmpty(keys: page.count, first: first.key) }
    }

    /// Count and revision, and the first key unless only these are wanted.
    static func page(
        _ caller: Caller, _ side: TransferError.Side, _ range: KeyRange, countOnly: Bool
    ) async throws(Reason) -> RangePage {
        var get = Get(range, limit: 1)
        get.countOnly = countOnly
        get.keysOnly = true
        do throws(BerthError) {
            return RangePage(try await caller.call(Methods.range, get.wire, options: TransferReader.options))
        } catch {
            throw .failed(side, error)
        }
    }

    private static func status(
        _ client: BerthClient, _ side: TransferError.Side
    ) async throws(Reason) -> MemberStatus {
        do throws(BerthError) { return try await client.status() } catch { throw .failed(side, error) }
    }

    // MARK: Keys without leases

    private enum Landing: Sendable {
        case page(TransferPage, next: TransferReader.Cursor?)
        case written(TransferBatch)
        case failed(Reason)
    }

    /// Reads all keys. Those without leases are written as they come, several transactions at once while the next page
    /// is read; those with leases are put aside.
    ///
    /// - Returns: the bytes of the largest.
    @discardableResult
    private mutating func forEachPage(writing: Bool) async throws(Reason) -> Int {
        let (reader, writer) = (reader, writer)
        var largest = 0
        let failure: Reason? = await withTaskGroup(of: Landing.self) { group in
            var cursor: TransferReader.Cursor? = reader.start
            var waiting = Deque<TransferBatch>()
            var flying = 0
            var isReading = false
            while true {
                // At most one page waits to be written while the next is read.
                if let next = cursor, !isReading, waiting.count <= Self.transactionsInFlight {
                    group.addTask { await Self.read(reader, at: next) }
                    isReading = true
                }
                while flying < Self.transactionsInFlight, let batch = waiting.popFirst() {
                    group.addTask { await Self.write(batch, by: writer) }
                    flying += 1
                }
                switch await group.next() {
                case nil: return nil
                case .page(let page, let next):
                    isReading = false
                    cursor = next
                    largest = max(largest, page.entries.lazy.map(\.byteCount).max() ?? 0)
                    let plain = putLeasedAside(page)
                    if writing {
                        waiting += TransferBatch.cut(page, plain)
                    } else {
                        progress.keys += page.entries.count
                        progress.bytes += Int64(page.byteCount)
                    }
                case .written(let batch):
                    flying -= 1
                    wrote(batch)
                case .failed(let reason):
                    // Others on their way may yet succeed: they count as written.
                    group.cancelAll()
                    for await case .written(let batch) in group { wrote(batch) }
                    return reason
                }
            }
        }
        if let failure { throw failure }
        return largest
    }

    mutating func wrote(_ batch: TransferBatch) {
        var next = progress
        next.keys += batch.entries.count
        next.written += batch.entries.count
        next.bytes += Int64(batch.byteCount)
        progress = next
    }

    /// - Returns: the page's other keys.
    private mutating func putLeasedAside(_ page: TransferPage) -> [TransferPage.Entry] {
        for entry in page.entries where entry.lease != 0 {
            leased.append(
                .init(
                    key: page.key(of: entry), createRevision: entry.createRevision, lease: entry.lease,
                    valueSize: entry.value.count))
        }
        return page.entries.filter { $0.lease == 0 }
    }

    private static func read(_ reader: TransferReader, at cursor: TransferReader.Cursor) async -> Landing {
        do throws(Reason) {
            let (page, next) = try await Self.page(reader, at: cursor)
            return .page(page, next: next)
        } catch {
            return .failed(error)
        }
    }

    private static func write(_ batch: TransferBatch, by writer: TransferWriter) async -> Landing {
        do throws(Reason) {
            try await writer.write(batch, .emptyRange)
            return .written(batch)
        } catch {
            return .failed(error)
        }
    }

    /// A page of the source.
    static func page(
        _ reader: TransferReader, at cursor: TransferReader.Cursor
    ) async throws(Reason) -> (page: TransferPage, next: TransferReader.Cursor?) {
        do throws(BerthError) {
            return try await reader.page(at: cursor)
        } catch {
            throw reason(error, reader)
        }
    }

    static func reason(_ error: BerthError, _ reader: TransferReader) -> Reason {
        if case .compacted = error { return .compacted(revision: reader.revision) }
        return .failed(.source, error)
    }

    // MARK: Keys with leases

    /// Writes the keys put aside, oldest first.
    private mutating func copyLeasedKeys() async throws(Reason) {
        progress.stage = .leasedKeys
        let keys = TransferOrder.sorted(leased.filter { !endedLeases.contains($0.lease) })
        leased = []
        for read in TransferOrder.reads(keys) {
            let page: TransferPage
            do throws(BerthError) {
                page = try await reader.keys(read.lazy.map(\.key))
            } catch {
                throw Self.reason(error, reader)
            }
            let lines = page.entries.map { (key: page.key(of: $0), createRevision: $0.createRevision) }
            for round in TransferOrder.rounds(lines) {
                for batch in TransferBatch.cut(page, Array(page.entries[round])) {
                    try await writer.write(batch, .missingKeys)
                    wrote(batch)
                }
            }
        }
    }
}
