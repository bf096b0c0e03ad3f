public import Berth

/// Copies from store to store, as lines for people.
public enum TransferText {
    /// One line that fits a terminal and is drawn over itself.
    ///
    /// - Parameters:
    ///   - elapsed: since this stage began.
    ///   - width: columns there are.
    public static func bar(_ progress: TransferProgress, elapsed: Duration, width: Int) -> String {
        let words = line(progress) + pace(progress, elapsed)
        guard hasEnd(progress.stage), progress.total > 0 else { return String(words.prefix(max(0, width - 1))) }
        let share = min(1, Double(progress.keys) / Double(progress.total))
        let filled = Int(share * 20)
        let drawn = String(repeating: "#", count: filled) + String(repeating: "-", count: 20 - filled)
        return String("[\(drawn)] \(Int(share * 100))%  \(words)".prefix(max(0, width - 1)))
    }

    /// One line for a log.
    public static func line(_ progress: TransferProgress) -> String {
        switch progress.stage {
        case .looking: "looking at both sides"
        case .granting: "granting leases: \(number(progress.leases))"
        case .reading, .copying, .leasedKeys, .verifying:
            "\(verb(progress.stage)): \(number(progress.keys)) of \(number(progress.total)) keys, "
                + size(progress.bytes)
        }
    }

    /// What was done, for people.
    ///
    /// - Parameter done: the word for it, as `imported`.
    public static func result(_ report: TransferReport, done: String, elapsed: Duration) -> [String] {
        var lines = [
            "\(done) \(count(report.keys, "key")) (\(size(report.bytes))) and \(count(report.leases, "lease")) "
                + "of revision \(report.sourceRevision) in \(DurationText.short(elapsed))"
        ]
        if report.endedKeys > 0 {
            lines.append("left out: \(count(report.endedKeys, "key")) of leases that ended in the source meanwhile")
        }
        if report.otherKeys > 0 {
            lines.append("left alone: \(count(report.otherKeys, "key")) of the target that the source does not have")
        }
        if report.isVerified {
            lines.append("verified: the same \(count(report.keys, "key")) on both sides, SHA-256 \(report.sourceHash)")
        }
        return lines
    }

    /// What is not the same on both sides, for people; nothing when all is.
    public static func differences(_ report: TransferReport) -> [String] {
        guard !report.isVerified else { return [] }
        var lines = [
            "NOT verified: \(count(report.differences, "key")) differ at the target's revision "
                + "\(report.targetRevision); the source has \(number(report.keys)), the target \(number(report.targetKeys))"
        ]
        if !report.isComplete {
            lines.append(
                "not all keys were met: the source counts \(number(report.countedKeys)) at revision "
                    + "\(report.sourceRevision); \(number(report.writtenKeys)) were written, \(number(report.keys)) "
                    + "compared and \(number(report.endedKeys)) left out")
        }
        if !report.lostLeases.isEmpty {
            lines.append(
                "the target lost \(count(report.lostLeases.count, "lease")) meanwhile: "
                    + report.lostLeases.prefix(10).map(\.description).joined(separator: " "))
        }
        lines += report.firstDifferences.map { "\(word($0.kind)): \($0.key)" }
        if report.differences > report.firstDifferences.count {
            lines.append("and \(number(report.differences - report.firstDifferences.count)) more")
        }
        return lines
    }

    /// What would be done, for people.
    public static func survey(_ survey: TransferSurvey) -> [String] {
        var lines = [
            "would copy \(count(survey.keys, "key")) (\(size(survey.bytes)), the largest \(size(Int64(survey.largest)))) "
                + "and \(count(survey.leases, "lease")) of revision \(survey.sourceRevision); "
                + "\(count(survey.leasedKeys, "key")) on leases"
        ]
        if survey.keysInTheWay > 0 {
            lines.append("in the way: \(count(survey.keysInTheWay, "key")) of the target")
        }
        if !survey.leasesInTheWay.isEmpty {
            lines.append(
                "in the way: \(count(survey.leasesInTheWay.count, "lease")) of the target with another time to live: "
                    + survey.leasesInTheWay.prefix(10).map(\.description).joined(separator: " "))
        }
        return lines
    }

    // MARK: -

    /// Whether keys count up to the total.
    private static func hasEnd(_ stage: TransferProgress.Stage) -> Bool {
        switch stage {
        case .looking, .granting: false
        case .reading, .copying, .leasedKeys, .verifying: true
        }
    }

    private static func verb(_ stage: TransferProgress.Stage) -> String {
        switch stage {
        case .looking: "looking"
        case .reading: "reading"
        case .copying: "copying"
        case .granting: "granting"
        case .leasedKeys: "copying keys on leases"
        case .verifying: "verifying"
        }
    }

    private static func pace(_ progress: TransferProgress, _ elapsed: Duration) -> String {
        let seconds = elapsed / .seconds(1)
        guard hasEnd(progress.stage), progress.stage != .leasedKeys, seconds > 0.5, progress.keys > 0 else { return "" }
        let rate = Double(progress.keys) / seconds
        let left = Double(max(0, progress.total - progress.keys)) / rate
        return ", \(number(Int(rate)))/s, \(DurationText.short(.seconds(left))) left"
    }

    private static func word(_ kind: TransferDifference.Kind) -> String {
        switch kind {
        case .missing: "missing on the target"
        case .unexpected: "on the target alone"
        case .value: "another value"
        case .lease: "another lease"
        }
    }

    private static func count(_ count: Int, _ what: String) -> String {
        "\(number(count)) \(what)\(count == 1 ? "" : "s")"
    }

    /// `1,234,567`.
    static func number(_ number: Int) -> String {
        var digits = Array("\(number)")
        var position = digits.count - 3
        while position > (number < 0 ? 1 : 0) {
            digits.insert(",", at: position)
            position -= 3
        }
        return String(digits)
    }

    /// `512 B`, `61.3 MiB`.
    static func size(_ bytes: Int64) -> String {
        guard bytes >= 1024 else { return "\(bytes) B" }
        var tenths = bytes * 10 / 1024
        for unit in ["KiB", "MiB", "GiB"] {
            if tenths < 10_240 || unit == "GiB" { return "\(tenths / 10).\(tenths % 10) \(unit)" }
            tenths /= 1024
        }
        return "\(bytes) B"
    }
}
