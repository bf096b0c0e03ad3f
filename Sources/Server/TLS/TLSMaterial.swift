import NIOCore
import NIOSSL

/// Everything the files of the TLS settings say, read at one time: what new connections are served with.
package struct TLSMaterial: Sendable {
    /// What a listener offers by ALPN.
    package enum Offer: CaseIterable {
        /// gRPC and plain HTTP.
        case all
        /// gRPC alone.
        case grpc
        /// Plain HTTP/1.1 alone.
        case http1

        var protocols: [String] {
            switch self {
            case .all: ["h2", "http/1.1"]
            case .grpc: ["h2"]
            case .http1: ["http/1.1"]
            }
        }
    }

    private let contexts: [Offer: NIOSSLContext]
    /// What clients' certificates are held against; nil when none is asked for.
    let rules: ClientCertificateRules?
    /// What an operator should know, one line each.
    let warnings: [String]
    /// When the server's certificate runs out, in seconds since 1970.
    let notValidAfter: Int

    func context(_ offer: Offer) -> NIOSSLContext? { contexts[offer] }

    /// The files that are read.
    static func files(_ settings: TLSSettings) -> [WatchedFile] {
        var files = [certificate(settings), key(settings)]
        if let path = settings.trustedCAFile { files.append(.init(path: path, setting: "--trusted-ca-file")) }
        if let path = settings.revocationFile { files.append(.init(path: path, setting: "--client-crl-file")) }
        return files
    }

    private static func certificate(_ settings: TLSSettings) -> WatchedFile {
        WatchedFile(path: settings.certFile, setting: "--cert-file")
    }

    private static func key(_ settings: TLSSettings) -> WatchedFile {
        WatchedFile(path: settings.keyFile, setting: "--key-file")
    }

    /// Reads the files. Blocks: not for event loops.
    ///
    /// - Parameter now: seconds since 1970.
    /// - Throws: `SettingsError` naming the setting that is wrong.
    init(_ settings: TLSSettings, now: Int) throws(SettingsError) {
        try settings.check()
        var warnings: [String] = []
        let chain = try Self.certificates(Self.certificate(settings))
        warnings += chain.prefix(1).compactMap { Self.warning(of: $0, "--cert-file: \(settings.certFile)", now: now) }
        notValidAfter = chain.first.map { Int($0.notValidAfter) } ?? now
        let key = try Self.privateKey(Self.key(settings))
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        let versions = try TLSVersions(minimum: settings.minimumVersion, maximum: settings.maximumVersion)
        configuration.minimumTLSVersion = versions.minimum
        configuration.maximumTLSVersion = versions.maximum
        let ciphers = try TLSCipherSuites(names: settings.cipherSuites, versions: versions)
        configuration.cipherSuiteValues = ciphers.suites
        if !ciphers.namesWithoutEffect.isEmpty {
            warnings.append(
                "--cipher-suites names \(ciphers.namesWithoutEffect.joined(separator: ", ")): suites of TLS 1.3 are "
                    + "always on")
        }
        // A client that does not answer the end of the session is not waited for longer.
        configuration.shutdownTimeout = .seconds(1)
        if let path = settings.trustedCAFile {
            rules = try Self.setUpClientCertificates(
                &configuration, settings, WatchedFile(path: path, setting: "--trusted-ca-file"), now: now, &warnings)
        } else {
            rules = nil
        }
        var contexts: [Offer: NIOSSLContext] = [:]
        for offer in Offer.allCases {
            configuration.applicationProtocols = offer.protocols
            do {
                contexts[offer] = try NIOSSLContext(configuration: configuration)
            } catch {
                throw Self.contextError(error, settings)
            }
        }
        self.contexts = contexts
        self.warnings = warnings
    }

    private static func setUpClientCertificates(
        _ configuration: inout TLSConfiguration, _ settings: TLSSettings, _ file: WatchedFile, now: Int,
        _ warnings: inout [String]
    ) throws(SettingsError) -> ClientCertificateRules {
        var rules = ClientCertificateRules(allowedHostnames: settings.allowedHostnames)
        if let path = settings.revocationFile {
            rules.revoked = try revocationList(WatchedFile(path: path, setting: "--client-crl-file"))
        }
        var trusted: [NIOSSLCertificate] = []
        for authority in try certificates(file) {
            let name = authority.subjectName.map(\.value).joined(separator: ", ")
            if let warning = warning(of: authority, "--trusted-ca-file: '\(name)' in \(file.path)", now: now) {
                warnings.append(warning)
            }
            if let revoked = rules.revoked, revoked.contains(authority.serialNumber) {
                warnings.append("--client-crl-file revokes '\(name)' of \(file.path): it is not trusted")
            } else {
                trusted.append(authority)
            }
        }
        guard !trusted.isEmpty else {
            throw SettingsError(
                "--trusted-ca-file: all authorities in \(file.path) are revoked by --client-crl-file; expected one to "
                    + "trust")
        }
        rules.trustedNames = Set(trusted.map(\.subjectName))
        configuration.trustRoots = .certificates(trusted)
        configuration.sendCANameList = true
        configuration.certificateVerification =
            settings.acceptsClientsWithoutCertificate ? .optionalVerification : .noHostnameVerification
        return rules
    }

    // MARK: - Files

    private static func certificates(_ file: WatchedFile) throws(SettingsError) -> [NIOSSLCertificate] {
        let bytes = try file.read()
        let found = try? NIOSSLCertificate.fromPEMBytes(bytes)
        guard let found, !found.isEmpty else {
            throw SettingsError(
                "\(file.setting): \(file.path) holds no certificate in PEM; expected BEGIN CERTIFICATE blocks")
        }
        return found
    }

    private static func privateKey(_ file: WatchedFile) throws(SettingsError) -> NIOSSLPrivateKey {
        let bytes = try file.read()
        if let key = try? NIOSSLPrivateKey(bytes: bytes, format: .pem) { return key }
        let text = String(decoding: bytes, as: UTF8.self)
        guard !text.contains("ENCRYPTED") else {
            throw SettingsError("\(file.setting): \(file.path) is encrypted; expected a key without a passphrase")
        }
        throw SettingsError(
            "\(file.setting): \(file.path) holds no private key in PEM; expected a BEGIN PRIVATE KEY block")
    }

    private static func revocationList(_ file: WatchedFile) throws(SettingsError) -> RevocationList {
        let bytes = try file.read()
        do {
            return try RevocationList(bytes)
        } catch {
            throw SettingsError(
                "\(file.setting): \(file.path) is no revocation list: \(error); expected an X509 CRL in PEM or DER")
        }
    }

    private static func contextError(_ error: any Error, _ settings: TLSSettings) -> SettingsError {
        // Each was read: what is left is that they do not belong together.
        if let error = error as? NIOSSLError, error == .failedToLoadPrivateKey {
            return SettingsError(
                "--key-file: \(settings.keyFile) is not the key of the certificate in --cert-file \(settings.certFile)")
        }
        return SettingsError("--cert-file: \(settings.certFile) cannot be served with: \(error)")
    }

    private static func warning(of certificate: NIOSSLCertificate, _ what: String, now: Int) -> String? {
        if certificate.notValidAfter < now { return "\(what) has run out: peers will refuse it" }
        if certificate.notValidBefore > now { return "\(what) is not valid yet: peers will refuse it" }
        return nil
    }
}
