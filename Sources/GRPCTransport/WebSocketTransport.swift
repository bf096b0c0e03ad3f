import NIOCore
import NIOHTTP1
import NIOWebSocket

/// An exchange that goes on over a WebSocket (RFC 6455): each message of the client is a piece of the request's body with
/// a line's end behind it, each line of the answer is a text message.
///
/// Holds no message: pieces of the client's are handed on as they come, and answers wait in the channel's write buffer.
/// A client that sends while the handler pauses is not read from.
final class WebSocketTransport: ChannelDuplexHandler, ServerMember {
    typealias InboundIn = WebSocketFrame
    typealias OutboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let loop: LoopContext
    private var exchange: HTTPExchange?
    private let limit: Int
    private var context: ChannelHandlerContext?
    private var isReadHeld = false
    private var wantsRoom = false
    private let patience: TimeAmount
    /// Goodbye was said: nothing more is sent, and the connection ends when the client has taken what was.
    private var isClosing = false
    private var watchdog: Scheduled<Void>?
    private var progress = WriteProgress()

    private static let newline: [UInt8] = [UInt8(ascii: "\n")]

    /// - Parameters:
    ///   - limit: the longest frame taken.
    ///   - patience: how long a client may take for each step of what is left when its call is over.
    init(loop: LoopContext, exchange: HTTPExchange, limit: Int, patience: TimeAmount) {
        self.loop = loop
        self.exchange = exchange
        self.limit = limit
        self.patience = patience
    }

    /// Puts WebSocket's handlers in the place of HTTP's.
    func takeOver(_ channel: any Channel, from old: ChannelHandlerContext, _ responder: HTTP1Responder) throws {
        let pipeline = channel.pipeline.syncOperations
        let decoder = try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)
        let encoder = try pipeline.context(handlerType: HTTPResponseEncoder.self)
        try pipeline.addHandlers([
            WebSocketFrameEncoder(), ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: limit)), self,
        ])
        pipeline.removeHandler(responder, promise: nil)
        pipeline.removeHandler(context: encoder, promise: nil)
        // The last: it hands on the frames that came with the handshake.
        pipeline.removeHandler(context: decoder, promise: nil)
        loop.join(self, channel: channel)
        channel.read()  // HTTP's handlers may have kept one for themselves.
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        watchdog?.cancel()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        watchdog?.cancel()
        loop.leave(channel: context.channel)
        end(.connectionLost)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func read(context: ChannelHandlerContext) {
        if exchange?.isReadingPaused == true || !context.channel.isWritable {
            isReadHeld = true
        } else {
            context.read()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            readingChanged()
            if wantsRoom {
                wantsRoom = false
                exchange?.roomIsFree()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        let frame = unwrapInboundIn(data)
        // RFC 6455, 5.1: a client's frames are masked.
        guard frame.maskKey != nil else {
            end(.reset)
            return close(with: goodbye(1002))
        }
        switch frame.opcode {
        case .text, .binary, .continuation:
            frame.unmaskedData.withUnsafeReadableBytes { exchange?.received($0) }
            if frame.fin { Self.newline.withUnsafeBytes { exchange?.received($0) } }
        case .ping:
            send(.pong, frame.unmaskedData)
        case .connectionClose:
            end(.reset)
            close(with: frame.unmaskedData)
        default: break
        }
    }

    private func end(_ reason: CancelReason) {
        let ending = exchange
        exchange = nil
        ending?.cancel(reason)
    }

    private func send(_ opcode: WebSocketOpcode, _ data: ByteBuffer) {
        guard !isClosing, let context else { return }
        context.writeAndFlush(wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: data)), promise: nil)
    }

    /// Says goodbye, and closes when the client has taken that and all before it.
    private func close(with data: ByteBuffer) {
        guard !isClosing, let context else { return }
        isClosing = true
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in self.context?.close(promise: nil) }
        let frame = WebSocketFrame(fin: true, opcode: .connectionClose, data: data)
        context.writeAndFlush(wrapOutboundOut(frame), promise: sent)
        progress.mark(context.channel)
        armWatchdog()
    }

    private func armWatchdog() {
        guard let context, context.channel.isActive else { return }
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: patience) { self.look() }
    }

    /// Gives up a client that took too little of what is left.
    private func look() {
        guard let context else { return }
        if progress.hasStepped(context.channel) { armWatchdog() } else { context.close(promise: nil) }
    }

    private func goodbye(_ code: UInt16) -> ByteBuffer {
        var data = ByteBuffer()
        data.writeInteger(code)
        return data
    }

    /// It closes with its call.
    func drain() {}

    func abort() {
        end(.serverShutdown)
        close(with: goodbye(1001))
        context?.close(promise: nil)
    }
}

extension WebSocketTransport: ExchangeTransport {
    /// A WebSocket has no status.
    func start(status: Int, headers: [(name: String, value: String)], length: Int?) {}

    func write(_ bytes: [UInt8]) {
        let line = bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes[...]
        send(.text, ByteBuffer(bytes: line))
    }

    func finish() {
        exchange = nil
        close(with: goodbye(1000))
    }

    func abandon() {
        exchange = nil
        close(with: goodbye(1011))
    }

    var hasRoom: Bool {
        guard let context else { return false }
        if context.channel.isWritable { return true }
        wantsRoom = true
        return false
    }

    func readingChanged() {
        guard isReadHeld, let context, exchange?.isReadingPaused != true, context.channel.isWritable else { return }
        isReadHeld = false
        context.read()
    }

    func bodyHeldChanged() -> Bool { true }

    func acceptWebSocket(subprotocol: String?) {}
}

/// The HTTP half of a WebSocket's beginning.
enum WebSocketHandshake {
    /// The headers that accept it; nil when the request is none.
    static func answer(
        to head: HTTPRequestHead, on channel: any Channel, subprotocol: String?
    ) -> HTTPHeaders? {
        let own = HTTPHeaders(subprotocol.map { [("sec-websocket-protocol", $0)] } ?? [])
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(own) },
            upgradePipelineHandler: { channel, _ in channel.eventLoop.makeSucceededVoidFuture() })
        var answer: HTTPHeaders?
        // Done when it returns, as nothing in it waits.
        upgrader.buildUpgradeResponse(channel: channel, upgradeRequest: head, initialResponseHeaders: [:])
            .assumeIsolated().whenSuccess { answer = $0 }
        return answer
    }
}
