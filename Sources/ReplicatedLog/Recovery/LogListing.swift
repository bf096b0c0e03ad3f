internal import Glibc

/// The names in a log's folder, sorted into what libraft makes of them. Other names are left alone.
struct LogListing {
    struct Closed {
        var name: String
        var first: UInt64
        var last: UInt64
    }

    struct Open {
        var name: String
        var counter: UInt64
    }

    /// A checkpoint of which both files are there: NAME.meta and NAME.
    struct Checkpoint {
        var name: String
        var term: UInt64
        var index: UInt64
        var timestamp: UInt64
    }

    /// `first-last`, oldest first.
    var closed: [Closed] = []
    /// `open-N`, oldest first.
    var open: [Open] = []
    /// `snapshot-TERM-INDEX-TIME`, oldest first.
    var checkpoints: [Checkpoint] = []
    /// Files of checkpoints whose other file is missing. libraft removes them: a crash may leave one.
    var orphans: [String] = []
    var names: Set<String> = []

    init(_ path: String) throws(ReplicatedLogError) {
        guard let folder = opendir(path) else {
            throw .directory(path: path, reason: "\(FileBytes.errorText); it must exist and be readable")
        }
        defer { closedir(folder) }
        errno = 0
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            names.insert(name)
        }
        guard errno == 0 else { throw .io("read folder \(path): \(FileBytes.errorText)") }
        for name in names { sort(name) }
        closed.sort { ($0.first, $0.last) < ($1.first, $1.last) }
        open.sort { $0.counter < $1.counter }
        checkpoints.sort { ($0.term, $0.index, $0.timestamp) < ($1.term, $1.index, $1.timestamp) }
        orphans.sort()
    }

    /// Neither a segment nor a checkpoint: as before a first start was complete.
    var hasNoLog: Bool { closed.isEmpty && open.isEmpty && checkpoints.isEmpty && orphans.isEmpty }

    private mutating func sort(_ name: String) {
        if let numbers = Self.numbers(name[...]), numbers.count == 2 {
            closed.append(Closed(name: name, first: numbers[0], last: numbers[1]))
        } else if name.hasPrefix("open-"), let numbers = Self.numbers(name.dropFirst(5)), numbers.count == 1 {
            open.append(Open(name: name, counter: numbers[0]))
        } else if name.hasPrefix("snapshot-") {
            let isMeta = name.hasSuffix(".meta")
            let stem = String(isMeta ? name.dropLast(5) : name[...])
            guard let numbers = Self.numbers(stem.dropFirst(9)), numbers.count == 3 else { return }
            guard names.contains(isMeta ? stem : name + ".meta") else { return orphans.append(name) }
            guard isMeta else { return }
            checkpoints.append(
                Checkpoint(name: stem, term: numbers[0], index: numbers[1], timestamp: numbers[2]))
        }
    }

    /// Numbers between dashes, when there is nothing else.
    private static func numbers(_ text: Substring) -> [UInt64]? {
        var numbers: [UInt64] = []
        for part in text.split(separator: "-", omittingEmptySubsequences: false) {
            guard part.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt64(part) else { return nil }
            numbers.append(number)
        }
        return numbers
    }
}
