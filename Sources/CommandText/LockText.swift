public import Berth

/// Locks, places and events as lines for people.
///
/// Owner labels and names come from other clients: whatever could steer a terminal is escaped.
public enum LockText {
    /// Lines of cells, each column as wide as its widest cell; the last one is not padded.
    public static func columns(_ rows: [[String]]) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                if column + 1 < row.count { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
            }
            return line
        }
    }

    /// A table of locks.
    public static func list(_ locks: [LockSummary]) -> [String] {
        columns(
            [["NAME", "HOLD", "WAIT", "FIRST", "TOKEN", "LEFT"]]
                + locks.map { lock in
                    [
                        lock.name.description, "\(lock.holders)", "\(lock.waiters)",
                        lock.first.map { who($0) } ?? "-", lock.first.map { "\($0.token)" } ?? "-",
                        lock.first.map { left($0, after: .zero) } ?? "-",
                    ]
                })
    }

    /// A lock with its line.
    ///
    /// - Parameters:
    ///   - time: milliseconds since 1970, for "since".
    ///   - age: how long ago the server answered: leases have run on since.
    public static func show(_ view: LockView, at time: Int64, age: Duration = .zero) -> [String] {
        let head = "\(view.name)  \(holding(view.holders, view.waiters))"
        guard !view.places.isEmpty else { return [head] }
        let rows = view.places.map { place in
            [
                place.holds ? "holds" : "\(place.ahead) ahead", who(place), mode(place.mode), "\(place.token)",
                since(place, at: time), left(place, after: age), details(place),
            ]
        }
        return [head, ""] + columns([["", "OWNER", "MODE", "TOKEN", "SINCE", "LEFT", ""]] + rows).map { trimmed($0) }
    }

    private static func trimmed(_ line: String) -> String {
        var line = line[...]
        while line.last == " " { line.removeLast() }
        return "  \(line)"
    }

    private static func holding(_ holders: Int, _ waiters: Int) -> String {
        if holders == 0, waiters == 0 { return "free" }
        return "\(holders) hold\(holders == 1 ? "s" : ""), \(waiters) wait\(waiters == 1 ? "s" : "")"
    }

    private static func details(_ place: Place) -> String {
        var parts = place.attributes.sorted { $0.key < $1.key }.map { printable("\($0.key)=\($0.value)") }
        if !place.isProtected { parts.append("(etcd)") }
        return parts.joined(separator: " ")
    }

    /// Whose a place is.
    public static func who(_ place: Place) -> String {
        place.owner.isEmpty ? place.key.description : printable(place.owner)
    }

    private static func mode(_ mode: LockMode) -> String {
        if case .permits(let number) = mode { "permit of \(number)" } else { mode.word }
    }

    private static func since(_ place: Place, at time: Int64) -> String {
        guard let start = place.holds ? place.acquiredAt ?? place.queuedAt : place.queuedAt else { return "-" }
        return DurationText.short(.milliseconds(max(0, time - start)))
    }

    private static func left(_ place: Place, after age: Duration) -> String {
        place.remaining > .zero ? DurationText.short(max(.zero, place.remaining - age)) : "-"
    }

    /// One event in one line, without its time.
    public static func event(_ event: LockEvent, withName: Bool = false) -> String {
        let who = event.owner.isEmpty ? event.key.description : printable(event.owner)
        var text = "\(event.kind.word)  \(who)  token \(event.token)"
        switch event.kind {
        case .queued, .moved: text += "  \(event.ahead) ahead"
        case .expired: text += event.held ? "  held" : "  waiting"
        case .broken:
            text += "  by \(printable(event.by)): \(printable(event.reason))"
        case .acquired, .released, .gaveUp, .proclaimed: break
        }
        return withName ? "\(event.name)  \(text)" : text
    }

    /// A text without anything that steers a terminal.
    public static func printable(_ text: String) -> String { Bytes(text).description }
}
