import Store
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// Copies of a store while it goes on, and stores made from them.
@Suite struct SnapshotTests {
    /// Restores into a new folder and opens it.
    private func restored(_ file: String, _ folder: TestFolder, _ name: String) throws -> Store {
        let directory = folder.path + "/" + name
        let report = try SnapshotRestore.run(file: file, into: directory)
        let store = try Store.open(
            folder.configuration {
                $0.directory = directory
                $0.compactionStep = 37
                $0.sealRevisions = 200
            })
        #expect(store.identity == report.identity)
        #expect(store.writer.appliedIndex == .zero)
        #expect(store.writer.appliedTerm == .zero)
        return store
    }

    @Test(arguments: Seeds.all)
    func `a restored store is the one it was copied from, and lives on as it would have`(seed: UInt64) throws {
        let folder = try TestFolder()
        let keys = (0..<40).map { "key\($0)".bytes } + boundaryKeys().filter { $0.count % 3 == 0 }
        let workload = Workload(seed: seed, keys: keys)
        var store = try Store.open(folder.configuration { $0.compactionStep = 37 })
        for round in 0..<6 {
            for _ in 0..<40 { try workload.batch(store) }
            let bytes = try store.snapshotFile()
            let hash = try store.hash()
            let history = try store.hashKV(at: store.publishedRevision)
            let file = try folder.write(bytes, to: "\(round).snap")
            let summary = try SnapshotReader.verify(file)
            #expect(summary.hash == hash.0)
            #expect(summary.header.identity == store.identity)
            #expect(summary.header.currentRevision == workload.model.current)
            #expect(summary.header.compactedRevision == workload.model.compacted)
            #expect(summary.header.appliedIndex == workload.model.applied)
            #expect(summary.liveKeys == UInt64(workload.model.keys(in: .all, at: workload.model.current).count))
            #expect(SnapshotFileText(bytes)?.bytes == bytes)

            let next = try restored(file, folder, "data\(round)")
            #expect(next.identity.clusterID != store.identity.clusterID)
            #expect(next.identity.memberID != store.identity.memberID)
            #expect(try next.hash() == hash)
            #expect(try next.hashKV(at: next.publishedRevision) == history)
            for _ in 0..<10 {
                try next.withSnapshot { (snapshot: Snapshot) throws in
                    try workload.compare(snapshot, with: workload.model)
                    try workload.compareRecords(snapshot)
                }
            }
            store.close()
            store = next
        }
        for _ in 0..<40 { try workload.batch(store) }
        try store.withSnapshot { try workload.compare($0, with: workload.model) }
        store.close()
    }

    @Test func `a bumped store goes on at a higher revision, and what was before counts as compacted`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        for revision: Int64 in 2...20 {
            try store.writer.put("k\(revision % 3)".bytes, "v".bytes, at: Revision(revision))
        }
        try store.writer.delete("k1".bytes, at: Revision(21))
        try store.writer.commitNext()
        let file = try folder.write(try store.snapshotFile(), to: "f.snap")
        store.close()
        let directory = folder.path + "/copy"
        #expect(throws: SnapshotError.bumpTooLarge(bump: .max, revision: Revision(21))) {
            try SnapshotRestore.run(file: file, into: directory, bump: .max)
        }
        #expect(folder.entries("copy") == nil)
        #expect(try SnapshotRestore.run(file: file, into: directory, bump: 1_000).revision == Revision(1_021))
        let copy = try Store.open(folder.configuration { $0.directory = directory })
        #expect(copy.publishedRevision == Revision(1_021))
        #expect(copy.compactedRevision == Revision(1_021))
        try copy.withSnapshot { (snapshot: Snapshot) throws in
            #expect(try snapshot.keys(in: .all).map(\.record.modRevision) == [Revision(18), Revision(20)])
            #expect(throws: StoreError.compacted(requested: Revision(21), compacted: Revision(1_021))) {
                try snapshot.forEachChange(from: Revision(21), through: Revision(1_021)) { _ in .next }
            }
        }
        let isCompacted = Latch()
        copy.whenPhysicallyCompacted(through: Revision(1_021)) { isCompacted.open() }
        isCompacted.wait()
        #expect(try copy.storedRevisions() == [18, 20])
        try copy.writer.put("new".bytes, [], at: Revision(1_022))
        try copy.writer.commitNext()
        #expect(copy.publishedRevision == Revision(1_022))
        copy.close()
    }

    @Test func `an empty store is copied and restored`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        let file = try folder.write(try store.snapshotFile(), to: "empty.snap")
        let copy = try restored(file, folder, "copy")
        #expect(copy.publishedRevision == .initial)
        #expect(try copy.hash() == store.hash())
        copy.close()
        store.close()
    }

    @Test func `what is written, flushed and compacted while a copy is made is not in it`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration { $0.baseMapBytes = 256 << 20 })
        let value = [UInt8](repeating: 7, count: 5_000)
        var revision = Revision.initial
        func write(_ count: Int) throws {
            for number in 0..<count {
                revision = revision.next
                try store.writer.put("key\(number % 150)".bytes, value, at: revision)
                if number % 20 == 19 {
                    try store.writer.commitNext()
                    try store.writer.sealAndFlush(store)
                }
            }
        }
        try write(300)
        let hash = try store.hash().0
        let copy = try store.beginCopy(takenAtMilliseconds: 0)
        #expect(copy.revision == revision)
        #expect(copy.appliedIndex == store.durableIndex)
        var bytes: [UInt8] = []
        for _ in 0..<3 { bytes += try #require(try copy.next()).bytes }
        let oldest = revision
        try write(300)
        try store.writer.compact(to: oldest)
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        let isCompacted = Latch()
        store.whenPhysicallyCompacted(through: oldest) { isCompacted.open() }
        isCompacted.wait()
        try write(100)
        bytes += try copy.rest()
        copy.end()
        #expect(throws: StoreError.closed) { try copy.next() }

        let next = try restored(try folder.write(bytes, to: "f.snap"), folder, "copy")
        #expect(try next.hash() == (hash, oldest))
        next.close()
        store.close()
    }

    @Test func `an entry larger than a piece has a piece of its own size`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration { $0.sealBytes = 8 << 20 })
        let value = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 >> 8) }
        try store.writer.put("large".bytes, value, at: Revision(2))
        try store.writer.put("small".bytes, [1], at: Revision(3))
        try store.writer.commitNext()
        let file = try folder.write(try store.snapshotFile(), to: "f.snap")
        let next = try restored(file, folder, "copy")
        #expect(try next.hash() == store.hash())
        next.close()
        store.close()
    }

    @Test func `when base has to grow its copies end, and a new one is whole`() throws {
        let folder = try TestFolder()
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                $0.baseMapBytes = 1 << 20
                $0.onEvent = events.record
            })
        try store.writer.put("a".bytes, [], at: Revision(2))
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        let copy = try store.beginCopy(takenAtMilliseconds: 0)
        _ = try copy.next()
        let value = [UInt8](repeating: 7, count: 50_000)
        for revision: Int64 in 3...60 {
            try store.writer.put("k\(revision)".bytes, value, at: Revision(revision))
            try store.writer.commitNext()
            if revision % 10 == 0 { try store.writer.sealAndFlush(store) }
        }
        #expect(events.grown.contains("base"))
        #expect(throws: StoreError.copyEnded(reason: "the store's address space has to grow")) { try copy.next() }
        copy.end()
        let next = try restored(try folder.write(try store.snapshotFile(), to: "f.snap"), folder, "copy")
        #expect(try next.hash() == store.hash())
        next.close()
        store.close()
    }

    @Test func `a store that closes ends its copies`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        let copy = try store.beginCopy(takenAtMilliseconds: 0)
        store.close()
        #expect(throws: StoreError.copyEnded(reason: "the server stops")) { try copy.next() }
        #expect(throws: StoreError.copyEnded(reason: "the server stops")) {
            try store.beginCopy(takenAtMilliseconds: 0)
        }
        copy.end()
    }

    @Test func `sealing for a copy waits for a flush under way, and is given up after a failed write`() throws {
        let folder = try TestFolder()
        let mayGoOn = Latch()
        let hasFlushed = Latch()
        let isFirst = Atomic<Bool>(true)
        let store = try Store.open(
            folder.configuration {
                $0.flushFault = {
                    // Holds the first flush, and lets it pass.
                    if isFirst.exchange(false, ordering: .relaxed) {
                        hasFlushed.open()
                        mayGoOn.wait()
                    }
                    return nil
                }
            })
        try store.writer.put("a".bytes, [], at: Revision(2))
        try store.writer.commitNext()
        #expect(store.sealForCopy() == .sealed)
        hasFlushed.wait()
        try store.writer.put("b".bytes, [], at: Revision(3))
        try store.writer.commitNext()
        let target = store.writer.appliedIndex
        #expect(store.sealForCopy() == .mustWait)
        mayGoOn.open()
        try store.awaitFlush(upTo: target)
        #expect(store.sealForCopy() == .sealed)
        try store.flushSealed(upTo: target)
        try store.awaitFlush(upTo: target)
        let copy = try store.beginCopy(takenAtMilliseconds: 0)
        #expect(copy.appliedIndex == target)
        copy.end()
        try store.writer.put("c".bytes, [], at: Revision(4))
        try store.writer.commitNext()
        store.writer.poison()
        #expect(store.sealForCopy() == .failed)
        store.close()
    }
}
