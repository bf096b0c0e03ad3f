internal import CRaft

/// One batch of entries as libraft stores it, all numbers little-endian:
///
///     checksum of the header (4 bytes), checksum of the data (4)
///     header: number of entries (8); for each its term (8), type (1), nothing (3), length (4)
///     data: the entries, each a whole number of 8-byte words
struct SegmentBatch {
    /// Behind the batch's last byte.
    var end = 0
    var entries = 0
    /// Bytes of entries, as stored.
    var entryBytes = 0
    /// Where the first command says the batch begins; nil without commands.
    var firstIndex: UInt64?
    /// Each change of term: position in the batch, and the term from there on.
    var terms: [(position: Int, term: UInt64)] = []
    /// Who votes, by the last entry that says so; nil without one.
    var voters: [UInt64]?

    /// Most entries one batch can hold: a bound of the configuration, and libraft's own is higher.
    static let mostEntries = 65_536
    static let leastCount = 8 + 8 + 16

    enum Reading {
        case whole(SegmentBatch)
        /// The header cannot be trusted, nor therefore where the batch would end.
        case badHeader(String)
        /// The header is as written; the entries are not.
        case badData(end: Int, String)
        /// As it was written, but not by Berth in this place.
        case foreign(String)
    }

    static func headerCount(_ entries: Int) -> Int { 8 + 16 * entries }

    /// Whether the entries' headers could be such, at the price of looking at them: a checksum of what a value happens to look
    /// like would be dear, if taken at every word of it.
    static func isConceivable(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Bool {
        guard bytes.count - start >= leastCount else { return false }
        let count = bytes.word(start + 8)
        guard (1...UInt64(mostEntries)).contains(count), start + 8 + headerCount(Int(count)) <= bytes.count else {
            return false
        }
        var end = start + 8 + headerCount(Int(count))
        for header in stride(from: start + 16, to: end, by: 16) {
            end += Int(bytes.halfWord(header + 12))
            guard isEntryHeader(bytes, at: header), end <= bytes.count else { return false }
        }
        return true
    }

    /// Whether these 16 bytes could be an entry's term, type and length.
    static func isEntryHeader(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        (1...3).contains(bytes.halfWord(offset + 8)) && bytes.halfWord(offset + 12) % 8 == 0
    }

    /// Reads the batch that begins at an offset, which is a multiple of 8.
    static func read(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Reading {
        guard bytes.count - start >= leastCount else { return .badHeader("batch is cut short") }
        let count = bytes.word(start + 8)
        guard (1...UInt64(mostEntries)).contains(count) else {
            return .badHeader("batch claims \(count) entries (expected 1 to \(mostEntries))")
        }
        let entries = Int(count)
        let dataStart = start + 8 + headerCount(entries)
        guard dataStart <= bytes.count else { return .badHeader("batch header reaches past the end of the file") }
        guard RaftCRC32.checksum(bytes[span: start + 8..<dataStart]) == bytes.halfWord(start) else {
            return .badHeader("header checksum mismatch")
        }
        return readEntries(bytes, entries, headers: start + 16, data: dataStart, checksum: bytes.halfWord(start + 4))
    }

    private static func readEntries(
        _ bytes: UnsafeRawBufferPointer, _ entries: Int, headers: Int, data: Int, checksum: UInt32
    ) -> Reading {
        var end = data
        for entry in 0..<entries { end += Int(bytes.halfWord(headers + 16 * entry + 12)) }
        guard end <= bytes.count else { return .badData(end: end, "batch reaches past the end of the file") }
        guard RaftCRC32.checksum(bytes[span: data..<end]) == checksum else {
            return .badData(end: end, "data checksum mismatch")
        }
        var batch = SegmentBatch(end: end, entries: entries, entryBytes: end - data)
        var offset = data
        for entry in 0..<entries {
            let header = headers + 16 * entry
            let term = bytes.word(header)
            let length = Int(bytes.halfWord(header + 12))
            if let last = batch.terms.last?.term, term < last {
                return .foreign("term \(term) follows term \(last)")
            }
            if term != batch.terms.last?.term { batch.terms.append((entry, term)) }
            switch Int32(bytes[header + 8]) {
            case Int32(RAFT_COMMAND):
                guard let stored = EntryPadding.strip(bytes[span: offset..<offset + length]),
                    stored.index > UInt64(entry)
                else { return .foreign("entry \(entry + 1) of the batch was not written by Berth") }
                let first = stored.index - UInt64(entry)
                guard batch.firstIndex ?? first == first else {
                    return .foreign("entries of the batch are not numbered one after the other")
                }
                batch.firstIndex = first
            case Int32(RAFT_CHANGE): batch.voters = RaftMembers.voters(in: bytes[span: offset..<offset + length])
            case Int32(RAFT_BARRIER): break
            case let type: return .foreign("entry \(entry + 1) of the batch has the unknown type \(type)")
            }
            offset += length
        }
        return .whole(batch)
    }
}

extension UnsafeRawBufferPointer {
    /// A part of these bytes, counted from zero again.
    subscript(span range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[range]) }
}
