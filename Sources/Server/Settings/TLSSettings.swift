/// Certificates and rules for `https` addresses.
public struct TLSSettings: Sendable {
    /// PEM file of the server's certificate and those that lead to its root.
    public var certFile: String
    /// PEM file of its key.
    public var keyFile: String
    /// PEM file of the roots that clients' certificates must lead to; nil asks for none.
    public var trustedCAFile: String?
    /// Whether a client must show a certificate. Its common name is the user then, when there is no token.
    public var requiresClientCertificate = false
    /// Verifies the certificate of a client that shows one, and lets in those that show none. etcd has no such setting.
    public var acceptsClientsWithoutCertificate = false
    /// A client's certificate must name one of these hosts; empty lets any in.
    public var allowedHostnames: [String] = []
    /// PEM or DER file of revoked client certificates.
    public var revocationFile: String?
    /// Cipher suites by their standard names; empty leaves the choice to the library.
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
}
