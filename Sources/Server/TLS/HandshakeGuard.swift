import GRPCTransport
import Logging
import Measures
import NIOCore
import NIOSSL
import NIOTLS

/// Stands behind TLS in a connection's pipeline: judges the client's certificate when the handshake is done, tells the
/// connection who its peer is, and writes down what went wrong. How long a handshake may take is the business of what
/// stands behind it, which waits for the first bytes.
final class HandshakeGuard: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum Phase {
        /// To `open` or `refused` by the end of the handshake, to `refused` by the end of the connection.
        case shaking
        /// Bytes pass.
        case open
        /// The connection is being closed; bytes are dropped.
        case refused
    }

    private let tls: NIOSSLServerHandler
    private let rules: ClientCertificateRules?
    private let peer: ConnectionPeer
    private let handshakes: HandshakeCount
    private let logger: Logger
    private var phase = Phase.shaking
    private var hasLogged = false
    private var isCounted = false

    /// - Parameter handshakes: in which this one is counted from its first bytes on.
    init(
        _ tls: NIOSSLServerHandler, rules: ClientCertificateRules?, peer: ConnectionPeer, handshakes: HandshakeCount,
        logger: Logger
    ) {
        self.tls = tls
        self.rules = rules
        self.peer = peer
        self.handshakes = handshakes
        self.logger = logger
    }

    /// The client has spoken: its handshake begins. False: too many are under way.
    func begin() -> Bool {
        isCounted = handshakes.begin()
        return isCounted
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let agreed)? = event as? TLSUserEvent, phase == .shaking {
            uncount()
            if let reason = judge() {
                phase = .refused
                handshakes.failures.add()
                log("TLS client refused", reason, context)
                return context.close(promise: nil)
            }
            phase = .open
            peer.applicationProtocol = agreed
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func judge() -> String? {
        guard let rules, let certificate = tls.peerCertificate else { return nil }
        if let reason = rules.refusal(of: certificate, now: TLSCredentials.now) { return reason }
        peer.commonName = ClientCertificateRules.commonName(of: certificate)
        return nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if phase == .open { context.fireChannelRead(data) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        // Many clients just go; and what happens to a connection that is refused was told.
        case NIOSSLError.uncleanShutdown where phase != .shaking: break
        case is NIOSSLCloseTimedOutError: break
        default: log(phase == .shaking ? "TLS handshake failed" : "TLS connection failed", "\(error)", context)
        }
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if phase == .shaking { log("TLS handshake failed", "it was not done in time", context) }
        endHandshake()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { endHandshake() }

    private func endHandshake() {
        guard phase == .shaking else { return }
        phase = .refused
        handshakes.failures.add()
        uncount()
    }

    private func uncount() {
        guard isCounted else { return }
        isCounted = false
        handshakes.end()
    }

    /// Once a connection: what follows the first is its consequence.
    private func log(_ message: Logger.Message, _ reason: String, _ context: ChannelHandlerContext) {
        guard !hasLogged else { return }
        hasLogged = true
        logger.debug(
            message,
            metadata: [
                "peer": "\(context.channel.remoteAddress?.description ?? "unknown")", "reason": "\(reason)",
            ])
    }
}
