import Berth
import EtcdAPI
import FoundationEssentials
import SwiftProtobuf
import TestSupport
import Testing

/// Pages as a server sends them.
enum TestPage {
    static func range(_ pairs: [Mvccpb_KeyValue], more: Bool = false) throws -> TransferPage {
        let answer = Etcdserverpb_RangeResponse.with {
            $0.header.revision = 300
            $0.kvs = pairs
            $0.more = more
            $0.count = 1000
        }
        return try TransferPage(range: answer.serializedBytes())
    }

    static func pair(_ key: Bytes, _ value: Bytes = [], create: Int64 = 1, lease: Int64 = 0) -> Mvccpb_KeyValue {
        .with {
            $0.key = .init(key.array)
            $0.value = .init(value.array)
            $0.createRevision = create
            $0.lease = lease
        }
    }

    static func keys(_ page: TransferPage) -> [Bytes] { page.entries.map { page.key(of: $0) } }
}

@Suite struct TransferPageTests {
    @Test func `entries say where keys and values stand in an answer`() throws {
        let value = Bytes([UInt8](repeating: 7, count: 300))
        let page = try TestPage.range(
            [TestPage.pair("a", value, create: 5, lease: -2), TestPage.pair([0, 0xff], [], create: 9)], more: true)
        #expect(TestPage.keys(page) == ["a", [0, 0xff]])
        #expect(page.entries.map { Bytes(page.bytes[$0.value]) } == [value, []])
        #expect(page.entries.map(\.createRevision) == [5, 9])
        #expect(page.entries.map(\.lease) == [-2, 0])
        #expect(page.more)
        #expect(page.byteCount == 303)
    }

    @Test func `all reads of a transaction make one page`() throws {
        let answer = Etcdserverpb_TxnResponse.with {
            $0.header.revision = 8
            $0.succeeded = true
            $0.responses = ["a", "bb"].map { key in
                .with { $0.responseRange = .with { $0.kvs = [TestPage.pair(key, "v\(key)")] } }
            }
        }
        let page = try TransferPage(txn: answer.serializedBytes())
        #expect(TestPage.keys(page) == ["a", "bb"])
        #expect(page.entries.map { Bytes(page.bytes[$0.value]) } == ["va", "vbb"])
    }

    @Test func `an answer that is cut off is refused`() throws {
        let whole = try TestPage.range([TestPage.pair("key", "value")]).bytes
        #expect(throws: (any Error).self) { _ = try TransferPage(range: Array(whole.dropLast(12))) }
    }
}

@Suite struct PageSizeTests {
    @Test func `pages grow slowly, hold about four mebibytes, and shrink at once`() {
        var size = PageSize()
        #expect(size.limit == 64)
        size.read(keys: 64, bytes: 6_400)
        #expect(size.limit == 256)
        for _ in 0..<9 { size.read(keys: size.limit, bytes: size.limit * 100) }
        #expect(size.limit == 16_384)
        size.read(keys: 16_384, bytes: 16_384 * 4096)
        #expect(size.limit == 1024)
        size.read(keys: 2, bytes: 3 << 20)
        #expect(size.limit == 2)
        size.read(keys: 1, bytes: 100 << 20)
        #expect(size.limit == 1)
    }

    @Test func `an answer too large to take is asked for in parts, down to one key`() {
        var size = PageSize()
        var limits: [Int] = []
        while size.refused() { limits.append(size.limit) }
        #expect(limits == [8, 1])
    }
}

@Suite struct PageReachTests {
    @Test(arguments: Seeds.all)
    func `the guess lies behind the page, and reading by guesses meets every key once`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let keys = Set(
            (0..<400).map { _ in
                Bytes(
                    (0..<Int.random(in: 1...6, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) })
            }
        ).sorted()
        var met: [Bytes] = []
        var reach = PageReach()
        var key: Bytes? = [0]
        var requests = 0
        while let start = key {
            requests += 1
            let end = reach.end(from: start, within: [0])
            if let end { #expect(start < end) }
            let within = keys.filter { key in key >= start && (end.map { key < $0 } ?? true) }
            let page = Array(within.prefix(20))
            met += page
            if let first = page.first, let last = page.last {
                reach.read(first: first, last: last, keys: page.count, limit: 20)
                key = within.count > 20 ? Bytes(last.array + [0]) : end
            } else {
                reach.readNothing()
                key = end
            }
        }
        #expect(met == keys)
        // At worst every other one brings nothing.
        #expect(requests <= 2 * (keys.count / 5 + 2))
    }

    @Test func `numbered keys are guessed ahead, and the end of the range is kept`() {
        var reach = PageReach()
        #expect(reach.end(from: "k/1", within: "k0") == nil)
        reach.read(first: "k/0000", last: "k/0049", keys: 50, limit: 50)
        let guess = reach.end(from: "k/0050", within: "k0")
        #expect(guess.map { $0 > "k/0070" && $0 < "k/0100" } == true)
        #expect(reach.end(from: "k/0050", within: "k/006") == nil)
        reach.read(first: "k/0100", last: "k/0103", keys: 4, limit: 100)
        #expect(reach.end(from: "k/0104", within: "k0") == nil)
        #expect(PageReach.beyond("a", "a") == nil)
        #expect(PageReach.beyond([1], [0xff]) == nil)
    }
}

@Suite struct TransferBatchTests {
    @Test func `a batch is a transaction that writes only where nothing is`() throws {
        let page = try TestPage.range([TestPage.pair("a", "1"), TestPage.pair("b", [], lease: -3)])
        let batch = TransferBatch(page.bytes, page.entries)
        func read(_ precondition: TransferBatch.Precondition) throws -> Etcdserverpb_TxnRequest {
            try .init(serializedBytes: batch.txn(precondition))
        }
        let puts: [Etcdserverpb_RequestOp] = [
            .with {
                $0.requestPut.key = .init("a".utf8)
                $0.requestPut.value = .init("1".utf8)
            },
            .with {
                $0.requestPut.key = .init("b".utf8)
                $0.requestPut.lease = -3
            },
        ]
        let plain = try read(.none)
        #expect(plain.success == puts)
        #expect(plain.compare.isEmpty && plain.failure.isEmpty)
        let range = try read(.emptyRange)
        #expect(range.success == puts)
        #expect(range.compare.count == 1 && range.failure.count == 1)
        let compare = try #require(range.compare.first)
        #expect(compare.target == .create && compare.result == .equal)
        #expect(compare.targetUnion == .createRevision(0))
        #expect(compare.key == .init("a".utf8) && compare.rangeEnd == .init([UInt8(ascii: "b"), 0]))
        let keys = try read(.missingKeys)
        #expect(keys.compare.map(\.key) == [.init("a".utf8), .init("b".utf8)])
        #expect(keys.compare.allSatisfy { $0.rangeEnd.isEmpty } && keys.failure.count == 2)
    }

    @Test(arguments: Seeds.all)
    func `batches hold all keys in order, and are bounded unless one key is larger`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let sizes = (0..<500).map { _ in [0, 10, 1000, 200_000, 1_200_000].randomElement(using: &random) ?? 0 }
        let page = try TestPage.range(
            sizes.prefix(120).enumerated().map {
                TestPage.pair("k\($0.offset)", Bytes([UInt8](repeating: 1, count: $0.element)))
            })
        let batches = TransferBatch.cut(page, page.entries)
        #expect(batches.flatMap(\.entries) == page.entries)
        for batch in batches {
            #expect((1...128).contains(batch.entries.count))
            #expect(batch.entries.count == 1 || batch.txn(.none).count <= 1 << 20)
        }
        let many = try TestPage.range((0..<300).map { TestPage.pair("k\($0)") })
        #expect(TransferBatch.cut(many, many.entries).map(\.entries.count) == [128, 128, 44])
    }
}

@Suite struct TransferOrderTests {
    @Test(arguments: Seeds.all)
    func `rounds keep the order, and no line has two keys of different age in one`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let lines = ["a/", "b/", "a/within/", "c", "", "b/x/y/"]
        var keys: [TransferOrder.Key] = []
        var revision: Int64 = 1
        for number in 0..<400 {
            revision += Int64.random(in: 0...1, using: &random)
            let line = lines.randomElement(using: &random) ?? ""
            keys.append(.init(key: Bytes("\(line)\(number)"), createRevision: revision, lease: 1, valueSize: 0))
        }
        let sorted = TransferOrder.sorted(keys.shuffled(using: &random))
        #expect(sorted.map(\.createRevision) == sorted.map(\.createRevision).sorted())
        let rounds = TransferOrder.rounds(sorted.map { ($0.key, $0.createRevision) })
        #expect(rounds.flatMap { Array($0) } == Array(sorted.indices))
        func line(_ key: Bytes) -> Bytes { Bytes(key.array[..<((key.array.lastIndex(of: 0x2f) ?? -1) + 1)]) }
        for round in rounds {
            for first in sorted[round] {
                for second in sorted[round] where first.createRevision != second.createRevision {
                    #expect(!line(first.key).hasPrefix(line(second.key)), "\(first.key) with \(second.key)")
                }
            }
        }
    }

    @Test func `locks beside each other go together, a line goes one by one`() {
        let beside = (0..<100).map { (key: Bytes("locks/\($0)/k"), createRevision: Int64($0)) }
        #expect(TransferOrder.rounds(beside) == [0..<100])
        let line = (0..<5).map { (key: Bytes("locks/a/\($0)"), createRevision: Int64($0)) }
        #expect(TransferOrder.rounds(line) == [0..<1, 1..<2, 2..<3, 3..<4, 4..<5])
        let together = (0..<5).map { (key: Bytes("locks/a/\($0)"), createRevision: Int64(7)) }
        #expect(TransferOrder.rounds(together) == [0..<5])
    }

    @Test func `values are read some at a time`() {
        let keys = (0..<300).map {
            TransferOrder.Key(key: "k", createRevision: Int64($0), lease: 1, valueSize: $0 < 10 ? 1 << 20 : 1)
        }
        let reads = TransferOrder.reads(keys)
        #expect(reads.flatMap { $0 } == keys)
        #expect(reads.map(\.count) == [3, 3, 3, 128, 128, 35])
    }
}
