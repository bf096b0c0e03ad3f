import DequeModule
import NIOCore
import NIOHTTP1

#if canImport(Glibc)
    import Glibc
#endif

/// The server's side of one HTTP/1.1 connection: one exchange after another, each answered before the next begins.
///
/// A client that does not read its answers is not read from and not answered: it holds one read's requests and the
/// channel's write buffer, no more. Reads stop while an exchange's request is whole, or while its handler pauses; that
/// the client went away is seen all the same, as the system tells of it without being read from.
final class HTTP1Responder: ChannelDuplexHandler, RemovableChannelHandler, ServerMember {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let loop: LoopContext
    private let configuration: ServerConfiguration
    private let handler: @Sendable (HTTPExchange) -> Void
    /// The exchange whose request is arriving or whose answer is being made.
    private var exchange: HTTPExchange?
    private var head: HTTPRequestHead?
    private var isRequestWhole = false
    private var isAnswerWhole = false
    /// What came after the request that is being answered; all of it with one read.
    private var waiting = Deque<HTTPServerRequestPart>()
    private var isPumping = false
    private var unsentAnswers = 0
    private var isReadHeld = false
    private var wantsRoom = false
    private var isDraining = false
    /// The last answer was given: the connection closes when it is sent, and what still comes is dropped.
    private var isClosing = false
    private var droppedBytes = 0
    /// Body bytes since the clock was last set back.
    private var freshBytes = 0
    private var context: ChannelHandlerContext?
    /// When the connection is closed unless something happens; nil while it may take its time.
    private var patience: NIODeadline?
    private var watchdog: Scheduled<Void>?
    /// How far the answers went since the clock was last set back.
    private var progress = WriteProgress()

    /// Bytes of a body nobody wants that are read and dropped, so that the client sees its answer.
    private static let maxDroppedBytes = 8 << 20
    /// Bytes of a body that must come within one `handshakeTimeout`.
    private static let bodyStep = 16 << 10

    init(
        loop: LoopContext, configuration: ServerConfiguration, handler: @escaping @Sendable (HTTPExchange) -> Void
    ) {
        self.loop = loop
        self.configuration = configuration
        self.handler = handler
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        DeadPeerDetection.enable(on: context.channel)
        allow(configuration.handshakeTimeout)
        loop.join(self, channel: context.channel)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        watchdog?.cancel()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosing = true
        waiting = []
        watchdog?.cancel()
        loop.leave(channel: context.channel)
        endExchange(.connectionLost)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        waiting.append(unwrapInboundIn(data))
        pump()
    }

    func read(context: ChannelHandlerContext) {
        if wantsBytes { context.read() } else { isReadHeld = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if wantsRoom {
                wantsRoom = false
                exchange?.roomIsFree()
            }
            pump()
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Requests

    private var wantsBytes: Bool {
        guard let context, waiting.isEmpty else { return false }
        guard let exchange else { return context.channel.isWritable || isRequestArriving }
        return !isRequestWhole && !exchange.isReadingPaused
    }

    /// An answered request whose end has not come.
    private var isRequestArriving: Bool { isAnswerWhole && !isRequestWhole && head != nil }

    /// Handles what waits, as far as it may be handled now. Handling writes, which may come back here.
    private func pump() {
        guard !isPumping else { return }
        isPumping = true
        while !isClosing, let part = waiting.first, isTimely(part) {
            waiting.removeFirst()
            take(part)
        }
        isPumping = false
        releaseRead()
    }

    private func releaseRead() {
        guard isReadHeld, let context, wantsBytes else { return }
        isReadHeld = false
        context.read()
    }

    private func isTimely(_ part: HTTPServerRequestPart) -> Bool {
        if case .head = part { return head == nil && context?.channel.isWritable == true }
        return exchange?.isReadingPaused != true
    }

    private func take(_ part: HTTPServerRequestPart) {
        switch part {
        case .head(let head): begin(head)
        case .body(let bytes): received(bytes)
        case .end:
            guard head != nil else { return }
            isRequestWhole = true
            if isAnswerWhole { return exchangeEnded() }
            patience = nil
            if isWebSocket { startExchange() }
            // May answer at once, and so end the exchange before it returns.
            exchange?.requestEnded()
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        self.head = head
        isRequestWhole = false
        isAnswerWhole = false
        droppedBytes = 0
        allow(configuration.handshakeTimeout)
        if !isWebSocket { startExchange() }
    }

    /// The decoder stops after such a request: the connection ends with its answer.
    private var isUpgrade: Bool { head.map { $0.method == .CONNECT || $0.headers.contains(name: "upgrade") } ?? false }

    /// Its exchange begins when the request is whole, as the handlers that read HTTP may go then.
    private var isWebSocket: Bool { head?.asksForWebSocket == true }

    private func startExchange() {
        guard let head, let context else { return }
        let exchange = HTTPExchange(
            head: HTTPHead(head, configuration), loop: loop, transport: self)
        self.exchange = exchange
        let headerBytes = head.headers.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 }
        guard headerBytes <= configuration.maxHeaderListBytes else {
            return exchange.answer(.text(431, "request headers larger than the server accepts\n"))
        }
        handler(exchange)
        if exchange.hasOpenEndedBody { patience = nil }
        if !isAnswerWhole, !isRequestWhole, head.headers["expect"].contains("100-continue") {
            context.writeAndFlush(
                wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: .continue))), promise: nil)
        }
    }

    private func received(_ bytes: ByteBuffer) {
        guard let exchange, !isAnswerWhole else {
            droppedBytes += bytes.readableBytes
            if droppedBytes > Self.maxDroppedBytes { context?.close(promise: nil) }
            return
        }
        freshBytes += bytes.readableBytes
        if patience != nil, freshBytes >= Self.bodyStep { allow(configuration.handshakeTimeout) }
        bytes.withUnsafeReadableBytes { exchange.received($0) }
    }

    private func endExchange(_ reason: CancelReason) {
        let ending = exchange
        exchange = nil
        ending?.cancel(reason)
    }

    /// Request and answer are whole.
    private func exchangeEnded() {
        isClosing = head?.isKeepAlive != true || isDraining || isUpgrade
        if isClosing { waiting = [] }
        head = nil
        allow(unsentAnswers > 0 ? configuration.handshakeTimeout : configuration.http1IdleTimeout)
        closeIfDone()
        pump()
    }

    private func answerSent() {
        unsentAnswers -= 1
        if unsentAnswers == 0, head == nil { allow(configuration.http1IdleTimeout) }
        closeIfDone()
    }

    private func closeIfDone() {
        guard unsentAnswers == 0, isClosing || isDraining && head == nil && waiting.isEmpty else { return }
        context?.close(promise: nil)
    }

    // MARK: Time

    /// Gives the client this long for its next step. The clock is looked at now and then: being right to a part of
    /// `handshakeTimeout` is enough, and setting it back costs nothing that way.
    private func allow(_ time: TimeAmount) {
        freshBytes = 0
        patience = .now() + time
        if unsentAnswers > 0, let context { progress.mark(context.channel) }
        armWatchdog()
    }

    private func armWatchdog() {
        guard watchdog == nil, let context, context.channel.isActive else { return }
        let step = min(configuration.handshakeTimeout, configuration.http1IdleTimeout)
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: step) { self.look() }
    }

    private func look() {
        watchdog = nil
        guard let patience else { return }
        if unsentAnswers > 0, let context, progress.hasStepped(context.channel) {
            allow(configuration.handshakeTimeout)
        } else if patience <= .now() {
            abort()
        } else {
            armWatchdog()
        }
    }

    // MARK: ServerMember

    func drain() {
        isDraining = true
        closeIfDone()
    }

    func abort() {
        endExchange(.serverShutdown)
        context?.close(promise: nil)
    }
}

extension HTTP1Responder: ExchangeTransport {
    func start(status: Int, headers: [(name: String, value: String)], length: Int?) {
        guard let head, let context else { return }
        var fields = HTTPHeaders(headers.map { ($0.name, $0.value) })
        if let length { fields.replaceOrAdd(name: "Content-Length", value: String(length)) }
        // Where its length is not known and there are no chunks, an answer ends with its connection.
        let isLast = !head.isKeepAlive || isDraining || isUpgrade || (length == nil && head.version == .http1_0)
        if isLast { fields.replaceOrAdd(name: "Connection", value: "close") }
        self.head?.headers.replaceOrAdd(name: "connection", value: isLast ? "close" : "keep-alive")
        let responseHead = HTTPResponseHead(
            version: head.version, status: HTTPResponseStatus(statusCode: status), headers: fields)
        let part = wrapOutboundOut(.head(responseHead))
        if length == nil { context.writeAndFlush(part, promise: nil) } else { context.write(part, promise: nil) }
    }

    func write(_ bytes: [UInt8]) {
        guard let head, head.method != .HEAD, let context else { return }
        let part = wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
        // The whole body of an answer leaves with its end.
        if exchange?.isActive == true {
            context.writeAndFlush(part, promise: nil)
        } else {
            context.write(part, promise: nil)
        }
    }

    func finish() {
        exchange = nil
        guard let context else { return }
        unsentAnswers += 1
        isAnswerWhole = true
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in self.answerSent() }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
        // After the write, as it counts what is left of it.
        if isRequestWhole { return exchangeEnded() }
        allow(configuration.handshakeTimeout)
        releaseRead()
    }

    func abandon() {
        exchange = nil
        context?.close(promise: nil)
    }

    var hasRoom: Bool {
        guard let context else { return false }
        if context.channel.isWritable { return true }
        wantsRoom = true
        return false
    }

    func readingChanged() { pump() }

    /// A connection has one request at a time, whose handler bounds it.
    func bodyHeldChanged() -> Bool { true }

    func acceptWebSocket(subprotocol: String?) {
        guard let head, let context, let exchange else { return }
        let channel = context.channel
        guard let fields = WebSocketHandshake.answer(to: head, on: channel, subprotocol: subprotocol) else {
            return exchange.answer(.text(400, "Bad Request: the WebSocket handshake is not complete\n"))
        }
        self.exchange = nil
        patience = nil
        context.write(
            wrapOutboundOut(
                .head(HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: fields))),
            promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        let socket = WebSocketTransport(
            loop: loop, exchange: exchange, limit: 2 * configuration.maxRequestBytes,
            patience: configuration.handshakeTimeout)
        exchange.move(to: socket)
        do {
            try socket.takeOver(channel, from: context, self)
        } catch {
            channel.close(promise: nil)
        }
    }
}

extension HTTPHead {
    /// What came by HTTP/1.1.
    fileprivate init(_ head: HTTPRequestHead, _ configuration: ServerConfiguration) {
        self.init(
            method: head.method.rawValue, target: head.uri, host: head.headers.first(name: "host") ?? "",
            headers: head.headers.map { ($0.name.lowercased(), $0.value) })
        isSecure = configuration.isSecure
        peerCommonName = configuration.peer?.commonName
        wantsWebSocket = head.asksForWebSocket
        guard let text = header("grpc-timeout") else { return }
        let amount = Array(text.utf8).withUnsafeBytes { TimeoutHeader.parse($0) }
        timeout = amount.map { .after($0) } ?? .malformed(String(text.prefix(256)))
    }
}

extension HTTPRequestHead {
    fileprivate var asksForWebSocket: Bool {
        method == .GET && headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "websocket" }
    }
}

/// TCP's own probes, for a client that is cut off without a word while it waits for a lock: HTTP/1.1 has no pings.
enum DeadPeerDetection {
    static func enable(on channel: any Channel) {
        // Sockets alone have these; a test's channel does without.
        guard let options = channel.syncOptions else { return }
        try? options.setOption(.socketOption(.so_keepalive), value: 1)
        #if canImport(Glibc)
            try? options.setOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 30)
            try? options.setOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 10)
            try? options.setOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 3)
        #endif
    }
}
