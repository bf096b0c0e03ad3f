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

    @Test func `a log whose folder is gone refuses, lives on, and resumes with every answered entry when it is back`() throws {
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
        guard case .behindStore(last: RaftIndex(2), let applied) = applier.read({ $0.failures })[0] else {
            Issue.record("\(applier.read { $0.failures })")
            return
        }
        #expect(applied == RaftIndex(UInt64(applier.entries.count) + 1))
        guard case .failed(.io(let text)) = log.put([1]) else {
            Issue.record("took a proposal after the log had failed")
            return
        }
        #expect(text.contains("log files are missing"))
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
        for number in UInt32(100)..<200 where log.status.snapshotIndex == .zero { _ = log.put(payload(number)) }
        #expect(log.status.snapshotIndex > .zero)
        log.stop()
        #expect(zip(applier.entries, applier.entries.dropFirst()).allSatisfy { $0.index + 1 == $1.index })
    }

    @Test func `proposals that wait for an applier which refuses fail with its words, and pass when it accepts again`() throws {
        let applier = RecordingApplier { $0.accepts = false }
        let log = ReplicatedLog(configuration(folder.path), applier: applier)
        try log.start()
        let waiting = (0..<3).map { _ in TestContext() }
        for context in waiting { log.propose(buffer([1]), context: context) }
        applier.set { $0.refusal = "base cannot be flushed: no space left" }
        #expect(waiting.map { $0.outcome() } == .init(repeating: .failed(.refused("base cannot be flushed: no space left")), count: 3))
        #expect(log.put([2]) == .failed(.refused("base cannot be flushed: no space left")))
        #expect(log.status.isWritable)
        applier.set { state in
            state.refusal = nil
            state.accepts = true
        }
        #expect(log.put([3]) == .applied(2))
        log.stop()
    }

    @Test(.enabled(if: SmallDisk.isPossible, "needs the right to mount a tmpfs"))
    func `a full disk refuses writes, and when it has room again the log resumes by itself`() throws {
        let disk = try #require(SmallDisk(bytes: 1 << 20))
        let path = disk.path + "/log"
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(path), applier: applier)
        try log.start()
        var kept: [UInt32] = []
        for round in 1...3 {
            let (answered, error) = fill(log, from: UInt32(round) * 10_000, size: 8_000)
            kept += answered
            guard case .io(let text) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(text.contains("not enough space"))
            awaitSuspension(applier, count: round)
            guard case .failed(.refused(let refusal)) = log.put([1]) else {
                Issue.record("took a proposal on a full disk")
                return
            }
            #expect(refusal.contains("space"))
            // No attempt may succeed while the disk is full.
            let ticks = applier.read { $0.ticks }
            #expect(applier.changed.wait { applier.read { $0.ticks } > ticks + 4 })
            #expect(applier.read { $0.resumptions.count } == round - 1)
            #expect(disk.resize(bytes: (round + 1) << 20))
            awaitResumption(applier, count: round)
            let number = UInt32(round)
            guard case .applied = log.put(payload(number)) else {
                Issue.record("did not take a proposal after it resumed")
                return
            }
            kept.append(number)
            #expect(numbers(applier).filter { kept.contains($0) } == kept)
            #expect(zip(applier.entries, applier.entries.dropFirst()).allSatisfy { $0.index + 1 == $1.index })
        }
        let all = numbers(applier)
        log.stop()
        let again = RecordingApplier()
        let second = ReplicatedLog(configuration(path), applier: again)
        try second.start()
        #expect(numbers(again) == all)
        #expect(second.put([1]) != nil)
        second.stop()
    }

    @Test(.enabled(if: SmallDisk.isPossible, "needs the right to mount a tmpfs"))
    func `a checkpoint that finds no room is tried again later, and stops nothing`() throws {
        let disk = try #require(SmallDisk(bytes: 8 << 20))
        let path = disk.path + "/log"
        var configuration = configuration(path)
        configuration.snapshotEntries = 20
        configuration.trailingEntries = 1
        let applier = RecordingApplier { $0.holdsFlush = true }
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        for number in 0..<20 { #expect(log.put(payload(UInt32(number))) != nil) }
        #expect(applier.changed.wait { applier.read { $0.flushesBegun } == 1 })
        // Nothing can be written any more but what is allocated already.
        #expect(disk.fill())
        applier.set { $0.holdsFlush = false }
        #expect(applier.changed.wait { applier.read { $0.flushes } == 1 })
        for number in 20..<100 {
            guard case .applied = log.put(payload(UInt32(number))) else {
                Issue.record("a failed checkpoint stopped the log")
                break
            }
        }
        #expect(log.status.snapshotIndex == .zero)
        disk.free()
        var count = 0
        while log.status.snapshotIndex == .zero, count < 1_000_000 {
            guard case .applied = log.put(payload(1)) else { break }
            count += 1
        }
        #expect(log.status.snapshotIndex > .zero)
        #expect(applier.read { $0.suspensions } == [])
        log.stop()
        #expect(TestFolder.names(in: path).contains { $0.hasPrefix("tmp-") } == false)
    }
}

/// A tmpfs of a given size, unmounted with the value.
final class SmallDisk {
    private let folder = TestFolder()
    var path: String { folder.path }

    static let isPossible: Bool = SmallDisk(bytes: 1 << 20) != nil

    init?(bytes: Int) {
        guard mount("tmpfs", folder.path, "tmpfs", 0, "size=\(bytes)") == 0 else { return nil }
    }

    deinit { umount2(path, Int32(MNT_DETACH)) }

    func resize(bytes: Int) -> Bool { mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT), "size=\(bytes)") == 0 }

    /// Takes every free byte.
    func fill() -> Bool {
        let file = open("\(path)/ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { return false }
        defer { close(file) }
        let block = [UInt8](repeating: 1, count: 4_096)
        while write(file, block, block.count) == block.count {}
        return errno == ENOSPC
    }

    func free() { unlink("\(path)/ballast") }
}
