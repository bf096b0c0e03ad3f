import Glibc
import ReplicatedLog
import TestSupport
import Testing
import Vocabulary

/// Whatever a crash may leave is taken, with every entry that can have been acknowledged.
struct CrashStateTests {
    @Test(arguments: Seeds.all)
    func `any sectors of the last write may be missing`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var payloads = LogImage.payloads(&random, count: Int.random(in: 1...30, using: &random))
        // Sometimes long, so that sectors of all kinds go.
        if Bool.random(using: &random) {
            payloads.append([UInt8](repeating: 3, count: Int.random(in: 1...29_000, using: &random)))
        }
        let image = try LogImage(payloads)
        let name = try #require(image.used.last)
        let whole = image.folder.read(name)
        let batches = LogImage.batches(whole)
        let last = try #require(batches.last)
        for _ in 0..<12 {
            let copy = image.copy()
            var bytes = whole
            let keeps = Int.random(in: 0...3, using: &random)
            var isWhole = true
            var sector = last.lowerBound / 512
            while sector * 512 < last.upperBound {
                let range = max(sector * 512, last.lowerBound)..<min(sector * 512 + 512, last.upperBound)
                if Int.random(in: 0...3, using: &random) > keeps || keeps == 0 && Bool.random(using: &random) {
                    for offset in range where bytes[offset] != 0 {
                        bytes[offset] = 0
                        isWhole = false
                    }
                    // The format shares the first sector with the first batch.
                    if sector == 0, batches.count == 1 { for offset in 0..<8 { bytes[offset] = 0 } }
                }
                sector += 1
            }
            copy.folder.write(name, bytes)
            let report = try LogCheck.run(directory: copy.folder.path)
            #expect(report.findings == [])
            #expect((report.tornBytes > 0) == (!isWhole && bytes[last].contains { $0 != 0 }))
            #expect(try copy.start() == (isWhole ? image.payloads : image.payloads.dropLast()))
        }
    }

    @Test(arguments: [false, true], 0...3)
    func `segments whose closing was cut off are closed now`(filled: Bool, count: Int) throws {
        let image = try LogImage((UInt8(0)..<60).map { [UInt8](repeating: $0 | 1, count: 4_000) })
        image.reopen(count, filled: filled)
        #expect(try image.start() == image.payloads)
    }

    /// A rename that failed for a while: a later segment was closed, the earlier one was not.
    @Test func `an older segment that stayed open beside newer closed ones finds its place`() throws {
        let image = try LogImage((UInt8(0)..<60).map { [UInt8](repeating: $0 | 1, count: 4_000) })
        let name = image.closed[2]
        rename("\(image.folder.path)/\(name)", "\(image.folder.path)/open-0")
        #expect(try image.start() == image.payloads)
        #expect(image.closed.contains(name))
    }

    @Test(arguments: [0, 1, 7, 8, 4_096, LogImage.segmentBytes])
    func `unused segments of any size, and files half made, are no matter`(size: Int) throws {
        let image = try LogImage([[1], [2]])
        let names = image.folder.names
        image.folder.write("open-77", [UInt8](repeating: 0, count: size))
        image.folder.write("open-78", [UInt8](repeating: 0, count: size))
        image.folder.write(".probe", [UInt8](repeating: 0, count: size))
        image.folder.write("tmp-snapshot-1-3-5.meta", [UInt8](repeating: 3, count: size))
        image.folder.write("tmp-room", [UInt8](repeating: 3, count: size))
        #expect(try LogCheck.run(directory: image.folder.path).findings == [])
        #expect(try image.start() == image.payloads)
        #expect(Set(image.folder.names).intersection(["tmp-snapshot-1-3-5.meta", "tmp-room", ".probe"]) == [])
        #expect(names.contains("metadata1"))
    }

    @Test func `a first write to a segment may be missing its first sector, or all but its first`() throws {
        for keepsFirst in [false, true] {
            let image = try LogImage([[UInt8](repeating: 9, count: 20_000)])
            let name = try #require(image.used.last)
            var bytes = image.folder.read(name)
            for offset in keepsFirst ? 512..<bytes.count : 0..<512 { bytes[offset] = 0 }
            image.folder.write(name, bytes)
            #expect(try image.start() == [])
        }
    }

    @Test(arguments: [0, 5, 31, 32])
    func `a first start may die at any point`(length: Int) throws {
        let folder = TestFolder()
        func start() throws -> LogStatus {
            let log = ReplicatedLog(LogImage.configuration(folder.path), applier: RecordingApplier())
            defer { log.stop() }
            try log.start()
            return log.status
        }
        folder.write("metadata1", [UInt8](repeating: 0, count: length))
        folder.write("tmp-0000000000000001-0000000000000001", [UInt8](repeating: 1, count: length))
        #expect(try start().lastIndex == RaftIndex(1))
        let whole = folder.read("metadata1")
        #expect(whole.count == 32)
        for name in folder.names where name != "metadata1" { unlink("\(folder.path)/\(name)") }
        #expect(try start().lastIndex == RaftIndex(1))
        for name in folder.names where name != "metadata1" { unlink("\(folder.path)/\(name)") }
        folder.write("metadata1", Array(whole.prefix(length)))
        #expect(try start().lastIndex == RaftIndex(1))
    }

    @Test func `a checkpoint may be cut off after each of its steps`() throws {
        let image = try LogImage([[1]], snapshotEntries: 20)
        let metas = image.checkpoints.filter { $0.hasSuffix(".meta") }
        #expect(metas.count == 2)
        let all = try image.copy().start()

        // The older one's files go one by one, in either order.
        for gone in [metas[0], String(metas[0].dropLast(5))] {
            let copy = image.copy()
            unlink("\(copy.folder.path)/\(gone)")
            #expect(try copy.start() == all)
        }
        // Old segments that should have gone are still there, with a gap behind them.
        let copy = image.copy()
        let stale = LogImageSegment.first
        copy.folder.write(stale.name, stale.bytes)
        #expect(try copy.start() == all)
        #expect(try LogCheck.run(directory: copy.folder.path).findings == [])
    }
}

/// The first segment of every log of server 1.
enum LogImageSegment {
    static let first: (name: String, bytes: [UInt8]) = {
        let folder = TestFolder()
        let log = ReplicatedLog(LogImage.configuration(folder.path), applier: RecordingApplier())
        try? log.start()
        log.stop()
        let name = "0000000000000001-0000000000000001"
        return (name, folder.read(name))
    }()
}
