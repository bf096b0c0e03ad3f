import Store
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// Checksums taken slice by slice while the store goes on.
@Suite struct HashTests {
    @Test(arguments: Seeds.all)
    func `a hash taken in slices is the hash of one snapshot, before and after compaction`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration { $0.sealRevisions = 50 })
        var revision = Revision.initial
        for step in 0..<120 {
            revision = revision.next
            for sub: UInt32 in 0..<UInt32.random(in: 1...4, using: &random) {
                let key = "key\(Int.random(in: 0..<9, using: &random)).\(sub)".bytes
                if Int.random(in: 0..<4, using: &random) > 0 {
                    try store.writer.put(key, "\(step)".bytes, at: revision, sub: sub)
                } else if try !store.writer.delete(key, at: revision, sub: sub) {
                    try store.writer.put(key, [], at: revision, sub: sub)
                }
            }
            if step == 60 { try store.writer.compact(to: Revision(revision.value - 20)) }
            try store.writer.commitNext()
            guard step % 10 == 0 else { continue }
            let whole = try store.withSnapshot { snapshot in
                (try snapshot.hashKV(at: revision), snapshot.compactedRevision, snapshot.revision)
            }
            for slice in [1, 3, 7, 4_096] { #expect(try store.hashKV(at: revision, slice: slice) == whole) }
            #expect(try store.hash().0 == store.withSnapshot { try $0.hash() })
        }
        #expect(throws: StoreError.futureRevision(requested: revision.next, current: revision)) {
            try store.hashKV(at: revision.next)
        }
        #expect(try store.hashKV(at: Revision(-1)).hash == store.withSnapshot { try $0.hashKV(at: Revision(-1)) })
        store.close()
    }

    @Test func `a young layer grows while a hash is under way, and a compaction beyond it is told`() throws {
        let folder = try TestFolder()
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                $0.youngMapBytes = 1 << 19
                $0.sealBytes = 64 << 20
                $0.onEvent = events.record
            })
        for number: Int64 in 2...500 { try store.writer.put("key\(number)".bytes, "1".bytes, at: Revision(number)) }
        try store.writer.commitNext()
        let pinned = store.publishedRevision
        let expected = try store.withSnapshot { try $0.hashKV(at: pinned) }
        let hashes = Atomic<Int>(0)
        let end = Mutex<StoreError?>(nil)
        let reader = TestThread { [store] in
            do {
                while true {
                    #expect(try store.hashKV(at: pinned, slice: 5).hash == expected)
                    hashes.wrappingAdd(1, ordering: .releasing)
                }
            } catch {
                end.withLock { $0 = error as? StoreError }
            }
        }
        for number: Int64 in 501...4_000 {
            let value = [UInt8](repeating: 1, count: 500)
            try store.writer.put("key\(number % 700)".bytes, value, at: Revision(number))
            if number % 50 == 0 { try store.writer.commitNext() }
        }
        while hashes.load(ordering: .acquiring) == 0 {}
        #expect(events.grown.contains("young-a"))
        try store.writer.compact(to: Revision(4_000))
        try store.writer.commitNext()
        reader.join()
        #expect(end.withLock { $0 } == .compacted(requested: pinned, compacted: Revision(4_000)))
        store.close()
    }
}
