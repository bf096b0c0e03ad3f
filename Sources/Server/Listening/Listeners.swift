import GRPCTransport
import Logging
import NIOCore
import NIOPosix

#if canImport(Glibc)
    import Glibc
#endif

/// Opens the addresses of a plan.
struct Listeners: Sendable {
    let plan: ListenPlan
    /// Nil without certificates.
    let credentials: TLSCredentials?
    private let settings: ServerSettings
    private let logger: Logger

    /// An address that is open.
    struct Bound: Sendable {
        let service: ListenPlan.Service
        /// With the port the system chose.
        let url: ClientURL
        let server: GRPCServer
    }

    /// Checks the settings and reads the certificates. Blocks for the files.
    ///
    /// - Throws: `SettingsError` naming the setting that is wrong.
    init(_ settings: ServerSettings, logger: Logger) throws(SettingsError) {
        try settings.connections.check()
        plan = try ListenPlan(settings)
        credentials = try settings.tls.map { tls throws(SettingsError) in try TLSCredentials(tls, logger: logger) }
        self.settings = settings
        self.logger = logger
        for warning in plan.warnings { logger.warning("\(warning)") }
    }

    /// Opens all addresses, or none.
    ///
    /// - Throws: `ServerStartError` naming the address that cannot be had.
    func open(
        _ group: MultiThreadedEventLoopGroup, services: ServiceTable, handshakes: HandshakeCount,
        http: @escaping @Sendable (HTTPExchange, HTTPEndpoints.Scope) -> Void
    ) async throws -> [Bound] {
        var bound: [Bound] = []
        for listener in plan.listeners {
            let url = listener.url
            do {
                var answered = services
                if !listener.service.answersGRPC {
                    answered = ServiceTable()
                    answered.meter = services.meter
                }
                let server = try await GRPCServer.bind(
                    host: url.host, port: url.port, group: group,
                    services: answered,
                    http1: answer(listener, http), configuration: configuration(listener, handshakes), logger: logger)
                let actual = ClientURL(
                    host: url.host, port: server.localAddress?.port ?? url.port, isSecure: url.isSecure)
                bound.append(Bound(service: listener.service, url: actual, server: server))
            } catch {
                for open in bound { await open.server.shutdownGracefully(deadline: .now()) }
                let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
                throw ServerStartError(
                    description: "cannot listen on \(url): \(reason); choose another address with \(listener.setting)")
            }
        }
        credentials?.start(on: group.next())
        return bound
    }

    private func configuration(_ listener: ListenPlan.Listener, _ handshakes: HandshakeCount) -> ServerConfiguration {
        var configuration = ServerConfiguration()
        settings.connections.apply(to: &configuration)
        configuration.maxRequestBytes = settings.maxRequestBytes + ServerSettings.messageOverhead
        if listener.url.isSecure, let credentials {
            let secure = SecureListener(
                credentials: credentials, offer: listener.service.offer, handshakes: handshakes, logger: logger)
            configuration.prepareConnection = { try secure.prepare($0, &$1) }
        }
        return configuration
    }

    /// What a listener says to a plain HTTP request.
    private func answer(
        _ listener: ListenPlan.Listener, _ http: @escaping @Sendable (HTTPExchange, HTTPEndpoints.Scope) -> Void
    ) -> @Sendable (HTTPExchange) -> Void {
        switch listener.service {
        case .grpc: return { $0.answer(.text(404, "this address answers gRPC alone\n")) }
        case .metrics: return { http($0, .metrics) }
        case .clients, .http:
            guard !listener.url.isSecure else { return { http($0, .client) } }
            let whitelist = HostWhitelist(settings.http.hostWhitelist)
            return { exchange in
                if let refusal = whitelist.refusal(of: exchange.head) {
                    exchange.answer(refusal)
                } else {
                    http(exchange, .client)
                }
            }
        }
    }
}

extension ListenPlan.Service {
    var answersGRPC: Bool {
        switch self {
        case .clients, .grpc: true
        case .http, .metrics: false
        }
    }

    var offer: TLSMaterial.Offer {
        switch self {
        case .clients, .http: .all
        case .grpc: .grpc
        case .metrics: .http1
        }
    }
}
