import Glibc
import Store
import Testing
import Vocabulary

/// What the process holds of the store's files.
@Suite struct MemoryTests {
    @Test func `a flush gives back what readers took into memory of base`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration { $0.baseMapBytes = 64 << 20 })
        defer { store.close() }
        let value = [UInt8](repeating: 7, count: 1_000)
        var revision = Revision.initial
        func put(_ key: String) throws {
            revision = revision.next
            try store.writer.put(key.bytes, value, at: revision)
        }
        for number in 0..<4_000 {
            try put("key \(number)")
            if number % 100 == 99 { try store.writer.commitNext() }
        }
        try store.writer.sealAndFlush(store)
        #expect(try readAll(store) == 4_000)
        let file = folder.path + "/data/base/data.mdb"
        let before = try residentKiB(of: file)
        #expect(before > 3_000)
        // With one of the next flushes: between two that give memory back there is a pause.
        var flushes = 0
        while try residentKiB(of: file) > before / 4, flushes < 2_000 {
            try put("one more")
            try store.writer.commitNext()
            try store.writer.sealAndFlush(store)
            flushes += 1
        }
        #expect(try residentKiB(of: file) <= before / 4)
        // It is all still there.
        #expect(try readAll(store) == 4_001)
    }

    @Test func `once all is flushed and nothing is written, the young layers hold nothing`() throws {
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        defer { store.close() }
        var revision = Revision.initial
        // One layer after the other, each with as much as makes it full.
        for _ in 0..<2 {
            for _ in 0..<1_000 {
                revision = revision.next
                try store.writer.put("key \(revision)".bytes, [UInt8](repeating: 7, count: 1_000), at: revision)
            }
            try store.writer.commitNext()
            try store.writer.sealAndFlush(store)
        }
        func young() throws -> Int {
            try ["a", "b"].reduce(0) { try $0 + residentKiB(of: folder.path + "/data/young-\($1)/data.mdb") }
        }
        let before = try young()
        #expect(before > 1_000)
        let now = MonotonicInstant(sinceStart: .seconds(1))
        // What is written keeps its pages, sealed and flushed or not.
        try store.writer.put("one more".bytes, [], at: revision.next)
        try store.writer.commitNext()
        store.writer.sealIfDue(now: now)
        #expect(try young() > before / 2)
        try store.writer.sealAndFlush(store)
        store.writer.sealIfDue(now: now)
        #expect(try young() < before / 10)
        #expect(try readAll(store) == 2_000)
    }

    /// Reads every value; tells how many there are.
    private func readAll(_ store: Store) throws -> Int {
        try store.withSnapshot { snapshot in
            try snapshot.keys(in: .all).filter { try snapshot.encoded($0.key)?.count ?? 0 > 1_000 }.count
        }
    }

    /// What this process's maps of a file hold in memory, by `/proc/self/smaps`.
    private func residentKiB(of path: String) throws -> Int {
        var isOfFile = false
        var total = 0
        for line in try textOfFile("/proc/self/smaps").split(separator: "\n") {
            if line.hasSuffix(path) {
                isOfFile = true
            } else if line.hasPrefix("VmFlags:") {
                isOfFile = false
            } else if isOfFile, line.hasPrefix("Rss:") {
                total += line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            }
        }
        return total
    }

    private func textOfFile(_ path: String) throws -> String {
        let file = try #require(fopen(path, "re"))
        defer { fclose(file) }
        var text: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&piece, 1, piece.count, file)
            guard count > 0 else { return String(decoding: text, as: UTF8.self) }
            text += piece[..<count]
        }
    }
}
