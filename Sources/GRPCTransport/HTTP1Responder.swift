import DequeModule
import NIOCore
import NIOHTTP1

/// An HTTP/1.1 request as the server hands it on.
public struct HTTP1Request: Sendable {
    /// The verb, in capitals.
    public var method: String
    /// Path and query as sent.
    public var target: String
    /// Header names and values as sent.
    public var headers: [(name: String, value: String)]
    /// The body, at most 64 KiB.
    public var body: [UInt8]

    /// A request, for tests of what answers it.
    public init(
        method: String, target: String, headers: [(name: String, value: String)] = [], body: [UInt8] = []
    ) {
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
    }
}

/// The answer to it.
public struct HTTP1Response: Sendable {
    /// The status number, such as 200.
    public var status: Int
    /// Further headers; the content length is added.
    public var headers: [(name: String, value: String)]
    /// The body.
    public var body: [UInt8]

    /// A response.
    public init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// Answers HTTP/1.1 requests one after another through a closure. A client that does not read its answers is not read
/// from and not answered, so that it holds one read's requests and the channel's write buffer, no more.
final class HTTP1Responder: ChannelDuplexHandler, ServerMember {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private struct Request {
        let head: HTTPRequestHead
        var body: [UInt8] = []
        var isBodyTooLong = false
    }

    private let loop: LoopContext
    private let answer: @Sendable (HTTP1Request) -> HTTP1Response
    private let timeout: TimeAmount
    /// The request that is arriving.
    private var arriving: Request?
    /// Whole ones, which wait for the client to read earlier answers; all came with one read.
    private var waiting = Deque<Request>()
    private var unsentAnswers = 0
    private var isReadHeld = false
    private var isDraining = false
    /// The last answer was given: the connection closes when it is sent, and what still comes is dropped.
    private var isClosing = false
    private var isAnswering = false
    private var context: ChannelHandlerContext?
    private var watchdog: Scheduled<Void>?

    private static let maxBodyBytes = 64 << 10

    init(loop: LoopContext, timeout: TimeAmount, answer: @escaping @Sendable (HTTP1Request) -> HTTP1Response) {
        self.loop = loop
        self.timeout = timeout
        self.answer = answer
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        armWatchdog(context)
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
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            arriving = Request(head: head)
        case .body(let bytes):
            guard arriving != nil else { return }
            let count = (arriving?.body.count ?? 0) + bytes.readableBytes
            if count > Self.maxBodyBytes { arriving?.isBodyTooLong = true }
            if arriving?.isBodyTooLong == false { arriving?.body.append(contentsOf: bytes.readableBytesView) }
        case .end:
            guard let request = arriving else { return }
            arriving = nil
            waiting.append(request)
            answerWaiting(context)
        }
    }

    func read(context: ChannelHandlerContext) {
        if context.channel.isWritable && waiting.isEmpty { context.read() } else { isReadHeld = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        answerWaiting(context)
        context.fireChannelWritabilityChanged()
    }

    /// Writing changes the writability, and may end the channel: both come back here.
    private func answerWaiting(_ context: ChannelHandlerContext) {
        guard !isAnswering else { return }
        isAnswering = true
        while !isClosing, context.channel.isWritable, let request = waiting.popFirst() { respond(to: request, context) }
        isAnswering = false
        guard isReadHeld, context.channel.isWritable, waiting.isEmpty else { return }
        isReadHeld = false
        context.read()
    }

    private func respond(to request: Request, _ context: ChannelHandlerContext) {
        let head = request.head
        let response =
            request.isBodyTooLong
            ? HTTP1Response(status: 413)
            : answer(
                HTTP1Request(
                    method: head.method.rawValue, target: head.uri,
                    headers: head.headers.map { ($0.name, $0.value) }, body: request.body))
        isClosing = !head.isKeepAlive || isDraining
        if isClosing { waiting = [] }
        var headers = HTTPHeaders(response.headers.map { ($0.name, $0.value) })
        headers.replaceOrAdd(name: "content-length", value: String(response.body.count))
        if isClosing { headers.replaceOrAdd(name: "connection", value: "close") }
        let responseHead = HTTPResponseHead(
            version: head.version, status: HTTPResponseStatus(statusCode: response.status), headers: headers)
        context.write(wrapOutboundOut(.head(responseHead)), promise: nil)
        if head.method != .HEAD, !response.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        }
        unsentAnswers += 1
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in self.answerSent() }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
    }

    private func answerSent() {
        unsentAnswers -= 1
        guard let context else { return }
        let isIdle = arriving == nil && waiting.isEmpty
        guard unsentAnswers == 0, isClosing || isDraining && isIdle else { return armWatchdog(context) }
        context.close(promise: nil)
    }

    /// A request must be whole, and its answer taken, this long after the connection opened or the last answer went
    /// out.
    private func armWatchdog(_ context: ChannelHandlerContext) {
        watchdog?.cancel()
        guard context.channel.isActive else { return }
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { self.abort() }
    }

    func drain() {
        isDraining = true
        if arriving == nil, waiting.isEmpty, unsentAnswers == 0 { context?.close(promise: nil) }
    }

    func abort() { context?.close(promise: nil) }
}
