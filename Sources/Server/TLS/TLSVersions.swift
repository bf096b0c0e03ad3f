import NIOSSL

/// The versions of TLS that are spoken: 1.2 and up.
struct TLSVersions {
    let minimum: TLSVersion
    /// Nil for the highest known.
    let maximum: TLSVersion?

    /// Reads etcd's names; an empty one means the default.
    init(minimum: String, maximum: String) throws(SettingsError) {
        self.minimum = try Self.version(minimum, "--tls-min-version") ?? .tlsv12
        self.maximum = try Self.version(maximum, "--tls-max-version")
        guard !(self.minimum == .tlsv13 && self.maximum == .tlsv12) else {
            throw SettingsError(
                "--tls-min-version is \(minimum), above --tls-max-version \(maximum); expected the lower one first")
        }
    }

    private static func version(_ name: String, _ setting: String) throws(SettingsError) -> TLSVersion? {
        switch name {
        case "": nil
        case "TLS1.2": .tlsv12
        case "TLS1.3": .tlsv13
        default: throw SettingsError("\(setting) is '\(name)'; expected TLS1.2 or TLS1.3")
        }
    }
}

/// The cipher suites of TLS 1.2 that may be agreed on.
struct TLSCipherSuites {
    /// In the order of preference.
    let suites: [NIOTLSCipher]
    /// Names of suites of TLS 1.3, which are always on.
    let namesWithoutEffect: [String]

    /// What HTTP/2 asks of TLS 1.2 (RFC 9113, 9.2.2): a fresh key for each connection, and encryption that authenticates.
    static let standard: [NIOTLSCipher] = [
        .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]

    /// Reads the names IANA gives them, and the two that Go writes shorter.
    init(names: [String], versions: TLSVersions) throws(SettingsError) {
        guard !names.isEmpty else {
            suites = Self.standard
            namesWithoutEffect = []
            return
        }
        guard versions.minimum != .tlsv13 else {
            throw SettingsError(
                "--cipher-suites is given with --tls-min-version TLS1.3, whose suites cannot be chosen; leave one out")
        }
        var suites: [NIOTLSCipher] = []
        for name in names {
            if let suite = Self.known[name] {
                suites.append(suite)
            } else if !Self.ofTLS13.contains(name) {
                let known = Self.known.keys.sorted().joined(separator: ", ")
                throw SettingsError("--cipher-suites names '\(name)', which is not known; expected some of \(known)")
            }
        }
        guard !suites.isEmpty else {
            throw SettingsError(
                "--cipher-suites names suites of TLS 1.3 alone, which are always on; add some of TLS 1.2, or set "
                    + "--tls-min-version to TLS1.3")
        }
        self.suites = suites
        namesWithoutEffect = names.filter { Self.ofTLS13.contains($0) }
    }

    private static let ofTLS13: Set = [
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    ]

    private static let known: [String: NIOTLSCipher] = [
        "TLS_RSA_WITH_AES_128_CBC_SHA": .TLS_RSA_WITH_AES_128_CBC_SHA,
        "TLS_RSA_WITH_AES_256_CBC_SHA": .TLS_RSA_WITH_AES_256_CBC_SHA,
        "TLS_RSA_WITH_AES_128_GCM_SHA256": .TLS_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_RSA_WITH_AES_256_GCM_SHA384": .TLS_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": .TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": .TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": .TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": .TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}
