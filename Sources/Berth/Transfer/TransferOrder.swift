/// The order in which keys with leases are written, so that lines stay what they are.
///
/// Whoever waits for a lock, or stands for election, has a key under the lock's name, and the oldest by create revision
/// holds. All keys of one transaction get the same create revision, and two keys of one line with the same one would
/// both hold. So keys are written in the order of their create revisions, one transaction after the other, and no
/// transaction has two keys of which one might stand in line with the other, unless they were created together.
package enum TransferOrder {
    /// A key with a lease, as far as it must be remembered until all are known.
    package struct Key: Sendable, Hashable {
        package var key: Bytes
        package var createRevision: Int64
        package var lease: Int64
        /// Bytes of its value, which is read again when its turn comes.
        package var valueSize: Int

        package init(key: Bytes, createRevision: Int64, lease: Int64, valueSize: Int) {
            self.key = key
            self.createRevision = createRevision
            self.lease = lease
            self.valueSize = valueSize
        }
    }

    /// Values of one read take at most about this many bytes.
    private static let readBytes = 4 << 20

    /// Oldest first.
    package static func sorted(_ keys: [Key]) -> [Key] {
        keys.sorted { ($0.createRevision, $0.key) < ($1.createRevision, $1.key) }
    }

    /// Cuts keys into what one transaction reads.
    package static func reads(_ keys: [Key]) -> [ArraySlice<Key>] {
        var reads: [ArraySlice<Key>] = []
        var start = 0
        var size = 0
        for (position, key) in keys.enumerated() {
            let cost = key.key.count + key.valueSize
            if position > start, position - start == TransferBatch.maxOperations || size + cost > readBytes {
                reads.append(keys[start..<position])
                start = position
                size = 0
            }
            size += cost
        }
        if start < keys.count { reads.append(keys[start...]) }
        return reads
    }

    /// Cuts keys, which are sorted, into what one transaction writes: positions in `keys`.
    package static func rounds(_ keys: [(key: Bytes, createRevision: Int64)]) -> [Range<Int>] {
        var rounds: [Range<Int>] = []
        var round = Round()
        var start = 0
        for (position, key) in keys.enumerated() {
            if !round.takes(key.key, key.createRevision) {
                rounds.append(start..<position)
                start = position
                round = Round()
            }
            round.add(key.key, key.createRevision)
        }
        if start < keys.count { rounds.append(start..<keys.count) }
        return rounds
    }

    /// The keys of one transaction. A key's line is the key up to its last slash, and lines may lie within lines: who
    /// waits for `a` looks at all keys that begin with `a/`, those of `a/b` too.
    private struct Round {
        /// Lines of the keys, with the oldest key of each.
        private var lines: [ArraySlice<UInt8>: Int64] = [:]
        /// These lines and all they lie in, with the oldest key within.
        private var around: [ArraySlice<UInt8>: Int64] = [:]

        func takes(_ key: Bytes, _ createRevision: Int64) -> Bool {
            let lines = Self.lines(around: key)
            if let line = lines.first, let oldest = around[line], oldest != createRevision { return false }
            return lines.allSatisfy { line in self.lines[line].map { $0 == createRevision } ?? true }
        }

        mutating func add(_ key: Bytes, _ createRevision: Int64) {
            let all = Self.lines(around: key)
            for line in all { around[line] = min(around[line] ?? createRevision, createRevision) }
            if let line = all.first { lines[line] = min(lines[line] ?? createRevision, createRevision) }
        }

        /// The line of a key, then those it lies in, up to the one of all keys.
        private static func lines(around key: Bytes) -> [ArraySlice<UInt8>] {
            var lines: [ArraySlice<UInt8>] = []
            var rest = key.array[...]
            while let slash = rest.lastIndex(of: UInt8(ascii: "/")) {
                lines.append(rest[...slash])
                rest = rest[..<slash]
            }
            return lines + [rest.prefix(0)]
        }
    }
}
