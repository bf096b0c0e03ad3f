import BoltFile
import TestSupport
import Testing

/// What is written is what is read, whatever the sizes.
@Suite struct RoundTripTests {
    @Test(arguments: Seeds.all)
    func `entries of any size come back in order, from whole pages`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<6 {
            let model = BoltModel.random(&random, entries: 0...800)
            let file = try model.file()
            #expect(file.count % BoltWriter.pageSize == 0)
            #expect(try BoltModel.read(file) == model)
            // The bytes are the same however they are taken.
            #expect(try model.file(step: .random(in: 1...9000, using: &random)) == file)
        }
    }

    /// bbolt takes for granted that a branch has two children.
    @Test func `each number of entries gives pages that are linked once, branches with two children at least`() throws {
        for count in Array(0...60) + [118, 119, 120, 121, 122, 123, 240, 241, 242] {
            // One entry a leaf.
            let entries = (0..<count).map { (number: Int) -> BoltModel.Entry in
                let key = BoltModel.key(number) + [UInt8](repeating: 7, count: 10)
                return BoltModel.Entry(key: key, value: [UInt8](repeating: 1, count: 4000))
            }
            let file = try BoltModel(buckets: [("key", entries)]).file()
            let pages = try RawPages(file)
            #expect(pages.smallestBranch >= 2, "of \(count) entries")
            #expect(pages.linked == Set(3..<pages.count), "of \(count) entries")
        }
    }

    @Test func `long keys make branches overflow, and still two children each`() throws {
        for count in Array(1...40) + [81, 82, 83, 84, 242, 243, 244, 245] {
            let entries = (0..<count).map { (number: Int) -> BoltModel.Entry in
                BoltModel.Entry(key: BoltModel.key(number) + [UInt8](repeating: 9, count: 1500), value: [1])
            }
            let model = BoltModel(buckets: [("key", entries)])
            let file = try model.file()
            #expect(try RawPages(file).smallestBranch >= 2)
            #expect(try BoltModel.read(file) == model)
        }
    }

    @Test func `entries out of order, empty keys and other entries than planned are refused`() throws {
        let entry = { (key: [UInt8]) in BoltModel.Entry(key: key, value: [1]) }
        #expect(throws: BoltError.outOfOrder(bucket: "key")) {
            try BoltModel(buckets: [("key", [entry([2]), entry([1])])]).file()
        }
        #expect(throws: BoltError.outOfOrder(bucket: "key")) {
            try BoltModel(buckets: [("key", [entry([2]), entry([2])])]).file()
        }
        #expect(throws: BoltError.outOfOrder(bucket: "a")) {
            try BoltModel(buckets: [("key", []), ("a", [])]).file()
        }
        #expect(throws: BoltError.keySize(bucket: "key", count: 0)) {
            try BoltModel(buckets: [("key", [entry([])])]).file()
        }
        #expect(throws: BoltError.keySize(bucket: "key", count: 32_769)) {
            try BoltModel(buckets: [("key", [entry([UInt8](repeating: 1, count: 32_769))])]).file()
        }
        var plan = BoltWriter()
        try plan.beginBucket("key")
        plan.endBucket()
        var writer = BoltWriter(try plan.finish())
        #expect(throws: BoltError.notAsPlanned) { try writer.finish() }
    }
}

/// A file's pages as they lie there, read without the reader that is tested.
private struct RawPages {
    /// Pages that something leads to, with their overflow.
    var linked: Set<Int> = []
    /// Children of the branch that has fewest.
    var smallestBranch = Int.max
    let count: Int

    private let file: [UInt8]

    init(_ file: [UInt8]) throws {
        self.file = file
        count = file.count / 4096
        let root = number(16 + 16, 8)
        try walk(root, isRoot: true)
    }

    private func number(_ offset: Int, _ size: Int) -> Int {
        file[offset..<(offset + size)].reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    private mutating func walk(_ page: Int, isRoot: Bool) throws {
        let start = page * 4096
        try #require(number(start, 8) == page)
        let (flags, elements) = (number(start + 8, 2), number(start + 10, 2))
        for part in 0...number(start + 12, 4) { #expect(linked.insert(page + part).inserted) }
        if flags == 1 {
            smallestBranch = min(smallestBranch, elements)
            for element in 0..<elements { try walk(number(start + 16 + element * 16 + 8, 8), isRoot: false) }
        } else if isRoot {
            for element in 0..<elements {
                let place = start + 16 + element * 16
                let value = place + number(place + 4, 4) + number(place + 8, 4)
                try walk(number(value, 8), isRoot: false)
            }
        }
    }
}
