import CLMDB
import Vocabulary

/// Physical compaction: a walk over base's history in small transactions, between flushes.
///
/// The walk takes changes in order, some thousand a transaction, and looks at them key by key, so that a page is
/// touched once a transaction and the history is cut where it is read. Of each key it removes what is older than the
/// change met: at most one version, left by an earlier compaction. The change itself goes when a newer one of its key
/// stands at or below the compacted revision C, or when it is a deletion older than C. A deletion exactly at C stays,
/// for watchers that begin there, until the next compaction, which therefore begins with C again.
///
/// The walk can stop and go on anywhere, also after a crash and also with a higher C: behind it stand only versions
/// that were the newest of their key at C, and each is removed when the walk meets its successor.
extension Flusher {
    private struct Position: Comparable {
        var main: Revision
        var sub: UInt32
        static func < (a: Self, b: Self) -> Bool { (a.main, a.sub) < (b.main, b.sub) }
    }

    /// One change that the walk has met, with its key at `bytes[key]` of the step.
    private struct Met {
        var position: Position
        var isDeletion: Bool
        var key: Range<Int>
    }

    /// Keys that one step holds in memory, at most about.
    private static let stepBytes = 4 << 20

    /// Between two steps; a flush that falls due ends it.
    private static let longestPause = Duration.milliseconds(100)

    private struct Step {
        var met: [Met] = []
        var bytes: [UInt8] = []
        /// Where the walk goes on; nil when it is done.
        var rest: Position?
    }

    /// Walks until done, or until a flush or the end of the store is due.
    func compact(through target: Revision) throws(StoreError) {
        let clock = ContinuousClock()
        var progress = compaction ?? CompactionProgress(start: clock.now)
        while true {
            var isDone = false
            let stepStart = clock.now
            if progress.walked == target {
                try growing(core.base) { () throws(StoreError) in isDone = try progress.repack(core.base) }
                if isDone { removedSinceRepacking = 0 }
            } else {
                var removed = 0
                try growing(core.base) { () throws(StoreError) in (isDone, removed) = try step(target) }
                progress.removed += removed
                removedSinceRepacking += removed
                if isDone {
                    try growing(core.base) { () throws(StoreError) in isDone = try trimHistories(below: target) }
                }
                if isDone {
                    progress.walked = target
                    isDone = try !isRepackingDue()
                }
            }
            compaction = progress
            if isDone { break }
            // As long a pause as the step took leaves processor and disk to others half of the time.
            let pause = min(clock.now - stepStart, Self.longestPause)
            let isDue = core.handover.wait(timeout: pause) {
                $0.sealed != nil || $0.stop != .no || $0.hasGivenUp ? true : nil
            }
            if isDue != nil { return }
        }
        compaction = nil
        core.measureBase()
        let reached = core.handover.update { state in
            state.compactedPhysically = target
            let reached = state.waiters.filter { $0.through <= target }
            state.waiters.removeAll { $0.through <= target }
            return reached
        }
        for waiter in reached { waiter.done() }
        core.tell(.compacted(through: target, removed: progress.removed, duration: clock.now - progress.start))
    }

    /// Whether so much was removed that the trees have become sparse: a walk over all of them is not for a few changes.
    private func isRepackingDue() throws(StoreError) -> Bool {
        guard removedSinceRepacking > 0 else { return false }
        return removedSinceRepacking >= (try core.base.revisionCount()) / 5
    }

    private func step(_ target: Revision) throws(StoreError) -> (isDone: Bool, removed: Int) {
        try core.base.write(commit: "mdb_txn_commit (compaction)") { transaction throws(StoreError) in
            let meta = MetaTable(transaction: transaction, database: core.base.databases.meta)
            let main = Revision(Int64(bitPattern: try meta.number(.compactionMain) ?? 0))
            let sub = UInt32(truncatingIfNeeded: try meta.number(.compactionSub) ?? 0)
            let step = try collect(transaction, from: Position(main: main, sub: sub), through: target)
            let removed = try remove(step, target, transaction)
            if let fault = core.configuration.compactionFault() { throw fault }
            let isDone = step.rest == nil
            let rest = step.rest ?? Position(main: target, sub: 0)
            try meta.set(.compactionMain, UInt64(bitPattern: rest.main.value))
            try meta.set(.compactionSub, UInt64(rest.sub))
            if isDone { try meta.set(.compactionDone, UInt64(bitPattern: target.value)) }
            return (isDone, removed)
        }
    }

    /// Removes the oldest records of the history tables, one step of them; true when none is left to remove.
    private func trimHistories(below target: Revision) throws(StoreError) -> Bool {
        let bound = target.recordKey
        var left = core.configuration.compactionStep
        try core.base.write(commit: "mdb_txn_commit (history)") { transaction throws(StoreError) in
            for (table, tree) in zip(RecordTable.allCases, core.base.databases.records) where table.isHistory {
                let cursor = try Cursor(transaction, tree.short)
                var key = MDB_val()
                var value = MDB_val()
                var code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_FIRST)
                while code == 0, left > 0, bound.withUnsafeBytes({ compareBytes(key.bytes, $0) < 0 }) {
                    try check(mdb_cursor_del(cursor.pointer, 0), "mdb_cursor_del (history)")
                    left -= 1
                    code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_FIRST)
                }
                if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (history)") }
            }
        }
        return left > 0
    }

    private func collect(
        _ transaction: OpaquePointer, from start: Position, through target: Revision
    ) throws(StoreError) -> Step {
        var step = Step()
        let cursor = try Cursor(transaction, core.base.databases.revisions)
        let scratch = Scratch()
        Layout.storeRevisionKey(start.main, start.sub, at: scratch.pointer)
        var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: scratch.pointer)
        var value = MDB_val()
        var code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_SET_RANGE)
        while code == 0 {
            let (main, sub) = try Layout.revision(of: key, place: "base/revisions")
            if main > target { return step }
            if step.met.count >= core.configuration.compactionStep || step.bytes.count >= Self.stepBytes {
                step.rest = Position(main: main, sub: sub)
                return step
            }
            guard let kind = value.bytes.first else {
                throw .corrupt(place: "base/revisions", detail: "revision \(main).\(sub) has no bytes")
            }
            let userKey = try KeyValueEncoding.key(of: UnsafeRawBufferPointer(rebasing: value.bytes.dropFirst()))
            let begin = step.bytes.count
            step.bytes.append(contentsOf: userKey)
            step.met.append(
                Met(
                    position: Position(main: main, sub: sub), isDeletion: kind == Layout.tombstoneKind,
                    key: begin..<step.bytes.count))
            code = mdb_cursor_get(cursor.pointer, &key, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get (compaction)") }
        return step
    }

    private func remove(
        _ step: Step, _ target: Revision, _ transaction: OpaquePointer
    ) throws(StoreError) -> Int {
        let tree = core.base.databases.keys
        let short = try Cursor(transaction, tree.short)
        let long = try Cursor(transaction, tree.long)
        let scratch = Scratch()
        var doomed: [Position] = []
        try step.bytes.withRawBytes { bytes throws(StoreError) in
            let byKey = step.met.sorted { a, b in
                let order = compareBytes(
                    UnsafeRawBufferPointer(rebasing: bytes[a.key]), UnsafeRawBufferPointer(rebasing: bytes[b.key]))
                return order == 0 ? a.position < b.position : order < 0
            }
            for met in byKey {
                let key = UnsafeRawBufferPointer(rebasing: bytes[met.key])
                guard let place = try LongKeys.find(key, in: tree, transaction, scratch: scratch.pointer) else {
                    throw missing(met)
                }
                let cursor = place.database == tree.short ? short.pointer : long.pointer
                try stand(cursor, place, on: met)
                while let older = try move(cursor, MDB_PREV_DUP) {
                    try check(mdb_cursor_del(cursor, 0), "mdb_cursor_del (compaction)")
                    doomed.append(older)
                    try stand(cursor, place, on: met)
                }
                let newer = try move(cursor, MDB_NEXT_DUP)
                guard newer.map({ $0.main <= target }) ?? false || met.isDeletion && met.position.main < target
                else { continue }
                try stand(cursor, place, on: met)
                try check(mdb_cursor_del(cursor, 0), "mdb_cursor_del (compaction)")
                doomed.append(met.position)
                try LongKeys.prune(key, in: tree, transaction, scratch: scratch.pointer)
            }
        }
        doomed.sort()
        for position in doomed {
            Layout.storeRevisionKey(position.main, position.sub, at: scratch.pointer)
            var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: scratch.pointer)
            try check(mdb_del(transaction, core.base.databases.revisions, &key, nil), "mdb_del (compaction)")
        }
        return doomed.count
    }

    /// Puts the cursor on the index record of a change.
    private func stand(_ cursor: OpaquePointer, _ place: LongKeys.Place, on met: Met) throws(StoreError) {
        let code = withUnsafeTemporaryAllocation(byteCount: Layout.recordSize, alignment: 8) { bytes -> Int32 in
            bytes.initializeMemory(as: UInt8.self, repeating: 0)
            guard let address = bytes.baseAddress else { return MDB_NOTFOUND }
            Layout.storeRevisionKey(met.position.main, met.position.sub, at: address)
            var key = place.key
            var value = MDB_val(mv_size: Layout.recordSize, mv_data: address)
            return mdb_cursor_get(cursor, &key, &value, MDB_GET_BOTH_RANGE)
        }
        if code == MDB_NOTFOUND { throw missing(met) }
        try check(code, "mdb_cursor_get (compaction)")
        var key = MDB_val()
        var value = MDB_val()
        try check(mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT), "mdb_cursor_get (compaction)")
        let record = try Layout.record(of: value, layer: 2)
        guard record.modRevision == met.position.main, record.modSub == met.position.sub else { throw missing(met) }
    }

    /// The index record beside the one under the cursor, if there is one.
    private func move(_ cursor: OpaquePointer, _ operation: MDB_cursor_op) throws(StoreError) -> Position? {
        var key = MDB_val()
        var value = MDB_val()
        let code = mdb_cursor_get(cursor, &key, &value, operation)
        if code == MDB_NOTFOUND { return nil }
        try check(code, "mdb_cursor_get (compaction)")
        let record = try Layout.record(of: value, layer: 2)
        return Position(main: record.modRevision, sub: record.modSub)
    }

    private func missing(_ met: Met) -> StoreError {
        .corrupt(
            place: "base/keys", detail: "revision \(met.position.main).\(met.position.sub) is stored but not indexed")
    }
}

/// How far a compaction has come.
struct CompactionProgress {
    var removed = 0
    let start: ContinuousClock.Instant
    /// Everything is removed up to here; what may be left to do is to repack.
    var walked: Revision?
    private var repacking: Repacking?

    init(start: ContinuousClock.Instant) { self.start = start }

    /// One step of repacking; true when it is done.
    mutating func repack(_ base: Environment) throws(StoreError) -> Bool {
        var work = repacking ?? Repacking(base)
        let isDone = try work.step(base)
        repacking = isDone ? nil : work
        return isDone
    }
}
