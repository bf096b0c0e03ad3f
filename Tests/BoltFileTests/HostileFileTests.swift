import BoltFile
import TestSupport
import Testing

/// Files that are not what was written: an error or the contents, never a crash, and never more work than the file is
/// long.
@Suite(.timeLimit(.minutes(5))) struct HostileFileTests {
    /// A small file with branches, overflow and several buckets.
    private func model() -> BoltModel {
        let entries = (0..<600).map { (number: Int) -> BoltModel.Entry in
            let size = number % 97 == 0 ? 9000 : 60
            return BoltModel.Entry(
                key: BoltModel.key(number), value: [UInt8](repeating: UInt8(number % 251), count: size))
        }
        return BoltModel(buckets: [("auth", []), ("key", entries), ("meta", Array(entries.prefix(3)))])
    }

    /// What a reader finds: entries, at most those that fit the file.
    private func read(_ bytes: [UInt8]) {
        guard let model = try? BoltModel.read(bytes) else { return }
        let size = model.buckets.reduce(0) { $0 + $1.entries.reduce(0) { $0 + $1.key.count + $1.value.count } }
        #expect(size <= bytes.count)
    }

    @Test(arguments: Seeds.all)
    func `files with changed bytes never crash a reader, nor keep it`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let whole = try model().file()
        for _ in 0..<500 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                // Half of the changes hit the beginnings of pages, where the structure is.
                let page = Int.random(in: 0..<bytes.count / 4096, using: &random) * 4096
                let place =
                    Bool.random(using: &random)
                    ? page + .random(in: 0..<96, using: &random) : .random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                case 1: bytes[place] = [0, 1, 2, 0x7f, 0x80, 0xff].randomElement(using: &random) ?? 0
                case 2:
                    // Another page's bytes: links that form circles, pages under the wrong number.
                    let other = Int.random(in: 0..<bytes.count / 4096, using: &random) * 4096
                    let count = [16, 64, 4096].randomElement(using: &random) ?? 16
                    bytes.replaceSubrange(page..<(page + count), with: whole[other..<(other + count)])
                default: for offset in place..<min(place + 8, bytes.count) { bytes[offset] = 0xff }
                }
            }
            if Int.random(in: 0..<8, using: &random) == 0 {
                bytes.removeLast(.random(in: 1...bytes.count, using: &random))
            }
            read(bytes)
        }
    }

    @Test(arguments: Seeds.all)
    func `bytes that were never a file are refused`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for size in [0, 1, 15, 16, 79, 80, 100, 4096, 8192, 20_000] {
            let bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
            #expect(throws: BoltError.foreign) { try BoltModel.read(bytes) }
        }
    }

    @Test func `a file that is cut off anywhere is refused`() throws {
        let whole = try model().file()
        for size in stride(from: 8192, to: whole.count, by: 1021) {
            #expect(throws: BoltError.truncated(size: size, expected: UInt64(whole.count))) {
                try BoltModel.read(Array(whole[..<size]))
            }
        }
    }

    @Test func `either meta page will do, the later transaction's counts, and none is no file`() throws {
        let whole = try model().file()
        for page in 0...1 {
            var bytes = whole
            bytes[page * 4096 + 20] ^= 1
            #expect(try BoltModel.read(bytes) == model())
        }
        var bytes = whole
        bytes[20] ^= 1
        bytes[4096 + 70] ^= 1
        #expect(throws: BoltError.foreign) { try BoltModel.read(bytes) }
    }

    @Test func `a message names the page and what is wrong with it`() throws {
        let whole = try model().file()
        func refusal(_ page: Int, _ offset: Int, _ bytes: [UInt8]) -> String {
            var file = whole
            file.replaceSubrange((page * 4096 + offset)..<(page * 4096 + offset + bytes.count), with: bytes)
            do throws(BoltError) {
                _ = try BoltModel.read(file)
                return "none"
            } catch {
                return "\(error)"
            }
        }
        // Page 3 is the leaf of the empty bucket, page 4 the first of bucket key.
        #expect(refusal(4, 0, [9]) == "page 4: it calls itself page 9")
        #expect(refusal(4, 8, [16]) == "page 4: its flags are 16, expected a branch (1) or a leaf (2)")
        #expect(refusal(4, 10, [0xff, 0xff]).hasPrefix("page 4: 65535 elements do not fit its"))
        #expect(refusal(4, 12, [0, 0, 0, 1]).hasPrefix("page 4: it overflows to 16777216 pages, past the last one"))
        #expect(refusal(4, 16 + 4, [0xff, 0xff]) == "page 4: element 0 lies outside of it or in another element")
        #expect(refusal(4, 16 + 8, [0, 0, 0, 0]) == "page 4: element 0 has a key of 0 bytes")
    }

    @Test func `a tree that leads to itself is refused`() throws {
        var file = try model().file()
        let branch = try #require((3..<file.count / 4096).first { file[$0 * 4096 + 8] == 1 })
        // Its second child is the branch itself.
        let child = branch * 4096 + 16 + 16 + 8
        file.replaceSubrange(child..<(child + 8), with: withUnsafeBytes(of: UInt64(branch).littleEndian) { Array($0) })
        #expect(
            throws: BoltError.damaged(
                page: UInt64(branch), detail: "it leads to page \(branch), which is part of something else already")
        ) { try BoltModel.read(file) }
    }
}
