import Configuration
import Server

/// The settings of `berth serve`: the one table from which flags, environment variables, the keys of the config file, the help
/// text and the tables of docs/configuration.md come.
enum ServeTable {
    typealias Setting = Configuration.Setting<ServeChoices>
    typealias Group = SettingGroup<ServeChoices>

    static let table = SettingTable(
        [member, addresses, security, auth, limits, storage, compaction, connections, watching, command]
            + EtcdOnly.groups, prefix: "BERTH_", isOthersVariable: OtherVariables.contains)

    static let member = Group(
        "Member",
        [
            Setting("name", .text, "name", standard: "default", "This member's name.") { $0.name = $1.text },
            Setting(
                "data-dir", .text, "dir", standard: "berth-data",
                "Folder of the store and the log; made when it does not exist."
            ) { $0.dataDirectory = $1.text },
            Setting(
                "config-file", .text, "file", reach: .outsideFiles,
                "YAML file of settings, with the flags' names as keys. Flags and BERTH_ variables win over it; ETCD_ variables are not read beside it."
            ) { _, _ in },
            Setting(
                "initial-cluster", .list, "members",
                "A cluster of this member alone, NAME=PEER-URL; more members are refused."
            ) { $0.initialMembers = try $1.members() },
            Setting(
                "initial-cluster-state", .text, "state", standard: "new",
                "new; existing only for a folder that holds this member already."
            ) { $0.joinsCluster = try $1.oneOf(["new", "existing"]) == "existing" },
        ])

    static let addresses = Group(
        "Addresses",
        [
            Setting(
                "listen-client-urls", .list, "urls", standard: "http://127.0.0.1:2379",
                "Addresses to accept clients on, http:// or https://, separated by commas; port 0 lets the system choose."
            ) { $0.listenClientURLs = try $1.urls() },
            Setting(
                "advertise-client-urls", .list, "urls",
                "Addresses that clients are told to dial; without it those of --listen-client-urls."
            ) { $0.advertiseClientURLs = try $1.urls() },
            Setting(
                "listen-client-http-urls", .list, "urls",
                "Addresses for the JSON gateway and other plain HTTP; with them --listen-client-urls serves gRPC alone."
            ) { $0.http.listenClientHTTPURLs = try $1.urls() },
            Setting(
                "listen-metrics-urls", .list, "urls", "More addresses for /metrics, /health, /livez and /readyz alone."
            ) { $0.http.listenMetricsURLs = try $1.urls() },
        ])

    static let security = Group(
        "TLS for clients",
        [
            block("cert-file", "file", "PEM file of the server's certificate and those that lead to its root.") {
                $0.tls.certFile = $1.text
            },
            block("key-file", "file", "PEM file of the certificate's key.") { $0.tls.keyFile = $1.text },
            block(
                "trusted-ca-file", "file",
                "PEM file of the roots that clients' certificates must lead to. With it a client must show one, as in etcd."
            ) {
                $0.tls.trustedCAFile = $1.file()
            },
            Setting(
                "client-cert-auth", .boolean, standard: "false", blockKey: client("client-cert-auth"),
                "Clients must show a certificate; its common name is the user when there is no token."
            ) { $0.tls.requiresClientCertificate = try $1.boolean() },
            Setting(
                "client-cert-optional", .boolean, standard: "false", origin: .own,
                blockKey: client("client-cert-optional"),
                "Verify the certificate of a client that shows one, and let in those that show none."
            ) { $0.tls.acceptsClientsWithoutCertificate = try $1.boolean() },
            block("client-crl-file", "file", "PEM or DER file of revoked client certificates.") {
                $0.tls.revocationFile = $1.file()
            },
            Setting(
                "client-cert-allowed-hostname", .list, "names", blockKey: client("allowed-hostname"),
                "A client's certificate must name one of these hosts."
            ) { $0.tls.allowedHostnames = $1.list() },
            Setting(
                "cipher-suites", .list, "names",
                "Cipher suites of TLS 1.2 by their standard names; without it the library's choice."
            ) { $0.tls.cipherSuites = $1.list() },
            Setting("tls-min-version", .text, "version", standard: "TLS1.2", "Lowest version spoken: TLS1.2 or TLS1.3.")
            {
                $0.tls.minimumVersion = try $1.oneOf(["TLS1.2", "TLS1.3"])
            },
            Setting(
                "tls-max-version", .text, "version",
                "Highest version spoken: TLS1.2 or TLS1.3; without it the highest known."
            ) {
                $0.tls.maximumVersion = $1.text.isEmpty ? "" : try $1.oneOf(["TLS1.2", "TLS1.3"])
            },
        ])

    static let auth = Group(
        "Users",
        [
            Setting(
                "auth-token", .text, "kind", standard: "simple",
                "How users are known after they gave their password: simple, or jwt and its options, such as jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=10m."
            ) { $0.auth.token = $1.text },
            Setting(
                "auth-token-ttl", .integer, "seconds", standard: "300",
                "Seconds a simple token lives after its last use."
            ) {
                $0.auth.tokenTTLSeconds = try $1.integer(in: 1...31_622_400)
            },
            Setting("bcrypt-cost", .integer, "cost", standard: "10", "Work factor of password hashes, 4 to 31.") {
                $0.auth.bcryptCost = Int(try $1.integer(in: 4...31))
            },
        ])

    static let limits = Group(
        "Limits",
        [
            Setting(
                "quota-backend-bytes", .integer, "bytes", standard: "0",
                "Bytes in use from which writes are refused; 0 is 2 GiB, a negative number is no limit."
            ) { $0.quotaBackendBytes = try $1.integer() },
            Setting("max-request-bytes", .integer, "bytes", standard: "1572864", "Largest write request in bytes.") {
                $0.maxRequestBytes = try $1.count()
            },
            Setting("max-txn-ops", .integer, "count", standard: "128", "Most operations in one transaction.") {
                $0.maxTxnOps = try $1.count()
            },
            Setting(
                "max-concurrent-streams", .integer, "count", standard: "10000",
                "Calls that one connection may have open at once."
            ) { $0.connections.maxConcurrentStreams = Int(try $1.integer(in: 1...Int64(UInt32.max))) },
        ])

    static let storage = Group(
        "Storage",
        [
            Setting(
                "flush-revisions", .integer, "count", standard: "32768", origin: .own,
                "Revisions after which the store is flushed to disk."
            ) { $0.flushRevisions = try $1.count() },
            Setting(
                "flush-bytes", .integer, "bytes", standard: "16777216", origin: .own,
                "Bytes of keys and values after which the store is flushed to disk."
            ) { $0.flushBytes = try $1.count() },
            Setting(
                "flush-interval", .seconds, "time", standard: "5s", origin: .own,
                "Longest time from a write to the flush of the store; 0 for no flush by time."
            ) { $0.flushInterval = try $1.seconds() },
            Setting(
                "snapshot-count", .integer, "count",
                "Log entries between checkpoints, behind which the log is cut; without it 32768, or --flush-revisions if more."
            ) { $0.snapshotCount = Int(try $1.integer(in: 1...(4 << 20))) },
        ])

    static let compaction = Group(
        "Compaction",
        [
            Setting(
                "auto-compaction-mode", .text, "mode", standard: "periodic",
                "What --auto-compaction-retention counts: periodic or revision."
            ) { $0.autoCompactionMode = $1.text },
            Setting(
                "auto-compaction-retention", .text, "what", standard: "0",
                "History that automatic compaction keeps: hours or a time such as 72h, or a number of revisions; 0 is off."
            ) { $0.autoCompactionRetention = $1.text },
        ])

    static let connections = Group(
        "Connections and HTTP",
        [
            Setting(
                "grpc-keepalive-min-time", .duration, "time", standard: "5s",
                "Pings of a client that come closer than this are counted against it; 0 is 5m."
            ) { $0.connections.keepaliveMinTime = try $1.timer(orZero: true) },
            Setting(
                "grpc-keepalive-interval", .duration, "time", standard: "30s",
                "A connection silent for this long is sent a ping; 0 is 2h, which is etcd's default."
            ) { $0.connections.keepaliveInterval = try $1.timer(orZero: true) },
            Setting(
                "grpc-keepalive-timeout", .duration, "time", standard: "20s",
                "It is closed when no answer came after this long more; 0 is 20s."
            ) { $0.connections.keepaliveTimeout = try $1.timer(orZero: true) },
            Setting(
                "socket-reuse-port", .boolean, standard: "false",
                blockKey: Setting.BlockKey("socket-options", "reuse-port"),
                "Other processes may listen on the same port."
            ) { $0.connections.reusesPort = try $1.boolean() },
            Setting(
                "enable-grpc-gateway", .boolean, standard: "true",
                "Answer JSON requests under /v3/ and the older prefixes."
            ) { $0.http.hasGateway = try $1.boolean() },
            Setting(
                "cors", .list, "origins", standard: "*", "Origins that browsers may call from; * or nothing for any."
            ) { $0.http.allowedOrigins = $1.list().isEmpty ? ["*"] : $1.list() },
            Setting(
                "host-whitelist", .list, "hosts", standard: "*",
                "Host headers that are answered over connections without TLS; * or nothing for any."
            ) { $0.http.hostWhitelist = $1.list().isEmpty ? ["*"] : $1.list() },
        ])

    static let watching = Group(
        "Log, metrics and watches",
        [
            Setting(
                "log-level", .text, "level", standard: "info",
                "trace, debug, info, notice, warning, error or critical; etcd's warn, panic and fatal too."
            ) { $0.log.level = try $1.logLevel() },
            Setting(
                "log-format", .text, "format", standard: "console",
                "How lines are written: console, or json as etcd does."
            ) { $0.log.isJSON = try $1.oneOf(["console", "json"]) == "json" },
            Setting(
                "log-outputs", .list, "where", standard: "stderr",
                "Where lines go: stderr, stdout or files, separated by commas; default and systemd/journal are stderr."
            ) { $0.log.outputs = try LogSettings.outputs($1) },
            Setting(
                "metrics", .text, "detail", standard: "basic",
                "basic, or extensive for histograms of each method's times."
            ) { $0.hasExtensiveMetrics = try $1.oneOf(["basic", "extensive"]) == "extensive" },
            Setting(
                "watch-progress-notify-interval", .duration, "time", standard: "10m",
                otherNames: ["experimental-watch-progress-notify-interval"],
                "How often watches that ask for it hear that nothing happened; 100ms at least."
            ) { choices, value in
                let interval = try value.timer()
                guard interval >= .milliseconds(100) else { throw value.mistake(expected: "100ms or more") }
                choices.watchProgressInterval = interval
            },
        ])

    static let command = Group(
        "The command itself",
        [
            Setting(
                "check-config", .boolean, origin: .own, reach: .commandLine,
                "Print the settings as a config file, each with its source, and end. Certificate and key files are not read."
            ) { _, _ in },
            Setting("version", .boolean, reach: .commandLine, "Print the version and end.") { _, _ in },
            Setting(
                "help", .boolean, reach: .commandLine, otherNames: ["h"],
                "Print this and end; --help=markdown prints the tables of the documentation."
            ) { _, _ in },
        ])

    private static func client(_ key: String) -> Setting.BlockKey { .init("client-transport-security", key) }

    private static func block(
        _ name: String, _ valueName: String, _ meaning: String,
        _ apply: @escaping @Sendable (inout ServeChoices, SettingValue) throws -> Void
    ) -> Setting {
        Setting(name, .text, valueName, blockKey: client(name), meaning, .used(apply))
    }
}

extension Setting {
    /// A setting that is used.
    init(
        _ name: String, _ kind: Kind, _ valueName: String = "", standard: String = "", origin: Origin = .etcd,
        reach: Reach = .everywhere, otherNames: [String] = [], blockKey: BlockKey? = nil, _ meaning: String,
        apply: @escaping @Sendable (inout Target, SettingValue) throws -> Void
    ) {
        self.init(
            name, kind, valueName, standard: standard, origin: origin, reach: reach, otherNames: otherNames,
            blockKey: blockKey, meaning, .used(apply))
    }
}
