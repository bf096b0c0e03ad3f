import Store

/// When the store's young layer is sealed and flushed to disk: at so many revisions, at so many bytes, or so long after its
/// first write, whichever comes first.
///
/// Less means shorter replays at start and more disk writes; more means the reverse. It never decides what survives: the
/// log does that.
public struct FlushSettings: Hashable, Sendable {
    /// Revisions that make a flush due.
    public let revisions: Int
    /// Bytes of keys and values that make a flush due.
    public let bytes: Int
    /// Time since the first write that makes a flush due; nil: time alone never does.
    public let interval: Duration?

    /// 32,768 revisions.
    public static let defaultRevisions = 32_768
    /// 16 MiB.
    public static let defaultBytes = 16 << 20
    /// 5 seconds.
    public static let defaultInterval = Duration.seconds(5)
    /// The clock is looked at this often.
    static let shortestInterval = Duration.milliseconds(100)

    /// - Parameters:
    ///   - revisions: 1 to 4,194,304. The log holds as many entries in memory.
    ///   - bytes: 65,536 to 1 GiB. Disk space and page cache of twice about three times as much are set aside.
    ///   - interval: zero for never, or 100 ms to 24 h.
    /// - Throws: `SettingsError` naming the setting that is wrong.
    public init(
        revisions: Int = defaultRevisions, bytes: Int = defaultBytes, interval: Duration = defaultInterval
    ) throws(SettingsError) {
        guard (1...(4 << 20)).contains(revisions) else {
            throw SettingsError("--flush-revisions is \(revisions); expected 1 to \(4 << 20)")
        }
        guard ((64 << 10)...(1 << 30)).contains(bytes) else {
            throw SettingsError("--flush-bytes is \(bytes); expected \(64 << 10) to \(1 << 30)")
        }
        guard interval == .zero || (Self.shortestInterval...(.seconds(86_400))).contains(interval) else {
            throw SettingsError(
                "--flush-interval is \(interval / .seconds(1)) s; expected 100ms to 24h, or 0 for no flush by time")
        }
        self.revisions = revisions
        self.bytes = bytes
        self.interval = interval == .zero ? nil : interval
    }

    /// The usual values.
    public static let standard = FlushSettings()

    private init() {
        revisions = Self.defaultRevisions
        bytes = Self.defaultBytes
        interval = Self.defaultInterval
    }

    /// Sets the store up, with young layers that hold what these bounds and one batch of the log let in.
    func apply(to store: inout StoreConfiguration, batchEntries: Int, batchBytes: Int, maxTxnOps: Int) {
        store.sealRevisions = revisions
        store.sealBytes = bytes
        // As good as never, and no overflow when an instant is added.
        store.sealAge = interval ?? .seconds(1 << 40)
        // An operation of a transaction takes nine bytes of its request at least.
        let changes = min(batchEntries * max(1, maxTxnOps), batchBytes / 9)
        store.youngMapBytes = StoreConfiguration.youngMapBytes(
            sealRevisions: revisions, sealBytes: bytes, batchChanges: changes, batchBytes: batchBytes)
    }
}
