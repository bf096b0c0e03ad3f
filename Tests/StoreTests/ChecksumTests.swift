import Glibc
import Store
import Synchronization
import TestSupport
import Testing
import Vocabulary

/// `base/pages.sum` through kills, upgrades and compactions; and what happens when a page does not fit its sum.
@Suite struct ChecksumTests {
    /// What is found in base but for leases, which the workloads here make up.
    private func findings(_ folder: TestFolder) throws -> [StoreCheck.Finding] {
        let report = try StoreCheck.run(directory: folder.path + "/data")
        #expect(report.verifiedPages == report.usedPages, "pages without a checksum")
        return report.findings.filter { !$0.description.contains("lease") }
    }

    @Test(arguments: Seeds.all)
    func `every page has its sum through flushes, compactions, restarts and kills before the sums are written`(
        seed: UInt64
    ) throws {
        let folder = try TestFolder()
        let keys = (0..<40).map { "key\($0)".bytes } + boundaryKeys().filter { $0.count < 1_000 && $0.count % 7 == 0 }
        let workload = Workload(seed: seed, keys: keys)
        for session in 0..<8 {
            let isKilled = Atomic<Bool>(false)
            let store = try Store.open(
                folder.configuration {
                    $0.sealRevisions = 150
                    $0.compactionStep = 37
                    $0.sumsFault = {
                        isKilled.load(ordering: .relaxed) ? .lmdb(code: EIO, operation: "planted") : nil
                    }
                })
            try workload.goBack(to: store)
            for _ in 0..<60 {
                try workload.batch(store)
                if workload.chance(10) { try workload.manyVersions(of: keys[session], store) }
                while !store.writer.hasRoom { try store.flushSealed(upTo: store.durableIndex.next) }
            }
            try store.writer.sealAndFlush(store)
            if session % 2 == 0 {
                try store.waitUntilVerified()
                // The commit reaches the disk, its sums do not.
                isKilled.store(true, ordering: .relaxed)
                try workload.batch(store)
                if store.writer.seal() { try? store.flushSealed(upTo: store.writer.appliedIndex) }
                store.abandon()
            } else {
                store.close()
            }
            let after = try Store.open(folder.configuration())
            try workload.goBack(to: after)
            try after.withSnapshot { try workload.compare($0, with: workload.model) }
            try after.waitUntilVerified()
            try after.withSnapshot { try workload.compare($0, with: workload.model) }
            // Sums that the kill left behind are written along with the next transaction.
            try workload.batch(after)
            try after.writer.sealAndFlush(after)
            after.abandon()
            #expect(try findings(folder) == [])
        }
    }

    @Test(arguments: Seeds.all)
    func `any part of a transaction's sums may have reached the disk when the power is cut`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let folder = try TestFolder()
        let path = folder.path + "/data/base/pages.sum"
        let workload = Workload(seed: seed, keys: (0..<30).map { "key\($0)".bytes })
        for _ in 0..<10 {
            var before: [UInt8] = []
            var store = try Store.open(folder.configuration())
            for _ in 0..<3 {
                before = try contents(path)
                try workload.batch(store)
                try store.writer.sealAndFlush(store)
            }
            store.abandon()
            // The header of the transaction before, and of the entries some old, some new ones. Where a compaction made more
            // than one transaction of it, the sums of the first were durable before the second began.
            var torn = try contents(path)
            guard newestTransaction(torn) <= newestTransaction(before) + 1 else { continue }
            let header = (0..<2).map { $0 * 4_096 }.flatMap { Array($0..<($0 + 64)) }
            for index in header { torn[index] = before[index] }
            for start in stride(from: 8_192, to: min(torn.count, before.count) - 15, by: 16)
            where Bool.random(using: &random) {
                torn.replaceSubrange(start..<(start + 16), with: before[start..<(start + 16)])
            }
            let file = open(path, O_WRONLY | O_TRUNC)
            #expect(Glibc.write(file, torn, torn.count) == torn.count)
            close(file)
            store = try Store.open(folder.configuration())
            try store.waitUntilVerified()
            #expect(store.writer.appliedIndex == workload.model.applied)
            try workload.batch(store)
            try store.writer.sealAndFlush(store)
            store.abandon()
            #expect(try findings(folder) == [])
        }
    }

    /// The transaction that the newer of the two headers names.
    private func newestTransaction(_ sums: [UInt8]) -> UInt64 {
        sums.withUnsafeBytes { bytes in
            max(
                bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
                bytes.loadUnaligned(fromByteOffset: 4_096 + 16, as: UInt64.self))
        }
    }

    @Test func `a base without sums gets new ones and is guarded from then on, one with those of long ago is refused`()
        throws
    {
        let folder = try TestFolder()
        let path = folder.path + "/data/base/"
        let workload = Workload(seed: 5, keys: (0..<30).map { "key\($0)".bytes })
        var old: [UInt8] = []
        for session in 0..<4 {
            let store = try Store.open(folder.configuration())
            #expect(store.writer.appliedIndex == workload.model.applied)
            for _ in 0..<30 { try workload.batch(store) }
            store.close()
            #expect(try findings(folder) == [])
            if session == 0 { old = try contents(path + "pages.sum") }
            if session == 1 { #expect(unlink(path + "pages.sum") == 0) }
            if session == 2 {
                let file = open(path + "pages.sum", O_WRONLY | O_TRUNC)
                #expect(Glibc.write(file, old, old.count) == old.count)
                close(file)
                #expect(throws: StoreError.self) { try Store.open(folder.configuration()) }
                #expect(try contents(path + "pages.sum") == old)
                #expect(unlink(path + "pages.sum") == 0)
            }
        }
        let store = try Store.open(folder.configuration())
        try store.waitUntilVerified()
        store.close()
    }

    @Test func `data that is gone while its sums are there is not taken for a new store`() throws {
        let folder = try TestFolder()
        try Store.open(folder.configuration()).close()
        let path = folder.path + "/data/base/data.mdb"
        #expect(unlink(path) == 0)
        #expect(
            throws: StoreError.corrupt(
                place: path, detail: "the file is missing, though its checksums are there")
        ) { try Store.open(folder.configuration()) }
        #expect(access(path, F_OK) != 0)
    }

    /// Flips a bit of the page that holds these bytes.
    private func damage(_ folder: TestFolder, _ bytes: [UInt8]) throws {
        let path = folder.path + "/data/base/data.mdb"
        let all = try contents(path)
        let place = try #require(
            (0..<(all.count - bytes.count)).last {
                all[$0] == bytes[0] && all[$0..<($0 + bytes.count)].elementsEqual(bytes)
            })
        let file = open(path, O_WRONLY)
        #expect(pwrite(file, [all[place] ^ 4], 1, off_t(place)) == 1)
        close(file)
    }

    private func filled(_ folder: TestFolder, _ keys: Int) throws {
        let store = try Store.open(folder.configuration())
        for number in 0..<keys {
            try store.writer.put(
                "key\(1_000 + number)".bytes, "value\(1_000 + number)!".bytes, at: Revision(Int64(number + 2)))
        }
        try store.writer.commitNext()
        store.close()
    }

    @Test func `a damaged page stops its reader and the store, and no other read`() throws {
        let folder = try TestFolder()
        try filled(folder, 2_000)
        try damage(folder, "value1700!".bytes)
        let events = Events()
        let store = try Store.open(
            folder.configuration {
                $0.verifiesInBackground = false
                $0.onEvent = events.record
            })
        #expect(try store.withSnapshot { try $0.encoded("key1001".bytes) } != nil)
        #expect(events.fatal == [])
        for _ in 0..<2 {
            let error = #expect(throws: StoreError.self) { try store.withSnapshot { try $0.encoded("key1700".bytes) } }
            guard case .corrupt(let place, let detail) = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(place.hasPrefix("base page "))
            #expect(detail.hasPrefix("its checksum is "))
            #expect(events.fatal == [error].compactMap(\.self))
        }
        try store.writer.put("new".bytes, [], at: Revision(3_000))
        try store.writer.commitNext()
        #expect(store.writer.seal())
        #expect(throws: StoreError.self) { try store.flushSealed(upTo: store.writer.appliedIndex) }
        store.close()
    }

    @Test func `damage that nobody reads is found in the background`() throws {
        let folder = try TestFolder()
        try filled(folder, 2_000)
        try damage(folder, "value1700!".bytes)
        let events = Events()
        let store = try Store.open(folder.configuration { $0.onEvent = events.record })
        #expect(throws: StoreError.self) { try store.waitUntilVerified() }
        events.waitForFlush()
        #expect(events.fatal.count == 1)
        #expect(!store.isVerified)
        store.close()
    }

    @Test func `whichever way the damaged page is come by, the read ends in an error`() throws {
        let folder = try TestFolder()
        try filled(folder, 2_000)
        // The last place where these bytes stand is the key's own entry in the index.
        try damage(folder, "key1700".bytes)
        let reads: [(Snapshot) throws -> Void] = [
            { _ = try $0.record("key1700".bytes) },
            { _ = try $0.record("key1700a".bytes) },
            { _ = try $0.count(in: .all, at: $0.revision) },
            { _ = try $0.count(in: KeyRange(key: "key1690".bytes, end: "key1710".bytes), at: $0.revision) },
            { try $0.forEachKey(in: KeyRange(key: "key1".bytes, end: [0]), at: $0.revision) { _, _ in .next } },
        ]
        let history: (Snapshot) throws -> Void = {
            try $0.forEachChange(from: Revision(2), through: $0.revision) { _ in .next }
        }
        func fails(_ read: (Snapshot) throws -> Void) throws -> Bool {
            let store = try Store.open(folder.configuration { $0.verifiesInBackground = false })
            defer { store.abandon() }
            do { try store.withSnapshot(read) } catch is StoreError { return true }
            return false
        }
        let isInHistory = try fails(history)
        for read in reads { #expect(try fails(read) != isInHistory) }
    }
}
