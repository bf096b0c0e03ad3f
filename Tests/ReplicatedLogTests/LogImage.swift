import Glibc
import ReplicatedLog
import TestSupport
import Vocabulary

/// A log's folder as a crash may leave it, made to be changed.
struct LogImage {
    let folder: TestFolder
    /// What the log held, in order.
    let payloads: [[UInt8]]
    static let segmentBytes = 64 << 10

    static func configuration(_ path: String, applied: UInt64 = 0) -> ReplicatedLogConfiguration {
        var configuration = smallConfiguration(path, serverID: 1, appliedIndex: RaftIndex(applied))
        configuration.segmentBytes = segmentBytes
        configuration.entryBytes = 30_000
        configuration.batchBytes = 30_000
        configuration.snapshotEntries = 1_000_000
        configuration.trailingEntries = 1
        return configuration
    }

    /// - Parameters:
    ///   - snapshotEntries: entries between checkpoints; the image is taken when there are two.
    init(_ payloads: [[UInt8]], snapshotEntries: Int? = nil) throws {
        let source = TestFolder()
        var configuration = Self.configuration(source.path)
        if let snapshotEntries { configuration.snapshotEntries = snapshotEntries }
        let log = ReplicatedLog(configuration, applier: RecordingApplier())
        try log.start()
        var sent: [[UInt8]] = []
        func send(_ payload: [UInt8]) throws {
            guard case .applied = log.put(payload) else { throw ReplicatedLogError.stopped }
            sent.append(stored(payload))
        }
        for payload in payloads { try send(payload) }
        if snapshotEntries != nil {
            for _ in 0..<2 {
                let last = log.status.snapshotIndex
                while log.status.snapshotIndex == last { try send([5]) }
            }
            try send([6])
        }
        // Segments are renamed in the background; an image taken across a rename is not what a kill leaves.
        var image = source.image()
        // Checkpoints are written in the background too, first what describes them.
        while image.names != source.names || Self.hasHalfCheckpoint(image.names) { image = source.image() }
        log.stop()
        folder = image
        self.payloads = sent
    }

    private static func hasHalfCheckpoint(_ names: [String]) -> Bool {
        names.contains { $0.hasSuffix(".meta") && !names.contains(String($0.dropLast(5))) }
    }

    private init(_ folder: TestFolder, _ payloads: [[UInt8]]) {
        self.folder = folder
        self.payloads = payloads
    }

    func copy() -> LogImage { LogImage(folder.image(), payloads) }

    var closed: [String] { folder.names.filter { $0.first?.isNumber == true } }
    var open: [String] {
        folder.names.filter { $0.hasPrefix("open-") }.sorted { Self.counter($0) < Self.counter($1) }
    }
    /// Both files of each checkpoint, oldest first.
    var checkpoints: [String] {
        folder.names.filter { $0.hasPrefix("snapshot-") }.sorted { Self.covered($0) < Self.covered($1) }
    }
    /// Open segments with entries.
    var used: [String] { open.filter { folder.read($0).contains { $0 != 0 } } }

    private static func covered(_ name: String) -> Int { Int(name.split(separator: "-")[2]) ?? 0 }
    private static func counter(_ name: String) -> Int { Int(name.dropFirst(5)) ?? 0 }

    /// Where each batch of a segment lies, read from the headers alone.
    static func batches(_ bytes: [UInt8]) -> [Range<Int>] {
        func number(_ offset: Int, _ count: Int) -> Int {
            (0..<count).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
        }
        var batches: [Range<Int>] = []
        var start = 8
        while start + 32 <= bytes.count, number(start + 8, 8) > 0 {
            let entries = number(start + 8, 8)
            var end = start + 16 + 16 * entries
            for entry in 0..<entries { end += number(start + 16 + 16 * entry + 12, 4) }
            batches.append(start..<end)
            start = end
        }
        return batches
    }

    /// The newest closed segments become open ones again, as before their names had changed. Whole again when `filled`.
    func reopen(_ count: Int, filled: Bool = true) {
        let open = open
        for (number, name) in open.enumerated().reversed() {
            rename("\(folder.path)/\(name)", "\(folder.path)/open-\(100 + number)")
        }
        for (number, name) in closed.suffix(count).enumerated() {
            let bytes = folder.read(name)
            unlink("\(folder.path)/\(name)")
            let zeros = filled ? max(0, Self.segmentBytes - bytes.count) : 0
            folder.write("open-\(10 + number)", bytes + [UInt8](repeating: 0, count: zeros))
        }
    }

    var contents: [String: [UInt8]] {
        Dictionary(uniqueKeysWithValues: folder.names.map { ($0, folder.read($0)) })
    }

    /// What a start replays; it must be able to go on after that.
    func start() throws -> [[UInt8]] {
        let applier = RecordingApplier()
        let log = ReplicatedLog(Self.configuration(folder.path), applier: applier)
        try log.start()
        let replayed = applier.payloads
        defer { log.stop() }
        guard case .applied = log.put([0xee]) else { throw ReplicatedLogError.stopped }
        return replayed
    }

    /// What a start says that must not take place; nil when it did, or when it changed a file.
    func refusal(applied: UInt64 = 0) -> String? {
        let before = contents
        let log = ReplicatedLog(Self.configuration(folder.path, applied: applied), applier: RecordingApplier())
        defer { log.stop() }
        do throws(ReplicatedLogError) {
            try log.start()
            return nil
        } catch {
            return contents == before ? error.description : nil
        }
    }

    /// Payloads of many sizes, some with long runs of zeros, so many that several segments are filled.
    static func payloads(_ random: inout SeededGenerator, count: Int = 60) -> [[UInt8]] {
        (0..<count).map { _ in
            let size = Int.random(in: 0...4, using: &random) == 0 ? Int.random(in: 0...20_000, using: &random) : 300
            let count = Int.random(in: 0...size, using: &random)
            var payload = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            if payload.count > 2_000, Bool.random(using: &random) {
                for offset in 500..<1_900 { payload[offset] = 0 }
            }
            return payload
        }
    }
}
