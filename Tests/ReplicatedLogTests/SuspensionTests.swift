import Glibc
import ReplicatedLog
import Synchronization
import Testing
import Vocabulary

/// A disk that fails under a running log, and comes back.
struct SuspensionTests {
    let folder = TestFolder()

    func configuration(_ path: String) -> ReplicatedLogConfiguration {
        var configuration = smallConfiguration(path, serverID: 1)
        configuration.segmentBytes = 64 << 10
        configuration.entryBytes = 30_000
        configuration.batchBytes = 30_000
        return configuration
    }

    /// Puts numbered entries until one fails; the answered numbers and how it failed.
    func fill(_ log: ReplicatedLog, from first: UInt32, size: Int = 20_000) -> (answered: [UInt32], ProposalError?) {
        var answered: [UInt32] = []
        for number in first..<first + 10_000 {
            switch log.put(payload(number, size)) {
            case .applied: answered.append(number)
            case .failed(let error): return (answered, error)
            case nil: return (answered, nil)
            }
        }
        return (answered, nil)
    }

    func payload(_ number: UInt32, _ size: Int = 4) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) } + [UInt8](repeating: 7, count: size - 4)
    }

    func numbers(_ applier: RecordingApplier) -> [UInt32] {
        applier.payloads.map { $0[1..<5].reduce(0) { $0 << 8 | UInt32($1) } }
    }

    func awaitSuspension(_ applier: RecordingApplier, count: Int = 1) {
        #expect(applier.changed.wait { applier.read { $0.suspensions.count } >= count })
    }

    func awaitResumption(_ applier: RecordingApplier, count: Int = 1) {
        #expect(applier.changed.wait { applier.read { $0.resumptions.count } >= count })
    }

    @Test func `a log whose folder is gone refuses, lives on, and resumes when it is back`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(folder.path), applier: applier)
        try log.start()
        #expect(log.put(payload(0)) == .applied(2))
        folder.takeAway()  // segments open already still take writes; the next one cannot be made
        let (answered, error) = fill(log, from: 1)
        guard case .io(let text) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(text.contains("no such file"))
        awaitSuspension(applier)
        #expect(log.status.isWritable == false)
        #expect(log.status.isLeader == false)
        guard case .failed(.refused(let refusal)) = log.put([1]) else {
            Issue.record("took a proposal while the disk was gone")
            return
        }
        #expect(refusal.contains("nothing can be written at present"))

        // Works run, ticks go on.
        let ran = Signal()
        let count = Atomic<Int>(0)
        #expect(
            log.execute {
                count.add(1, ordering: .relaxed)
                ran.pulse()
            })
        #expect(ran.wait { count.load(ordering: .relaxed) == 1 })
        let ticks = applier.read { $0.ticks }
        #expect(applier.changed.wait { applier.read { $0.ticks } > ticks + 8 })
        #expect(applier.read { $0.resumptions.isEmpty && $0.failures.isEmpty })

        folder.giveBack()
        awaitResumption(applier)
        #expect(log.status.isWritable)
        #expect(log.status.isLeader)
        #expect(applier.read { $0.leadership } == [true, false, true])
        let report = try #require(applier.read { $0.resumptions }.first)
        #expect(log.replay == report)
        #expect(report.storeIndex == RaftIndex(UInt64(answered.count) + 2))
        // What failed was in no segment yet.
        #expect(report.entries == 0)
        #expect(log.put(payload(99_999)) == .applied(report.lastIndex.value + 1))
        let kept = [0] + answered + [99_999]
        #expect(numbers(applier) == kept)
        #expect(applier.read { $0.suspensions.count } == 1)
        log.stop()
        #expect(applier.read { $0.failures } == [])

        let again = RecordingApplier()
        let second = ReplicatedLog(configuration(folder.path), applier: again)
        try second.start()
        #expect(numbers(again) == kept)
        #expect(second.replay?.entries == kept.count)
        second.stop()
    }

    @Test func `a log that waits for its disk stops at once`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(folder.path), applier: applier)
        try log.start()
        folder.takeAway()
        _ = fill(log, from: 0)
        awaitSuspension(applier)
        log.stop()
        #expect(log.put([1]) == .failed(.stopped))
        #expect(log.execute {} == false)
        #expect(applier.read { $0.failures.isEmpty && $0.resumptions.isEmpty })
    }

    @Test func `an acknowledged entry that is gone when the disk is back fails the log for good`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(folder.path), applier: applier)
        try log.start()
        #expect(log.put([1]) == .applied(2))
        let older = folder.image()
        #expect(log.put([2]) == .applied(3))
        folder.takeAway()
        _ = fill(log, from: 0)
        awaitSuspension(applier)
        rename(older.path, folder.path)
        #expect(applier.changed.wait { applier.read { !$0.failures.isEmpty } })
        let error = applier.read { $0.failures }[0]
        let words: String
        if case .behindStore(last: RaftIndex(2), let applied) = error {
            words = "log files are missing"
            #expect(applied == RaftIndex(UInt64(applier.entries.count) + 1))
        } else {
            // libraft may have closed a newer segment in the older folder: then there is a gap.
            words = "ends with entry 2: entries 3 to"
            #expect("\(error)".contains(words))
        }
        guard case .failed(.io(let text)) = log.put([1]) else {
            Issue.record("took a proposal after the log had failed")
            return
        }
        #expect(text.contains(words))
        log.stop()
        #expect(applier.read { $0.failures.count } == 1)
    }

    @Test func `a checkpoint whose flush is under way is waited for before the log is opened anew`() throws {
        var configuration = configuration(folder.path)
        configuration.snapshotEntries = 5
        configuration.trailingEntries = 1
        let applier = RecordingApplier { $0.holdsFlush = true }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        for number in 0..<5 { #expect(log.put(payload(UInt32(number))) != nil) }
        #expect(applier.changed.wait { applier.read { $0.flushesBegun } == 1 })
        folder.takeAway()
        _ = fill(log, from: 5)
        awaitSuspension(applier)
        folder.giveBack()
        let ticks = applier.read { $0.ticks }
        #expect(applier.changed.wait { applier.read { $0.ticks } > ticks + 5 })
        #expect(applier.read { $0.resumptions.isEmpty }, "libraft is still busy")
        applier.set { $0.holdsFlush = false }
        awaitResumption(applier)
        // And a next checkpoint succeeds.
        var number: UInt32 = 100
        while log.status.snapshotIndex == .zero, number < 1_000_000 {
            _ = log.put(payload(number))
            number += 1
        }
        #expect(log.status.snapshotIndex > .zero)
        log.stop()
        #expect(zip(applier.entries, applier.entries.dropFirst()).allSatisfy { $0.index + 1 == $1.index })
    }

    @Test func `proposals that wait for an applier which refuses fail with its words`() throws {
        let applier = RecordingApplier { $0.accepts = false }
        let log = ReplicatedLog(configuration(folder.path), applier: applier)
        try log.start()
        let waiting = (0..<3).map { _ in TestContext() }
        for context in waiting { log.propose(buffer([1]), context: context) }
        let text = "base cannot be flushed: no space left"
        applier.set { $0.refusal = text }
        #expect(waiting.map { $0.outcome() } == .init(repeating: .failed(.refused(text)), count: 3))
        #expect(log.put([2]) == .failed(.refused(text)))
        #expect(log.status.isWritable)
        applier.set { state in
            state.refusal = nil
            state.accepts = true
        }
        #expect(log.put([3]) == .applied(2))
        log.stop()
    }

    @Test(.enabled(if: SmallDisk.isPossible(.tmpfs), "needs the right to mount"), arguments: SmallDisk.possible)
    func `a full disk refuses writes, and when it has room again the log resumes by itself`(
        kind: SmallDisk.Kind
    ) throws {
        let disk = try #require(SmallDisk(kind, mebibytes: 16))
        let path = disk.path + "/log"
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(path), applier: applier)
        try log.start()
        var kept: [UInt32] = []
        for round in 1...3 {
            #expect(disk.fill())
            let (answered, error) = fill(log, from: UInt32(round) * 10_000, size: 8_000)
            kept += answered
            guard case .io(let text) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(text.contains("not enough space"))
            awaitSuspension(applier, count: round)
            // Closing the last segment gave some bytes back.
            _ = disk.fill()
            guard case .failed(.refused(let refusal)) = log.put(payload(0)) else {
                Issue.record("took a proposal on a full disk")
                return
            }
            #expect(refusal.contains("space"))
            // No attempt may succeed while the disk is full.
            let ticks = applier.read { $0.ticks }
            #expect(applier.changed.wait { applier.read { $0.ticks } > ticks + 4 })
            #expect(applier.read { $0.resumptions.count } == round - 1)
            disk.free()
            awaitResumption(applier, count: round)
            guard case .applied = log.put(payload(UInt32(round))) else {
                Issue.record("did not take a proposal after it resumed")
                return
            }
            kept.append(UInt32(round))
            #expect(numbers(applier).filter { kept.contains($0) } == kept)
            #expect(zip(applier.entries, applier.entries.dropFirst()).allSatisfy { $0.index + 1 == $1.index })
        }
        let all = numbers(applier)
        log.stop()
        let again = RecordingApplier()
        let second = ReplicatedLog(configuration(path), applier: again)
        try second.start()
        #expect(numbers(again) == all)
        #expect(second.put(payload(0)) != nil)
        second.stop()
    }

    @Test(.enabled(if: SmallDisk.isPossible(.tmpfs), "needs the right to mount"))
    func `a checkpoint that finds no room is tried again later, and loses nothing`() throws {
        let disk = try #require(SmallDisk(.tmpfs, mebibytes: 8))
        let path = disk.path + "/log"
        var configuration = configuration(path)
        configuration.snapshotEntries = 20
        configuration.trailingEntries = 1
        let applier = RecordingApplier { $0.holdsFlush = true }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        for number in UInt32(0)..<20 { #expect(log.put(payload(number)) != nil) }
        #expect(applier.changed.wait { applier.read { $0.flushesBegun } == 1 })
        disk.takeAllNames()
        applier.set { $0.holdsFlush = false }
        #expect(applier.changed.wait { applier.read { $0.flushes } == 1 })
        var kept = (UInt32(0)..<20).map { $0 }
        // Each attempt closes a segment, and none can be made: the log may be suspended in between.
        for number in UInt32(20)..<200 {
            if case .applied = log.put(payload(number)) { kept.append(number) }
        }
        #expect(kept.count > 20)
        #expect(log.status.snapshotIndex == .zero)
        disk.giveNamesBack()
        var number = UInt32(200)
        while log.status.snapshotIndex == .zero, number < 1_000_000 {
            if case .applied = log.put(payload(number)) { kept.append(number) }
            number += 1
        }
        #expect(log.status.snapshotIndex > .zero)
        #expect(applier.read { $0.failures } == [])
        log.stop()
        #expect(numbers(applier) == kept)
        #expect(TestFolder.names(in: path).contains { $0.hasPrefix("tmp-") } == false)
    }
}
