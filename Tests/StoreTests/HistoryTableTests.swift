import Glibc
import Store
import Testing
import Vocabulary

@Suite struct HistoryTableTests {
    private func key(_ revision: Int64) -> [UInt8] {
        withUnsafeBytes(of: UInt64(revision).bigEndian) { Array($0) }
    }

    private func revisions(_ store: Store, from start: Int64 = 0) throws -> [UInt8] {
        try store.withSnapshot { (snapshot: Snapshot) throws in
            var found: [UInt8] = []
            try snapshot.forEachRecord(.lineEvents, from: key(start)) { key, _ in
                found.append(key[7])
                return .next
            }
            return found
        }
    }

    /// Records at 2...9: half of them in base, the rest in a young layer.
    private func filled(_ folder: TestFolder) throws -> Store {
        let store = try Store.open(folder.configuration { $0.compactionStep = 2 })
        for revision in Int64(2)...9 {
            try store.writer.put("k".bytes, "v".bytes, at: Revision(revision))
            try store.writer.setRecord(.lineEvents, key: key(revision), value: [UInt8(revision)])
            try store.writer.commitNext()
            if revision == 5 { try store.writer.sealAndFlush(store) }
        }
        return store
    }

    @Test func `records are read from a key on, through all layers`() throws {
        let folder = try TestFolder()
        let store = try filled(folder)
        #expect(try revisions(store) == [2, 3, 4, 5, 6, 7, 8, 9])
        #expect(try revisions(store, from: 5) == [5, 6, 7, 8, 9])
        #expect(try revisions(store, from: 7) == [7, 8, 9])
        #expect(try revisions(store, from: 10) == [])
        try store.withSnapshot { (snapshot: Snapshot) throws in
            #expect(try snapshot.record(in: .lineEvents, key: key(4)) == [4])
            #expect(try snapshot.record(in: .lineEvents, key: key(8)) == [8])
            #expect(try snapshot.record(in: .lineEvents, key: key(10)) == nil)
        }
        store.close()
    }

    @Test func `compaction takes a history's records below its revision, and the hash does not wait for that`() throws {
        let folder = try TestFolder()
        let store = try filled(folder)
        try store.writer.compact(to: Revision(7))
        try store.writer.commitNext()
        let hash = try store.withSnapshot { try $0.hash() }
        let done = Latch()
        store.whenPhysicallyCompacted(through: Revision(7)) { done.open() }
        try store.writer.sealAndFlush(store)
        done.wait()
        #expect(try revisions(store) == [7, 8, 9])
        #expect(try store.withSnapshot { try $0.hash() } == hash)
        store.close()
    }

    @Test func `the end of each of a key's lives is found by its beginning`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        try store.writer.put("k".bytes, "1".bytes, at: Revision(2))
        try store.writer.put("k".bytes, "2".bytes, at: Revision(3))
        try store.writer.delete("k".bytes, at: Revision(4))
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        try store.writer.put("k".bytes, "3".bytes, at: Revision(6))
        try store.writer.delete("k".bytes, at: Revision(7))
        try store.writer.put("k".bytes, "4".bytes, at: Revision(8))
        try store.writer.commitNext()
        try store.withSnapshot { (snapshot: Snapshot) throws in
            #expect(try snapshot.deletion(of: "k".bytes, createdAt: Revision(2)) == Revision(4))
            #expect(try snapshot.deletion(of: "k".bytes, createdAt: Revision(6)) == Revision(7))
            #expect(try snapshot.deletion(of: "k".bytes, createdAt: Revision(8)) == nil)
            #expect(try snapshot.deletion(of: "k".bytes, createdAt: Revision(5)) == nil)
            #expect(try snapshot.deletion(of: "other".bytes, createdAt: Revision(2)) == nil)
        }
        store.close()
    }
}
