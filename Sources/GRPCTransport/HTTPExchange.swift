public import NIOCore

/// The head of an HTTP request that is no gRPC call.
public struct HTTPHead: Sendable {
    /// The verb, in capitals.
    public var method: String
    /// Path and query as sent.
    public var target: String
    /// What the client called this server: the `Host` header or `:authority`; empty without one.
    public var host: String
    /// Header names, in lower case, and values. Of HTTP/2, those the transport reads itself are missing.
    public var headers: [(name: String, value: String)]
    /// What `grpc-timeout` said.
    public var timeout: RequestTimeout = .none
    /// Whether the connection has TLS.
    public var isSecure = false
    /// The common name of the certificate the client showed; nil without one.
    public var peerCommonName: String?
    /// Whether the client asks for a WebSocket.
    public var wantsWebSocket = false

    /// A head, for tests of what answers it.
    public init(
        method: String, target: String, host: String = "", headers: [(name: String, value: String)] = []
    ) {
        self.method = method
        self.target = target
        self.host = host
        self.headers = headers
    }

    /// The first value of a header, by its lower-case name.
    public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// What a request's `grpc-timeout` header said.
public enum RequestTimeout: Sendable {
    /// There was none.
    case none
    /// The client gives up after this long.
    case after(TimeAmount)
    /// Not a number and a unit: the value as sent, cut to what an error can usefully show.
    case malformed(String)
}

/// What carries an exchange: an HTTP/1.1 connection, a stream of HTTP/2, a WebSocket.
protocol ExchangeTransport: AnyObject {
    /// Sends the answer's head. A `length` says that the body is known and follows at once.
    func start(status: Int, headers: [(name: String, value: String)], length: Int?)
    /// Queues bytes of the body.
    func write(_ bytes: [UInt8])
    /// The answer is whole.
    func finish()
    /// Ends what cannot be finished.
    func abandon()
    var hasRoom: Bool { get }
    /// Reading was paused or resumed.
    func readingChanged()
    /// The memory held for the request's body changed; false when the connection holds too much.
    func bodyHeldChanged() -> Bool
    /// Turns the connection into a WebSocket, on which this exchange goes on.
    func acceptWebSocket(subprotocol: String?)
}

/// One plain HTTP request and its answer, whatever version of HTTP it came by. Bound to its connection's event loop:
/// everything must be used there, and is checked to be. A reference may travel through other threads to come back later.
///
/// The handler gets it when the request's head is there, and sets the callbacks it needs before it returns. After
/// `finish`, `answer` or a cancellation the exchange is over: what is written then is dropped, and its callbacks, which
/// it lets go, are not called any more.
public final class HTTPExchange: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone, which each public member checks.

    /// Where the exchange lives.
    public let eventLoop: any EventLoop
    /// The request's head.
    public let head: HTTPHead
    let loop: LoopContext
    private var transport: (any ExchangeTransport)?
    private var active = true
    private var hasStarted = false
    private var isPaused = false
    private(set) var heldBytes = 0

    /// Added to the answer's own headers.
    public var commonHeaders: [(name: String, value: String)] = []
    /// Whether the body may take as long as the client likes: a stream of requests.
    public var hasOpenEndedBody = false

    private var bodyCallback: ((UnsafeRawBufferPointer) -> Void)?
    private var endCallback: (() -> Void)?
    private var roomCallback: (() -> Void)?
    private var cancelCallback: ((CancelReason) -> Void)?

    init(head: HTTPHead, loop: LoopContext, transport: any ExchangeTransport) {
        self.head = head
        self.loop = loop
        self.eventLoop = loop.eventLoop
        self.transport = transport
    }

    /// False once the exchange is over.
    public var isActive: Bool {
        eventLoop.preconditionInEventLoop()
        return active
    }

    // MARK: The request's body

    /// Called with each piece of the body, valid during the call. Without it the body is dropped.
    public var onBody: ((UnsafeRawBufferPointer) -> Void)? {
        get { bodyCallback }
        set { setCallback { $0.bodyCallback = newValue } }
    }

    /// Called when the request is whole.
    public var onEnd: (() -> Void)? {
        get { endCallback }
        set { setCallback { $0.endCallback = newValue } }
    }

    /// Called once after `hasRoom` was false, when there is room again.
    public var onRoom: (() -> Void)? {
        get { roomCallback }
        set { setCallback { $0.roomCallback = newValue } }
    }

    /// Called when the exchange ends without the handler's doing; once, and never after it was finished.
    public var onCancel: ((CancelReason) -> Void)? {
        get { cancelCallback }
        set { setCallback { $0.cancelCallback = newValue } }
    }

    private func setCallback(_ set: (HTTPExchange) -> Void) {
        eventLoop.preconditionInEventLoop()
        if active { set(self) }
    }

    /// While true, no more of the body is read than is on its way already.
    public var isReadingPaused: Bool {
        get { isPaused }
        set {
            eventLoop.preconditionInEventLoop()
            guard active, newValue != isPaused else { return }
            isPaused = newValue
            transport?.readingChanged()
        }
    }

    /// Tells the connection how many bytes of the body are in memory.
    ///
    /// - Returns: false when the connection holds more than it may; the exchange should be answered with an error.
    public func holds(_ bytes: Int) -> Bool {
        eventLoop.preconditionInEventLoop()
        guard active else { return true }
        heldBytes = bytes
        return transport?.bodyHeldChanged() ?? true
    }

    // MARK: The answer

    /// Answers at once with all there is.
    public func answer(_ response: HTTPResponse) {
        eventLoop.preconditionInEventLoop()
        guard active, !hasStarted, let transport else { return }
        end()
        transport.start(status: response.status, headers: response.headers + commonHeaders, length: response.body.count)
        if !response.body.isEmpty { transport.write(response.body) }
        transport.finish()
    }

    /// Begins an answer whose body comes piece by piece.
    public func start(status: Int, headers: [(name: String, value: String)]) {
        eventLoop.preconditionInEventLoop()
        guard active, !hasStarted, let transport else { return }
        hasStarted = true
        transport.start(status: status, headers: headers + commonHeaders, length: nil)
    }

    /// Sends a piece of the body. It is never refused: look at `hasRoom` before making the next.
    public func write(_ bytes: [UInt8]) {
        eventLoop.preconditionInEventLoop()
        guard active, hasStarted else { return }
        transport?.write(bytes)
    }

    /// Ends the answer after what was written.
    public func finish() {
        eventLoop.preconditionInEventLoop()
        guard active, hasStarted, let transport else { return }
        end()
        transport.finish()
    }

    /// Ends the exchange without a proper end: the client sees that the answer is not whole.
    public func abandon() {
        eventLoop.preconditionInEventLoop()
        guard active, let transport else { return }
        end()
        transport.abandon()
    }

    /// Whether a producer should go on. After a false, `onRoom` follows unless the exchange ends.
    public var hasRoom: Bool {
        eventLoop.preconditionInEventLoop()
        return active && transport?.hasRoom ?? false
    }

    /// Goes on as a WebSocket: each message of the client is a piece of the body with a line's end, each line written is
    /// a message. Only for a head that `wantsWebSocket`.
    public func acceptWebSocket(subprotocol: String?) {
        eventLoop.preconditionInEventLoop()
        guard active, !hasStarted, head.wantsWebSocket else { return }
        transport?.acceptWebSocket(subprotocol: subprotocol)
    }

    // MARK: For the transport

    /// Another transport carries it from now on.
    func move(to transport: any ExchangeTransport) { self.transport = transport }

    func received(_ bytes: UnsafeRawBufferPointer) { bodyCallback?(bytes) }

    func requestEnded() {
        let callback = endCallback
        endCallback = nil
        callback?()
    }

    func roomIsFree() { roomCallback?() }

    /// Ends the exchange from outside. The handler hears of it, unless it was done already.
    func cancel(_ reason: CancelReason) {
        guard active else { return }
        let callback = cancelCallback
        end()
        callback?(reason)
    }

    /// The transport stays the caller's to use until the answer is written.
    private func end() {
        active = false
        bodyCallback = nil
        endCallback = nil
        roomCallback = nil
        cancelCallback = nil
        heldBytes = 0
        transport = nil
    }
}
