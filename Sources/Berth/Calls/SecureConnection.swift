import GRPCTransport
import NIOCore
import NIOSSL
import NIOTLS

/// Puts TLS under a connection, and says in plain words why it did not come about.
enum SecureConnection {
    /// What to do to each new connection to `host`.
    static func preparation(
        _ settings: BerthConfiguration.TLS, host: String
    ) throws(BerthError) -> @Sendable (any Channel) throws -> Void {
        let context = try context(settings)
        let name = settings.serverName ?? host
        return { channel in
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(tls(context, name))
            try pipeline.addHandler(HandshakeCheck())
        }
    }

    private static func context(_ settings: BerthConfiguration.TLS) throws(BerthError) -> NIOSSLContext {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.applicationProtocols = ["h2"]
        tls.minimumTLSVersion = .tlsv12
        if let file = settings.authoritiesFile { tls.trustRoots = .file(file) }
        if !settings.verifiesServer { tls.certificateVerification = .none }
        if let file = settings.certificateFile {
            guard let key = settings.keyFile else {
                throw BerthError.invalid("the client certificate \(file) has no key file beside it")
            }
            do {
                tls.certificateChain = try NIOSSLCertificate.fromPEMFile(file).map { .certificate($0) }
            } catch {
                throw BerthError.invalid("TLS: there is no certificate in PEM in \(file)")
            }
            do {
                tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
            } catch {
                throw BerthError.invalid("TLS: there is no private key in PEM, without a passphrase, in \(key)")
            }
        }
        do {
            return try NIOSSLContext(configuration: tls)
        } catch let error as NIOSSLError where error == .failedToLoadPrivateKey {
            throw .invalid(
                "TLS: \(settings.keyFile ?? "") is not the key of the certificate in \(settings.certificateFile ?? "")")
        } catch {
            guard let file = settings.authoritiesFile else { throw .invalid("TLS cannot be set up: \(error)") }
            throw .invalid("TLS: there are no certificates of authorities in PEM in \(file)")
        }
    }

    /// An address cannot be asked for by name; its certificate is judged by the address of the connection then.
    private static func tls(_ context: NIOSSLContext, _ name: String) throws -> NIOSSLClientHandler {
        let isAddress = (try? SocketAddress(ipAddress: name, port: 0)) != nil
        return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : name)
    }
}

/// Sees to it that both sides agreed on HTTP/2, and translates failures.
private final class HandshakeCheck: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent, negotiated != "h2" {
            context.fireErrorCaught(GRPCStatus(.unavailable, "TLS: the server does not offer HTTP/2"))
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let text = "\(error)"
        let reason =
            if text.contains("CERTIFICATE_VERIFY_FAILED") {
                "TLS: the server's certificate is not trusted, has run out, or is for another name"
            } else if text.contains("failedToValidateHostname") || text.contains("unableToValidateCertificate")
                || text.contains("ServerCertificate")
            {
                "TLS: the server's certificate is for another name"
            } else if text.contains("WRONG_VERSION_NUMBER") || text.contains("HTTP_REQUEST") {
                "TLS: the server speaks no TLS here"
            } else if text.contains("uncleanShutdown") {
                "TLS: the server closed the connection, perhaps for want of a client certificate"
            } else {
                "TLS: \(text)"
            }
        context.fireErrorCaught(GRPCStatus(.unavailable, reason))
    }
}
