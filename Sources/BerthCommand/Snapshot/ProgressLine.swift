import CommandText

#if canImport(Glibc)
    import Glibc
#endif

/// A line on a terminal that tells how far something has come. Nothing where no person looks.
struct ProgressLine {
    private static let interval = Duration.milliseconds(200)

    private let isShown: Bool
    private let start = ContinuousClock.now
    private var last: ContinuousClock.Instant?

    init(isShown: Bool) { self.isShown = isShown && Output.isErrorTerminal }

    /// Draws the line anew, at most five times a second.
    ///
    /// - Parameter bytes: what the pace is told of; nil tells none.
    mutating func show(_ what: String, _ done: UInt64, of total: UInt64, bytes: Int? = nil) {
        guard isShown else { return }
        let now = ContinuousClock.now
        if let last, now - last < Self.interval { return }
        last = now
        let percent = total == 0 ? 100 : min(100, done * 100 / total)
        guard let bytes else { return Self.write("\r\u{1b}[K\(what) \(percent) %") }
        let pace = Double(bytes) / max(0.001, (now - start) / .seconds(1))
        Self.write("\r\u{1b}[K\(what) \(percent) %, \(SizeText.short(bytes)), \(SizeText.short(Int(pace))) a second")
    }

    /// Takes the line away.
    mutating func clear() {
        if last != nil { Self.write("\r\u{1b}[K") }
        last = nil
    }

    /// To standard error, as it is.
    static func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
