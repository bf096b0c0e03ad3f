/// One of libraft's two metadata files: format, version, term, vote, 8 bytes each, little-endian, no checksum.
///
/// Version N goes to `metadata1` when N is odd, else to `metadata2`, written in place and synced; 32 bytes lie in one sector, so
/// a crash leaves a file as before or as after. Only a file's first write can be seen in part: shorter, or zeros.
///
/// A first start writes version 1 with term 1 and no vote, and a lone voter elects itself without writing. So today every
/// log has `metadata1` alone, with exactly these numbers, and any changed bit shows. The rules for the pair hold for clusters.
struct LogMetadata: Equatable {
    enum File: Equatable {
        case missing
        /// The file's first write did not complete.
        case torn
        case whole(LogMetadata)
        case damaged(String)
    }

    var version: UInt64
    var term: UInt64
    var vote: UInt64

    static let count = 32
    /// Elections raise the term one by one: a log cannot have missed so many.
    private static let mostTermsWithoutEntries: UInt64 = 1 << 32

    static func read(_ bytes: UnsafeRawBufferPointer, number: UInt64) -> File {
        guard bytes.count <= count else { return .damaged("file has \(bytes.count) bytes (expected \(count))") }
        guard bytes.count == count, !bytes.isZero(0..<count) else { return .torn }
        guard bytes.word(0) == 1 else { return .damaged("format version is \(bytes.word(0)) (expected 1)") }
        let metadata = LogMetadata(version: bytes.word(8), term: bytes.word(16), vote: bytes.word(24))
        guard metadata.version > 0, metadata.version % 2 == number % 2 else {
            return .damaged("version \(metadata.version) does not belong into this file")
        }
        guard metadata.term > 0 else { return .damaged("term is 0 (expected at least 1)") }
        if metadata.version == 1, metadata.term != 1 || metadata.vote != 0 {
            return .damaged("version 1 has term \(metadata.term), vote \(metadata.vote) (expected 1 and 0)")
        }
        return .whole(metadata)
    }

    /// What is wrong with the pair, and where; nil when it may stand.
    /// - Parameters:
    ///   - highestTerm: of the log and the newest checkpoint; 0 when there is neither.
    static func problem(_ first: File, _ second: File, highestTerm: UInt64) -> (place: String, detail: String)? {
        if case .damaged(let detail) = first { return ("metadata1", detail) }
        if case .damaged(let detail) = second { return ("metadata2", detail) }
        let newest: LogMetadata
        switch (first, second) {
        case (.whole(let one), .whole(let two)):
            newest = one.version > two.version ? one : two
            let older = one.version > two.version ? two : one
            guard newest.version == older.version + 1, newest.term >= older.term else {
                let pair =
                    "version \(one.version), term \(one.term) in metadata1 and "
                    + "version \(two.version), term \(two.term) here"
                return ("metadata2", "neither follows the other: \(pair)")
            }
        case (.whole(let one), _):
            guard one.version == 1 else {
                return ("metadata1", "version is \(one.version) (expected 1, as metadata2 is missing or cut short)")
            }
            newest = one
        case (_, .whole): return ("metadata1", "is missing or cut short, but metadata2 is there")
        default:
            return highestTerm == 0 ? nil : ("metadata1", "is missing or cut short, but the log has entries")
        }
        guard newest.term >= highestTerm else {
            return (
                newest.version % 2 == 1 ? "metadata1" : "metadata2",
                "term \(newest.term) is below term \(highestTerm) of the log"
            )
        }
        guard newest.term - highestTerm < mostTermsWithoutEntries else {
            return (
                newest.version % 2 == 1 ? "metadata1" : "metadata2",
                "term \(newest.term) cannot follow term \(highestTerm) of the log"
            )
        }
        return nil
    }
}
