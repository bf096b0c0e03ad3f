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
}
