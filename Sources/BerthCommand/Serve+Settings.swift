import CommandText
import Logging
import Server

#if canImport(Glibc)
    import Glibc
#endif

extension Serve {
    /// The option's value, else its environment variable's, else nil.
    private func value(_ option: String?, _ variable: String) -> String? {
        option ?? getenv(variable).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// All settings, from options, environment and defaults.
    func resolve() throws(SettingsError) -> ServerSettings {
        var settings = try ServerSettings(
            name: value(name, "BERTH_NAME") ?? "default",
            dataDirectory: value(dataDir, "BERTH_DATA_DIR") ?? "berth-data",
            listenClientURLs: try urls(
                value(listenClientUrls, "BERTH_LISTEN_CLIENT_URLS") ?? "http://127.0.0.1:2379",
                "--listen-client-urls"),
            advertiseClientURLs: try value(advertiseClientUrls, "BERTH_ADVERTISE_CLIENT_URLS")
                .map { text throws(SettingsError) in try urls(text, "--advertise-client-urls") },
            quotaBackendBytes: try number(
                value(quotaBackendBytes, "BERTH_QUOTA_BACKEND_BYTES"), "--quota-backend-bytes") ?? 0,
            maxRequestBytes: Int(
                try number(value(maxRequestBytes, "BERTH_MAX_REQUEST_BYTES"), "--max-request-bytes")
                    ?? Int64(ServerSettings.defaultMaxRequestBytes)),
            maxTxnOps: Int(
                try number(value(maxTxnOps, "BERTH_MAX_TXN_OPS"), "--max-txn-ops")
                    ?? Int64(ServerSettings.defaultMaxTxnOps)))
        settings.flush = try resolveFlush()
        settings.snapshotCount = try resolveSnapshotCount(settings.flush)
        settings.autoCompaction = try AutoCompactionSettings(
            mode: value(autoCompactionMode, "BERTH_AUTO_COMPACTION_MODE") ?? "periodic",
            retention: value(autoCompactionRetention, "BERTH_AUTO_COMPACTION_RETENTION") ?? "0",
            parse: { DurationText.parse($0) })
        return settings
    }

    private func resolveFlush() throws(SettingsError) -> FlushSettings {
        let interval = value(flushInterval, "BERTH_FLUSH_INTERVAL")
        guard let duration = interval.map({ DurationText.parse($0) }) ?? FlushSettings.defaultInterval else {
            throw SettingsError("--flush-interval is '\(interval ?? "")'; expected \(DurationText.expected)")
        }
        return try FlushSettings(
            revisions: Int(
                try number(value(flushRevisions, "BERTH_FLUSH_REVISIONS"), "--flush-revisions")
                    ?? Int64(FlushSettings.defaultRevisions)),
            bytes: Int(
                try number(value(flushBytes, "BERTH_FLUSH_BYTES"), "--flush-bytes") ?? Int64(FlushSettings.defaultBytes)
            ),
            interval: duration)
    }

    /// A checkpoint flushes the store too: unless told so it does not come before the store's own bound.
    private func resolveSnapshotCount(_ flush: FlushSettings) throws(SettingsError) -> Int {
        guard let count = try number(value(snapshotCount, "BERTH_SNAPSHOT_COUNT"), "--snapshot-count") else {
            return max(ServerSettings.defaultSnapshotCount, flush.revisions)
        }
        guard (1...(4 << 20)).contains(count) else {
            throw SettingsError("--snapshot-count is \(count); expected 1 to \(4 << 20)")
        }
        return Int(count)
    }

    /// The log level.
    func resolveLogLevel() throws(SettingsError) -> Logger.Level {
        let text = value(logLevel, "BERTH_LOG_LEVEL") ?? "info"
        guard let level = Logger.Level(rawValue: text == "warn" ? "warning" : text) else {
            let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw SettingsError("--log-level is '\(text)'; expected one of \(known)")
        }
        return level
    }

    private func urls(_ text: String, _ setting: String) throws(SettingsError) -> [ClientURL] {
        var urls: [ClientURL] = []
        for part in text.split(separator: ",") {
            do {
                urls.append(try ClientURL(parsing: String(part)))
            } catch {
                throw SettingsError("\(setting): \(error)")
            }
        }
        return urls
    }

    private func number(_ text: String?, _ setting: String) throws(SettingsError) -> Int64? {
        guard let text else { return nil }
        guard let number = Int64(text) else {
            throw SettingsError("\(setting) is '\(text)'; expected a whole number")
        }
        return number
    }
}
