import Store
package import Vocabulary

/// A place as others are shown it.
package struct PlaceReport: Sendable {
    /// The `berth.v1.Place` as far as it is stored.
    package let record: PlaceRecord
    package let holds: Bool
    /// Places before it.
    package let ahead: Int
    /// What its lease was granted, in seconds.
    package let timeToLive: Int64
}

/// A line as it stands at a revision.
package struct LineReport: Sendable {
    package let name: [UInt8]
    package let revision: Revision
    package let holders: Int
    package let waiters: Int
    /// The first ones, in order.
    package let places: [PlaceReport]
}

/// Lines whose names begin alike, as they stand at a revision.
package struct LineList: Sendable {
    package let lines: [LineReport]
    /// There are further ones behind the last.
    package let isMore: Bool
    package let revision: Revision
}

// What others may know of the lines. Asked on the log thread between two entries, so an answer is of one moment; its
// size is bounded by the limits, which the caller chooses.
extension StateMachine {
    /// One line; an empty one when nobody stands in it.
    package func report(line name: [UInt8], limit: Int) -> LineReport {
        guard let line = lines[name] else {
            return LineReport(name: name, revision: writer.currentRevision, holders: 0, waiters: 0, places: [])
        }
        return report(line, limit)
    }

    /// Lines whose names start with `prefix`, in order, behind `after`; and whether there are more.
    package func reports(
        prefix: [UInt8], after: [UInt8]?, limit: Int, places: Int
    ) -> LineList {
        var found: [LineReport] = []
        var isMore = false
        // The name right behind another is that name and a zero byte.
        let start = after.map { $0.lexicographicallyPrecedes(prefix) ? prefix : $0 + [0] } ?? prefix
        lines.forEach(from: start) { line in
            guard line.name.starts(with: prefix) else { return .stop }
            guard found.count < limit else {
                isMore = true
                return .stop
            }
            found.append(report(line, places))
            return .next
        }
        return LineList(lines: found, isMore: isMore, revision: writer.currentRevision)
    }

    /// How many stand before a place; nil when it is not in line.
    package func ahead(of token: Revision, in name: [UInt8]) -> Int? {
        guard let line = lines[name], let place = line.place(token: token) else { return nil }
        return line.ahead(of: place)
    }

    private func report(_ line: LockLine, _ limit: Int) -> LineReport {
        LineReport(
            name: line.name, revision: writer.currentRevision, holders: line.holderCount,
            waiters: line.count - line.holderCount,
            places: line.prefix(limit).enumerated().map { ahead, place in
                PlaceReport(
                    record: PlaceRecord(place), holds: place.holds, ahead: ahead,
                    timeToLive: leases.timeToLive(place.lease) ?? 0)
            })
    }
}
