/// Tables with lines between the cells, as etcd's tools draw them.
public enum TableText {
    /// The lines of a table; the first row is its head.
    public static func lines(_ rows: [[String]]) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        let rule = "+" + widths.map { String(repeating: "-", count: $0 + 2) + "+" }.joined()
        let body = rows.map { row in
            "|" + zip(row, widths).map { " \($0)" + String(repeating: " ", count: $1 - $0.count) + " |" }.joined()
        }
        return [rule] + body.prefix(1) + [rule] + body.dropFirst() + (rows.count > 1 ? [rule] : [])
    }
}

/// Sizes as people read them.
public enum SizeText {
    /// `512 B`, `1.4 KiB`, `37 MiB`, `2.0 GiB`.
    public static func short(_ bytes: some BinaryInteger) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"]
        var tenths = UInt64(clamping: bytes) * 10
        var unit = 0
        while tenths >= 10_240, unit + 1 < units.count {
            tenths /= 1_024
            unit += 1
        }
        return unit == 0 || tenths >= 100
            ? "\(tenths / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }
}
