import Glibc
import Store
import TestSupport
import Testing
import Vocabulary

/// Files that are not what was written, and folders that cannot be restored into: refused, and nothing is left.
@Suite struct SnapshotDamageTests {
    /// A small file with blocks of every kind.
    private func smallFile(_ folder: TestFolder) throws -> [UInt8] {
        let store = try Store.open(folder.configuration())
        for number: Int64 in 2...9 {
            try store.writer.put(
                "key\(number % 3)".bytes, "value\(number)".bytes, lease: LeaseID(5), at: Revision(number))
        }
        try store.writer.delete("key1".bytes, at: Revision(10))
        try store.writer.setRecord(.leases, key: [1, 2], value: [3])
        try store.writer.setRecord(.leases, key: [1, 3], value: [])
        try store.writer.setRecord(.members, key: [9], value: [9])
        try store.writer.commitNext()
        defer { store.close() }
        return try store.snapshotFile()
    }

    private func refusal(_ bytes: [UInt8], _ folder: TestFolder) throws -> SnapshotError? {
        let file = try folder.write(bytes, to: "damaged.snap")
        do throws(SnapshotError) {
            _ = try SnapshotReader.verify(file)
            return nil
        } catch {
            return error
        }
    }

    /// Why the file is not restored; the folder must not exist afterwards.
    private func restoreRefusal(_ bytes: [UInt8], _ folder: TestFolder) throws -> SnapshotError? {
        let file = try folder.write(bytes, to: "damaged.snap")
        do throws(SnapshotError) {
            _ = try SnapshotRestore.run(file: file, into: folder.path + "/copy")
            return nil
        } catch {
            #expect(folder.entries("copy") == nil)
            return error
        }
    }

    @Test func `every flipped bit and every truncation is found`() throws {
        let folder = try TestFolder()
        let bytes = try smallFile(folder)
        #expect(try refusal(bytes, folder) == nil)
        for position in bytes.indices {
            var damaged = bytes
            damaged[position] ^= 1 << UInt8(position % 8)
            try #require(try refusal(damaged, folder) != nil, "byte \(position) flipped")
            try #require(try refusal(Array(bytes[..<position]), folder) != nil, "cut off at \(position)")
            guard position % 23 == 0 else { continue }
            try #require(try restoreRefusal(damaged, folder) != nil, "byte \(position) flipped")
            try #require(try restoreRefusal(Array(bytes[..<position]), folder) != nil, "cut off at \(position)")
        }
        #expect(try refusal(bytes + [0], folder) != nil)
        #expect(try restoreRefusal(bytes + bytes, folder) != nil)
        #expect(try restoreRefusal(bytes, folder) == nil)
    }

    @Test(arguments: Seeds.all)
    func `a large file with a damaged place anywhere is refused`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let folder = try TestFolder()
        let store = try Store.open(folder.configuration())
        for number: Int64 in 2...3_000 {
            let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 300)
            try store.writer.put("key\(number)".bytes, value, at: Revision(number))
            if number % 100 == 0 { try store.writer.commitNext() }
        }
        try store.writer.commitNext()
        let bytes = try store.snapshotFile()
        store.close()
        for _ in 0..<10 {
            var damaged = bytes
            let position = Int.random(in: damaged.indices, using: &random)
            for offset in 0..<min(Int.random(in: 1...600, using: &random), damaged.count - position) {
                damaged[position + offset] = ~damaged[position + offset]
            }
            #expect(try restoreRefusal(damaged, folder) != nil)
        }
    }

    @Test func `a file whose checksums are right but whose contents cannot be is refused`() throws {
        let folder = try TestFolder()
        let whole = try #require(SnapshotFileText(try smallFile(folder)))
        #expect(whole.blocks.map(\.kind) == [1, 2, 3, 3, 4])
        func refused(_ change: (inout SnapshotFileText) -> Void) throws -> SnapshotError? {
            var text = whole
            change(&text)
            return try restoreRefusal(text.bytes, folder)
        }
        let path = folder.path + "/damaged.snap"
        #expect(try refused { $0.magic[0] = 0 } == .foreign(path: path))
        #expect(try refused { $0.version = 2 } == .unknownVersion(path: path, found: 2, expected: 1))
        #expect(try refused { $0.blocks.removeFirst() } != nil)
        #expect(try refused { $0.blocks.remove(at: 1) } != nil)
        #expect(try refused { $0.blocks.removeLast() } != nil)
        #expect(try refused { $0.blocks.swapAt(1, 2) } != nil)
        #expect(try refused { $0.blocks.swapAt(2, 3) } != nil)
        #expect(try refused { $0.blocks.insert($0.blocks[1], at: 1) } != nil)
        #expect(try refused { $0.blocks.insert($0.blocks[2], at: 2) } != nil)
        #expect(try refused { $0.blocks.insert(.init(kind: 9, payload: []), at: 1) } != nil)
        // A main revision beyond the newest; a kind that is none; a key-value that is none; a table nobody knows.
        #expect(try refused { $0.blocks[1].payload[6] = 1 } != nil)
        #expect(try refused { $0.blocks[1].payload[16] = 2 } != nil)
        #expect(try refused { $0.blocks[1].payload[17] = 0xff } != nil)
        #expect(try refused { $0.blocks[2].payload[0] = 200 } != nil)
        // Lengths beyond the block.
        #expect(try refused { $0.blocks[1].payload[12] = 0xff } != nil)
        #expect(try refused { $0.blocks[2].payload[1] = 0xff } != nil)
        // Counts, and the hash: a value that was changed is found by it, however right the checksums are.
        #expect(try refused { $0.blocks[4].payload[7] += 1 } != nil)
        let hashed = try refused { $0.blocks[4].payload[$0.blocks[4].payload.count - 1] ^= 1 }
        guard case .hashDiffers = hashed else {
            Issue.record("expected another hash, got \(String(describing: hashed))")
            return
        }
        #expect(try refused { $0.blocks[4].payload[15] += 1 } != nil)
        #expect(try refused { _ in } == nil)
    }

    @Test func `a folder that holds anything is not restored into`() throws {
        let folder = try TestFolder()
        let file = try folder.write(try smallFile(folder), to: "f.snap")
        func refusal(_ directory: String) -> SnapshotError? {
            do throws(SnapshotError) {
                _ = try SnapshotRestore.run(file: file, into: directory)
                return nil
            } catch {
                return error
            }
        }
        guard case .notEmpty(path: folder.path + "/data", _) = refusal(folder.path + "/data") else {
            Issue.record("a data folder in use was restored into")
            return
        }
        #expect(refusal(file) == .store(.notAFolder(path: file)))
        #expect(refusal(folder.path + "/no/folder") == .store(.folderMissing(path: folder.path + "/no/folder")))
        mkdir(folder.path + "/other", 0o700)
        try folder.write([1], to: "other/file")
        #expect(refusal(folder.path + "/other") == .notEmpty(path: folder.path + "/other", entry: "file"))
        #expect(folder.entries("other") == ["file"])
        mkdir(folder.path + "/empty", 0o700)
        #expect(refusal(folder.path + "/empty") == nil)
        #expect(folder.entries("empty") == ["base", "lock"])
    }

    @Test(arguments: [
        ["lock": "someone else's\n"], ["lock": "12\n3"], ["lock": "4711\n", "file": "precious"],
        ["base.partial/data.mdb": "left", "file": "precious"], ["base.partial/data.mdb": "left", "lock": "no number"],
        ["base.partial/data.mdb": "left", "base.partial/file": "precious"],
    ])
    func `a folder that is refused is as it was, byte for byte`(files: [String: String]) throws {
        let folder = try TestFolder()
        let file = try folder.write(try smallFile(folder), to: "f.snap")
        let directory = folder.path + "/refused"
        mkdir(directory, 0o700)
        if files.keys.contains(where: { $0.hasPrefix("base.partial/") }) { mkdir(directory + "/base.partial", 0o700) }
        for (name, text) in files { try folder.write(text.bytes, to: "refused/\(name)") }
        #expect(throws: SnapshotError.self) { try SnapshotRestore.run(file: file, into: directory) }
        let partial = folder.entries("refused/base.partial") ?? []
        let found = (folder.entries("refused") ?? []).subtracting(["base.partial"])
        #expect(found.union(partial.map { "base.partial/\($0)" }) == Set(files.keys))
        for (name, text) in files { #expect(folder.read("refused/\(name)") == text.bytes, "\(name)") }
    }

    @Test func `a folder somebody holds is refused as it is, and a lock made for nothing goes again`() throws {
        let folder = try TestFolder()
        let whole = try smallFile(folder)
        let file = try folder.write(whole, to: "f.snap")
        let directory = folder.path + "/copy"
        mkdir(directory, 0o700)
        let lock = open(try folder.write("4711\n".bytes, to: "copy/lock"), O_RDWR | O_CLOEXEC)
        #expect(flock(lock, LOCK_EX | LOCK_NB) == 0)
        mkdir(directory + "/base.partial", 0o700)
        try folder.write([1, 2], to: "copy/base.partial/data.mdb")
        #expect(throws: SnapshotError.store(.heldByAnother(path: directory, pid: 4711))) {
            try SnapshotRestore.run(file: file, into: directory)
        }
        #expect(folder.entries("copy") == ["base.partial", "lock"])
        #expect(folder.read("copy/lock") == "4711\n".bytes)
        #expect(folder.read("copy/base.partial/data.mdb") == [1, 2])
        close(lock)
        // Damage that is met once the folder was taken.
        let damaged = try folder.write(whole.dropLast(3) + [0, 0, 0], to: "damaged.snap")
        mkdir(folder.path + "/empty", 0o700)
        #expect(throws: SnapshotError.self) { try SnapshotRestore.run(file: damaged, into: folder.path + "/empty") }
        #expect(folder.entries("empty") == [])
        _ = try SnapshotRestore.run(file: file, into: directory)
        #expect(folder.entries("copy") == ["base", "lock"])
    }

    @Test func `a length that no block has is refused before memory is taken for it`() throws {
        let folder = try TestFolder()
        let bytes = try smallFile(folder)
        // The second block, of 1 GiB in a file that is long enough.
        let block = 12 + 5 + 80 + 4
        let file = try folder.write(
            bytes[..<(block + 1)] + SnapshotFileText.bytes(UInt32(1 << 30)) + bytes[(block + 5)...], to: "long.snap")
        #expect(truncate(file, 2 << 30) == 0)
        #expect(
            throws: SnapshotError.damaged(
                path: file, offset: block,
                detail: "a block of \(1 << 30) bytes is longer than any, of at most \(128 << 20)")
        ) { try SnapshotReader.verify(file) }
    }

    @Test func `a restore that was killed leaves a folder no server opens, and the next one mends it`() throws {
        let folder = try TestFolder()
        let file = try folder.write(try smallFile(folder), to: "f.snap")
        let directory = folder.path + "/copy"
        mkdir(directory, 0o700)
        mkdir(directory + "/base.partial", 0o700)
        try folder.write([1, 2, 3], to: "copy/base.partial/data.mdb")
        #expect(
            throws: StoreError.corrupt(
                place: directory + "/base.partial", detail: "a restore into this folder was begun and not finished")
        ) { try Store.open(folder.configuration { $0.directory = directory }) }
        _ = try SnapshotRestore.run(file: file, into: directory)
        #expect(folder.entries("copy") == ["base", "lock"])
        #expect(folder.entries("copy/base") == ["data.mdb"])
        try Store.open(folder.configuration { $0.directory = directory }).close()
    }

    @Test func `records that are not to come along stay behind`() throws {
        let folder = try TestFolder()
        let file = try folder.write(try smallFile(folder), to: "f.snap")
        let directory = folder.path + "/copy"
        let report = try SnapshotRestore.run(
            file: file, into: directory, keeps: { table, key in table != .members && key != [1, 2] })
        #expect(report.leftOut == 2)
        let store = try Store.open(folder.configuration { $0.directory = directory })
        var found: [RecordTable: [[UInt8]]] = [:]
        for table in RecordTable.allCases {
            try store.forEachRecord(table) { key, _ in found[table, default: []].append(key) }
        }
        #expect(found == [.leases: [[1, 3]]])
        store.close()
    }
}
