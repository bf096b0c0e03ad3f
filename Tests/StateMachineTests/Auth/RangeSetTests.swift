import StateMachine
import Store
import TestSupport
import Testing

@Suite struct RangeSetTests {
    private func covers(_ set: RangeSet, _ range: KeyRange) -> Bool {
        range.key.withUnsafeBytes { key in range.end.withUnsafeBytes { set.covers(key, $0) } }
    }

    private func range(_ key: String, _ end: String = "") -> KeyRange {
        KeyRange(key: Array(key.utf8), end: Array(end.utf8))
    }

    @Test func `grants that adjoin or overlap reach as one`() {
        let set = RangeSet([range("c", "f"), range("a", "c"), range("b", "d"), range("x")])
        #expect(covers(set, range("a", "f")))
        #expect(covers(set, range("b")))
        #expect(covers(set, range("x")))
        #expect(covers(set, range("x", "x\0")))
        #expect(!covers(set, range("a", "f\0")))
        #expect(!covers(set, range("f")))
        #expect(!covers(set, range("x", "y")))
        #expect(!covers(set, range("a", "\0")))
    }

    @Test func `only a grant without an end reaches a request without an end`() {
        let set = RangeSet([range("b", "\0"), range("a", "b")])
        #expect(covers(set, range("a", "\0")))
        #expect(covers(set, range("zzz", "\0")))
        #expect(!covers(set, range("\0", "\0")))
        #expect(covers(RangeSet([range("\0", "\0")]), range("\0", "\0")))
    }

    @Test func `grants that hold no key reach nothing`() {
        #expect(RangeSet([range("b", "a"), range("c", "c")]).isEmpty)
        #expect(!covers(RangeSet([]), range("a")))
    }

    /// Every key of up to two letters out of three stands for a key; ranges have such keys as their ends.
    @Test(arguments: Seeds.all)
    func `a range is covered exactly when a plain table says that each of its keys is`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let letters: [UInt8] = [1, 2, 3]
        let names: [[UInt8]] = letters.map { [$0] } + letters.flatMap { a in letters.map { b in [a, b] } }
        // Every name and what lies right behind it: where a grant of one key ends, the next key is asked for.
        let keys: [[UInt8]] = names + names.map { $0 + [0] }
        func randomRange() -> KeyRange {
            let key = names[Int.random(in: 0..<names.count, using: &random)]
            switch Int.random(in: 0..<4, using: &random) {
            case 0: return KeyRange(key: key, end: [])
            case 1 where Bool.random(using: &random): return KeyRange(key: key, end: [0])
            default: return KeyRange(key: key, end: names[Int.random(in: 0..<names.count, using: &random)])
            }
        }
        var answers = Set<Bool>()
        for _ in 0..<2_000 {
            let grants = (0..<Int.random(in: 0...4, using: &random)).map { _ in randomRange() }
            let set = RangeSet(grants)
            let asked = randomRange()
            guard !asked.isEmpty else { continue }
            // A request of a range holds infinitely many keys, which names and their successors stand for; one without
            // an end needs a grant without one.
            let isBounded = !asked.isUnbounded || grants.contains { $0.isUnbounded }
            let expected =
                isBounded
                && keys.allSatisfy { key in
                    !asked.contains(key) || grants.contains { !$0.isEmpty && $0.contains(key) }
                }
            try #require(covers(set, asked) == expected, "grants \(grants), asked \(asked)")
            answers.insert(expected)
        }
        #expect(answers == [true, false])
    }
}
