import Server
import TestSupport
import Testing

@Suite struct ReloadScheduleTests {
    @Test func `files that did not change are not read`() {
        let schedule = ReloadSchedule(["a", "b"])
        #expect(!schedule.isDue(["a", "b"]))
        #expect(schedule.isDue(["a", "c"]))
    }

    @Test func `a fault is told at the second look, once, and again after a change`() {
        var schedule = ReloadSchedule(["a"])
        #expect(schedule.failed(["b"]) == .tryAgain)
        #expect(schedule.isDue(["b"]), "the other file may have been on its way")
        #expect(schedule.failed(["b"]) == .tell)
        #expect(!schedule.isDue(["b"]))
        #expect(schedule.isDue(["c"]))
        #expect(schedule.failed(["c"]) == .tryAgain)
        #expect(schedule.failed(["d"]) == .tryAgain, "these files are new")
        #expect(schedule.failed(["d"]) == .tell)
    }

    @Test func `what is in use again is not read again`() {
        var schedule = ReloadSchedule(["a"])
        _ = schedule.failed(["b"])
        #expect(schedule.isDue(["a"]), "the old files are back, but nobody knows that they can be read")
        schedule.succeeded(["a"])
        #expect(!schedule.isDue(["a"]))
    }

    /// Whatever happens to the files, the newest readable content is in use after two looks, and every broken one was
    /// told of once.
    @Test(arguments: Seeds.all)
    func `two looks find every change`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var schedule = ReloadSchedule([0])
        var content = 0
        var inUse = 0
        var told = -1
        func isGood(_ content: Int) -> Bool { content % 3 != 1 }
        for _ in 0..<500 {
            if Bool.random(using: &random) { content += Int.random(in: 1...3, using: &random) }
            for _ in 0..<2 where schedule.isDue([content]) {
                if isGood(content) {
                    inUse = content
                    schedule.succeeded([content])
                } else if schedule.failed([content]) == .tell {
                    #expect(told != content, "told twice")
                    told = content
                }
            }
            #expect(isGood(content) ? inUse == content : told == content)
        }
    }
}
