/// Variables that begin with `BERTH_` or `ETCD_` and are meant for somebody else.
enum OtherVariables {
    /// Those of the client commands, of tests and of tools.
    private static let names: Set<String> = [
        "BERTH_BIN", "BERTH_CACERT", "BERTH_CERT", "BERTH_CHECKOUTS", "BERTH_CRC", "BERTH_ENDPOINTS", "BERTH_FLIPS",
        "BERTH_INSECURE_SKIP_TLS_VERIFY", "BERTH_KEY", "BERTH_PASSWORD", "BERTH_SEED", "BERTH_TEST", "BERTH_TOKEN",
        "BERTH_USER", "ETCD_UNSUPPORTED_ARCH",
    ]
    private static let prefixes = [
        "BERTH_CLIENT_", "BERTH_FROM_", "BERTH_FUZZ_", "BERTH_LOCK_", "BERTH_TEST_", "BERTH_TLS_", "BERTH_TO_",
    ]

    /// Kubernetes gives every container addresses of every service, in variables named after it: a service called `berth` or
    /// `berth-client` must not keep a pod from starting.
    static func contains(_ variable: String) -> Bool {
        names.contains(variable) || prefixes.contains { variable.hasPrefix($0) }
            || variable.hasSuffix("_SERVICE_HOST") || variable.contains("_SERVICE_PORT") || hasPort(variable)
    }

    /// `..._PORT` and `..._PORT_2379_TCP_ADDR`.
    private static func hasPort(_ variable: String) -> Bool {
        let words = variable.split(separator: "_")
        guard let port = words.lastIndex(of: "PORT"), port > 0 else { return false }
        let after = words[(port + 1)...]
        if after.isEmpty {
            // Also the last word of `..._PORT_2379_TCP_PORT`.
            return true
        }
        return after.first?.allSatisfy { $0.isASCII && $0.isNumber } ?? false
    }
}
