/// When the member compacts by itself, with etcd's meanings.
public struct AutoCompactionSettings: Hashable, Sendable {
    /// What is kept.
    public enum Policy: Hashable, Sendable {
        /// The history of this much time.
        case periodic(Duration)
        /// This many revisions behind the newest.
        case revisions(Int64)
    }

    /// What is kept; nil: the member never compacts by itself.
    public let policy: Policy?

    /// The member never compacts by itself.
    public static let off = AutoCompactionSettings(policy: nil)

    private init(policy: Policy?) { self.policy = policy }

    /// - Parameters:
    ///   - mode: `periodic` or `revision`.
    ///   - retention: `0` for off. Periodic: hours, or a time span such as `72h` or `90m`. Revision: a number of revisions.
    ///   - parse: reads a time span with its unit; nil when it is none.
    /// - Throws: `SettingsError` naming the setting that is wrong.
    public init(mode: String, retention: String, parse: (String) -> Duration?) throws(SettingsError) {
        let number = retention.allSatisfy { $0.isASCII && $0.isNumber } ? Int64(retention) : nil
        switch mode {
        case "periodic":
            let hours = number.flatMap { $0 <= Self.mostHours ? Duration.seconds($0 * 3_600) : nil }
            guard let period = hours ?? (number == nil ? parse(retention) : nil) else {
                throw SettingsError(
                    "--auto-compaction-retention is '\(retention)'; expected hours, a time span such as 72h or 90m, or 0 for off"
                )
            }
            guard period == .zero || period >= .seconds(1) else {
                throw SettingsError("--auto-compaction-retention is '\(retention)'; expected 1s or more, or 0 for off")
            }
            policy = period == .zero ? nil : .periodic(period)
        case "revision":
            guard let number else {
                throw SettingsError(
                    "--auto-compaction-retention is '\(retention)'; in revision mode expected a number of revisions, or 0 for off"
                )
            }
            policy = number == 0 ? nil : .revisions(number)
        default:
            throw SettingsError("--auto-compaction-mode is '\(mode)'; expected periodic or revision")
        }
    }

    /// A hundred years.
    private static let mostHours: Int64 = 876_000
}
