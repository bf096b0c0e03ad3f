import Berth
import EtcdAPI
import TestSupport
import Testing

@Suite struct SHA256Tests {
    private func digest(_ bytes: [UInt8], in parts: Int) -> String {
        var hash = SHA256()
        for start in stride(from: 0, to: bytes.count, by: parts) {
            bytes[start..<min(start + parts, bytes.count)].withUnsafeBytes { hash.update($0) }
        }
        return hash.digest().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test(arguments: [1, 3, 63, 64, 65, 1_000_000])
    func `the examples of FIPS 180-4 come out, however the bytes come in`(parts: Int) {
        #expect(
            digest([], in: parts) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            digest(Array("abc".utf8), in: parts) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(
            digest(Array(two.utf8), in: parts) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(
            digest([UInt8](repeating: 0x61, count: 1_000_000), in: parts)
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }
}

@Suite struct TransferComparisonTests {
    private struct Store {
        var values: [Bytes: (value: Bytes, lease: Int64)] = [:]
        var keys: [Bytes] { values.keys.sorted() }

        func page(_ keys: some Sequence<Bytes>) throws -> TransferPage {
            try TestPage.range(
                keys.map { key in
                    let (value, lease) = values[key] ?? ([], 0)
                    return TestPage.pair(key, value, lease: lease)
                })
        }
    }

    /// As a transfer does it: the target's keys up to the last of each page of the source, in pages of their own.
    private func compare(
        _ source: Store, _ target: Store, _ comparison: inout TransferComparison, _ random: inout SeededGenerator
    ) throws {
        var rest = source.keys[...]
        var others = target.keys[...]
        func finish(_ keys: some Sequence<Bytes>, _ body: (inout TransferComparison.Side) -> Void) throws {
            var side = TransferComparison.Side(try target.page(keys))
            body(&side)
        }
        while let last = rest.prefix(Int.random(in: 1...9, using: &random)).last {
            let wanted = rest.prefix { $0 <= last }
            rest = rest.dropFirst(wanted.count)
            var side = TransferComparison.Side(try source.page(wanted))
            var found = others.prefix { $0 <= last }
            others = others.dropFirst(found.count)
            repeat {
                let part = found.prefix(Int.random(in: 1...9, using: &random))
                found = found.dropFirst(part.count)
                try finish(part) { page in
                    comparison.compare(&side, &page)
                    comparison.finish(target: &page)
                }
            } while !found.isEmpty
            comparison.finish(source: &side)
        }
        try finish(others) { comparison.finish(target: &$0) }
    }

    @Test(arguments: Seeds.all)
    func `it finds exactly what a plain comparison finds`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var source = Store()
        for _ in 0..<60 {
            let key = Bytes("k\(Int.random(in: 0..<100, using: &random))")
            source.values[key] = ("\(Int.random(in: 0..<3, using: &random))", Int64.random(in: 0...2, using: &random))
        }
        var target = source
        for _ in 0..<Int.random(in: 0...6, using: &random) {
            let key = Bytes("k\(Int.random(in: 0..<100, using: &random))")
            switch Int.random(in: 0...3, using: &random) {
            case 0: target.values[key] = nil
            case 1: target.values[key]?.value = "changed"
            case 2: target.values[key]?.lease = 9
            default: target.values[key] = ("new", 0)
            }
        }
        for allowsOthers in [false, true] {
            var expected: [TransferDifference] = []
            for key in Set(source.keys + target.keys).sorted() {
                let (wanted, found) = (source.values[key], target.values[key])
                if let wanted, wanted.lease == 2 {
                    if found != nil, !allowsOthers { expected.append(.init(key: key, kind: .unexpected)) }
                } else if let wanted, let found {
                    if wanted.value != found.value {
                        expected.append(.init(key: key, kind: .value))
                    } else if wanted.lease != found.lease {
                        expected.append(.init(key: key, kind: .lease))
                    }
                } else if wanted != nil {
                    expected.append(.init(key: key, kind: .missing))
                } else if !allowsOthers {
                    expected.append(.init(key: key, kind: .unexpected))
                }
            }
            var comparison = TransferComparison(allowsOthers: allowsOthers, endedLeases: [2])
            try compare(source, target, &comparison, &random)
            #expect(comparison.differences == expected.count)
            #expect(comparison.firstDifferences == Array(expected.prefix(10)))
            #expect((comparison.sourceDigest == comparison.targetDigest) == expected.isEmpty)
            #expect(comparison.sourceKeys == source.values.values.count { $0.lease != 2 })
            #expect(comparison.sourceKeys + comparison.skippedKeys == source.values.count)
        }
    }
}
