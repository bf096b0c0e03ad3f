/// Certificates and rules for `https` addresses.
public struct TLSSettings: Sendable {
    /// PEM file of the server's certificate and those that lead to its root.
    public var certFile: String
    /// PEM file of its key.
    public var keyFile: String
    /// PEM file of the roots that clients' certificates must lead to; nil asks for none. With it a client must show a
    /// certificate, as in etcd, unless `acceptsClientsWithoutCertificate`.
    public var trustedCAFile: String?
    /// Whether a client must show a certificate. Its common name is the user then, when there is no token.
    public var requiresClientCertificate = false
    /// Verifies the certificate of a client that shows one, and lets in those that show none. etcd has no such setting.
    public var acceptsClientsWithoutCertificate = false
    /// A client's certificate must name one of these hosts; empty lets any in.
    public var allowedHostnames: [String] = []
    /// PEM or DER file of revoked client certificates.
    public var revocationFile: String?
    /// Cipher suites of TLS 1.2 by their standard names; empty leaves the choice to the server. Those of TLS 1.3 cannot
    /// be chosen.
    public var cipherSuites: [String] = []
    /// The lowest version spoken: `TLS1.2` or `TLS1.3`.
    public var minimumVersion = "TLS1.2"
    /// The highest one; empty for the highest known.
    public var maximumVersion = ""

    /// A certificate and its key, with etcd's defaults for the rest.
    public init(certFile: String, keyFile: String) {
        self.certFile = certFile
        self.keyFile = keyFile
    }

    /// Refuses what contradicts itself, without a look at the files.
    ///
    /// - Throws: `SettingsError` naming the setting that is wrong.
    public func check() throws(SettingsError) {
        guard !certFile.isEmpty else {
            throw SettingsError("--key-file is given without --cert-file; give the certificate that belongs to the key")
        }
        guard !keyFile.isEmpty else {
            throw SettingsError("--cert-file is given without --key-file; give the key of the certificate")
        }
        if trustedCAFile == nil {
            let needing: [(name: String, isSet: Bool)] = [
                ("--client-cert-auth", requiresClientCertificate),
                ("--client-cert-optional", acceptsClientsWithoutCertificate),
                ("--client-crl-file", revocationFile != nil),
                ("--client-cert-allowed-hostname", !allowedHostnames.isEmpty),
            ]
            if let setting = needing.first(where: \.isSet) {
                throw SettingsError(
                    "\(setting.name) needs --trusted-ca-file; give the authorities that clients' certificates lead to")
            }
        }
        guard !(requiresClientCertificate && acceptsClientsWithoutCertificate) else {
            throw SettingsError("--client-cert-auth and --client-cert-optional contradict each other; leave one out")
        }
        guard allowedHostnames.isEmpty || !acceptsClientsWithoutCertificate else {
            throw SettingsError(
                "--client-cert-allowed-hostname means nothing with --client-cert-optional, as clients may leave their "
                    + "certificate out; leave one of the two out")
        }
        let versions = try TLSVersions(minimum: minimumVersion, maximum: maximumVersion)
        _ = try TLSCipherSuites(names: cipherSuites, versions: versions)
    }
}
