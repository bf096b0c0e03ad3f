import Store
import Testing
import Vocabulary

@Test func `a fresh store is at revision 1 and hashes as etcd's does`() throws {
    let folder = try TestFolder()
    let store = try Store.open(folder.configuration())
    #expect(store.publishedRevision == .initial)
    #expect(store.compactedRevision == .zero)
    let hash = try store.withSnapshot { try $0.hashKV(at: $0.revision) }
    #expect(hash == 1_084_519_789)
    store.close()
}

@Test func `a batch is seen by its own view at once and by readers only after its commit`() throws {
    let folder = try TestFolder()
    let store = try Store.open(folder.configuration())
    let first = try store.writer.put("k".bytes, "v".bytes, at: Revision(2))
    #expect(
        first
            == KeyRecord(
                createRevision: Revision(2), modRevision: Revision(2), modSub: 0, version: 1, lease: .none))
    #expect(try store.writer.view.record("k".bytes) == first)
    #expect(try store.withSnapshot { try $0.record("k".bytes) } == nil)
    try store.writer.commitNext()
    #expect(store.publishedRevision == Revision(2))
    #expect(try store.withSnapshot { try $0.record("k".bytes) } == first)
    try store.writer.delete("k".bytes, at: Revision(3))
    try store.writer.commitNext()
    try store.withSnapshot { (snapshot: Snapshot) throws in
        #expect(try snapshot.record("k".bytes) == nil)
        #expect(try snapshot.record("k".bytes, at: Revision(2)) == first)
        #expect(throws: StoreError.futureRevision(requested: Revision(4), current: Revision(3))) {
            try snapshot.record("k".bytes, at: Revision(4))
        }
    }
    let reborn = try store.writer.put("k".bytes, [], at: Revision(4))
    #expect(reborn.version == 1)
    #expect(reborn.createRevision == Revision(4))
    store.close()
}

@Test func `what was flushed survives a crash, with the applied index it belongs to`() throws {
    let folder = try TestFolder()
    var store = try Store.open(folder.configuration())
    let identity = store.identity
    try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
    try store.writer.setRecord(.leases, key: [1], value: [2])
    try store.writer.commitNext()
    try store.writer.sealAndFlush(store)
    try store.writer.put("b".bytes, "2".bytes, at: Revision(3))
    try store.writer.commitNext()
    store.abandon()
    store = try Store.open(folder.configuration())
    #expect(store.identity == identity)
    #expect(store.publishedRevision == Revision(2))
    #expect(store.writer.appliedIndex == RaftIndex(1))
    #expect(store.writer.appliedTerm == RaftTerm(1))
    try store.withSnapshot { (snapshot: Snapshot) throws in
        #expect(try snapshot.record("a".bytes)?.version == 1)
        #expect(try snapshot.record("b".bytes) == nil)
    }
    var records: [[UInt8]: [UInt8]] = [:]
    try store.forEachRecord(.leases) { records[$0] = $1 }
    #expect(records == [[1]: [2]])
    store.close()
}

@Test func `closing makes everything durable, an applied index without writes too`() throws {
    let folder = try TestFolder()
    var store = try Store.open(folder.configuration())
    try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
    try store.writer.commitNext()
    try store.writer.commit(appliedIndex: RaftIndex(7), term: RaftTerm(3))
    store.close()
    store = try Store.open(folder.configuration())
    #expect(store.writer.appliedIndex == RaftIndex(7))
    #expect(store.writer.appliedTerm == RaftTerm(3))
    #expect(store.durableIndex == RaftIndex(7))
    #expect(try store.withSnapshot { try $0.record("a".bytes)?.version } == 1)
    store.close()
}

@Test func `flushing up to an entry that was not sealed is an error and not a wait`() throws {
    let folder = try TestFolder()
    let store = try Store.open(folder.configuration())
    try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
    try store.writer.commitNext()
    #expect(throws: StoreError.notSealed(RaftIndex(1))) { try store.flushSealed(upTo: RaftIndex(1)) }
    store.close()
}
