package import GRPCTransport
package import Logging
package import NIOCore
import NIOSSL

/// Puts TLS under the connections of one listener.
package struct SecureListener: Sendable {
    let credentials: TLSCredentials
    let offer: TLSMaterial.Offer
    package let handshakes: HandshakeCount
    let logger: Logger

    /// Puts the parts together; `handshakes` may be shared with other listeners.
    package init(
        credentials: TLSCredentials, offer: TLSMaterial.Offer, handshakes: HandshakeCount, logger: Logger
    ) {
        self.credentials = credentials
        self.offer = offer
        self.handshakes = handshakes
        self.logger = logger
    }

    private struct TooManyHandshakes: Error {}

    /// Prepares one accepted connection, on its event loop.
    ///
    /// - Throws: when too many handshakes are under way; the connection is closed then.
    package func prepare(_ channel: any Channel, _ configuration: inout ServerConfiguration) throws {
        let material = credentials.material
        guard let context = material.context(offer), handshakes.begin() else {
            logger.debug(
                "TLS handshake refused: too many are under way",
                metadata: ["peer": "\(channel.remoteAddress?.description ?? "unknown")"])
            throw TooManyHandshakes()
        }
        let peer = ConnectionPeer(eventLoop: channel.eventLoop)
        configuration.peer = peer
        let tls = NIOSSLServerHandler(context: context)
        let guardian = HandshakeGuard(
            tls, rules: material.rules, peer: peer, handshakes: handshakes, logger: logger)
        do {
            try channel.pipeline.syncOperations.addHandlers([tls, guardian])
        } catch {
            handshakes.end()
            throw error
        }
    }
}
