import Glibc
import Store
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// Free pages given back to the file system. That the store stays its model meanwhile is in `PropertyTests`.
@Suite struct DefragmentationTests {
    /// Writes a history of few keys and compacts nearly all of it away. Answers the newest revision.
    private func fillAndCompact(_ store: Store, revisions: Int64 = 3_000) throws -> Revision {
        let value = [UInt8](repeating: 7, count: 1_000)
        let first = store.publishedRevision.value + 1
        for number in first..<(first + revisions) {
            try store.writer.put("key\(number % 10)".bytes, value, at: Revision(number))
            if number % 100 == 0 { try store.writer.commitNext() }
        }
        let newest = Revision(first + revisions - 1)
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        try store.writer.compact(to: newest)
        try store.writer.commitNext()
        let done = Latch()
        store.whenPhysicallyCompacted(through: newest) { done.open() }
        try store.writer.sealAndFlush(store)
        done.wait()
        return newest
    }

    private func defragment(_ store: Store) throws -> DefragmentationReport {
        let outcome = Mutex<Result<DefragmentationReport, StoreError>?>(nil)
        let done = Latch()
        store.defragment { result in
            outcome.withLock { $0 = result }
            done.open()
        }
        done.wait()
        return try #require(outcome.withLock { $0 }).get()
    }

    private func blocks(_ folder: TestFolder) -> Int {
        var status = stat()
        return stat(folder.path + "/data/base/data.mdb", &status) == 0 ? Int(status.st_blocks) * 512 : 0
    }

    @Test func `free pages go back to the file system, and nothing else changes`() throws {
        let folder = try TestFolder()
        let configuration = folder.configuration { $0.smallestHole = 1 }
        var store = try Store.open(configuration)
        _ = try fillAndCompact(store)
        let hash = try store.hash().0
        let before = blocks(folder)
        #expect(store.size().allocatedBytes >= before / 2)
        let report = try defragment(store)
        #expect(report.isSupported)
        #expect(report.bytesAfter == blocks(folder))
        #expect(report.bytesBefore > 3_000_000 && report.bytesAfter < 300_000)
        #expect(store.size().allocatedBytes == max(blocks(folder), store.size().inUseBytes))
        #expect(try store.hash().0 == hash)
        // Again: nothing is left to do but for the pages of its own small transaction, and holes are written into like any free page.
        #expect(try defragment(store).bytesAfter <= report.bytesAfter + 65_536)
        _ = try fillAndCompact(store)
        let later = try store.hash().0
        store.close()
        store = try Store.open(configuration)
        #expect(try store.hash().0 == later)
        store.close()
    }

    @Test func `what a reader looks at stays, however old, until it has gone`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration { $0.smallestHole = 1 })
        let value = [UInt8](repeating: 9, count: 1_000)
        for number: Int64 in 2...2_000 { try store.writer.put("key".bytes, value, at: Revision(number)) }
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        let isInside = Latch()
        let mayRead = Latch()
        let found = Atomic<Int>(0)
        let reader = TestThread {
            do {
                try store.withSnapshot { snapshot in
                    isInside.open()
                    mayRead.wait()
                    try snapshot.forEachChange(from: Revision(2), through: Revision(2_000)) { change in
                        if change.keyValue.count > 1_000 { found.wrappingAdd(1, ordering: .relaxed) }
                        return .next
                    }
                }
            } catch {
                Issue.record(error, "a reader failed")
            }
        }
        isInside.wait()
        try store.writer.compact(to: Revision(2_000))
        try store.writer.commitNext()
        let done = Latch()
        store.whenPhysicallyCompacted(through: Revision(2_000)) { done.open() }
        try store.writer.sealAndFlush(store)
        done.wait()
        let held = try defragment(store)
        #expect(held.bytesAfter > 2_000_000)
        mayRead.open()
        reader.join()
        #expect(found.load(ordering: .relaxed) == 1_999)
        #expect(try defragment(store).bytesAfter < 300_000)
        store.close()
    }

    /// A torn newest meta page makes LMDB go back one transaction: all of that must still be there.
    @Test func `the transaction before the newest stays whole`() throws {
        let folder = try TestFolder()
        let configuration = folder.configuration { $0.smallestHole = 1 }
        var store = try Store.open(configuration)
        _ = try fillAndCompact(store)
        _ = try fillAndCompact(store, revisions: 1_500)
        _ = try defragment(store)
        let hash = try store.hash().0
        store.abandon()
        try loseNewestMeta(folder.path + "/data/base/data.mdb")
        // The checksums know of the transaction that is lost here, and would refuse to forget it.
        #expect(unlink(folder.path + "/data/base/pages.sum") == 0)
        store = try Store.open(configuration)
        #expect(try store.hash().0 == hash)
        #expect(try store.storedRevisions().count >= 10)
        store.close()
    }

    /// Overwrites the meta page with the higher transaction id (16 bytes from the page's end of header).
    private func loseNewestMeta(_ path: String) throws {
        let file = open(path, O_RDWR)
        try #require(file >= 0)
        defer { close(file) }
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        // Page header 16 bytes; then magic and version 8, address 8, map size 8, two databases of 48, last page 8.
        let transactionOffset = 16 + 24 + 96 + 8
        var ids: [UInt64] = []
        for number in 0..<2 {
            var id: UInt64 = 0
            try #require(pread(file, &id, 8, off_t(number * page + transactionOffset)) == 8)
            ids.append(id)
        }
        let newest = ids[0] > ids[1] ? 0 : 1
        var older = ids[1 - newest] > 0 ? ids[1 - newest] - 1 : 0
        try #require(ids[newest] == ids[1 - newest] + 1)
        try #require(pwrite(file, &older, 8, off_t(newest * page + transactionOffset)) == 8)
    }

    /// LMDB alone would free none of these pages.
    @Test(arguments: [(0, 0.75), (100, 0.65), (1_000, 0.9)])
    func `every second key deleted frees pages with the compaction alone`(size: Int, left: Double) throws {
        var random = SeededGenerator(seed: 1)
        let folder = try TestFolder()
        let configuration = folder.configuration { $0.sealBytes = 64 << 20 }
        var store = try Store.open(configuration)
        let keys = (0..<20_000).map { "key/\($0)".bytes }
        var revision = Revision.initial
        for key in keys {
            revision = revision.next
            try store.writer.put(key, [UInt8](repeating: 3, count: size), at: revision)
        }
        try store.writer.commitNext()
        try store.writer.sealAndFlush(store)
        let before = store.size().inUseBytes
        for key in keys.shuffled(using: &random).prefix(keys.count / 2) {
            revision = revision.next
            try store.writer.delete(key, at: revision)
        }
        revision = revision.next
        try store.writer.put("last".bytes, [], at: revision)
        try store.writer.compact(to: revision)
        try store.writer.commitNext()
        let hash = try store.hash().0
        let done = Latch()
        store.whenPhysicallyCompacted(through: revision) { done.open() }
        try store.writer.sealAndFlush(store)
        done.wait()
        #expect(Double(store.size().inUseBytes) < Double(before) * left)
        #expect(try store.hash().0 == hash)
        #expect(try store.withSnapshot { try $0.count(in: .all, at: revision) } == 10_001)
        store.close()
        store = try Store.open(configuration)
        #expect(try store.hash().0 == hash)
        store.close()
    }

    @Test func `a file system without holes is told so, and an error leaves the store as it was`() throws {
        let folder = try TestFolder()
        let code = Atomic<Int32>(EOPNOTSUPP)
        let store = try Store.open(
            folder.configuration {
                $0.smallestHole = 1
                $0.punchFault = { code.exchange(0, ordering: .relaxed) }
            })
        _ = try fillAndCompact(store)
        let hash = try store.hash().0
        let refused = try defragment(store)
        #expect(!refused.isSupported)
        #expect(refused.bytesAfter >= refused.bytesBefore)
        code.store(EIO, ordering: .relaxed)
        #expect(throws: StoreError.self) { try defragment(store) }
        code.store(EINTR, ordering: .relaxed)
        #expect(try defragment(store).bytesAfter < 300_000)
        #expect(try store.hash().0 == hash)
        store.close()
    }

    @Test func `a store that closes tells who waits for a defragmentation`() throws {
        let folder = try TestFolder()
        let isFlushing = Latch()
        let mayGoOn = Latch()
        let store = try Store.open(
            folder.configuration {
                $0.flushFault = {
                    isFlushing.open()
                    mayGoOn.wait()
                    return nil
                }
            })
        try store.writer.put("a".bytes, "1".bytes, at: Revision(2))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        isFlushing.wait()
        let told = Latch()
        let errors = Mutex<[StoreError]>([])
        @Sendable func note(_ result: Result<DefragmentationReport, StoreError>) {
            if case .failure(let error) = result { errors.withLock { $0.append(error) } }
            told.open()
        }
        store.defragment(note)
        let closer = TestThread { store.abandon() }
        mayGoOn.open()
        told.wait()
        closer.join()
        store.defragment(note)
        told.wait()
        #expect(errors.withLock { $0 }.last == .closed)
    }

    @Test func `runs of neighbours are found from a page on, and short ones are left`() {
        #expect(Defragmentation.runs(of: [], from: 0, atLeast: 1) == [])
        #expect(Defragmentation.runs(of: [3, 4, 5, 7, 9, 10], from: 0, atLeast: 2) == [3..<6, 9..<11])
        #expect(Defragmentation.runs(of: [3, 4, 5, 7, 9, 10], from: 5, atLeast: 1) == [5..<6, 7..<8, 9..<11])
        #expect(Defragmentation.runs(of: [0, 1, 2], from: 0, atLeast: 3) == [0..<3])
        #expect(Defragmentation.runs(of: [0, 1, 2], from: 0, atLeast: 4) == [])
    }
}

/// Young layers as large as `youngMapBytes` says do not grow: a layer that has to, on a full disk, ends the server.
@Suite struct YoungMapTests {
    struct Shape: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var key: @Sendable (Int64, inout SeededGenerator) -> [UInt8]
        var valueSize: Int
    }

    static let shapes = [
        Shape(testDescription: "tiny keys", key: { number, _ in Array("\(number)".utf8) }, valueSize: 0),
        Shape(testDescription: "random keys of 16 bytes", key: { _, random in bytes(16, &random) }, valueSize: 100),
        Shape(testDescription: "values over half a page", key: { _, random in bytes(20, &random) }, valueSize: 2_050),
        Shape(testDescription: "values of half a page", key: { _, random in bytes(20, &random) }, valueSize: 1_400),
        Shape(testDescription: "one byte over a page", key: { _, random in bytes(20, &random) }, valueSize: 4_090),
        Shape(testDescription: "keys of 490 bytes", key: { _, random in bytes(490, &random) }, valueSize: 0),
        Shape(
            testDescription: "long keys in buckets of their own", key: { _, random in bytes(600, &random) },
            valueSize: 0),
        Shape(testDescription: "long keys of many levels", key: { _, random in bytes(3_000, &random) }, valueSize: 10),
        Shape(testDescription: "one key again and again", key: { _, _ in [1] }, valueSize: 30),
    ]

    private static func bytes(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    @Test(arguments: shapes, [(32_768, 16 << 20), (2_000, 16 << 20), (60_000, 1 << 20)])
    func `a young layer holds what its bounds let in`(shape: Shape, bounds: (revisions: Int, bytes: Int)) throws {
        var random = SeededGenerator(seed: 1)
        let folder = try TestFolder()
        let events = Events()
        let batch = (changes: 2_000, bytes: 2 << 20)
        let mayFlush = Latch()
        let store = try Store.open(
            folder.configuration {
                $0.sealRevisions = bounds.revisions
                $0.sealBytes = bounds.bytes
                $0.youngMapBytes = StoreConfiguration.youngMapBytes(
                    sealRevisions: bounds.revisions, sealBytes: bounds.bytes, batchChanges: batch.changes,
                    batchBytes: batch.bytes)
                $0.baseMapBytes = 1 << 30
                $0.onEvent = events.record
                $0.flushFault = {
                    mayFlush.wait()
                    return nil
                }
            })
        let value = [UInt8](repeating: 5, count: shape.valueSize)
        var number: Int64 = 1
        // Twice: the first layer waits for the flusher, the second one is filled until no proposal is taken any more, and
        // a batch more.
        while store.writer.hasRoom {
            var changes = 0
            var bytes = 0
            while changes < batch.changes, bytes < batch.bytes {
                number += 1
                let key = shape.key(number, &random)
                try store.writer.put(key, value, at: Revision(number))
                changes += 1
                bytes += key.count + value.count
            }
            try store.writer.commitNext()
        }
        #expect(events.grown.isEmpty)
        mayFlush.open()
        mayFlush.open()
        store.close()
        #expect(events.grown.isEmpty)
    }
}
