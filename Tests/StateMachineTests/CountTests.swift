import StateMachine
import TestSupport
import Testing

@Suite struct CountTests {
    private func counts(_ machine: Machine, _ numbers: StateMachineCounts.Number...) -> [Int] {
        numbers.map { machine.machine.counts[$0] }
    }

    @Test(arguments: Seeds.all)
    func `the census of lines agrees with a walk over them`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var census = LineCensus()
        var lines = [Int](repeating: 0, count: 8)
        for _ in 0..<2_000 {
            let line = Int.random(in: 0..<lines.count, using: &random)
            if Bool.random(using: &random) {
                lines[line] += 1
                census.grew(to: lines[line])
            } else if lines[line] > 0 {
                census.shrank(from: lines[line])
                lines[line] -= 1
            }
            try #require(census.longest == lines.max())
            try #require(census.lines == lines.filter { $0 > 0 }.count)
            try #require(census.places == lines.reduce(0, +))
        }
    }

    /// Many more lines than the table leaves out of order, coming and going; asked for now and then.
    @Test(arguments: Seeds.all)
    func `a list has the lines there are, in order`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let machine = try Machine()
        try machine.grant(1)
        var names: Set<String> = []
        for _ in 0..<2_500 {
            let name = "line \(Int.random(in: 100..<900, using: &random))"
            if names.remove(name) == nil {
                names.insert(name)
                try machine.put("\(name)/1", lease: 1)
            } else {
                try machine.delete("\(name)/1")
            }
            guard Int.random(in: 0..<400, using: &random) == 0 else { continue }
            let start = "line \(Int.random(in: 100..<900, using: &random))"
            let list = machine.machine.reports(prefix: utf8("line"), after: utf8(start), limit: 1_000, places: 1)
            try #require(list.lines.map(\.name) == names.filter { $0 > start }.sorted().map { utf8($0) })
        }
        let list = machine.machine.reports(prefix: [], after: nil, limit: 1_000, places: 1)
        #expect(list.lines.map(\.name) == names.sorted().map { utf8($0) })
        #expect(list.lines.allSatisfy { $0.holders == 1 && $0.waiters == 0 })
    }

    @Test func `operations are counted as etcd counts them`() throws {
        let machine = try Machine()
        try machine.put("a")
        try machine.put("b")
        try machine.put("a")
        #expect(counts(machine, .puts, .deletes, .ranges, .txns, .keys) == [3, 0, 0, 0, 2])
        try machine.delete("a", "z")
        #expect(counts(machine, .puts, .deletes, .ranges, .txns, .keys) == [3, 1, 0, 0, 0])
        try machine.txn(TxnMessage(success: [.put(PutMessage("a"))]))
        #expect(counts(machine, .puts, .txns) == [4, 0])
        try machine.txn(TxnMessage(success: [.put(PutMessage("a")), .delete(DeleteMessage("b"))]))
        #expect(counts(machine, .puts, .deletes, .txns) == [5, 2, 1])
    }

    @Test func `what was refused is not counted`() throws {
        let machine = try Machine()
        #expect(throws: (any Error).self) { try machine.put("a", lease: 7) }
        #expect(counts(machine, .puts, .keys) == [0, 0])
        // That the key is not there was read.
        var message = PutMessage("absent")
        message.ignoreValue = true
        #expect(throws: (any Error).self) { try machine.put(message) }
        #expect(counts(machine, .puts, .ranges, .txns, .keys) == [0, 1, 0, 0])
    }

    @Test func `a lease takes its keys along, and a replay's numbers are forgotten but for how things stand`() throws {
        let machine = try Machine()
        try machine.grant(4)
        for key in ["a", "b", "c"] { try machine.put(key, lease: 4) }
        try machine.put("free")
        try machine.revoke(4)
        #expect(counts(machine, .leasesGranted, .leasesRevoked, .leasesExpired) == [1, 1, 0])
        #expect(counts(machine, .deletes, .txns, .keys) == [3, 1, 1])
        machine.machine.counts.forgetReplay()
        #expect(counts(machine, .puts, .deletes, .leasesGranted, .keys) == [0, 0, 0, 1])
    }
}
