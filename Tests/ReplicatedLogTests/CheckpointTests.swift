import Glibc
import ReplicatedLog
import Testing
import Vocabulary

/// Checkpoints on a real folder: when they are taken, what they remove, and that a failed one removes nothing.
struct CheckpointTests {
    let folder = TestFolder()

    func configuration(_ entries: Int = 100) -> ReplicatedLogConfiguration {
        var configuration = smallConfiguration(folder.path, serverID: 1)
        configuration.snapshotEntries = entries
        configuration.trailingEntries = 1
        return configuration
    }

    /// Proposes one by one until the log's checkpoint has passed an index; returns how many.
    func put(_ log: ReplicatedLog, untilSnapshotPasses index: UInt64, atMost limit: Int = 5_000) -> Int {
        for count in 0..<limit {
            if log.status.snapshotIndex.value > index { return count }
            guard case .applied = log.put([1, 2, 3]) else { return count }
        }
        return limit
    }

    var segments: [String] { folder.names.filter { $0.first?.isNumber == true } }

    @Test func `a checkpoint seals closed batches, truncates the log, and a restart continues above it`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(), applier: applier)
        try log.start()
        _ = put(log, untilSnapshotPasses: 0)
        _ = put(log, untilSnapshotPasses: log.status.snapshotIndex.value)
        #expect(applier.read { $0.sealedOpenBatch } == false)
        let covered = log.status.snapshotIndex.value
        #expect(applier.read { $0.seals.contains(covered) })
        #expect(segments.allSatisfy { !$0.hasPrefix("0000000000000001-") }, "the first segment is gone")
        let entries = applier.entries
        log.stop()

        let second = RecordingApplier()
        let again = ReplicatedLog(configuration(), applier: second)
        try again.start()
        let restored = try #require(second.read { $0.restored }.first)
        let restoredIndex = try #require(UInt64(String(decoding: restored.dropFirst(6), as: UTF8.self)))
        #expect(restoredIndex >= covered)
        #expect(second.entries == entries.filter { $0.index > restoredIndex })
        #expect(again.status.snapshotIndex.value == restoredIndex)
        #expect(again.put([9]) == .applied(UInt64(entries.count) + 2))
        again.stop()
    }

    @Test func `bytes alone make a checkpoint due`() throws {
        var configuration = configuration(1_000_000)
        configuration.snapshotBytes = 100_000
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration, applier: applier)
        try log.start()
        for _ in 0..<8 { #expect(log.put([UInt8](repeating: 1, count: 10_000)) != nil) }
        #expect(applier.read { $0.seals } == [])
        for _ in 0..<3 { #expect(log.put([UInt8](repeating: 1, count: 10_000)) != nil) }
        #expect(applier.changed.wait { applier.read { $0.flushes } == 1 })
        #expect(applier.read { $0.seals } == [11], "the tenth entry of 10,000 bytes crosses the bound")
        log.stop()
    }

    @Test func `an applier that cannot seal is asked again, and the log is kept meanwhile`() throws {
        let applier = RecordingApplier { $0.sealRefusals = 40 }
        let log = ReplicatedLog(configuration(), applier: applier)
        try log.start()
        for _ in 0..<130 { _ = log.put([1]) }
        #expect(applier.read { $0.refusedSeals } > 20)
        #expect(log.status.snapshotIndex == .zero)
        #expect(segments == ["0000000000000001-0000000000000001"])
        #expect(put(log, untilSnapshotPasses: 0) < 5_000)
        #expect(applier.read { $0.refusedSeals } == 40)
        log.stop()
    }

    @Test func `a failed flush keeps the log: a restart replays from the beginning`() throws {
        // Every attempt fails until the test has seen enough: how many there are is a matter of time.
        let applier = RecordingApplier { $0.flushFailures = .max }
        let log = ReplicatedLog(configuration(), applier: applier)
        try log.start()
        for _ in 0..<150 { _ = log.put([1]) }
        #expect(applier.changed.wait { applier.read { $0.flushFailures } < .max })
        #expect(applier.read { $0.flushes } == 0)
        let image = folder.image()
        #expect(image.names.contains { $0.hasPrefix("snapshot") } == false)

        var configuration = smallConfiguration(image.path, serverID: 1)
        configuration.snapshotEntries = 1_000_000
        let second = RecordingApplier()
        let fromImage = ReplicatedLog(configuration, applier: second)
        try fromImage.start()
        #expect(second.entries.count == 150)
        #expect(second.read { $0.restored } == [])
        fromImage.stop()

        // A next attempt comes some ticks later, and succeeds.
        applier.set { $0.flushFailures = 0 }
        #expect(put(log, untilSnapshotPasses: 0, atMost: 1_000_000) < 1_000_000)
        #expect(applier.read { $0.seals.count } >= 2)
        log.stop()
    }

    @Test func `stopping during a flush waits for it`() throws {
        let applier = RecordingApplier()
        let log = ReplicatedLog(configuration(10), applier: applier)
        try log.start()
        for _ in 0..<10 { _ = log.put([1]) }
        log.stop()
        let again = RecordingApplier()
        let second = ReplicatedLog(configuration(1_000), applier: again)
        try second.start()
        #expect(again.entries.count + (again.read { $0.restored }.isEmpty ? 0 : 9) >= 10)
        second.stop()
    }

    @Test func `a refused reference stops the start with the applier's words`() throws {
        let log = ReplicatedLog(configuration(), applier: RecordingApplier())
        try log.start()
        _ = put(log, untilSnapshotPasses: 0)
        log.stop()
        let refusing = ReplicatedLog(configuration(), applier: RecordingApplier { $0.refusesRestore = true })
        #expect(throws: ReplicatedLogError.restore("state 7 is not here")) { try refusing.start() }
        refusing.stop()
        let accepting = ReplicatedLog(configuration(), applier: RecordingApplier())
        try accepting.start()
        accepting.stop()
    }
}
