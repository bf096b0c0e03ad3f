import Glibc
import Store
import Synchronization
import Testing
import Vocabulary

/// What becomes of a batch that somebody above the store gave up, and of a flusher that cannot go on.
@Suite struct FailureTests {
    @Test func `closing with a batch left open keeps what base had, and nothing of the batch`() throws {
        let folder = try TestFolder()
        var store = try Store.open(folder.configuration())
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        try store.writer.put("a".bytes, "2".bytes, at: Revision(3))
        try store.writer.commitNext()
        try store.writer.put("a".bytes, "3".bytes, at: Revision(4))
        try store.writer.compact(to: Revision(4))
        store.close()
        store = try Store.open(folder.configuration())
        #expect(store.writer.appliedIndex == RaftIndex(1))
        #expect(store.publishedRevision == Revision(2))
        #expect(store.compactedRevision == .zero)
        #expect(try store.withSnapshot { try $0.record("a".bytes)?.version } == 1)
        store.close()
    }

    @Test func `half a batch that outgrew the layer's map never reaches base`() throws {
        let folder = try TestFolder()
        let events = Events()
        let configuration = folder.configuration {
            $0.youngMapBytes = 1 << 19
            $0.sealBytes = 64 << 20
            $0.onEvent = events.record
        }
        var store = try Store.open(configuration)
        for number: Int64 in 2..<4_000 {
            try store.writer.put("key\(number)".bytes, [UInt8](repeating: 1, count: 500), at: Revision(number))
        }
        #expect(events.grown.contains("young-a"))
        store.close()
        store = try Store.open(configuration)
        #expect(store.publishedRevision == .initial)
        #expect(try store.storedRevisions() == [])
        store.close()
    }

    @Test func `a layer just sealed counts as a seal of all that is applied, while it is flushed and after`() throws {
        let folder = try TestFolder()
        let mayGoOn = Latch()
        let store = try Store.open(
            folder.configuration {
                $0.sealRevisions = 2
                $0.flushFault = {
                    mayGoOn.wait()
                    return nil
                }
            })
        for revision: Int64 in 2...3 { try store.writer.put("a".bytes, "1".bytes, at: Revision(revision)) }
        // Full, hence sealed by the commit; the flusher has it now.
        try store.writer.commitNext()
        #expect(store.writer.seal())
        mayGoOn.open()
        try store.flushSealed(upTo: RaftIndex(1))
        #expect(store.writer.seal())
        try store.flushSealed(upTo: RaftIndex(1))
        try store.writer.put("a".bytes, "2".bytes, at: Revision(4))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        // An applied entry without a write is something to seal as well.
        try store.writer.commitNext()
        #expect(!store.writer.seal())
        mayGoOn.open()
        try store.flushSealed(upTo: RaftIndex(2))
        #expect(store.writer.seal())
        mayGoOn.open()
        try store.flushSealed(upTo: RaftIndex(3))
        store.close()
    }

    @Test func `a poisoned writer takes no batch, seals nothing, and leaves readers what they see`() throws {
        let folder = try TestFolder()
        var store = try Store.open(folder.configuration())
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        try store.writer.put("a".bytes, "2".bytes, at: Revision(3))
        store.writer.poison()
        store.writer.poison()
        #expect(throws: StoreError.inDoubt) { try store.writer.put("a".bytes, [], at: Revision(4)) }
        #expect(throws: StoreError.inDoubt) { try store.writer.commitNext() }
        #expect(!store.writer.seal())
        store.writer.sealIfDue(now: MonotonicInstant(sinceStart: .seconds(1_000)))
        #expect(try store.withSnapshot { try $0.record("a".bytes)?.version } == 1)
        store.close()
        store = try Store.open(folder.configuration())
        #expect(store.writer.appliedIndex == .zero)
        #expect(store.publishedRevision == .initial)
        store.close()
    }

    @Test func `damage met by a flush is told once and ends the flusher, and nobody waits for it`() throws {
        let folder = try TestFolder()
        let events = Events()
        let damage = StoreError.corrupt(place: "base/keys", detail: "planted")
        let store = try Store.open(
            folder.configuration {
                $0.onEvent = events.record
                $0.flushFault = { damage }
            })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        #expect(throws: damage) { try store.flushSealed(upTo: RaftIndex(1)) }
        #expect(throws: damage) { try store.flushSealed(upTo: RaftIndex(1)) }
        events.waitForFlush()
        try store.writer.put("a".bytes, "2".bytes, at: Revision(3))
        try store.writer.commitNext()
        #expect(!store.writer.seal())
        store.close()
        #expect(events.fatal == [damage])
        #expect(events.failures == 0)
    }

    @Test(arguments: [ENOSPC, EDQUOT, EIO])
    func `a disk that is full or fails is tried again`(code: Int32) {
        #expect(StoreError.lmdb(code: code, operation: "pwrite").isWorthRetrying)
        #expect(!StoreError.lmdb(code: EINVAL, operation: "pwrite").isWorthRetrying)
    }

    @Test func `compaction that fails does not hold up a flush`() throws {
        let folder = try TestFolder()
        let isBroken = Atomic<Bool>(true)
        let tries = Atomic<Int>(0)
        let triesAtFlush = Atomic<Int>(0)
        let flushed = Latch()
        let failed = Latch()
        let flushIsDue = Latch()
        let full = StoreError.lmdb(code: ENOSPC, operation: "mdb_txn_commit (compaction)")
        let store = try Store.open(
            folder.configuration {
                $0.onEvent = { event in
                    switch event {
                    case .flushed:
                        triesAtFlush.store(tries.load(ordering: .relaxed), ordering: .releasing)
                        flushed.open()
                    case .compactionFailed where tries.load(ordering: .relaxed) == 3:
                        failed.open()
                        flushIsDue.wait()
                    default: break
                    }
                }
                $0.compactionFault = {
                    tries.wrappingAdd(1, ordering: .relaxed)
                    return isBroken.load(ordering: .acquiring) ? full : nil
                }
            })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.put("a".bytes, "2".bytes, at: Revision(3))
        try store.writer.compact(to: Revision(3))
        try store.writer.commitNext()
        flushed.wait()
        failed.wait()
        try store.writer.put("b".bytes, "1".bytes, at: Revision(4))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        // Nothing but the flush is next, however late the flusher is by now.
        flushIsDue.open()
        try store.flushSealed(upTo: RaftIndex(2))
        flushed.wait()
        #expect(triesAtFlush.load(ordering: .acquiring) == 3)
        let done = Latch()
        store.whenPhysicallyCompacted(through: Revision(3)) { done.open() }
        isBroken.store(false, ordering: .releasing)
        done.wait()
        #expect(try store.storedRevisions() == [3, 4])
        store.close()
    }

    @Test func `a map that is lost while it grows turns everybody away instead of killing the process`() throws {
        let folder = try TestFolder()
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                // Twice as much is more than a process may address.
                $0.baseMapBytes = 1 << 46
                $0.onEvent = events.record
                $0.flushFault = { .lmdb(code: mapFull, operation: "mdb_put (planted)") }
            })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        events.waitForFlush()
        let lost = StoreError.mapLost(path: folder.path + "/data/base", code: ENOMEM)
        #expect(events.fatal == [lost])
        #expect(throws: lost) { try store.flushSealed(upTo: RaftIndex(1)) }
        #expect(throws: StoreError.closed) { try store.withSnapshot { $0.revision } }
        #expect(throws: StoreError.inDoubt) { try store.writer.put("b".bytes, [], at: Revision(3)) }
        store.close()
    }

    @Test func `a flusher that cannot start closes the store once and frees the folder`() throws {
        let folder = try TestFolder()
        #expect(throws: StoreError.lmdb(code: EAGAIN, operation: "pthread_create (flusher)")) {
            try Store.open(folder.configuration { $0.flusherStartFault = EAGAIN })
        }
        try Store.open(folder.configuration()).close()
    }
}

/// LMDB's code for a full map.
private let mapFull: Int32 = -30_792
