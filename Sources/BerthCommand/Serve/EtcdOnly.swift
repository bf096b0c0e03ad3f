import Configuration

/// etcd's settings that Berth does not have. Each is either without meaning for a single member, and taken with a line in the
/// log, or refused with the reason, because to take it would promise what Berth does not do.
enum EtcdOnly {
    private typealias Setting = ServeTable.Setting

    static let groups = [
        SettingGroup(
            "etcd's cluster settings",
            cluster + [peerURLs("listen-peer-urls"), peerURLs("initial-advertise-peer-urls")]),
        SettingGroup("etcd's discovery", discovery), SettingGroup("etcd's TLS between members", peerTLS),
        SettingGroup("etcd's other settings", storage + checks + logging + old),
    ]

    private static let alone = "a single member has nobody to agree with"

    private static let cluster: [ServeTable.Setting] = [
        none(
            "initial-cluster-token", .text, "etcd-cluster",
            "ids of cluster and member are drawn at random at the first start"),
        none("heartbeat-interval", .integer, "100", alone), none("election-timeout", .integer, "1000", alone),
        none("initial-election-tick-advance", .boolean, "true", alone), none("pre-vote", .boolean, "true", alone),
        none("strict-reconfig-check", .boolean, "true", "the cluster is never changed"),
        none("max-learners", .integer, "1", "there are no learners"),
        none(
            "snapshot-catchup-entries", .integer, "5000", alone,
            ["experimental-snapshot-catchup-entries", "experimental-snapshot-catch-up-entries"]),
        none("raft-read-timeout", .duration, "5s", alone), none("raft-write-timeout", .duration, "5s", alone),
        never(
            "force-new-cluster",
            "a data folder of Berth is a cluster of one already; berth snapshot restore makes a new one"),
        none("downgrade-check-time", .duration, "5s", alone, ["experimental-downgrade-check-time"]),
    ]

    private static func peerURLs(_ name: String) -> ServeTable.Setting {
        none(name, .list, "http://localhost:2380", "a single member opens no port for others")
    }

    private static let discovery: [ServeTable.Setting] =
        [
            "discovery", "discovery-proxy", "discovery-srv", "discovery-srv-name", "discovery-endpoints",
            "discovery-token", "discovery-cert", "discovery-key", "discovery-cacert", "discovery-user",
            "discovery-password", "discovery-config",
        ].map {
            Setting($0, .text, "text", "", .refused(unless: [""], "Berth serves a single member and joins no cluster"))
        }
        + [
            none("discovery-fallback", .text, "proxy", noDiscovery),
            none("discovery-dial-timeout", .duration, "2s", noDiscovery),
            none("discovery-request-timeout", .duration, "5s", noDiscovery),
            none("discovery-keepalive-time", .duration, "2s", noDiscovery),
            none("discovery-keepalive-timeout", .duration, "6s", noDiscovery),
            none("discovery-insecure-transport", .boolean, "true", noDiscovery),
            none("discovery-insecure-skip-tls-verify", .boolean, "false", noDiscovery),
        ]
    private static let noDiscovery = "there is no discovery"

    private static let peerTLS: [ServeTable.Setting] =
        ["cert-file", "key-file", "client-cert-file", "client-key-file", "trusted-ca-file"].map { peer($0, .text) }
        + [
            peer("client-cert-auth", .boolean, "false"), peer("auto-tls", .boolean, "false"),
            none("peer-crl-file", .text, "", noPeers),
            peer("allowed-cn", .list, name: "peer-cert-allowed-cn"),
            peer("allowed-hostname", .list, name: "peer-cert-allowed-hostname"),
            Setting(
                "peer-skip-client-san-verification", .boolean, standard: "false",
                otherNames: ["experimental-peer-skip-client-san-verification"],
                blockKey: .init("peer-transport-security", "skip-client-san-verification"), "", .withoutEffect(noPeers)),
        ]
    private static let noPeers = "a single member opens no port for others"

    private static func peer(
        _ key: String, _ kind: ServeTable.Setting.Kind, _ standard: String = "", name: String? = nil
    ) -> ServeTable.Setting {
        Setting(
            name ?? "peer-\(key)", kind, "text", standard: standard, blockKey: .init("peer-transport-security", key),
            "",
            .withoutEffect(noPeers))
    }

    private static let storage: [ServeTable.Setting] = [
        Setting(
            "wal-dir", .text, "dir", "",
            .refused(unless: [""], "the log is in the data folder, whose volume is to be the fast one")),
        never("unsafe-no-fsync", "what is acknowledged is on disk"),
        none("max-snapshots", .integer, "5", "one base is kept, older files are removed once they are not needed"),
        none("max-wals", .integer, "5", "the log is cut behind each checkpoint"),
        none("backend-batch-interval", .duration, "100ms", "--flush-interval says when the store is flushed"),
        none("backend-batch-limit", .integer, "10000", "--flush-revisions says when the store is flushed"),
        none(
            "backend-bbolt-freelist-type", .text, "map", "the store is not a bbolt file",
            ["experimental-backend-bbolt-freelist-type"]),
        none("compaction-batch-limit", .integer, "1000", compacts, ["experimental-compaction-batch-limit"]),
        none("compaction-sleep-interval", .duration, "10ms", compacts, ["experimental-compaction-sleep-interval"]),
        none(
            "bootstrap-defrag-threshold-megabytes", .integer, "0", "free pages are used again without it",
            ["experimental-bootstrap-defrag-threshold-megabytes"]),
        none(
            "stop-grpc-service-on-defrag", .boolean, "false", "a defragmentation stops nobody",
            ["experimental-stop-grpc-service-on-defrag"]),
        none("memory-mlock", .boolean, "false", "pages are left to the system's cache", ["experimental-memory-mlock"]),
        none("experimental-txn-mode-write-with-shared-buffer", .boolean, "true", "the store has no such buffer"),
        none(
            "socket-reuse-address", .boolean, "false", "addresses are always reused",
            block: .init("socket-options", "reuse-address")),
    ]
    private static let compacts = "a compaction is done in steps of its own, beside reads and writes"

    private static let checks: [ServeTable.Setting] =
        [
            none("experimental-initial-corrupt-check", .boolean, "false", compares),
            none("corrupt-check-time", .duration, "0s", compares, ["experimental-corrupt-check-time"]),
            none("experimental-compact-hash-check-enabled", .boolean, "false", compares),
            none("compact-hash-check-time", .duration, "1m", compares, ["experimental-compact-hash-check-time"]),
            none("experimental-enable-lease-checkpoint", .boolean, "false", leases),
            none("experimental-enable-lease-checkpoint-persist", .boolean, "false", leases),
            none("warning-apply-duration", .duration, "100ms", slow, ["experimental-warning-apply-duration"]),
            none(
                "warning-unary-request-duration", .duration, "300ms", slow,
                ["experimental-warning-unary-request-duration"]),
            Setting(
                "feature-gates", .list, "gates", "", .withoutEffect("etcd's gates change nothing here")),
            none("enable-pprof", .boolean, "false", "there is no /debug/pprof; use perf, and /metrics"),
            never(
                "enable-distributed-tracing", "no spans are sent; see /metrics",
                ["experimental-enable-distributed-tracing"]),
        ]
        + ["address", "service-name", "instance-id", "sampling-rate"].map { word in
            none(
                "distributed-tracing-\(word)", .text, tracing[word] ?? "", "no spans are sent",
                ["experimental-distributed-tracing-\(word)"])
        }
    private static let compares =
        "it compares members, and there is one; every page's checksum is checked when it is read"
    private static let leases = "after a restart each lease has its full time again"
    private static let slow = "slow calls are not logged; /metrics has their times"
    private static let tracing = ["address": "localhost:4317", "service-name": "etcd", "sampling-rate": "0"]

    private static let logging: [ServeTable.Setting] = [
        none("logger", .text, "zap", "--log-format json writes etcd's lines"),
        never("enable-log-rotation", "files are not rotated; use logrotate with copytruncate, or stdout"),
        none(
            "log-rotation-config-json", .text,
            #"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
            "files are not rotated"),
    ]

    private static let old: [ServeTable.Setting] =
        [
            never(
                "auto-tls", "Berth makes no certificates; give --cert-file and --key-file",
                block: .init("client-transport-security", "auto-tls")),
            none("self-signed-cert-validity", .integer, "1", "Berth makes no certificates"),
            none("client-cert-file", .text, "", gateway, block: .init("client-transport-security", "client-cert-file")),
            none("client-key-file", .text, "", gateway, block: .init("client-transport-security", "client-key-file")),
            Setting(
                "client-cert-allowed-cn", .list, "names", blockKey: .init("client-transport-security", "allowed-cn"),
                "",
                .refused(
                    unless: [""],
                    "common names of clients are not limited; use --client-cert-allowed-hostname, or users")),
            never("enable-v2", "etcd's v2 API is not served"),
            Setting(
                "experimental-enable-v2v3", .text, "prefix", "", .refused(unless: [""], "etcd's v2 API is not served")),
            none("v2-deprecation", .text, "not-yet", "etcd's v2 API is not served"),
            Setting("proxy", .text, "mode", "", .refused(unless: ["", "off"], "etcd's v2 proxy is not served")),
        ]
        + ["failure-wait", "refresh-interval", "dial-timeout", "write-timeout", "read-timeout"].map {
            none("proxy-\($0)", .integer, proxy[$0] ?? "", "etcd's v2 proxy is not served")
        }
        + [
            "cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "max-result-buffer",
            "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval",
        ].map { none($0, .text, "", "etcd ignores it too") }
    private static let gateway = "the gateway does not dial the server"
    private static let proxy = [
        "failure-wait": "5000", "refresh-interval": "30000", "dial-timeout": "1000", "write-timeout": "5000",
        "read-timeout": "0",
    ]

    private static func none(
        _ name: String, _ kind: ServeTable.Setting.Kind, _ standard: String, _ reason: String,
        _ otherNames: [String] = [], block: ServeTable.Setting.BlockKey? = nil
    ) -> ServeTable.Setting {
        Setting(
            name, kind, "text", standard: standard, otherNames: otherNames, blockKey: block, "", .withoutEffect(reason))
    }

    private static func never(
        _ name: String, _ reason: String, _ otherNames: [String] = [], block: ServeTable.Setting.BlockKey? = nil
    ) -> ServeTable.Setting {
        Setting(
            name, .boolean, standard: "false", otherNames: otherNames, blockKey: block, "",
            .refused(unless: ["false"], reason))
    }
}
