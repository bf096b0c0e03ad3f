import Logging
import NIOCore

/// Stands before TLS until the client's first bytes: a connection that says nothing costs no handshake, and takes no other
/// client's place among those under way.
final class HandshakeGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let guardian: HandshakeGuard
    private let logger: Logger
    private var isRefused = false

    init(_ guardian: HandshakeGuard, logger: Logger) {
        self.guardian = guardian
        self.logger = logger
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        guard guardian.begin() else {
            isRefused = true
            logger.debug(
                "TLS handshake refused: too many are under way",
                metadata: ["peer": "\(context.channel.remoteAddress?.description ?? "unknown")"])
            return context.close(promise: nil)
        }
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }
}
