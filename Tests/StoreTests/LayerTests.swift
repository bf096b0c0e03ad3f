import Glibc
import Store
import Synchronization
import Testing
import Vocabulary

/// What passes between the layers: seals, room, growth, readers that stay inside.
@Suite struct LayerTests {
    @Test func `a layer is sealed when full, when old, and not before`() throws {
        let folder = try TestFolder()
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                $0.sealRevisions = 3
                $0.sealAge = .seconds(5)
                $0.onEvent = events.record
            })
        func at(_ seconds: Int) -> MonotonicInstant { MonotonicInstant(sinceStart: .seconds(seconds)) }
        store.writer.sealIfDue(now: at(0))
        try store.writer.put("a".bytes, [], at: Revision(2))
        try store.writer.commitNext()
        store.writer.sealIfDue(now: at(10))
        store.writer.sealIfDue(now: at(14))
        #expect(throws: StoreError.notSealed(RaftIndex(1))) { try store.flushSealed(upTo: RaftIndex(1)) }
        store.writer.sealIfDue(now: at(15))
        try store.flushSealed(upTo: RaftIndex(1))
        events.waitForFlush()
        for revision: Int64 in 3...5 { try store.writer.put("a".bytes, [], at: Revision(revision)) }
        try store.writer.commitNext()
        try store.flushSealed(upTo: RaftIndex(2))
        events.waitForFlush()
        #expect(events.flushes == 2)
        store.close()
        #expect(events.flushes == 2)
    }

    @Test func `a full active layer without a free one behind it has no room until the flush is done`() throws {
        let folder = try TestFolder()
        // The flusher tells of its first flush only when the test lets it.
        let mayGoOn = Latch()
        let hasFlushed = Latch()
        let isFirst = Atomic<Bool>(true)
        let store = try Store.open(
            folder.configuration {
                $0.sealRevisions = 2
                $0.onEvent = { event in
                    guard case .flushed = event else { return }
                    if isFirst.exchange(false, ordering: .relaxed) {
                        hasFlushed.open()
                        mayGoOn.wait()
                    }
                }
            })
        var revision = Revision.initial
        func fill() throws {
            for _ in 0..<2 {
                revision = revision.next
                try store.writer.put("k".bytes, [], at: revision)
            }
            try store.writer.commitNext()
        }
        #expect(store.writer.hasRoom)
        try fill()
        hasFlushed.wait()
        try fill()
        #expect(store.writer.hasRoom)
        try fill()
        #expect(!store.writer.hasRoom)
        #expect(!store.writer.seal())
        mayGoOn.open()
        try store.flushSealed(upTo: RaftIndex(2))
        #expect(store.writer.hasRoom)
        #expect(try store.withSnapshot { try $0.record("k".bytes)?.version } == 6)
        store.close()
    }

    @Test func `maps grow under readers and nobody notices`() throws {
        let folder = try TestFolder()
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                $0.youngMapBytes = 1 << 19
                $0.baseMapBytes = 1 << 17
                $0.sealBytes = 8 << 20
                $0.onEvent = events.record
            })
        let isDone = Atomic<Bool>(false)
        let reader = TestThread { [store] in
            do {
                while !isDone.load(ordering: .acquiring) {
                    try store.withSnapshot { (snapshot: Snapshot) throws in
                        let count = Int64(try snapshot.count(in: .all, at: snapshot.revision))
                        #expect(count == snapshot.revision.value - 1)
                    }
                }
            } catch {
                Issue.record(error)
            }
        }
        // One batch far larger than the map, as the deletion of a large range is.
        for number in 2..<6_000 {
            let key = "key\(number)".bytes
            try store.writer.put(key, [UInt8](repeating: 1, count: 500), at: Revision(Int64(number)))
        }
        #expect(store.publishedRevision == .initial)
        try store.writer.commitNext()
        try store.writer.put("large".bytes, [UInt8](repeating: 2, count: 3 << 20), at: Revision(6_000))
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        isDone.store(true, ordering: .releasing)
        reader.join()
        #expect(events.grown.contains("young-a"))
        #expect(events.grown.contains("base"))
        #expect(try store.withSnapshot { try $0.encoded("large".bytes)?.count } ?? 0 > 3 << 20)
        store.close()
    }

    @Test func `a reader that stays inside keeps its revision while layers are flushed and emptied`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        for revision: Int64 in 2...101 {
            try store.writer.put("k\(revision)".bytes, "old".bytes, at: Revision(revision))
        }
        try store.writer.commitNext()
        try store.withSnapshot { (snapshot: Snapshot) throws in
            let before = try snapshot.keys(in: .all).map(\.key)
            var revision = Revision(101)
            for _ in 0..<4 {
                for key in before {
                    revision = revision.next
                    try store.writer.put(key, "new".bytes, at: revision)
                }
                try store.writer.commitNext()
                try store.writer.sealAndFlush(store)
            }
            #expect(snapshot.revision == Revision(101))
            let after = try snapshot.keys(in: .all)
            #expect(after.map(\.key) == before)
            #expect(after.allSatisfy { $0.record.version == 1 })
        }
        #expect(try store.withSnapshot { try $0.record("k2".bytes)?.version } == 5)
        store.close()
    }

    @Test func `a flush that fails is tried again, and what waits for it is told`() throws {
        let folder = try TestFolder()
        let events = Events()
        let full = StoreError.lmdb(code: ENOSPC, operation: "mdb_txn_commit (base)")
        let isFull = Atomic<Bool>(true)
        let store = try Store.open(
            folder.configuration {
                $0.onEvent = events.record
                $0.flushFault = { isFull.load(ordering: .acquiring) ? full : nil }
            })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        #expect(throws: full) { try store.flushSealed(upTo: RaftIndex(1)) }
        #expect(store.durableIndex == .zero)
        #expect(try store.withSnapshot { try $0.record("a".bytes)?.version } == 1)
        isFull.store(false, ordering: .releasing)
        events.waitForFlush()
        // Told by the flusher before the flush that succeeded, but not before the waiter.
        #expect(events.failures > 0)
        #expect(store.durableIndex == RaftIndex(1))
        store.close()
    }

    @Test func `closing does not wait forever for a disk that stays full`() throws {
        let folder = try TestFolder()
        let full = StoreError.lmdb(code: ENOSPC, operation: "mdb_txn_commit (base)")
        var store = try Store.open(folder.configuration { $0.flushFault = { full } })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        store.close()
        store = try Store.open(folder.configuration())
        #expect(store.publishedRevision == .initial)
        #expect(store.writer.appliedIndex == .zero)
        store.close()
    }

    @Test func `a closed store answers with an error`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        store.close()
        store.close()
        #expect(throws: StoreError.closed) { try store.withSnapshot { $0.revision } }
        #expect(throws: StoreError.closed) { try store.writer.put("a".bytes, [], at: Revision(2)) }
    }
}

/// What the store told.
final class Events: Sendable {
    private struct Counts {
        var flushes = 0
        var failures = 0
        var grown: Set<String> = []
        var fatal: [StoreError] = []
    }
    private let counts = Mutex(Counts())
    private let flushed = Latch()

    var flushes: Int { counts.withLock { $0.flushes } }
    var failures: Int { counts.withLock { $0.failures } }
    var fatal: [StoreError] { counts.withLock { $0.fatal } }
    var grown: Set<String> { counts.withLock { $0.grown } }
    /// Until a flush is done, or the flusher has given up.
    func waitForFlush() { flushed.wait() }

    func record(_ event: StoreEvent) {
        counts.withLock { counts in
            switch event {
            case .flushed: counts.flushes += 1
            case .flushFailed, .compactionFailed: counts.failures += 1
            case .mapGrown(let layer, _): counts.grown.insert(layer)
            case .failed(let error): counts.fatal.append(error)
            case .compacted, .defragmented: break
            }
        }
        switch event {
        case .flushed, .failed: flushed.open()
        default: break
        }
    }
}
