import BoltFile
import TestSupport

/// The contents of a file, as the tests have them.
struct BoltModel {
    struct Entry: Hashable {
        var key: [UInt8]
        var value: [UInt8]
    }

    /// In the order of their names.
    var buckets: [(name: String, entries: [Entry])] = []

    /// A key that sorts as its number.
    static func key(_ number: Int) -> [UInt8] { withUnsafeBytes(of: UInt64(number).bigEndian) { Array($0) } }

    /// Writes the file, `step` bytes taken at a time.
    func file(step: Int = .max) throws -> [UInt8] {
        var plan = BoltWriter()
        try fill(&plan) { _ in }
        let planned = try plan.finish()
        var bytes: [UInt8] = []
        var writer = BoltWriter(planned)
        try fill(&writer) { writer in while writer.pendingBytes >= step { bytes += writer.take(step) } }
        guard try writer.finish() == planned else { throw BoltError.notAsPlanned }
        bytes += writer.take()
        return bytes
    }

    private func fill(_ writer: inout BoltWriter, _ took: (inout BoltWriter) -> Void) throws {
        for (name, entries) in buckets {
            try writer.beginBucket(name)
            for entry in entries {
                try entry.key.withUnsafeBytes { key in
                    try entry.value.withUnsafeBytes { try writer.add(key: key, value: $0) }
                }
                took(&writer)
            }
            writer.endBucket()
        }
    }

    /// Reads a file to its end.
    static func read(_ bytes: [UInt8]) throws(BoltError) -> BoltModel {
        let reader = try BoltReader(bytes)
        var model = BoltModel()
        for bucket in reader.buckets {
            var entries: [Entry] = []
            let cursor = try reader.entries(of: bucket)
            while try cursor.next() { entries.append(Entry(key: Array(cursor.key), value: Array(cursor.value))) }
            model.buckets.append((bucket.text, entries))
        }
        return model
    }

    /// Keys and values of sizes around those of pages, and many small ones.
    static func random(_ random: inout SeededGenerator, entries: ClosedRange<Int>) -> BoltModel {
        var model = BoltModel()
        for name in ["a", "key", "lease", "z"].shuffled(using: &random).prefix(.random(in: 1...4, using: &random))
            .sorted()
        {
            var found: [[UInt8]: [UInt8]] = [:]
            let hasLongKeys = Int.random(in: 0..<4, using: &random) == 0
            for _ in 0..<Int.random(in: entries, using: &random) {
                let longest = hasLongKeys ? [3, 900, 2100, 5000].randomElement(using: &random) ?? 3 : 18
                let size = Int.random(in: 1...longest, using: &random)
                let key = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
                let sizes = [0, 1, 40, 300, 4060, 4096, 9000, 70_000]
                let weighted = Int.random(in: 0..<40, using: &random) == 0 ? sizes : Array(sizes.prefix(4))
                found[key] = [UInt8](
                    repeating: .random(in: 0...255, using: &random), count: weighted.randomElement(using: &random) ?? 0)
            }
            let entries = found.map { Entry(key: $0.key, value: $0.value) }
            model.buckets.append((name, entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }))
        }
        return model
    }
}

extension BoltModel: Equatable {
    static func == (a: BoltModel, b: BoltModel) -> Bool {
        a.buckets.count == b.buckets.count
            && zip(a.buckets, b.buckets).allSatisfy { $0.name == $1.name && $0.entries == $1.entries }
    }
}
