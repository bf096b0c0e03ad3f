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

/// Answers HTTP/1.1 requests one after another through a closure.
final class HTTP1Responder: ChannelInboundHandler, ServerMember {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let loop: LoopContext
    private let answer: @Sendable (HTTP1Request) -> HTTP1Response
    private let timeout: TimeAmount
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var isBodyTooLong = false
    private var isDraining = false
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
        watchdog?.cancel()
        loop.leave(channel: context.channel)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
            isBodyTooLong = false
        case .body(let bytes):
            isBodyTooLong = isBodyTooLong || body.count + bytes.readableBytes > Self.maxBodyBytes
            if !isBodyTooLong { body.append(contentsOf: bytes.readableBytesView) }
        case .end:
            guard let head else { return }
            self.head = nil
            respond(to: head, context)
        }
    }

    private func respond(to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let response =
            isBodyTooLong
            ? HTTP1Response(status: 413)
            : answer(
                HTTP1Request(
                    method: head.method.rawValue, target: head.uri,
                    headers: head.headers.map { ($0.name, $0.value) }, body: body))
        body = []
        let staysOpen = head.isKeepAlive && !isDraining
        var headers = HTTPHeaders(response.headers.map { ($0.name, $0.value) })
        headers.replaceOrAdd(name: "content-length", value: String(response.body.count))
        if !staysOpen { headers.replaceOrAdd(name: "connection", value: "close") }
        let responseHead = HTTPResponseHead(
            version: head.version, status: HTTPResponseStatus(statusCode: response.status), headers: headers)
        context.write(wrapOutboundOut(.head(responseHead)), promise: nil)
        if head.method != .HEAD, !response.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        }
        let sent = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
        if staysOpen {
            armWatchdog(context)
        } else {
            sent.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
        }
    }

    /// A request must be whole this long after the connection opened or the last answer went out.
    private func armWatchdog(_ context: ChannelHandlerContext) {
        watchdog?.cancel()
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { self.abort() }
    }

    func drain() {
        isDraining = true
        if head == nil { context?.close(promise: nil) }
    }

    func abort() { context?.close(promise: nil) }
}
