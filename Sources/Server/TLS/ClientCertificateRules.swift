import NIOSSL

#if canImport(Glibc)
    import Glibc
#endif

/// What is asked of a client's certificate beyond that it leads to a trusted root, which the library sees to.
package struct ClientCertificateRules: Sendable {
    var revoked: RevocationList?
    /// A certificate must name one of them; empty lets any in.
    var allowedHostnames: [String] = []
    /// Names of the authorities in the file of trusted ones.
    var trustedNames: Set<[SSLCertificateName]> = []

    /// Why a client with this certificate is not let in; nil lets it in.
    ///
    /// - Parameter now: seconds since 1970. A resumed session is not verified again: its certificate may have run out.
    func refusal(of certificate: NIOSSLCertificate, now: Int) -> String? {
        if certificate.notValidAfter < now { return "the client's certificate has run out" }
        if let revoked {
            if revoked.contains(certificate.serialNumber) { return "the client's certificate is revoked" }
            // An intermediate authority that the client brought along is not seen here, so it cannot be found in the list.
            guard trustedNames.contains(certificate.issuerName) else {
                return "the client's certificate comes from an authority that is not in --trusted-ca-file, as it must "
                    + "be with --client-crl-file"
            }
        }
        guard !allowedHostnames.isEmpty else { return nil }
        // The names it stands for; the common name is none of them (RFC 9525, 6.3).
        let isAllowed = certificate._subjectAlternativeNames().contains { name in
            allowedHostnames.contains { Self.matches(name, $0) }
        }
        return isAllowed ? nil : "the client's certificate names none of --client-cert-allowed-hostname"
    }

    /// The common name; of several, the last, as in Go.
    static func commonName(of certificate: NIOSSLCertificate) -> String? {
        let name = certificate.subjectName.last { $0.type == .commonName }?.value
        return name?.isEmpty == false ? name : nil
    }

    private static func matches(_ name: _SubjectAlternativeName, _ host: String) -> Bool {
        switch name.nameType {
        case .dnsName: matches(pattern: String(decoding: name.contents, as: UTF8.self), host)
        case .ipAddress: Array(name.contents) == address(host)
        default: false
        }
    }

    /// `*` stands for one whole first label (RFC 9525, 6.3).
    package static func matches(pattern: String, _ host: String) -> Bool {
        func labels(_ text: String) -> [Substring] {
            let lower = text.lowercased()
            return (lower.hasSuffix(".") ? lower.dropLast() : lower[...])
                .split(separator: ".", omittingEmptySubsequences: false)
        }
        let wanted = labels(pattern)
        let given = labels(host)
        guard wanted.count == given.count, !given.contains(""), address(host) == nil else { return false }
        if wanted.first == "*", wanted.count > 1 { return wanted.dropFirst() == given.dropFirst() }
        return wanted == given
    }

    /// The bytes of an IP address, in brackets or not.
    private static func address(_ text: String) -> [UInt8]? {
        let bare = text.hasPrefix("[") && text.hasSuffix("]") ? String(text.dropFirst().dropLast()) : text
        for (family, length) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: length)
            if inet_pton(family, bare, &bytes) == 1 { return bytes }
        }
        return nil
    }
}
