import Glibc
import ReplicatedLog
import TestSupport
import Testing
import Vocabulary

/// What a start finds: images of killed processes, torn writes, damage, wrong folders, failing disks.
struct RecoveryTests {
    let folder = TestFolder()
    var configuration: ReplicatedLogConfiguration { smallConfiguration(folder.path, serverID: 1) }

    func replayed(_ folder: TestFolder) throws -> [[UInt8]] {
        let applier = RecordingApplier()
        let log = ReplicatedLog(smallConfiguration(folder.path, serverID: 1), applier: applier)
        try log.start()
        // It must also be able to go on.
        guard case .applied = log.put([0xee]) else { throw ReplicatedLogError.stopped }
        log.stop()
        return applier.payloads.dropLast()
    }

    @Test(arguments: Seeds.all)
    func `a killed process loses nothing that was answered`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var configuration = configuration
        configuration.segmentBytes = 128 << 10
        configuration.entryBytes = 20_000
        configuration.batchBytes = 64 << 10
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        var answered: [[UInt8]] = []
        for _ in 0..<4 {
            for _ in 0..<Int.random(in: 1...60, using: &random) {
                let byte = UInt8.random(in: 0...255, using: &random)
                let payload = [UInt8](repeating: byte, count: Int.random(in: 0...9_000, using: &random))
                #expect(log.put(payload) == .applied(UInt64(answered.count) + 2))
                answered.append(stored(payload))
            }
            // Segments are renamed in the background; an image taken across a rename is not what a kill leaves.
            var image = folder.image()
            while image.names.count != folder.names.count || image.names != folder.names { image = folder.image() }
            #expect(try replayed(image) == answered)
        }
        log.stop()
        #expect(try replayed(folder) == answered)
    }

    /// An image with one open segment that holds these payloads, and where their bytes end in it.
    func openImage(_ payloads: [[UInt8]]) throws -> (image: TestFolder, open: String, end: Int) {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        for payload in payloads { #expect(log.put(payload) != nil) }
        let image = folder.image()
        log.stop()
        for name in image.names where name.hasPrefix("open-") {
            // Padding ends every entry with a byte that is not zero.
            if let last = image.read(name).lastIndex(where: { $0 != 0 }) { return (image, name, last + 1) }
        }
        throw ReplicatedLogError.stopped
    }

    @Test(arguments: [0, 8, 16, 24])
    func `a killed process whose segment was full to the end restarts`(left: Int) throws {
        let payloads: [[UInt8]] = [[1, 1], [2, 2], [3, 3]]
        let (image, open, end) = try openImage(payloads)
        image.write(open, Array(image.read(open).prefix(end + left)))
        #expect(try replayed(image) == payloads.map { stored($0) })
    }

    @Test func `a damaged closed segment is refused and left as it is`() throws {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        for number in UInt8(0)..<20 { _ = log.put([number]) }
        log.stop()
        let name = try #require(folder.names.last { $0.first?.isNumber == true })
        var bytes = folder.read(name)
        bytes[bytes.count / 2] ^= 0x10
        folder.write(name, bytes)
        let names = folder.names
        let again = ReplicatedLog(configuration, applier: RecordingApplier())
        do throws(ReplicatedLogError) {
            try again.start()
            Issue.record("started on damaged files")
        } catch {
            guard case .corrupt(let text) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(text.contains("checksum"))
        }
        again.stop()
        #expect(folder.names == names)
    }

    @Test func `a missing parent folder, a file in the folder's place and bad settings are refused in words`() throws {
        func startError(_ configuration: ReplicatedLogConfiguration) -> ReplicatedLogError? {
            let log = ReplicatedLog(configuration, applier: RecordingApplier())
            defer { log.stop() }
            do throws(ReplicatedLogError) { try log.start() } catch { return error }
            return nil
        }
        var missing = configuration
        missing.directory += "/none/log"
        guard case .directory(missing.directory, _) = startError(missing) else {
            Issue.record("\(String(describing: startError(missing)))")
            return
        }
        folder.write("file", [])
        var file = configuration
        file.directory += "/file"
        guard case .directory(file.directory, _) = startError(file) else {
            Issue.record("\(String(describing: startError(file)))")
            return
        }
        var bad = configuration
        bad.serverID = 0
        #expect(startError(bad) == .configuration("server id is 0; choose another number"))
    }

    @Test func `another server's log and a log shorter than the store are refused`() throws {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        #expect(log.put([1]) == .applied(2))
        log.stop()
        let stranger = ReplicatedLog(
            smallConfiguration(folder.path, serverID: 2), applier: RecordingApplier())
        #expect(throws: ReplicatedLogError.notVoter(serverID: 2)) { try stranger.start() }
        stranger.stop()
        let ahead = ReplicatedLog(
            smallConfiguration(folder.path, serverID: 1, appliedIndex: RaftIndex(3)),
            applier: RecordingApplier())
        #expect(throws: ReplicatedLogError.behindStore(last: RaftIndex(2), applied: RaftIndex(3))) { try ahead.start() }
        ahead.stop()
    }

    @Test func `a first start that died between its two files is completed`() throws {
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        log.stop()
        for name in folder.names where !name.hasPrefix("metadata") { unlink("\(folder.path)/\(name)") }
        #expect(try replayed(folder) == [])
    }

    @Test func `the folder is made, for its owner only, and found again`() throws {
        var inside = configuration
        inside.directory += "/log"
        for start in UInt64(0)..<2 {
            let log = ReplicatedLog(inside, applier: RecordingApplier())
            try log.start()
            #expect(log.put([1]) == .applied(2 + start))
            log.stop()
        }
        var status = stat()
        #expect(stat(inside.directory, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
        for name in TestFolder.names(in: inside.directory) { unlink("\(inside.directory)/\(name)") }
        rmdir(inside.directory)
    }

    @Test func `entries of a size that the settings were fitted to pass, and come back after a restart`() throws {
        let size = 20 << 20
        let small = configuration
        let first = ReplicatedLog(small, applier: RecordingApplier())
        try first.start()
        #expect(first.put([1]) == .applied(2))
        first.stop()

        var fitted = small
        fitted.fit(entryBytes: size)
        fitted.snapshotBytes = 1 << 30  // all entries are to be read back
        #expect(fitted.segmentBytes >= 2 * size)
        var payload = [UInt8](repeating: 7, count: size - 1)
        for offset in stride(from: 0, to: payload.count, by: 4_093) { payload[offset] = UInt8(offset & 0xff) }
        let second = ReplicatedLog(fitted, applier: RecordingApplier())
        try second.start()
        let contexts = (0..<2).map { _ in TestContext() }
        for context in contexts { second.propose(buffer(payload), context: context) }
        #expect(contexts.map { $0.outcome() } == [.applied(3), .applied(4)])
        #expect(second.put([UInt8](repeating: 1, count: size)) == .failed(.tooLarge))
        second.stop()

        let applier = RecordingApplier()
        let third = ReplicatedLog(fitted, applier: applier)
        try third.start()
        // Compared here, as a failed expectation would print them.
        let isSame = applier.payloads == [stored([1]), stored(payload), stored(payload)]
        #expect(isSame)
        #expect(third.put([2]) == .applied(5))
        third.stop()
    }
}
