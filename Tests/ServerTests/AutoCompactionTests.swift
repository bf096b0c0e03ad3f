import Server
import Testing
import Vocabulary

/// When the member compacts by itself: a virtual clock, and etcd's rules.
@Suite struct AutoCompactionTests {
    private func at(_ duration: Duration) -> MonotonicInstant { MonotonicInstant(sinceStart: duration) }

    /// Looks `count` times, with a revision that is the number of the look plus one; answers what was asked for, by look.
    private func looks(
        _ schedule: inout AutoCompactionSchedule, _ numbers: ClosedRange<Int>, isLeader: Bool = true,
        succeeds: (Int) -> Bool = { _ in true }
    ) -> [Int: Int64] {
        var asked: [Int: Int64] = [:]
        for number in numbers {
            let now = at(schedule.interval * number)
            let answer = schedule.look(now: now, revision: Revision(Int64(number) + 1), isLeader: isLeader)
            guard let target = answer else { continue }
            asked[number] = target.value
            schedule.ended(target, isDone: succeeds(number), now: now)
        }
        return asked
    }

    @Test func `a period below an hour is kept once it has passed, and from then on once a period`() {
        var schedule = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(1), now: at(.zero))
        #expect(schedule.interval == .seconds(60))
        // At look 10 the oldest note is the start's; then eleven notes are kept, the oldest of them eleven looks old.
        #expect(looks(&schedule, 1...30) == [10: 1, 20: 10, 30: 20])
    }

    @Test func `a longer period is kept, and compacted hourly once it has passed`() {
        var schedule = AutoCompactionSchedule(.periodic(.seconds(36_000)), revision: Revision(1), now: at(.zero))
        #expect(schedule.interval == .seconds(360))
        #expect(looks(&schedule, 1...99).isEmpty)
        #expect(looks(&schedule, 100...121) == [100: 1, 110: 10, 120: 20])
    }

    @Test func `what failed is asked for at the next look, to the oldest revision by then`() {
        var schedule = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(1), now: at(.zero))
        #expect(looks(&schedule, 1...23) { $0 >= 13 } == [10: 1, 11: 1, 12: 2, 13: 3, 23: 13])
    }

    @Test func `nothing is asked for without leadership, without new revisions, or twice at a time`() {
        var schedule = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(1), now: at(.zero))
        #expect(looks(&schedule, 1...20, isLeader: false).isEmpty)
        #expect(looks(&schedule, 21...21) == [21: 11])

        var idle = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(7), now: at(.zero))
        var asked: [Int64] = []
        for number in 1...60 {
            let now = at(.seconds(60 * number))
            guard let target = idle.look(now: now, revision: Revision(7), isLeader: true) else { continue }
            asked.append(target.value)
            idle.ended(target, isDone: true, now: now)
        }
        #expect(asked == [7])

        var open = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(1), now: at(.zero))
        asked = []
        for number in 1...40 {
            if let target = open.look(
                now: at(.seconds(60 * number)), revision: Revision(Int64(number)), isLeader: true)
            {
                asked.append(target.value)
            }
        }
        #expect(asked == [1])
    }

    @Test func `looks a little early or late are the ones that were meant`() {
        var schedule = AutoCompactionSchedule(.periodic(.seconds(600)), revision: Revision(1), now: at(.zero))
        var asked: [Int] = []
        for number in 1...30 {
            let now = at(.milliseconds(60_000 * number + (number % 3 - 1) * 900))
            guard
                let target = schedule.look(now: now, revision: Revision(Int64(number) + 1), isLeader: true)
            else { continue }
            asked.append(number)
            schedule.ended(target, isDone: true, now: now)
        }
        #expect(asked == [10, 20, 30])
    }

    @Test func `revision mode keeps so many revisions and looks every five minutes`() {
        var schedule = AutoCompactionSchedule(.revisions(1_000), revision: Revision(1), now: at(.zero))
        #expect(schedule.interval == .seconds(300))
        var asked: [Int64] = []
        for (number, revision): (Int, Int64) in [(1, 500), (2, 1_000), (3, 1_001), (4, 1_001), (5, 5_000), (6, 5_000)] {
            let now = at(.seconds(300 * number))
            guard let target = schedule.look(now: now, revision: Revision(revision), isLeader: true) else { continue }
            asked.append(target.value)
            schedule.ended(target, isDone: number != 5, now: now)
        }
        #expect(asked == [1, 4_000, 4_000])
    }

    @Test(
        arguments: [
            ("periodic", "0", nil), ("periodic", "72", .periodic(.seconds(72 * 3_600))), ("revision", "0", nil),
            ("revision", "1000", .revisions(1_000)), ("periodic", "T", .periodic(.seconds(90))),
        ] as [(String, String, AutoCompactionSettings.Policy?)])
    func `settings are read as etcd reads them`(
        mode: String, retention: String, policy: AutoCompactionSettings.Policy?
    ) throws {
        let settings = try AutoCompactionSettings(mode: mode, retention: retention) { $0 == "T" ? .seconds(90) : nil }
        #expect(settings.policy == policy)
    }

    @Test(arguments: [
        ("weekly", "1", "--auto-compaction-mode"), ("", "1", "--auto-compaction-mode"),
        ("periodic", "-1", "--auto-compaction-retention"), ("periodic", "", "--auto-compaction-retention"),
        ("periodic", "99999999999999999999", "--auto-compaction-retention"),
        ("periodic", "short", "--auto-compaction-retention"), ("revision", "5m", "--auto-compaction-retention"),
        ("revision", "-1", "--auto-compaction-retention"),
    ])
    func `settings that mean nothing are refused by name`(mode: String, retention: String, named: String) {
        #expect {
            try AutoCompactionSettings(mode: mode, retention: retention) { $0 == "short" ? .milliseconds(1) : nil }
        } throws: { error in
            "\(error)".contains(named)
        }
    }

    @Test func `flush settings out of their bounds are refused by name`() throws {
        func refusal(_ make: () throws -> FlushSettings) -> String {
            do {
                _ = try make()
                return ""
            } catch {
                return "\(error)"
            }
        }
        #expect(refusal { try FlushSettings(revisions: 0) }.contains("--flush-revisions is 0; expected 1 to 4194304"))
        #expect(refusal { try FlushSettings(revisions: 4_194_305) }.contains("--flush-revisions"))
        #expect(refusal { try FlushSettings(bytes: 65_535) }.contains("--flush-bytes"))
        #expect(refusal { try FlushSettings(bytes: 1 << 31) }.contains("--flush-bytes"))
        #expect(refusal { try FlushSettings(interval: .milliseconds(99)) }.contains("--flush-interval is 0.099 s"))
        #expect(refusal { try FlushSettings(interval: .seconds(86_401)) }.contains("--flush-interval"))
        #expect(try FlushSettings(interval: .zero).interval == nil)
        #expect(try FlushSettings() == .standard)
    }
}
