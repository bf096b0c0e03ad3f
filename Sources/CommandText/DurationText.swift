/// Time spans as people write and read them.
public enum DurationText {
    private static let units: [(suffix: String, unit: Duration)] = [
        ("ms", .milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600)),
    ]

    /// What `parse` accepts, for messages.
    public static let expected = "a time span such as 10, 10s, 500ms, 2m or 1h30m"

    /// Reads `10` (seconds), `1.5s`, `500ms`, `1m30s`; nil for anything else, negative ones and those past 30 years.
    public static func parse(_ text: some StringProtocol) -> Duration? {
        if let seconds = number(text) { return bounded(seconds) }
        var rest = Substring(text)
        var sum = 0.0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let value = number(digits) else { return nil }
            rest.removeFirst(digits.count)
            let name = rest.prefix { $0.isLetter }
            guard let unit = units.first(where: { $0.suffix == name })?.unit else { return nil }
            rest.removeFirst(name.count)
            sum += value * (unit / .seconds(1))
        }
        return text.isEmpty ? nil : bounded(sum)
    }

    private static func number(_ text: some StringProtocol) -> Double? {
        guard let first = text.first, first.isASCII, first.isNumber else { return nil }
        guard text.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else { return nil }
        return Double(text)
    }

    private static func bounded(_ seconds: Double) -> Duration? {
        seconds <= 1e9 ? .milliseconds(Int64((seconds * 1000).rounded())) : nil
    }

    /// `0.4 s`, `7.3 s`, `42 s`, `3 min`, `5 h`, `2 d`: what a glance needs.
    public static func short(_ duration: Duration) -> String {
        let tenths = max(0, Int64(duration / .milliseconds(100)))
        let seconds = tenths / 10
        switch seconds {
        case ..<10: return "\(seconds).\(tenths % 10) s"
        case ..<120: return "\(seconds) s"
        case ..<7200: return "\(seconds / 60) min"
        case ..<172_800: return "\(seconds / 3600) h"
        default: return "\(seconds / 86_400) d"
        }
    }
}
