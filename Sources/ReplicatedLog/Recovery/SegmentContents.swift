/// What one segment file holds, and how it ends.
///
/// ## What a torn tail may be
///
/// An open segment is allocated full of zeros, and its name and size reach the disk before anything is written to it. Berth gives
/// libraft one `raft_apply` at a time, libraft makes one batch of it, and one write: from the start of the 4,096-byte block
/// the last batch ends in, through the last block of the new one. Bytes before the new batch are rewritten as they were,
/// bytes behind it are zeros. A batch never spans two segments. Segments are neither reused nor written over. So after a
/// crash at most the last write of the log is incomplete, and each of its 512-byte sectors is either as before (zeros from the
/// batch's start on) or as written. Hence, where no whole batch follows the last good one:
///
/// - nothing but zeros: the end of the log;
/// - a sector of the batch is missing, all its bytes zero: *torn*, never acknowledged, cut;
/// - no sector is missing: the write was complete, and what it wrote has changed since: *damaged*;
/// - a whole batch or any byte behind the bad one: *damaged*, as a later write began only after the earlier was complete.
///
/// How far a batch reaches is read from its header. Where the header itself has a missing sector, bytes may stretch no further
/// than the largest batch, half of a segment.
///
/// One case cannot be told: a last batch that was written whole, was damaged since, and holds a sector's worth of zeros of
/// its own. It is taken for torn.
struct SegmentContents {
    enum Tail: Equatable {
        case clean
        /// So many bytes of a write that did not complete.
        case torn(bytes: Int)
        case damaged(offset: Int, String)
    }

    /// Behind the last whole batch; 0 without any.
    var end = 0
    var entries = 0
    var entryBytes = 0
    /// Where its own commands say it begins; nil without commands.
    var firstIndex: UInt64?
    /// Each change of term: position in the segment, and the term from there on.
    var terms: [(position: Int, term: UInt64)] = []
    /// Who votes, by the last entry that says so; nil without one.
    var voters: [UInt64]?
    var tail = Tail.clean
    /// Never written: empty, or zeros throughout.
    var isUnused = false

    static let formatVersion: UInt64 = 1
    private static let sectorCount = 512

    /// A closed segment: whole batches up to its last byte.
    init(closed bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 8 else {
            tail = .damaged(offset: 0, "file has \(bytes.count) bytes (expected at least 8)")
            return
        }
        guard bytes.word(0) == Self.formatVersion else {
            tail = .damaged(offset: 0, "format version is \(bytes.word(0)) (expected \(Self.formatVersion))")
            return
        }
        if let failure = readBatches(bytes), end < bytes.count || entries == 0 {
            tail = .damaged(offset: max(end, 8), failure.reason)
        }
    }

    /// An open segment: whole batches, then zeros or a torn write.
    init(open bytes: UnsafeRawBufferPointer) {
        if bytes.isZero(0..<bytes.count) {
            isUnused = true
            return
        }
        guard bytes.count >= 8 else {
            tail = .damaged(offset: 0, "file has only \(bytes.count) bytes")
            return
        }
        switch bytes.word(0) {
        case Self.formatVersion:
            guard let failure = readBatches(bytes) else { return }
            let start = max(end, 8)
            if end > 0, bytes.isZero(start..<bytes.count) { return }
            tail = Self.judge(bytes, from: start, failure)
        case 0:
            // The format shares the first sector with the first batch: both are there, or none.
            tail = Self.judge(bytes, from: 8, .init(reason: "first sector is missing"))
        case let version:
            tail = .damaged(offset: 0, "format version is \(version) (expected \(Self.formatVersion))")
        }
    }

    private struct Failure {
        var reason: String
        /// Where the bad batch ends, when its header can be trusted.
        var end: Int?
        /// Checksums hold: no crash did that.
        var isForeign = false
    }

    /// Reads on until the file ends or a batch is not whole.
    private mutating func readBatches(_ bytes: UnsafeRawBufferPointer) -> Failure? {
        var offset = 8
        while offset < bytes.count {
            switch SegmentBatch.read(bytes, at: offset) {
            case .badHeader(let reason): return Failure(reason: reason)
            case .badData(let end, let reason): return Failure(reason: reason, end: end)
            case .foreign(let reason): return Failure(reason: reason, isForeign: true)
            case .whole(let batch):
                if let first = batch.firstIndex {
                    // The first command settles where the segment begins; all others must agree.
                    let claim = first >= UInt64(entries) ? first - UInt64(entries) : 0
                    guard claim > 0, firstIndex ?? claim == claim else {
                        let expected = (firstIndex ?? 1) + UInt64(entries)
                        return Failure(reason: "batch holds entry \(first) (expected \(expected))", isForeign: true)
                    }
                    firstIndex = claim
                }
                if let term = terms.last?.term, let next = batch.terms.first?.term, next < term {
                    return Failure(reason: "term \(next) follows term \(term)", isForeign: true)
                }
                for change in batch.terms where change.term != terms.last?.term {
                    terms.append((entries + change.position, change.term))
                }
                voters = batch.voters ?? voters
                entries += batch.entries
                entryBytes += batch.entryBytes
                offset = batch.end
                end = offset
            }
        }
        return entries == 0 ? Failure(reason: "no entries") : nil
    }

    // MARK: the tail

    /// Tells a torn write from damage: see above.
    private static func judge(_ bytes: UnsafeRawBufferPointer, from start: Int, _ failure: Failure) -> Tail {
        let used = max(bytes.usedEnd(from: start), start)
        let damage = Tail.damaged(offset: start, failure.reason)
        guard !failure.isForeign else { return damage }
        if let end = failure.end {
            guard end <= bytes.count, used <= end else { return damage }
            return lacksSector(bytes, start..<end) ? .torn(bytes: used - start) : damage
        }
        // Without a header: as much of it as is there must say that some of it is not.
        let firstSector = start..<min(sectorEnd(start), bytes.count)
        if !bytes.isZero(firstSector) {
            guard bytes.count - start >= SegmentBatch.leastCount else { return damage }
            let counter = start + 8
            if counter < firstSector.upperBound || !lacksSector(bytes, counter..<counter + 8) {
                let count = bytes.word(counter)
                guard (1...UInt64(SegmentBatch.mostEntries)).contains(count) else { return damage }
                let headerEnd = counter + SegmentBatch.headerCount(Int(count))
                guard headerEnd <= bytes.count, lacksSector(bytes, start..<headerEnd),
                    holdsEntryHeaders(bytes, from: start, to: headerEnd)
                else { return damage }
            }
        }
        let largest = bytes.count / 2 + 16 * SegmentBatch.mostEntries + 4_096
        guard used - start <= largest, !holdsBatch(bytes, from: start + 8, to: used) else { return damage }
        return .torn(bytes: used - start)
    }

    /// Whether every entry's header whose sectors are there could be one. Otherwise it is the number of entries that is wrong:
    /// a larger one reaches into data, or into the zeros behind the batch, and makes it look as if a sector were missing.
    private static func holdsEntryHeaders(
        _ bytes: UnsafeRawBufferPointer, from start: Int, to headerEnd: Int
    ) -> Bool {
        func isMissing(_ offset: Int) -> Bool {
            let end = min(sectorEnd(offset), bytes.count)
            return bytes.isZero(max(start, sectorEnd(offset) - sectorCount)..<end)
        }
        return stride(from: start + 16, to: headerEnd, by: 16).allSatisfy { header in
            isMissing(header) || isMissing(header + 15) || SegmentBatch.isEntryHeader(bytes, at: header)
        }
    }

    private static func sectorEnd(_ offset: Int) -> Int { offset / sectorCount * sectorCount + sectorCount }

    /// Whether a sector has only zeros where it meets the range.
    private static func lacksSector(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let next = min(sectorEnd(offset), range.upperBound)
            if bytes.isZero(offset..<next) { return true }
            offset = next
        }
        return false
    }

    /// Whether a whole batch begins anywhere between two offsets, the lower one a multiple of 8.
    private static func holdsBatch(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) -> Bool {
        var offset = start
        while offset + SegmentBatch.leastCount <= end {
            if SegmentBatch.isConceivable(bytes, at: offset), case .whole = SegmentBatch.read(bytes, at: offset) {
                return true
            }
            offset += 8
        }
        return false
    }
}
