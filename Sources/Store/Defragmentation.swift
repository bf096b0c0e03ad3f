import CLMDB
import Glibc
import Vocabulary

/// What a defragmentation gave back.
public struct DefragmentationReport: Hashable, Sendable {
    /// Bytes that base's file took on disk before.
    public var bytesBefore: Int
    /// Bytes that it takes now.
    public var bytesAfter: Int
    /// False when the file system cannot take blocks out of a file. Then nothing was given back; free pages are used
    /// again all the same.
    public var isSupported: Bool
    /// How long it took, the work between included.
    public var duration: Duration
}

/// Told once how a defragmentation ended, on the flusher thread or the one that closes the store.
typealias DefragmentationDone = @Sendable (Result<DefragmentationReport, StoreError>) -> Void

/// A defragmentation in progress: which free pages to take out of base's file, and how far that has come.
///
/// Free pages of LMDB stay in the file, to be used again. To make the file smaller, their blocks are given back to the file
/// system where they stand: a hole of the file is as good to LMDB as a free page, as it never reads one. Before that,
/// half-empty leaves are joined (`Repacking`). Neither readers nor writers are stopped. What a later write into a hole needs is that the disk has room
/// then; if it has not, the flush fails as a whole and is tried again.
package struct Defragmentation {
    /// Pages that one call takes out: a reader that meets the file meanwhile waits for it.
    static let largestHole = 1_024
    /// How long the work goes on before it looks whether a flush is due.
    static let slice = Duration.milliseconds(10)

    let start: ContinuousClock.Instant
    let bytesBefore: Int
    /// Shorter runs of free pages are left alone.
    let smallestHole: Int
    /// Half-empty leaves come first; nil when that is done.
    var repacking: Repacking?
    /// The transaction that `runs` were read at; another one may use their pages.
    private var transaction: Int?
    /// What is left to be taken out, in order.
    private var runs: [Range<UInt>] = []
    private var next = 0
    /// Pages below are done, whatever is freed there from now on: so the work has an end.
    private var reached: UInt = 0

    fileprivate init(start: ContinuousClock.Instant, base: Environment, smallestHole: Int) {
        self.start = start
        self.smallestHole = smallestHole
        bytesBefore = base.diskBytes ?? base.fileBytes
        repacking = Repacking(base)
    }

    /// One step of repacking.
    fileprivate mutating func repack(_ base: Environment) throws(StoreError) {
        guard var work = repacking else { return }
        repacking = try work.step(base) ? nil : work
    }

    /// The next hole to punch; nil when all is done. Flusher thread.
    mutating func nextHole(_ base: Environment) throws(StoreError) -> Range<UInt>? {
        let newest = base.lastTransaction
        if newest != transaction {
            runs = Self.runs(of: try base.reusablePages(), from: reached, atLeast: smallestHole)
            next = 0
            transaction = newest
        }
        guard next < runs.count else { return nil }
        let run = runs[next]
        let end = min(run.upperBound, run.lowerBound + UInt(Self.largestHole))
        if end == run.upperBound { next += 1 } else { runs[next] = end..<run.upperBound }
        reached = end
        return run.lowerBound..<end
    }

    /// The long enough runs of neighbours among pages in order, from a page on.
    package static func runs(of pages: [UInt], from first: UInt, atLeast smallestHole: Int) -> [Range<UInt>] {
        var runs: [Range<UInt>] = []
        var run: Range<UInt> = first..<first
        for page in pages where page >= first {
            if page == run.upperBound {
                run = run.lowerBound..<(page + 1)
            } else {
                if run.count >= smallestHole { runs.append(run) }
                run = page..<(page + 1)
            }
        }
        if run.count >= smallestHole { runs.append(run) }
        return runs
    }
}

extension Flusher {
    /// Works on the defragmentation until it is done, or until a flush, a compaction or the end of the store is due.
    ///
    /// - Parameter ahead: goes on although other work is due, which a full disk keeps from succeeding.
    func defragment(ahead: Bool = false) {
        do throws(StoreError) {
            guard let report = try continueDefragmentation(ahead) else { return }
            defragmentation = nil
            core.measureBase()
            core.tell(.defragmented(report))
            core.endDefragmentations(.success(report))
        } catch {
            defragmentation = nil
            core.endDefragmentations(.failure(error))
        }
    }

    private func continueDefragmentation(_ ahead: Bool) throws(StoreError) -> DefragmentationReport? {
        let clock = ContinuousClock()
        var work: Defragmentation
        if let begun = defragmentation {
            work = begun
        } else {
            work = Defragmentation(
                start: clock.now, base: core.base, smallestHole: core.configuration.smallestHole)
        }
        // Not while the disk is full or fails, nor of pages that nobody has verified yet: then holes alone.
        if ahead || core.base.pages?.isChecking == true { work.repacking = nil }
        while work.repacking != nil {
            do throws(StoreError) {
                try growing(core.base) { () throws(StoreError) in try work.repack(core.base) }
                if work.repacking == nil { try releaseNewestPages() }
            } catch {
                // A full disk cannot be written, but holes are what makes room on it.
                guard error.isWorthRetrying else { throw error }
                work.repacking = nil
            }
            if isOtherWorkDue(ahead) {
                defragmentation = work
                return nil
            }
        }
        let file = try core.base.fileDescriptor()
        var isSupported = true
        while isSupported {
            let sliceEnd = clock.now + Defragmentation.slice
            while clock.now < sliceEnd {
                guard let hole = try work.nextHole(core.base) else {
                    return report(work, clock.now, isSupported: true)
                }
                isSupported = try punch(hole, file)
                if !isSupported { break }
            }
            if isSupported, isOtherWorkDue(ahead) {
                defragmentation = work
                return nil
            }
        }
        return report(work, clock.now, isSupported: false)
    }

    private func isOtherWorkDue(_ ahead: Bool) -> Bool {
        core.handover.withLock { state in
            if state.stop != .no || state.hasGivenUp { return true }
            if ahead { return false }
            return state.sealed != nil || state.compactedPhysically < state.durable.compactedRevision
        }
    }

    private func report(
        _ work: Defragmentation, _ now: ContinuousClock.Instant, isSupported: Bool
    ) -> DefragmentationReport {
        DefragmentationReport(
            bytesBefore: work.bytesBefore, bytesAfter: core.base.diskBytes ?? core.base.fileBytes,
            isSupported: isSupported, duration: now - work.start)
    }

    /// A small transaction, after which what the last one freed may be taken: it is then no longer the newest.
    private func releaseNewestPages() throws(StoreError) {
        try growing(core.base) { () throws(StoreError) in
            try core.base.write(commit: "mdb_txn_commit (defragmentation)") { transaction throws(StoreError) in
                let meta = MetaTable(transaction: transaction, database: core.base.databases.meta)
                try meta.set(.format, Layout.formatVersion)
            }
        }
    }

    /// - Returns: false when the file system cannot do that.
    private func punch(_ hole: Range<UInt>, _ file: Int32) throws(StoreError) -> Bool {
        while true {
            var code = core.configuration.punchFault()
            if code == 0 {
                let size = Environment.pageSize
                if berth_punch_hole(file, Int(hole.lowerBound) * size, hole.count * size) == 0 { return true }
                code = errno
            }
            switch code {
            case EINTR: continue
            case EOPNOTSUPP, ENOSYS, ENODEV: return false
            default: throw .lmdb(code: code, operation: "fallocate (hole in \(core.base.path)/data.mdb)")
            }
        }
    }
}

extension StoreCore {
    /// Tells all who wait for a defragmentation.
    func endDefragmentations(_ result: Result<DefragmentationReport, StoreError>) {
        let waiting = handover.update { state in
            defer { state.defragmentations = [] }
            return state.defragmentations
        }
        for done in waiting { done(result) }
    }
}

extension Store {
    /// Gives base's free pages back to the file system, in the background, while reads and writes go on. Compaction that is
    /// due comes first. Asked for again while it goes on, both are told when that one is done.
    ///
    /// - Parameter done: called once, from any thread: with what was given back; with the system's error, after which
    ///   the store is as it was; or with `closed`.
    public func defragment(_ done: @escaping @Sendable (Result<DefragmentationReport, StoreError>) -> Void) {
        let refusal = core.handover.update { state -> StoreError? in
            if state.stop != .no { return .closed }
            if state.hasGivenUp { return state.lastFailure ?? .closed }
            state.defragmentations.append(done)
            return nil
        }
        if let refusal { done(.failure(refusal)) }
    }
}
