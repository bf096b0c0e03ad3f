import CLMDB
import Glibc
import Synchronization
public import Vocabulary

/// Writes the log's entries into the active layer, one transaction a batch, and hands full layers to the flusher.
///
/// Log thread only, checked: the first batch binds it to its thread. Never waits for a disk.
public final class StoreWriter: @unchecked Sendable {
    // Unchecked: everything here is touched by the log thread alone (checked), and by `close` after that has ended.
    let core: StoreCore
    private let openView: Snapshot
    /// Readers of the active layer through the write transaction, and of the other one; by the layer's number.
    private let activeReaders: [LayerReader]
    private let sealedReaders: [LayerReader]
    private var thread: pthread_t?

    /// The last log entry whose effects are committed.
    public private(set) var appliedIndex: RaftIndex
    /// That entry's term.
    public private(set) var appliedTerm: RaftTerm
    /// The newest revision, that of the open batch included.
    public private(set) var currentRevision: Revision
    private var compactedRevision: Revision
    private var isBatchOpen = false
    private var transaction: OpaquePointer?
    private var hasWritten = false
    private var lastChange = (revision: Revision.zero, sub: UInt32(0))
    /// Set by the first failed write: from then on memory is in doubt and nothing is taken.
    private var failure: StoreError?

    private var active: LayerFill
    /// What base will say of itself once everything sealed so far is in it.
    private var lastSealed: BaseState
    private var isSealWanted = false
    /// Nothing was written since the young layers' pages were let go.
    private var hasLetPagesGo = true
    private var revisionsCursor: OpaquePointer?
    /// Pages the open transaction can surely take before the map is full.
    private var roomInPages = 0
    private let scratch = UnsafeMutableRawPointer.allocate(byteCount: 64 + LongKeys.scratchSize, alignment: 8)

    /// What the active layer holds.
    private struct LayerFill {
        var changes = 0
        var bytes = 0
        /// When the clock first found something in it.
        var since: MonotonicInstant?
        var isEmpty: Bool { changes == 0 }
    }

    init(_ core: StoreCore, state: BaseState) {
        self.core = core
        appliedIndex = state.appliedIndex
        appliedTerm = state.appliedTerm
        currentRevision = state.currentRevision
        compactedRevision = state.compactedRevision
        lastChange = (state.currentRevision, .max)
        active = LayerFill()
        lastSealed = state
        activeReaders = (0..<2).map { LayerReader(core.young($0), number: UInt8($0), ownsTransaction: false) }
        sealedReaders = (0..<2).map { LayerReader(core.young($0), number: UInt8($0), ownsTransaction: true) }
        openView = Snapshot(
            active: activeReaders[0], sealed: sealedReaders[1],
            base: LayerReader(core.base, number: 2, ownsTransaction: true))
    }

    deinit { scratch.deallocate() }

    /// The store as the open batch has made it so far. Its pointers end with the next write, itself with the batch.
    public var view: Snapshot {
        get throws(StoreError) {
            try beginBatch()
            return openView
        }
    }

    /// Whether the active layer can take more. False: it is full and the flusher still has the other one; hold
    /// proposals back until `StoreEvent.flushed`.
    public var hasRoom: Bool {
        !isFull || !core.isFlushing.load(ordering: .acquiring)
    }

    private var isFull: Bool {
        active.changes >= core.configuration.sealRevisions || active.bytes >= core.configuration.sealBytes
    }

    private var activeNumber: Int { core.sealCount.load(ordering: .relaxed) & 1 }

    /// Stores a new version of a key.
    ///
    /// - Parameter previous: the key's record as `view` has it, nil when the key does not exist.
    /// - Returns: the new version's record.
    public func put(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, lease: LeaseID, revision: Revision, sub: UInt32,
        previous: KeyRecord?
    ) throws(StoreError) -> KeyRecord {
        let record = KeyRecord(
            createRevision: previous?.createRevision ?? revision, modRevision: revision, modSub: sub,
            version: (previous?.version ?? 0) + 1, lease: lease)
        try write(KeyValueEncoding(key: key, value: value, record: record), kind: Layout.liveKind)
        var result = record
        result.layer = UInt8(activeNumber)
        return result
    }

    /// Stores the deletion of a key that exists.
    public func delete(
        key: UnsafeRawBufferPointer, revision: Revision, sub: UInt32, previous: KeyRecord
    ) throws(StoreError) {
        precondition(!previous.isTombstone, "only a key that exists can be deleted")
        var record = KeyRecord(
            createRevision: .zero, modRevision: revision, modSub: sub, version: 0, lease: .none)
        record.isTombstone = true
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        try write(KeyValueEncoding(key: key, value: nothing, record: record), kind: Layout.tombstoneKind)
    }

    private func write(_ contents: KeyValueEncoding, kind: UInt8) throws(StoreError) {
        let record = contents.record
        precondition(!contents.key.isEmpty, "keys are not empty")
        precondition(
            record.modRevision > lastChange.revision
                || record.modRevision == lastChange.revision && record.modSub > lastChange.sub,
            "changes come in the order of their revisions")
        let size = contents.size + 1
        try prepareWrite(bytes: size, key: contents.key.count)
        do throws(StoreError) {
            try append(contents, size: size, kind: kind)
            try index(contents.key, record)
        } catch {
            throw fail(error)
        }
        lastChange = (record.modRevision, record.modSub)
        currentRevision = record.modRevision
        openView.revision = currentRevision
        active.changes += 1
        active.bytes += size + contents.key.count
    }

    private func append(_ contents: KeyValueEncoding, size: Int, kind: UInt8) throws(StoreError) {
        Layout.storeRevisionKey(contents.record.modRevision, contents.record.modSub, at: scratch)
        var key = MDB_val(mv_size: Layout.revisionKeySize, mv_data: scratch)
        var value = MDB_val(mv_size: size, mv_data: nil)
        // Straight into the layer's memory: LMDB makes room and tells where.
        try check(
            mdb_cursor_put(revisionsCursor, &key, &value, UInt32(MDB_APPEND | MDB_RESERVE)),
            "mdb_cursor_put (revision)")
        guard let target = value.mv_data else { throw .from(ENOMEM, "mdb_cursor_put (revision)") }
        target.storeBytes(of: kind, as: UInt8.self)
        contents.write(to: target + 1)
    }

    private func index(_ key: UnsafeRawBufferPointer, _ record: KeyRecord) throws(StoreError) {
        guard let transaction else { throw .closed }
        Layout.store(record, at: scratch)
        var value = MDB_val(mv_size: Layout.recordSize, mv_data: scratch)
        let reader = openView.first
        if key.count <= LongKeys.plainLimit {
            var place = MDB_val(key)
            try check(mdb_cursor_put(try reader.keysCursor(), &place, &value, 0), "mdb_cursor_put (key)")
        } else {
            let tree = reader.environment.databases.keys
            var place = try LongKeys.make(key, in: tree, transaction, scratch: scratch + 64)
            try check(
                mdb_cursor_put(try reader.longKeysCursor(), &place.key, &value, 0), "mdb_cursor_put (long key)")
        }
    }

    /// Sets or, with nil, removes a record. Idempotent.
    public func setRecord(_ table: RecordTable, key: [UInt8], value: [UInt8]?) throws(StoreError) {
        try prepareWrite(bytes: (value?.count ?? 0) + 1, key: key.count + 1)
        do throws(StoreError) {
            guard let transaction else { throw .closed }
            let tree = openView.first.environment.databases.records[0]
            try ([table.rawValue] + key).withRawBytes { bytes throws(StoreError) in
                var place = try LongKeys.make(bytes, in: tree, transaction, scratch: scratch + 64)
                var stored = MDB_val(mv_size: (value?.count ?? 0) + 1, mv_data: nil)
                try check(
                    mdb_put(transaction, place.database, &place.key, &stored, UInt32(MDB_RESERVE)),
                    "mdb_put (record)")
                guard let target = stored.mv_data else { throw .from(ENOMEM, "mdb_put (record)") }
                target.storeBytes(of: value == nil ? 0 : 1, as: UInt8.self)
                value?.withRawBytes { source in
                    if let start = source.baseAddress { memcpy(target + 1, start, source.count) }
                }
            }
        } catch {
            throw fail(error)
        }
        active.changes += 1
        active.bytes += (value?.count ?? 0) + key.count
    }

    /// Makes revisions below `revision` unreadable, from the batch's commit on, and asks for their removal.
    ///
    /// - Throws: `compacted` or `futureRevision`, when that is not a revision to compact to.
    public func compact(to revision: Revision) throws(StoreError) {
        guard revision > compactedRevision else {
            throw .compacted(requested: revision, compacted: compactedRevision)
        }
        guard revision <= currentRevision else {
            throw .futureRevision(requested: revision, current: currentRevision)
        }
        try beginBatch()
        compactedRevision = revision
        openView.compactedRevision = revision
        // Removal waits until base covers the revision; that must not take until the layer is full.
        isSealWanted = true
    }

    /// Ends the batch: from here on readers see it.
    ///
    /// A batch that wrote nothing costs nothing; the applied index reaches base with the next flush.
    public func commit(appliedIndex: RaftIndex, term: RaftTerm) throws(StoreError) {
        checkThread()
        precondition(appliedIndex >= self.appliedIndex, "the applied index only grows")
        if let failure { throw failure == .closed ? .closed : .inDoubt }
        if let error = endTransaction() { throw fail(error) }
        closeBatch()
        self.appliedIndex = appliedIndex
        appliedTerm = term
        // In this order: who sees a compaction must find a revision not below it.
        core.published.store(currentRevision.value, ordering: .releasing)
        core.compacted.store(compactedRevision.value, ordering: .releasing)
        core.activeBytes.store(active.bytes, ordering: .relaxed)
        if isFull || isSealWanted { _ = seal() }
    }

    /// Seals when the layer is full or old enough. To be called between batches, every 100 ms or so.
    public func sealIfDue(now: MonotonicInstant) {
        checkThread()
        guard !isBatchOpen, failure == nil else { return }
        if !active.isEmpty, active.since == nil {
            active.since = now
            core.activeSince.store(now.nanoseconds, ordering: .relaxed)
        }
        let isOld = active.since.map { now - $0 >= core.configuration.sealAge } ?? false
        if isFull || isOld || isSealWanted { _ = seal() }
        letPagesGo()
    }

    /// Once all is flushed and nothing more is written, lets go of the young layers' pages. While nothing is sealed the log
    /// thread alone may map these files anew, which must not happen meanwhile. Not while it writes: each page would cost it
    /// a fault.
    private func letPagesGo() {
        guard !hasLetPagesGo, active.isEmpty, !core.isFlushing.load(ordering: .acquiring) else { return }
        hasLetPagesGo = true
        for number in 0..<2 { core.young(number).forgetPages() }
    }

    /// Hands the active layer to the flusher, with everything applied so far. Between batches only.
    ///
    /// Nothing applied since the last seal leaves nothing to do: that seal is this one, flushed already or not.
    ///
    /// - Returns: whether everything applied is sealed. False when the flusher still has the other layer, and after a
    ///   failed write.
    public func seal() -> Bool {
        checkThread()
        precondition(!isBatchOpen, "a layer is sealed between batches")
        guard failure == nil else { return false }
        let state = BaseState(
            appliedIndex: appliedIndex, appliedTerm: appliedTerm, currentRevision: currentRevision,
            compactedRevision: compactedRevision)
        if active.isEmpty, lastSealed == state { return true }
        guard !core.isFlushing.load(ordering: .acquiring) else { return false }
        let sealed = StoreCore.SealedLayer(
            layer: activeNumber, state: state, revisions: active.changes, bytes: active.bytes)
        lastSealed = state
        core.isFlushing.store(true, ordering: .relaxed)
        core.sealedBytes.store(active.bytes, ordering: .relaxed)
        core.activeBytes.store(0, ordering: .relaxed)
        core.sealedSince.store(active.since?.nanoseconds ?? 0, ordering: .relaxed)
        core.activeSince.store(0, ordering: .relaxed)
        core.sealCount.wrappingAdd(1, ordering: .acquiringAndReleasing)
        core.isActiveEmpty.store(true, ordering: .releasing)
        active = LayerFill()
        hasLetPagesGo = false
        isSealWanted = false
        core.handover.update { $0.sealed = sealed }
        return true
    }
}

// Transactions.
extension StoreWriter {
    private func checkThread() {
        let caller = pthread_self()
        if let thread {
            precondition(pthread_equal(thread, caller) != 0, "the writer belongs to the log thread")
        } else {
            thread = caller
        }
    }

    private func beginBatch() throws(StoreError) {
        if isBatchOpen { return }
        checkThread()
        if let failure { throw failure == .closed ? .closed : .inDoubt }
        // Turned away: a map is lost, and the layers can be looked at no more.
        guard core.gate.enterWriter() else { throw fail(.inDoubt) }
        isBatchOpen = true
        do throws(StoreError) {
            let number = activeNumber
            openView.first = activeReaders[number]
            openView.second = sealedReaders[1 - number]
            try beginTransaction()
            try openView.second.begin(unless: !core.isFlushing.load(ordering: .acquiring))
            try openView.third.begin()
            openView.revision = currentRevision
            openView.compactedRevision = compactedRevision
        } catch {
            throw fail(error)
        }
    }

    private func beginTransaction() throws(StoreError) {
        let environment = openView.first.environment
        let transaction = try environment.beginWrite()
        self.transaction = transaction
        openView.first.attach(transaction)
        try check(
            mdb_cursor_open(transaction, environment.databases.revisions, &revisionsCursor),
            "mdb_cursor_open (revisions)")
        roomInPages = environment.unusedPages - Self.reservedPages(environment)
    }

    /// Ends the transaction, if there is one.
    private func endTransaction() -> StoreError? {
        guard let transaction else { return nil }
        openView.first.end()
        if let revisionsCursor { mdb_cursor_close(revisionsCursor) }
        revisionsCursor = nil
        self.transaction = nil
        guard hasWritten else {
            mdb_txn_abort(transaction)
            return nil
        }
        hasWritten = false
        let code = mdb_txn_commit(transaction)
        return code == 0 ? nil : .from(code, "mdb_txn_commit (young)")
    }

    private func closeBatch() {
        guard isBatchOpen else { return }
        isBatchOpen = false
        openView.second.end()
        openView.third.end()
        core.gate.leaveWriter()
    }

    /// After a failed write nothing is certain about the active layer, so nothing more is written. What is durable
    /// stays so, and the log has the rest.
    private func fail(_ error: StoreError) -> StoreError {
        failure = error
        hasWritten = false
        _ = endTransaction()
        closeBatch()
        return error
    }

    /// Pages LMDB may take at a commit beyond those the writes took: roots, and the list of free pages, which has
    /// 8 bytes a page and is largest when the layer is emptied.
    private static func reservedPages(_ environment: Environment) -> Int {
        64 + 2 * environment.mapSize / Environment.pageSize / 512
    }

    /// Begins a batch if none is open, and makes sure the map has room for one more change.
    ///
    /// A change can split a page on every level of each tree it touches: 16 pages at most, two more a bucket, and
    /// the value's own. When the transaction may have used up its room it is committed, which shows how much it
    /// really took. Only when there is really no room does the map grow.
    ///
    /// The layer then holds half a batch for a while. Readers do not see what is above the published revision, and a
    /// crash empties the layer. Until the batch is committed the layer cannot be sealed; when that never comes,
    /// because a write failed, the batch was given up or the store is closed, it never will be.
    private func prepareWrite(bytes: Int, key: Int) throws(StoreError) {
        try beginBatch()
        precondition(openView.openWalks == 0, "no writes while walking over the batch's view")
        if !hasWritten { core.isActiveEmpty.store(false, ordering: .relaxed) }  // published with the revision
        hasWritten = true
        let pages = 16 + 2 * LongKeys.levels(key) + bytes / Environment.pageSize + 1
        roomInPages -= pages
        guard roomInPages < 0 else { return }
        do throws(StoreError) {
            if let error = endTransaction() { throw error }
            let environment = openView.first.environment
            if environment.unusedPages - Self.reservedPages(environment) < max(4 * pages, 512) {
                let size = environment.mapSize + max(environment.mapSize / 2, 8 * pages * Environment.pageSize)
                try core.gate.whileShut(exceptWriter: true) { () throws(StoreError) in
                    try environment.grow(to: size)
                }
                core.tell(.mapGrown(layer: environment.name, bytes: size))
            }
            try beginTransaction()
            hasWritten = true
            roomInPages -= pages
        } catch {
            throw fail(error)
        }
    }

    /// Gives the open batch up and takes no more: for the log thread, when something above the store has failed.
    ///
    /// Nothing is sealed from here on, so base stays as it is, but for a layer sealed before; the log has the rest.
    /// What readers see does not change. Harmless when repeated.
    public func poison() {
        checkThread()
        if failure == nil { _ = fail(.inDoubt) }
    }

    /// Seals what there is and waits until it is durable, or until a flush has failed. When the log thread has ended.
    ///
    /// A batch that is open was given up by someone above: what it wrote, and the numbers it moved, are not for base.
    func finish() {
        guard failure == nil else { return }
        guard !isBatchOpen else { return abandon() }
        thread = nil
        for _ in 0..<2 {
            let failures = core.handover.withLock { $0.failures }
            let isIdle = core.handover.wait { state in
                state.sealed == nil ? true : state.hasGivenUp || state.failures > failures ? false : nil
            }
            guard isIdle else { break }
            let durable = core.handover.withLock { $0.durable }
            guard !active.isEmpty || durable.appliedIndex < appliedIndex else { break }
            guard seal() else { break }
        }
        failure = .closed
    }

    /// Drops the open batch. When the log thread has ended.
    func abandon() { _ = fail(.closed) }

    /// Frees the transactions, before their layers are closed.
    func release() {
        for reader in sealedReaders { reader.close() }
        openView.third.close()
    }
}
