import CommandText
import Configuration
import Server

/// Everything `berth serve` is told, before it is checked as a whole.
///
/// `ServeTable` fills it value by value; `settings` checks what one value alone cannot show.
struct ServeChoices {
    var name = "default"
    var dataDirectory = "berth-data"
    var listenClientURLs = [ClientURL(host: "127.0.0.1", port: 2379)]
    var advertiseClientURLs: [ClientURL]?
    var quotaBackendBytes: Int64 = 0
    var maxRequestBytes = ServerSettings.defaultMaxRequestBytes
    var maxTxnOps = ServerSettings.defaultMaxTxnOps
    var flushRevisions = FlushSettings.defaultRevisions
    var flushBytes = FlushSettings.defaultBytes
    var flushInterval = FlushSettings.defaultInterval
    var snapshotCount: Int?
    var autoCompactionMode = "periodic"
    var autoCompactionRetention = "0"
    var auth = AuthSettings()
    /// Certificates, with empty names for files that were not given.
    var tls = TLSSettings(certFile: "", keyFile: "")
    var http = HTTPSettings()
    var connections = ConnectionSettings()
    var watchProgressInterval: Duration = .seconds(600)
    var hasExtensiveMetrics = false
    var log = LogSettings()
    /// The member names of `--initial-cluster`, where it was given.
    var initialMembers: [String] = []
    /// Whether `--initial-cluster-state` says that there is a cluster to join.
    var joinsCluster = false

    /// What the server is started with.
    ///
    /// - Throws: `SettingsError` naming the setting that is wrong.
    func settings() throws(SettingsError) -> ServerSettings {
        try checkCluster()
        var settings = try ServerSettings(
            name: name, dataDirectory: dataDirectory, listenClientURLs: listenClientURLs,
            advertiseClientURLs: advertiseClientURLs, quotaBackendBytes: quotaBackendBytes,
            maxRequestBytes: maxRequestBytes, maxTxnOps: maxTxnOps)
        settings.flush = try FlushSettings(revisions: flushRevisions, bytes: flushBytes, interval: flushInterval)
        // A checkpoint flushes the store too: unless told so it does not come before the store's own bound.
        settings.snapshotCount = snapshotCount ?? max(ServerSettings.defaultSnapshotCount, flushRevisions)
        settings.autoCompaction = try AutoCompactionSettings(
            mode: autoCompactionMode, retention: autoCompactionRetention, parse: { DurationText.parse($0) })
        try auth.check()
        settings.auth = auth
        settings.tls = try checkedTLS()
        settings.http = http
        try connections.check()
        settings.connections = connections
        settings.watchProgressInterval = watchProgressInterval
        settings.hasExtensiveMetrics = hasExtensiveMetrics
        return settings
    }

    /// What is allowed and may be a mistake all the same.
    var warnings: [String] {
        guard !tls.certFile.isEmpty, !(listenURLs.contains { $0.url.isSecure }) else { return [] }
        return ["--cert-file is given, but no address begins with https://; everything is served without TLS"]
    }

    /// A single member only: what names a cluster of more is refused before anything is opened.
    private func checkCluster() throws(SettingsError) {
        guard Set(initialMembers).count <= 1 else {
            throw SettingsError(
                "--initial-cluster names \(Set(initialMembers).count) members; expected this member alone, as Berth "
                    + "serves a single member")
        }
        if let member = initialMembers.first, member != name {
            throw SettingsError("--initial-cluster names the member '\(member)'; expected '\(name)', as --name has it")
        }
        // As in etcd it means nothing for a member that has its data already.
        guard !joinsCluster || DataFolder(dataDirectory).holdsSomething else {
            throw SettingsError(
                "--initial-cluster-state is 'existing' and '\(dataDirectory)' holds no member; expected 'new', as a "
                    + "single member has no cluster to join")
        }
    }

    private var listenURLs: [(setting: String, url: ClientURL)] {
        listenClientURLs.map { ("--listen-client-urls", $0) }
            + http.listenClientHTTPURLs.map { ("--listen-client-http-urls", $0) }
            + http.listenMetricsURLs.map { ("--listen-metrics-urls", $0) }
    }

    private func checkedTLS() throws(SettingsError) -> TLSSettings? {
        guard tls.certFile.isEmpty, tls.keyFile.isEmpty else {
            try tls.check()
            return tls
        }
        if let (setting, url) = listenURLs.first(where: { $0.url.isSecure }) {
            throw SettingsError(
                "\(setting) has \(url), but there is no certificate; expected --cert-file and --key-file")
        }
        let rules: [(isGiven: Bool, setting: String)] = [
            (tls.requiresClientCertificate, "--client-cert-auth"),
            (tls.acceptsClientsWithoutCertificate, "--client-cert-optional"),
            (!tls.allowedHostnames.isEmpty, "--client-cert-allowed-hostname"),
            (tls.revocationFile != nil, "--client-crl-file"), (tls.trustedCAFile != nil, "--trusted-ca-file"),
        ]
        if let rule = rules.first(where: \.isGiven) {
            throw SettingsError(
                "\(rule.setting) is given without TLS; expected --cert-file, --key-file and --trusted-ca-file with it")
        }
        return nil
    }
}
