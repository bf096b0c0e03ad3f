import EtcdAPI
import Testing

@Suite struct RangeTests {
    /// a..e, whose values, versions and creations are in other orders than their keys.
    private func filled() throws -> Machine {
        let machine = try Machine()
        for (key, value) in [("c", "x"), ("a", "z"), ("e", "y"), ("b", "w"), ("d", "v")] { try machine.put(key, value) }
        for (key, times) in [("e", 1), ("a", 2)] {
            for _ in 0..<times { try machine.put(PutMessage(key).with { $0.ignoreValue = true }) }
        }
        return machine
    }

    private func keys(_ machine: Machine, _ change: (inout RangeMessage) -> Void) throws -> [String] {
        try machine.range(.everything.with(change)).keys
    }

    @Test func `results are in key order unless asked otherwise`() throws {
        let machine = try filled()
        #expect(try keys(machine) { _ in } == ["a", "b", "c", "d", "e"])
        #expect(try keys(machine) { $0.sortOrder = 2 } == ["e", "d", "c", "b", "a"])
        #expect(try keys(machine) { $0.sortTarget = 2 } == ["c", "a", "e", "b", "d"], "CREATE, ascending by default")
        #expect(
            try keys(machine) {
                $0.sortTarget = 3
                $0.sortOrder = 2
            } == ["a", "e", "d", "b", "c"], "MOD, descending")
        #expect(
            try keys(machine) {
                $0.sortTarget = 4
                $0.sortOrder = 1
            } == ["d", "b", "c", "e", "a"], "VALUE")
        #expect(try keys(machine) { $0.sortTarget = 1 }.suffix(2) == ["e", "a"], "VERSION")
    }

    @Test func `a limit cuts after sorting, sets more, and leaves the count alone`() throws {
        let machine = try filled()
        let first = try machine.range(.everything.with { $0.limit = 2 })
        #expect(first.keys == ["a", "b"] && first.more && first.count == 5)
        let exact = try machine.range(.everything.with { $0.limit = 5 })
        #expect(exact.keys.count == 5 && !exact.more && exact.count == 5)
        let sorted = try machine.range(
            .everything.with {
                $0.limit = 1
                $0.sortTarget = 2
                $0.sortOrder = 1
            })
        #expect(sorted.keys == ["c"] && sorted.more && sorted.count == 5)
        #expect(try machine.range(.everything.with { $0.limit = -3 }).keys.count == 5)
        #expect(try machine.range(.everything.with { $0.limit = .max }).keys.count == 5)
    }

    @Test func `without a direction a limit considers only one key more before sorting`() throws {
        let machine = try filled()
        let reply = try machine.range(
            .everything.with {
                $0.limit = 2
                $0.sortTarget = 2
            })
        #expect(reply.keys == ["c", "a"] && reply.more && reply.count == 5, "of a, b, c only")
        let filtered = try machine.range(
            .everything.with {
                $0.limit = 2
                $0.sortTarget = 2
                $0.minMod = 1
            })
        #expect(filtered.keys == ["c", "a"], "with a filter all five are considered")
        let last = try machine.range(
            .everything.with {
                $0.limit = 1
                $0.sortTarget = 4
            })
        #expect(last.keys == ["b"], "the smallest value of a and b, not of all")
    }

    @Test func `filters are inclusive, combine, and leave the count alone`() throws {
        let machine = try filled()
        let reply = try machine.range(
            .everything.with {
                $0.minMod = 5
                $0.maxMod = 7
            })
        #expect(reply.keys == ["b", "d", "e"] && reply.count == 5 && !reply.more)
        let both = try machine.range(
            .everything.with {
                $0.minCreate = 3
                $0.maxCreate = 4
                $0.minMod = 8
            })
        #expect(both.keys == ["a"] && both.count == 5)
        let limited = try machine.range(
            .everything.with {
                $0.minMod = 5
                $0.limit = 2
            })
        #expect(limited.keys == ["a", "b"] && limited.more && limited.count == 5)
    }

    @Test func `keys_only empties values and nothing else, also when sorting by value`() throws {
        let machine = try filled()
        let reply = try machine.range(
            .everything.with {
                $0.keysOnly = true
                $0.sortTarget = 4
                $0.sortOrder = 1
            })
        #expect(reply.keys == ["d", "b", "c", "e", "a"])
        #expect(reply.kvs.allSatisfy { $0.value.isEmpty })
        #expect(reply.kvs.last == KV(key: utf8("a"), create: 3, mod: 9, version: 3))
    }

    @Test func `count_only ignores filters and limit`() throws {
        let machine = try filled()
        let reply = try machine.range(
            .everything.with {
                $0.countOnly = true
                $0.limit = 1
                $0.minMod = 100
            })
        #expect(reply == RangeReply(header: header(9), kvs: [], more: false, count: 5))
        #expect(try machine.range(RangeMessage("b").with { $0.countOnly = true }).count == 1)
        #expect(try machine.range(RangeMessage("x").with { $0.countOnly = true }).count == 0)
    }

    @Test func `a past revision shows what was, under the present header`() throws {
        let machine = try filled()
        let reply = try machine.range(.everything.with { $0.revision = 3 })
        #expect(reply.header == header(9) && reply.keys == ["a", "c"] && reply.count == 2)
        #expect(try machine.range(RangeMessage("a").with { $0.revision = 3 }).kvs.first?.version == 1)
        #expect(try machine.range(.everything.with { $0.revision = -1 }).count == 5)
        #expect(throws: EtcdError.futureRevision) { try machine.range(.everything.with { $0.revision = 10 }) }
        try machine.compact(4)
        #expect(try machine.range(.everything.with { $0.revision = 4 }).keys == ["a", "c", "e"])
        #expect(throws: EtcdError.compacted) { try machine.range(.everything.with { $0.revision = 3 }) }
    }

    @Test func `ranges follow etcd's rules for the end`() throws {
        let machine = try filled()
        #expect(try machine.range(RangeMessage("b")).keys == ["b"])
        #expect(try machine.range(RangeMessage("b", "d")).keys == ["b", "c"])
        #expect(try machine.range(RangeMessage("b", "\0")).keys == ["b", "c", "d", "e"])
        #expect(try machine.range(RangeMessage("d", "b")) == RangeReply(header: header(9)))
        #expect(try machine.range(RangeMessage("d", "d")) == RangeReply(header: header(9)))
    }

    @Test func `a key and a sort option are demanded`() throws {
        let machine = try Machine()
        #expect(throws: EtcdError.emptyKey) { try machine.range(RangeMessage("", "b")) }
        #expect(throws: EtcdError.invalidSortOption) { try machine.range(RangeMessage("a").with { $0.sortOrder = 3 }) }
        #expect(throws: EtcdError.invalidSortOption) {
            try machine.range(RangeMessage("a").with { $0.sortTarget = -1 })
        }
    }

    @Test func `a small limit over a large sorted range picks the same as sorting all`() throws {
        let machine = try Machine()
        for number in 0..<700 { try machine.put(PutMessage("k\(number)", "\(number * 7919 % 701)")) }
        let all = try machine.range(
            .everything.with {
                $0.sortTarget = 4
                $0.sortOrder = 2
            })
        let some = try machine.range(
            .everything.with {
                $0.sortTarget = 4
                $0.sortOrder = 2
                $0.limit = 9
            })
        #expect(some.keys == Array(all.keys.prefix(9)) && some.more && some.count == 700)
    }
}
