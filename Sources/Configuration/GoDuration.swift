/// Time spans as Go writes them, which etcd's flags take: https://pkg.go.dev/time#ParseDuration.
public enum GoDuration {
    private static let units: [String: Double] = [
        "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
    ]

    /// What `parse` takes, for messages.
    public static let expected = "a time span with units such as 500ms, 10s or 1h30m, or 0"

    /// Reads `1h30m`, `1.5s`, `500ms` or `0`; nil for anything else, negative ones and those past 290 years.
    public static func parse(_ text: String) -> Duration? {
        if text == "0" { return .zero }
        var rest = Substring(text)
        var nanoseconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { ("0"..."9").contains($0) || $0 == "." }
            guard let first = digits.first, first != "." || digits.count > 1, let number = Double(digits) else {
                return nil
            }
            rest.removeFirst(digits.count)
            let name = rest.prefix { !("0"..."9").contains($0) && $0 != "." }
            guard let unit = units[String(name)] else { return nil }
            rest.removeFirst(name.count)
            nanoseconds += number * unit
        }
        return nanoseconds < 9.2e18 ? .nanoseconds(Int64(nanoseconds.rounded())) : nil
    }
}
