internal import Vocabulary

/// Reads everything in a log's folder and decides whether libraft may have it. Writes nothing.
///
/// libraft 0.15 would cut an open segment at the first bad batch and drop what is behind it, remove half checkpoints, and
/// number entries of an open segment by guess. So Berth looks first, and refuses what no crash leaves behind. The
/// rules, each with its reason, are in docs/log-recovery.md; those for a segment's end stand at ``SegmentContents``.
struct LogWalk {
    /// What must be done before libraft loads the log, in this order.
    enum Repair: Equatable {
        /// An open segment: cut behind its last whole batch and given its name as a closed one.
        case close(name: String, end: Int, closedName: String)
        case remove(name: String)
    }

    private struct Piece {
        var name: String
        var first: UInt64
        var last: UInt64
        /// Nil for a closed segment.
        var counter: UInt64?
        /// Nil while a closed segment is unread.
        var contents: SegmentContents?
    }

    let path: String
    let listing: LogListing
    private(set) var findings: [LogCheck.Finding] = []
    private(set) var repairs: [Repair] = []
    private(set) var checkpoint: LogCheckpoint?
    /// The entries that libraft will load; 0 when there are none.
    private(set) var firstIndex: UInt64 = 0
    private(set) var lastIndex: UInt64 = 0
    private(set) var entries = 0
    private(set) var entryBytes = 0
    private(set) var terms: ClosedRange<UInt64>?
    private(set) var tornBytes = 0
    /// Who votes at the log's end; nil when neither entry nor checkpoint says so.
    private(set) var voters: [UInt64]?

    /// - Parameter everything: reads also what a start does not need: older checkpoints, and segments a newer one covers.
    init(_ path: String, everything: Bool = false) throws(ReplicatedLogError) {
        self.path = path
        listing = try LogListing(path)
        try readCheckpoints(everything)
        var pieces = listing.closed.map { Piece(name: $0.name, first: $0.first, last: $0.last) }
        pieces += try openPieces(after: pieces.last?.last ?? checkpoint?.index ?? 0)
        pieces.sort { ($0.first, $0.last) < ($1.first, $1.last) }
        // What is written is closed first, in its order; only then unused segments go.
        let closings = pieces.compactMap { piece -> Repair? in
            guard piece.counter != nil, let contents = piece.contents else { return nil }
            let closedName = Self.closedName(piece.first, piece.last)
            return .close(name: piece.name, end: contents.end, closedName: closedName)
        }
        repairs = closings + repairs
        let chain = chainStart(pieces)
        for number in pieces.indices where everything || number >= chain {
            try read(&pieces[number], counts: number >= chain)
        }
        checkReach(pieces[min(chain, pieces.count)...])
        try checkMetadata()
    }

    /// Whether a first start got as far as writing its term.
    private(set) var hasMetadata = false

    /// Why the log may not be used; nil when it may.
    var damage: String? { findings.first?.description }

    private mutating func find(_ place: String, _ detail: String) {
        // One cause can show in many places; nobody reads thousands of lines.
        if findings.count < LogCheck.mostFindings { findings.append(LogCheck.Finding(place: place, detail: detail)) }
    }

    static func closedName(_ first: UInt64, _ last: UInt64) -> String {
        func digits(_ number: UInt64) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, 16 - text.utf8.count)) + text
        }
        return "\(digits(first))-\(digits(last))"
    }

    // MARK: checkpoints

    private mutating func readCheckpoints(_ everything: Bool) throws(ReplicatedLogError) {
        for (number, listed) in listing.checkpoints.enumerated() {
            let isNewest = number == listing.checkpoints.count - 1
            guard isNewest || everything else { continue }
            switch try LogCheckpoint.read(listed, in: path) {
            case .whole(let checkpoint):
                guard isNewest else { continue }
                self.checkpoint = checkpoint
                voters = checkpoint.voters
            case .damaged(let file, let detail):
                find(file, detail)
                // Its name still tells how far the log must reach.
                if isNewest {
                    checkpoint = LogCheckpoint(index: listed.index, term: listed.term, reference: [])
                }
            }
        }
    }

    // MARK: segments

    /// Open segments that hold entries, with their places; the others become repairs, or findings.
    private mutating func openPieces(after lastClosed: UInt64) throws(ReplicatedLogError) -> [Piece] {
        var pieces: [Piece] = []
        var fresh: (open: LogListing.Open, bytes: Int)?
        for open in listing.open {
            let contents = try FileBytes.read("\(path)/\(open.name)") { SegmentContents(open: $0) }
            if case .damaged(let offset, let reason) = contents.tail {
                find(open.name, "byte \(offset): \(reason)\(Self.whatFollows)")
            }
            guard contents.entries > 0 else {
                repairs.append(.remove(name: open.name))
                if case .torn(let bytes) = contents.tail {
                    if let fresh { twoTornTails(fresh.open.name, open.name) }
                    fresh = (open, bytes)
                }
                continue
            }
            if let fresh { find(fresh.open.name, "write is incomplete, but \(open.name) was written after it") }
            if let last = pieces.last, case .torn = last.contents?.tail {
                let end = last.contents?.end ?? 0
                find(last.name, "byte \(end): batch is not whole, but \(open.name) was written after it")
            }
            let first = contents.firstIndex ?? (pieces.last?.last ?? lastClosed) + 1
            if let last = pieces.last, first <= last.last {
                find(open.name, "begins with entry \(first), but \(last.name) before it ends with entry \(last.last)")
            }
            pieces.append(
                Piece(
                    name: open.name, first: first, last: first + UInt64(contents.entries) - 1, counter: open.counter,
                    contents: contents))
        }
        if let last = pieces.last, case .torn(let bytes) = last.contents?.tail {
            if let fresh { twoTornTails(last.name, fresh.open.name) }
            tornBytes += bytes
        }
        tornBytes += fresh?.bytes ?? 0
        return pieces
    }

    private static let whatFollows = "; acknowledged entries may be lost from there on"

    private mutating func twoTornTails(_ first: String, _ second: String) {
        find(first, "write is incomplete, and so is one in \(second): a crash leaves one at most")
    }

    /// Where the entries begin that follow each other up to the last one. What lies before is not needed, if the checkpoint
    /// covers it: a removal of old segments was cut off.
    private mutating func chainStart(_ pieces: [Piece]) -> Int {
        guard var start = pieces.indices.last else { return 0 }
        while start > 0 {
            let (older, newer) = (pieces[start - 1], pieces[start])
            if older.last >= newer.first {
                find(newer.name, "overlaps \(older.name): both claim entry \(newer.first)")
            } else if older.last + 1 < newer.first {
                break
            }
            start -= 1
        }
        let first = pieces[start].first
        if let checkpoint {
            guard first > checkpoint.index + 1 else { return start }
            find(
                pieces[start].name,
                "begins with entry \(first), but the newest checkpoint ends with entry \(checkpoint.index): "
                    + Self.missing(checkpoint.index + 1, first - 1))
        } else if start > 0 {
            let older = pieces[start - 1]
            find(
                pieces[start].name,
                "begins with entry \(first), but \(older.name) ends with entry \(older.last): "
                    + Self.missing(older.last + 1, first - 1))
        } else if first > 1 {
            let orphan = listing.orphans.last.map { "; of a checkpoint only \($0) is there" } ?? ""
            find(
                pieces[start].name,
                "is the first segment and begins with entry \(first) (expected 1, as no checkpoint is there): "
                    + Self.missing(1, first - 1) + orphan)
        }
        return start
    }

    private static func missing(_ first: UInt64, _ last: UInt64) -> String {
        first == last ? "entry \(first) is missing" : "entries \(first) to \(last) are missing"
    }

    private mutating func read(_ piece: inout Piece, counts: Bool) throws(ReplicatedLogError) {
        if piece.contents == nil {
            guard piece.first > 0, piece.last >= piece.first else { return find(piece.name, "is no range of entries") }
            let contents = try FileBytes.read("\(path)/\(piece.name)") { SegmentContents(closed: $0) }
            piece.contents = contents
            let expected = piece.last - piece.first + 1
            if case .damaged(let offset, let reason) = contents.tail {
                find(piece.name, "byte \(offset): \(reason)")
            } else if UInt64(contents.entries) != expected {
                find(piece.name, "holds \(contents.entries) entries (expected \(expected))")
            } else if let first = contents.firstIndex, first != piece.first {
                find(piece.name, "begins with entry \(first) (expected \(piece.first))")
            }
        }
        guard counts, let contents = piece.contents else { return }
        if firstIndex == 0 { firstIndex = piece.first }
        lastIndex = piece.last
        entries += contents.entries
        entryBytes += contents.entryBytes
        voters = contents.voters ?? voters
        guard let lowest = contents.terms.first?.term, let highest = contents.terms.last?.term else { return }
        if let terms, lowest < terms.upperBound {
            find(piece.name, "begins with term \(lowest), but term \(terms.upperBound) comes before it")
        }
        terms = min(terms?.lowerBound ?? lowest, lowest)...max(terms?.upperBound ?? highest, highest)
        guard let checkpoint, (piece.first...piece.last).contains(checkpoint.index) else { return }
        let position = Int(checkpoint.index - piece.first)
        let term = contents.terms.last { $0.position <= position }?.term
        if let term, term != checkpoint.term {
            find(piece.name, "entry \(checkpoint.index) has term \(term), but the checkpoint says \(checkpoint.term)")
        }
    }

    /// A checkpoint is written while the log still holds the entry it ends with, and trailing entries stay.
    private mutating func checkReach(_ chain: ArraySlice<Piece>) {
        guard let last = chain.last else {
            if let name = listing.checkpoints.last?.name ?? listing.orphans.last {
                find(name, "is there, but no segment (expected the one with the checkpoint's last entry)")
            }
            return
        }
        guard let checkpoint, last.last < checkpoint.index else { return }
        let text = "is the last segment and ends with entry \(last.last), but the newest checkpoint with entry "
        find(last.name, text + "\(checkpoint.index): " + Self.missing(last.last + 1, checkpoint.index))
    }

    // MARK: metadata

    private mutating func checkMetadata() throws(ReplicatedLogError) {
        let files = [try metadata(1), try metadata(2)]
        hasMetadata = files.contains { if case .whole = $0 { true } else { false } }
        let highest = max(terms?.upperBound ?? 0, checkpoint?.term ?? 0)
        if let (place, detail) = LogMetadata.problem(files[0], files[1], highestTerm: highest) { find(place, detail) }
        // libraft removes a short one, but takes one of zeros for damage.
        for (number, file) in files.enumerated() where file == .torn {
            repairs.append(.remove(name: "metadata\(number + 1)"))
        }
    }

    private func metadata(_ number: UInt64) throws(ReplicatedLogError) -> LogMetadata.File {
        let name = "metadata\(number)"
        guard listing.names.contains(name) else { return .missing }
        return try FileBytes.read("\(path)/\(name)") { LogMetadata.read($0, number: number) }
    }
}
