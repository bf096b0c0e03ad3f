import Foundation
import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Server
import Testing

private let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

@Suite(.timeLimit(.minutes(5))) struct SecureListenerTests {
    /// A server that tells callers their common name.
    private func serve(
        _ prepare: (@Sendable (any Channel, inout ServerConfiguration) throws -> Void)?,
        _ body: (_ port: Int) async throws -> Void
    ) async throws {
        var services = ServiceTable()
        services.unary("/test.Test/Name") { call, _ in call.respond(Array((call.peerCommonName ?? "nobody").utf8)) }
        var configuration = ServerConfiguration()
        configuration.handshakeTimeout = .hours(1)
        configuration.prepareConnection = prepare
        let server = try await GRPCServer.bind(
            host: "127.0.0.1", port: 0, group: .singleton, services: services,
            http1: { $0.answer(.text(404, "not here\n")) },
            configuration: configuration, logger: quiet)
        do {
            try await body(try #require(server.localAddress?.port))
        } catch {
            await server.shutdownGracefully(deadline: .now())
            throw error
        }
        await server.shutdownGracefully(deadline: .now())
    }

    /// The name a server at `port` knows a caller by who shows the certificate `name`, or none.
    private func name(_ port: Int, _ folder: CertificateFolder, showing name: String?) async throws -> String {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateVerification = .none
        tls.applicationProtocols = ["h2"]
        if let name {
            let chain = try NIOSSLCertificate.fromPEMFile(folder.path("\(name).pem"))
            tls.certificateChain = chain.map { .certificate($0) }
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: folder.path("\(name)-key.pem"), format: .pem))
        }
        let context = try NIOSSLContext(configuration: tls)
        return try await ask(port) {
            try $0.pipeline.syncOperations.addHandler(try NIOSSLClientHandler(context: context, serverHostname: nil))
        }
    }

    private func ask(_ port: Int, _ prepare: (@Sendable (any Channel) throws -> Void)?) async throws -> String {
        var configuration = ClientConfiguration()
        configuration.connectTimeout = .hours(1)
        configuration.prepareConnection = prepare
        let client = GRPCClient(
            host: "127.0.0.1", port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: configuration)
        let answer: [UInt8]
        do {
            answer = try await client.unary("/test.Test/Name", [])
        } catch {
            await client.close()
            throw error
        }
        await client.close()
        return String(decoding: answer, as: UTF8.self)
    }

    @Test func `calls know the common name of the certificate that was shown, and of no other`() async throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        try await folder.make("server", subject: "/CN=server")
        try await folder.make("alice", subject: "/O=somewhere/CN=not this one/CN=alice")
        try await folder.make("unnamed", subject: "/O=somewhere")
        let authorities = try ["alice", "unnamed"].map {
            try String(contentsOfFile: folder.path("\($0).pem"), encoding: .utf8)
        }
        try authorities.joined().write(toFile: folder.path("authorities.pem"), atomically: true, encoding: .utf8)
        var settings = TLSSettings(certFile: folder.path("server.pem"), keyFile: folder.path("server-key.pem"))
        settings.trustedCAFile = folder.path("authorities.pem")
        settings.acceptsClientsWithoutCertificate = true
        let secure = SecureListener(
            credentials: try TLSCredentials(settings, logger: quiet), offer: .all, handshakes: HandshakeCount(),
            logger: quiet)
        try await serve({ try secure.prepare($0, &$1) }) { port in
            for (shown, known) in [("alice", "alice"), (nil, "nobody"), ("unnamed", "nobody"), ("alice", "alice")] {
                let heard = try await name(port, folder, showing: shown)
                #expect(heard == known)
            }
        }
        #expect(secure.handshakes.underWay == 0, "each handshake that began has ended")
        try await serve(nil) { port in
            let known = try await ask(port, nil)
            #expect(known == "nobody")
        }
    }

    @Test func `connections that say nothing take no place among the handshakes`() async throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        try await folder.make("server", subject: "/CN=server")
        let settings = TLSSettings(certFile: folder.path("server.pem"), keyFile: folder.path("server-key.pem"))
        let secure = SecureListener(
            credentials: try TLSCredentials(settings, logger: quiet), offer: .all, handshakes: HandshakeCount(limit: 1),
            logger: quiet)
        try await serve({ try secure.prepare($0, &$1) }) { port in
            let silent = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: port).get()
            let heard = try await name(port, folder, showing: nil)
            #expect(heard == "nobody")
            try await silent.close()
        }
    }

    @Test func `files are read when they change, and a broken one leaves the old in use`() async throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        for name in ["server", "other"] { try await folder.make(name, subject: "/CN=\(name)") }
        func copy(_ from: String, _ to: String) throws {
            let content = try Data(contentsOf: URL(filePath: folder.path(from)))
            try content.write(to: URL(filePath: folder.path(to)), options: .atomic)
        }
        let settings = TLSSettings(certFile: folder.path("server.pem"), keyFile: folder.path("server-key.pem"))
        let log = LogLines()
        let credentials = try TLSCredentials(settings, logger: Logger(label: "test", factory: { _ in log }))
        credentials.look()
        #expect(log.taken.isEmpty)
        try copy("other.pem", "server.pem")
        credentials.look()
        #expect(log.taken.isEmpty, "the key may be on its way")
        try copy("other-key.pem", "server-key.pem")
        credentials.look()
        #expect(log.taken.map(\.level) == [.info])
        try Data().write(to: URL(filePath: folder.path("server.pem")))
        for _ in 0..<5 { credentials.look() }
        let told = log.taken
        #expect(told.map(\.level) == [.error])
        #expect(told.first?.text.contains("--cert-file") == true)
        try copy("other.pem", "server.pem")
        credentials.look()
        credentials.look()
        #expect(log.taken.map(\.level) == [.info])
    }
}

/// Keeps what is logged.
private final class LogLines: LogHandler, @unchecked Sendable {
    // Sendable: used by one test from one task.
    struct Line {
        let level: Logger.Level
        let text: String
    }

    private var lines: [Line] = []
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug

    /// What came since this was last asked.
    var taken: [Line] {
        defer { lines = [] }
        return lines
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.append(Line(level: event.level, text: "\(event.message) \(event.metadata ?? [:])"))
    }
}
