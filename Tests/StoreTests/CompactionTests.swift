import Glibc
import Store
import Testing
import Vocabulary

@Suite struct CompactionTests {
    /// Compacts, and waits on the condition that the flusher signals.
    private func compactPhysically(_ store: Store, to revision: Revision) throws {
        try store.writer.compact(to: revision)
        try store.writer.commitNext()
        let done = Latch()
        store.whenPhysicallyCompacted(through: revision) { done.open() }
        try store.writer.sealAndFlush(store)
        done.wait()
    }

    private func revisions(_ store: Store, from start: Revision) throws -> [Int64] {
        try store.withSnapshot { (snapshot: Snapshot) throws in
            var found: [Int64] = []
            try snapshot.forEachChange(from: start, through: snapshot.revision) { change in
                found.append(change.revision.value)
                return .next
            }
            return found
        }
    }

    /// a: 2, 4, 8. b: 3, deleted 5. c: 6, deleted 7. Compacted to 7: 4 is a's newest, the deletion at 7 stays.
    @Test func `compaction keeps the newest live version of each key and a deletion at its own revision`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.put("b".bytes, "1".bytes, at: Revision(3))
        try store.writer.put("a".bytes, "2".bytes, at: Revision(4))
        try store.writer.delete("b".bytes, at: Revision(5))
        try store.writer.put("c".bytes, "1".bytes, at: Revision(6))
        try store.writer.delete("c".bytes, at: Revision(7))
        try store.writer.put("a".bytes, "3".bytes, at: Revision(8))
        try store.writer.commitNext()
        let before = try store.storedRevisions()
        #expect(before == [2, 3, 4, 5, 6, 7, 8])
        try compactPhysically(store, to: Revision(7))
        #expect(try store.storedRevisions() == [4, 7, 8])
        #expect(try revisions(store, from: Revision(7)) == [7, 8])
        try store.withSnapshot { (snapshot: Snapshot) throws in
            #expect(try snapshot.record("a".bytes, at: Revision(7))?.modRevision == Revision(4))
            #expect(try snapshot.record("a".bytes, at: Revision(7))?.version == 2)
            #expect(try snapshot.record("b".bytes, at: Revision(7)) == nil)
        }
        try compactPhysically(store, to: Revision(8))
        #expect(try store.storedRevisions() == [8])
        store.close()
    }

    @Test func `compaction is refused below the last one and above the newest revision`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        #expect(throws: StoreError.futureRevision(requested: Revision(3), current: Revision(2))) {
            try store.writer.compact(to: Revision(3))
        }
        try store.writer.compact(to: Revision(2))
        try store.writer.commitNext()
        #expect(throws: StoreError.compacted(requested: Revision(2), compacted: Revision(2))) {
            try store.writer.compact(to: Revision(2))
        }
        store.close()
    }

    @Test func `compaction that a crash interrupted goes on where it stood`() throws {
        let folder = try TestFolder()
        let stopped = Latch()
        var store = try Store.open(folder.configuration { $0.compactionStep = 10 })
        for revision in 2..<502 {
            try store.writer.put("key\(revision % 7)".bytes, "v".bytes, at: Revision(Int64(revision)))
        }
        try store.writer.compact(to: Revision(400))
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        store.abandon()
        store = try Store.open(folder.configuration { $0.compactionStep = 10 })
        store.whenPhysicallyCompacted(through: Revision(400)) { stopped.open() }
        stopped.wait()
        #expect(try store.storedRevisions() == Array(394...501))
        store.close()
    }

    @Test func `space that compaction frees is used again`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        var revision = Revision.initial
        var sizes: [Int] = []
        for _ in 0..<8 {
            for key in 0..<200 {
                revision = revision.next
                try store.writer.put("key\(key)".bytes, [UInt8](repeating: 7, count: 1_000), at: revision)
            }
            try store.writer.commitNext()
            try compactPhysically(store, to: revision)
            sizes.append(store.size().allocatedBytes)
        }
        #expect(sizes[7] <= sizes[2] * 3 / 2)
        #expect(store.size().inUseBytes <= store.size().allocatedBytes)
        store.close()
    }
}

/// Opened by one thread, waited for by another.
final class Latch: @unchecked Sendable {
    // A POSIX semaphore guards itself; the pointer is set once.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func open() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
