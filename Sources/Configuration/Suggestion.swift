/// The known name that somebody most likely meant.
enum Suggestion {
    /// The nearest of the names, if it is near: at most a third of its letters added, left out, changed or swapped.
    static func nearest(to given: String, among names: some Sequence<String>) -> String? {
        guard given.count <= 100 else { return nil }
        var best: (name: String, distance: Int)?
        for name in names {
            let distance = distance(Array(given.lowercased().utf8), Array(name.lowercased().utf8))
            // The name itself in another case comes first; of two equally near ones the alphabet's first.
            if distance < best?.distance ?? .max || (distance == best?.distance && name < best?.name ?? "") {
                best = (name, distance)
            }
        }
        guard let best, best.distance <= max(2, best.name.count / 3) else { return nil }
        return best.name
    }

    /// `; did you mean X?`, or nothing.
    static func text(_ name: String?) -> String { name.map { "; did you mean \($0)?" } ?? "" }

    /// Edits from one text to the other, a swap of two neighbours being one edit (optimal string alignment).
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var rows = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
        for i in 0...a.count { rows[i][0] = i }
        for j in 0...b.count { rows[0][j] = j }
        guard !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
        for i in 1...a.count {
            for j in 1...b.count {
                let change = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
                rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, change)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
                }
            }
        }
        return rows[a.count][b.count]
    }
}
