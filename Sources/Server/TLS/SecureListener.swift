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

    private struct NoCertificate: Error {}

    /// Prepares one accepted connection, on its event loop.
    package func prepare(_ channel: any Channel, _ configuration: inout ServerConfiguration) throws {
        let material = credentials.material
        guard let context = material.context(offer) else { throw NoCertificate() }
        let peer = ConnectionPeer(eventLoop: channel.eventLoop)
        configuration.peer = peer
        let tls = NIOSSLServerHandler(context: context)
        let guardian = HandshakeGuard(
            tls, rules: material.rules, peer: peer, handshakes: handshakes, logger: logger)
        try channel.pipeline.syncOperations.addHandlers([HandshakeGate(guardian, logger: logger), tls, guardian])
    }
}
