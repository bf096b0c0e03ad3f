import NIOCore

/// Looks at a connection's first bytes and puts the handlers of the protocol they begin in its own place: HTTP/2 with
/// prior knowledge, or HTTP/1.1. Anything else, and silence, is closed. TLS, where there is any, stands before it; what
/// both sides agreed on there must be what they speak.
final class ProtocolChooser: ChannelInboundHandler, RemovableChannelHandler, ServerMember {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let loop: LoopContext
    private let timeout: TimeAmount
    private let peer: ConnectionPeer?
    private let addHTTP2: (any Channel) throws -> Void
    private let addHTTP1: (any Channel) throws -> Void
    private var received: ByteBuffer?
    private var context: ChannelHandlerContext?
    private var watchdog: Scheduled<Void>?
    private var isChosen = false

    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    init(
        loop: LoopContext, timeout: TimeAmount, peer: ConnectionPeer?,
        addHTTP2: @escaping (any Channel) throws -> Void, addHTTP1: @escaping (any Channel) throws -> Void
    ) {
        self.loop = loop
        self.timeout = timeout
        self.peer = peer
        self.addHTTP2 = addHTTP2
        self.addHTTP1 = addHTTP1
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { self.abort() }
        loop.join(self, channel: context.channel)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        watchdog?.cancel()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        watchdog?.cancel()
        loop.leave(channel: context.channel)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isChosen else { return context.fireChannelRead(data) }
        var bytes = unwrapInboundIn(data)
        if var earlier = received {
            earlier.writeBuffer(&bytes)
            bytes = earlier
        }
        received = bytes
        let view = bytes.readableBytesView
        if view.starts(with: Self.preface) {
            choose(addHTTP2, unless: "http/1.1", context)
        } else if Self.preface.starts(with: view) {
            return  // The preface may still come whole.
        } else if view.first.map({ $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }) == true {
            choose(addHTTP1, unless: "h2", context)
        } else {
            context.close(promise: nil)
        }
    }

    /// - Parameter other: the protocol that must not have been agreed on.
    private func choose(
        _ add: (any Channel) throws -> Void, unless other: String, _ context: ChannelHandlerContext
    ) {
        guard peer?.applicationProtocol != other else { return context.close(promise: nil) }
        isChosen = true
        watchdog?.cancel()
        do {
            try add(context.channel)
        } catch {
            return context.close(promise: nil)
        }
        if let received { context.fireChannelRead(wrapInboundOut(received)) }
        received = nil
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func drain() { context?.close(promise: nil) }

    func abort() { context?.close(promise: nil) }
}
