import Store
import Testing
import Vocabulary

@Test func `a key range follows etcd's rules`() {
    let single = KeyRange(key: "b".bytes, end: [])
    #expect(single.isSingleKey)
    #expect(single.contains("b".bytes))
    #expect(!single.contains("ba".bytes))
    let half = KeyRange(key: "b".bytes, end: "d".bytes)
    #expect(half.contains("b".bytes))
    #expect(half.contains("c\u{7f}".bytes))
    #expect(!half.contains("d".bytes))
    #expect(!half.contains("a".bytes))
    let fromKey = KeyRange(key: "b".bytes, end: [0])
    #expect(fromKey.isUnbounded)
    #expect(!fromKey.isEmpty)
    #expect(fromKey.contains([0xff, 0xff]))
    #expect(!fromKey.contains("a".bytes))
    #expect(KeyRange(key: "b".bytes, end: "b".bytes).isEmpty)
    #expect(KeyRange(key: "b".bytes, end: "a".bytes).isEmpty)
    #expect(!KeyRange(key: "b".bytes, end: "b\0".bytes).isEmpty)
    #expect(KeyRange.all.contains([0]))
}

@Test func `a key of a megabyte is stored, found, walked over, flushed and compacted`() throws {
    let folder = try TestFolder()
    let store = try Store.open(folder.configuration())
    let long = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let longer = long + [0]
    try store.writer.put(longer, "2".bytes, at: Revision(2))
    try store.writer.put(long, "1".bytes, at: Revision(3))
    try store.writer.put([0xff], "3".bytes, at: Revision(4))
    try store.writer.put([0], "0".bytes, at: Revision(5))
    try store.writer.setRecord(.leaseKeys, key: long, value: [1])
    try store.writer.commitNext()
    func check() throws {
        try store.withSnapshot { (snapshot: Snapshot) throws in
            #expect(try snapshot.keys(in: .all).map(\.key) == [[0], long, longer, [0xff]])
            #expect(try snapshot.record(long)?.modRevision == Revision(3))
            #expect(try snapshot.count(in: KeyRange(key: longer, end: [0]), at: Revision(5)) == 2)
        }
    }
    try check()
    try store.writer.sealAndFlush(store)
    try check()
    try store.writer.delete(long, at: Revision(6))
    try store.writer.delete(longer, at: Revision(7))
    try store.writer.put([1], [], at: Revision(8))
    try store.writer.setRecord(.leaseKeys, key: long, value: nil)
    try store.writer.compact(to: Revision(8))
    try store.writer.commitNext()
    let done = Latch()
    store.whenPhysicallyCompacted(through: Revision(8)) { done.open() }
    done.wait()
    #expect(try store.storedRevisions() == [4, 5, 8])
    try store.withSnapshot { (snapshot: Snapshot) throws in
        #expect(try snapshot.keys(in: .all).map(\.key) == [[0], [1], [0xff]])
        try snapshot.forEachRecord(.leaseKeys) { _, _ in
            Issue.record("the record is still there")
            return .stop
        }
    }
    store.close()
}

/// The numbers are what etcd 3.4.23 answered to `endpoint hashkv` after the same requests.
@Test func `hashes of a small history are etcd's, before and after compaction`() throws {
    let folder = try TestFolder()
    let store = try Store.open(folder.configuration())
    let writer = store.writer
    try writer.put("a".bytes, "1".bytes, at: Revision(2))
    try writer.put("b".bytes, "2".bytes, at: Revision(3))
    try writer.delete("a".bytes, at: Revision(4))
    try writer.put("c".bytes, "3".bytes, at: Revision(5), sub: 0)
    try writer.put("d".bytes, "4".bytes, at: Revision(5), sub: 1)
    try writer.delete("b".bytes, at: Revision(5), sub: 2)
    try writer.put("a".bytes, "5".bytes, at: Revision(6))
    try writer.put("c".bytes, "6".bytes, at: Revision(7))
    try writer.commitNext()
    func hash(_ revision: Int64) throws -> UInt32 {
        try store.withSnapshot { try $0.hashKV(at: Revision(revision)) }
    }
    #expect(try hash(7) == 1_786_826_440)
    #expect(try hash(4) == 1_562_576_432)
    try writer.compact(to: Revision(5))
    try writer.commitNext()
    for _ in 0..<2 {
        #expect(try hash(7) == 2_729_284_100)
        #expect(try hash(6) == 2_199_585_717)
        // The second time with the old revisions really gone.
        let done = Latch()
        store.whenPhysicallyCompacted(through: Revision(5)) { done.open() }
        done.wait()
    }
    store.close()
}
