import Glibc
import Synchronization

/// The checksums of base's pages: a number a page, in memory and in `base/pages.sum`.
///
/// A page's sum is the CRC-32C of its bytes, 1 when that is 0; an overflow run's stands at its first page and covers the
/// whole run. 0 means free, inside of a run, or unknown.
///
/// Entries are read by any thread and changed by the flusher's (or by the one that opens the store). Memory comes in
/// chunks that stay where they are, so that reading needs no lock.
final class SumTable: @unchecked Sendable {
    // Unchecked: chunks are published through atomics and never move; the rest belongs to the thread that writes base.
    private typealias Entry = Atomic<UInt32>
    private static let chunkSize = 1 << 20
    private static let chunkLimit = 1 << 14
    static let blockSize = 4_096
    private static let entriesPerBlock = blockSize / 4

    private let chunks: UnsafeMutablePointer<Atomic<UInt>>
    /// Pages from here on have no entry.
    private(set) var count = 0
    /// Blocks of the file that differ from memory.
    private(set) var changedBlocks: Set<Int> = []

    init() {
        chunks = .allocate(capacity: Self.chunkLimit)
        for index in 0..<Self.chunkLimit { (chunks + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for index in 0..<Self.chunkLimit {
            free(UnsafeMutableRawPointer(bitPattern: chunks[index].load(ordering: .relaxed)))
        }
        chunks.deallocate()
    }

    /// The sum of a page, 0 when none is known.
    subscript(page: UInt64) -> UInt32 {
        guard page < UInt64(Self.chunkSize * Self.chunkLimit), let chunk = chunk(Int(page) / Self.chunkSize) else {
            return 0
        }
        return chunk[Int(page) % Self.chunkSize].load(ordering: .relaxed)
    }

    /// Thread that writes base only.
    func set(_ page: UInt64, _ sum: UInt32) throws(StoreError) {
        guard page < UInt64(Self.chunkSize * Self.chunkLimit) else {
            throw PageFile.damage(page, "no such page can be")
        }
        let page = Int(page)
        let entry = try makeChunk(page / Self.chunkSize) + page % Self.chunkSize
        guard entry.pointee.load(ordering: .relaxed) != sum else { return }
        entry.pointee.store(sum, ordering: .relaxed)
        count = max(count, page + 1)
        changedBlocks.insert(page / Self.entriesPerBlock)
    }

    /// All of it is to be written again.
    func markChanged() {
        if count > 0 { changedBlocks.formUnion(0...((count - 1) / Self.entriesPerBlock)) }
    }

    /// Forgets the sums of all pages from one on.
    func clear(from first: UInt64) throws(StoreError) {
        guard first < UInt64(count) else { return }
        for page in first..<UInt64(count) where self[page] != 0 { try set(page, 0) }
    }

    /// The last page with a sum.
    var lastKnownPage: UInt64? {
        var page = count
        while page > 0 {
            page -= 1
            if self[UInt64(page)] != 0 { return UInt64(page) }
        }
        return nil
    }

    private func chunk(_ index: Int) -> UnsafeMutablePointer<Entry>? {
        UnsafeMutablePointer(bitPattern: chunks[index].load(ordering: .acquiring))
    }

    private func makeChunk(_ index: Int) throws(StoreError) -> UnsafeMutablePointer<Entry> {
        if let chunk = chunk(index) { return chunk }
        // Zeros, and memory only where something is written.
        guard let made = calloc(Self.chunkSize, 4) else { throw .from(ENOMEM, "calloc (page checksums)") }
        chunks[index].store(UInt(bitPattern: made), ordering: .releasing)
        return made.bindMemory(to: Entry.self, capacity: Self.chunkSize)
    }
}

// The file's part behind its headers: the entries, little-endian, in page order.
extension SumTable {
    static let fileStart = 2 * blockSize

    /// Bytes of the file with this many entries.
    static func fileSize(_ count: Int) -> Int { fileStart + count * 4 }

    /// Takes the entries in from a file. False: it ends too early.
    func read(_ count: Int, from file: Int32) throws(StoreError) -> Bool {
        var done = 0
        while done < count {
            let chunk = try makeChunk(done / Self.chunkSize)
            let wanted = min(count - done, Self.chunkSize) * 4
            var offset = 0
            while offset < wanted {
                let got = pread(
                    file, UnsafeMutableRawPointer(chunk) + offset, wanted - offset, off_t(Self.fileSize(done) + offset))
                if got < 0, errno == EINTR { continue }
                guard got >= 0 else { throw .lmdb(code: errno, operation: "pread base/pages.sum") }
                guard got > 0 else { return false }
                offset += got
            }
            done += wanted / 4
        }
        self.count = count
        return true
    }

    /// Writes every entry; not durable yet.
    func writeAll(to file: Int32) throws(StoreError) {
        changedBlocks = Set(0..<(count + Self.entriesPerBlock - 1) / Self.entriesPerBlock)
        try write(to: file)
    }

    /// Writes what has changed since the last time; not durable yet.
    func write(to file: Int32) throws(StoreError) {
        var buffer = [UInt32](repeating: 0, count: Self.entriesPerBlock * 64)
        let blocks = changedBlocks.sorted()
        var next = 0
        while next < blocks.count {
            // Neighbours in one write.
            var end = next + 1
            while end < blocks.count, blocks[end] == blocks[end - 1] + 1, end - next < 64 { end += 1 }
            let first = blocks[next] * Self.entriesPerBlock
            let last = min((blocks[end - 1] + 1) * Self.entriesPerBlock, count)
            for page in first..<last { buffer[page - first] = self[UInt64(page)].littleEndian }
            try Self.write(buffer, (last - first) * 4, to: file, at: Self.fileSize(first))
            next = end
        }
    }

    /// What was written is on disk.
    func markWritten() { changedBlocks.removeAll(keepingCapacity: true) }

    private static func write(
        _ entries: [UInt32], _ bytes: Int, to file: Int32, at start: Int
    ) throws(StoreError) {
        let failure = entries.withUnsafeBytes { source -> Int32 in
            var offset = 0
            while offset < bytes, let base = source.baseAddress {
                let written = pwrite(file, base + offset, bytes - offset, off_t(start + offset))
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { return written < 0 ? errno : EIO }
                offset += written
            }
            return 0
        }
        guard failure == 0 else { throw .lmdb(code: failure, operation: "pwrite base/pages.sum") }
    }
}
