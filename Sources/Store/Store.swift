/// The persistent multi-version store of one member: keys, their history and small tables of records, in two layers
/// of LMDB. It owns the data folder's `base`, `young-a`, `young-b` and `lock`, the flusher thread, and every LMDB
/// pointer. It must never know a request, a lease's meaning or the network, decide a revision, or make the log thread
/// wait for a disk.
import CLMDB
import Glibc
import Synchronization
public import Vocabulary

/// A store that is open. Reads from any thread, writes through `writer` from the log thread.
public final class Store: Sendable {
    let core: StoreCore
    private let flusher: Flusher
    private let lock: FolderLock
    private let isClosed = Atomic<Bool>(false)

    /// Who this store belongs to.
    public let identity: MemberIdentity
    /// The way to write. Log thread only.
    public let writer: StoreWriter

    /// Opens the store of a data folder, or makes one.
    ///
    /// Base is taken as it stands; what the young layers held when the process ended is gone and comes back from the
    /// log, from `writer.appliedIndex` on.
    public static func open(_ configuration: StoreConfiguration) throws(StoreError) -> Store {
        let store = try openLayers(configuration)
        do throws(StoreError) {
            try store.flusher.start()
        } catch {
            store.abandon()
            throw error
        }
        return store
    }

    /// The store without its flusher, to which the layers and the lock belong from here on.
    private static func openLayers(_ configuration: StoreConfiguration) throws(StoreError) -> Store {
        let directory = configuration.directory
        try DataFolder.make(directory)
        let lock = try FolderLock(directory: directory)
        var opened: [Environment] = []
        do throws(StoreError) {
            try RestoreFolder.refuseUnfinished(directory)
            let (base, contents) = try BaseFolder(configuration).open()
            opened.append(base)
            try DataFolder.sync(directory, base.path)
            for name in ["young-a", "young-b"] {
                let path = directory + "/" + name
                try DataFolder.makeEmpty(path)
                opened.append(
                    try Environment(name: name, kind: .young, path: path, mapSize: configuration.youngMapBytes))
            }
            let core = StoreCore(
                configuration, base: base, youngA: opened[1], youngB: opened[2], contents: contents)
            core.measureBase()
            return Store(core, contents.state, lock)
        } catch {
            for environment in opened.reversed() { environment.close() }
            lock.release()
            throw error
        }
    }

    private init(_ core: StoreCore, _ state: BaseState, _ lock: FolderLock) {
        self.core = core
        self.lock = lock
        identity = core.identity
        flusher = Flusher(core)
        writer = StoreWriter(core, state: state)
    }

    deinit { abandon() }

    /// The newest revision a read beginning now sees.
    public var publishedRevision: Revision { Revision(core.published.load(ordering: .acquiring)) }

    /// Revisions below this one cannot be read any more. Zero when nothing was ever compacted.
    public var compactedRevision: Revision { Revision(core.compacted.load(ordering: .acquiring)) }

    /// Log entries up to here are in base, on disk.
    public var durableIndex: RaftIndex { core.handover.withLock { $0.durable.appliedIndex } }

    /// Reads the store as it is now, from any thread.
    ///
    /// `body` must not wait for the log thread or call this again: a map that has to grow waits for all readers.
    /// Nothing it was given may be kept.
    public func withSnapshot<R>(_ body: (Snapshot) throws -> R) throws -> R {
        let snapshot = try core.gate.enter { core.makeSnapshot() }
        do throws(StoreError) {
            try core.begin(snapshot)
        } catch {
            core.gate.leave(snapshot, isUsable: false)
            throw error
        }
        defer {
            snapshot.end()
            core.gate.leave(snapshot)
        }
        return try body(snapshot)
    }

    /// Whether every page of base has been held against its checksum since the store was opened, or was written since.
    public var isVerified: Bool { !(core.base.pages?.isChecking ?? false) }

    /// Waits until `isVerified`: for who takes base away as a whole. Any thread but the log thread.
    ///
    /// - Throws: `corrupt` when a page is damaged, `closed` when the store closes first.
    public func waitUntilVerified() throws(StoreError) {
        let result = core.handover.wait { state -> Result<Void, StoreError>? in
            if isVerified { return .success(()) }
            if state.hasGivenUp, let failure = state.lastFailure { return .failure(failure) }
            return state.stop == .no ? nil : .failure(.closed)
        }
        try result.get()
    }

    /// Disk space taken and used: a few atomic loads, for any thread at any time.
    public func size() -> StoreSize {
        let young = core.activeBytes.load(ordering: .relaxed) + core.sealedBytes.load(ordering: .relaxed)
        return StoreSize(
            allocatedBytes: core.baseAllocatedBytes.load(ordering: .relaxed) + young,
            inUseBytes: core.baseInUseBytes.load(ordering: .relaxed) + young,
            preallocatedBytes: core.young(0).mapSize + core.young(1).mapSize)
    }

    /// Calls `done` once, on the flusher thread or at once, when revisions below `revision` are gone from base.
    /// Compaction to it must have been asked for. Never called when the store closes first.
    public func whenPhysicallyCompacted(through revision: Revision, _ done: @escaping @Sendable () -> Void) {
        let isDone = core.handover.withLock { state in
            if state.compactedPhysically >= revision { return true }
            state.waiters.append((revision, done))
            return false
        }
        if isDone { done() }
    }

    /// Waits until every log entry up to `raftIndex` is durable in base. Any thread but the log thread; a seal must
    /// have reached that entry.
    ///
    /// - Throws: `notSealed`, or what a flush failed with meanwhile.
    public func flushSealed(upTo raftIndex: RaftIndex) throws(StoreError) {
        let failures = core.handover.withLock { $0.failures }
        let failure = core.handover.wait { state -> Result<Void, StoreError>? in
            if state.durable.appliedIndex >= raftIndex { return .success(()) }
            if state.stop == .atOnce { return .failure(.closed) }
            guard let sealed = state.sealed, sealed.state.appliedIndex >= raftIndex else {
                return .failure(state.stop == .no ? .notSealed(raftIndex) : .closed)
            }
            if state.hasGivenUp || state.failures > failures, let failure = state.lastFailure {
                return .failure(failure)
            }
            return nil
        }
        try failure.get()
    }

    /// Makes everything applied durable, lets go of the folder and of the young layers' disk space. The log thread
    /// must have ended. Waits for readers.
    public func close() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        writer.finish()
        end(.whenFlushed)
    }

    /// Lets go of everything as a killed process would: what is not in base is lost. The log thread must have ended.
    package func abandon() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        writer.abandon()
        end(.atOnce)
    }

    private func end(_ stop: StoreCore.Stop) {
        core.handover.update { $0.stop = stop }
        flusher.join()
        core.handover.update { $0.stop = .atOnce }
        core.endDefragmentations(.failure(.closed))
        core.copies.shut("the server stops")
        core.gate.close()
        writer.release()
        core.young(0).close()
        core.young(1).close()
        core.base.close()
        if stop == .whenFlushed {
            // What is left of them is removed when the store is opened again at the latest.
            for number in 0..<2 { try? DataFolder.makeEmpty(core.young(number).path) }
        }
        lock.release()
    }
}

// For the module's own tests: what no caller needs to know.
extension Store {
    /// The main revisions that are physically in the store, compacted or not.
    package func storedRevisions() throws -> [Int64] {
        try withSnapshot { snapshot in
            var found: [Int64] = []
            var position = ChangePosition(.zero)
            try snapshot.walkRevisions(from: &position, through: snapshot.revision) { change in
                found.append(change.revision.value)
                return .next
            }
            return found
        }
    }

    /// Damages the `meta` of a closed store's base.
    package static func overwriteMeta(_ path: String, _ name: String, _ value: [UInt8]?) throws(StoreError) {
        let pages = try BasePages(folder: path)
        let base = try Environment(name: "base", kind: .base, path: path, mapSize: 64 << 20, pages: pages)
        defer { base.close() }
        try base.overwriteMeta(name, value)
    }

    /// Puts something into a tree of a closed store's base, or takes it out: damage that no checksum shows.
    package static func plant(
        _ path: String, _ tree: String, _ key: [UInt8], put: [UInt8]? = nil, remove: [UInt8]? = nil
    ) throws(StoreError) {
        let pages = try BasePages(folder: path)
        let base = try Environment(name: "base", kind: .base, path: path, mapSize: 64 << 20, pages: pages)
        defer { base.close() }
        guard let database = pages.names.first(where: { $1 == Array(tree.utf8) })?.key else { throw .closed }
        try base.write(commit: "mdb_txn_commit (plant)") { transaction throws(StoreError) in
            try key.withRawBytes { bytes throws(StoreError) in
                var key = MDB_val(bytes)
                if let remove {
                    let code = remove.withRawBytes { bytes in
                        var value = MDB_val(bytes)
                        return mdb_del(transaction, database, &key, &value)
                    }
                    try check(code, "mdb_del (plant)")
                }
                guard let put else { return }
                let code = put.withRawBytes { bytes in
                    var value = MDB_val(bytes)
                    return mdb_put(transaction, database, &key, &value, 0)
                }
                try check(code, "mdb_put (plant)")
            }
        }
    }

    /// Takes a database away from a closed store's base, as a version that does not know it would have left it.
    package static func removeLongRecords(_ path: String) throws(StoreError) {
        let pages = try BasePages(folder: path)
        let base = try Environment(name: "base", kind: .base, path: path, mapSize: 64 << 20, pages: pages)
        defer { base.close() }
        try base.write(commit: "mdb_txn_commit (long_records)") { transaction throws(StoreError) in
            try check(mdb_drop(transaction, base.databases.records[0].long, 1), "mdb_drop (long_records)")
        }
    }
}
