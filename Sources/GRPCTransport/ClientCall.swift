import CNghttp2
public import NIOCore

/// One call as its caller sees it. Bound to the client's event loop, and checked to be used there, but for `cancel`.
public final class ClientCall: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone, which each public member checks.

    /// What a call starts with.
    public struct Options: Sendable {
        /// Further request headers, names in lower case.
        public var metadata: [(name: String, value: String)] = []
        /// When to give up.
        public var deadline: NIODeadline?
        /// Wait through failed attempts to connect instead of failing with `unavailable`.
        public var waitsForReady = false

        /// No metadata, no deadline, no waiting.
        public init() {}
    }

    /// Where the call lives.
    public let eventLoop: any EventLoop
    /// Called with each response message. Set it, and the other two, before the call starts.
    public var onMessage: (([UInt8]) -> Void)?
    /// Called once after `hasRoom` was false, when half of the bound is free again.
    public var onRoom: (() -> Void)?
    /// Called exactly once, last.
    public var onEnd: ((GRPCStatus) -> Void)?

    let path: String
    let options: Options
    private let sendBuffer: Int
    private let connectionSendBuffer: Int
    var connection: ClientConnection?
    var slot = 0
    var streamID: Int32 = 0
    var inbound: InboundMessages
    var response = ResponseHead()
    var unconsumedBytes = 0
    private var outbound = OutboundMessages()
    private var isDeferred = false
    private var isSendingDone = false
    private var hasEnded = false
    private var isWaitingForRoom = false
    private var holdsMessages = false
    private var heldMessages: [[UInt8]] = []
    private var heldEnd: GRPCStatus?
    /// What was sent, until something came back or it is too much to hold: a call the server certainly has not seen
    /// is sent again.
    private var repeatable: [[UInt8]]? = []
    private var repeatableBytes = 0
    private var repeatsLeft = 3
    /// More than this is not held to be sent again.
    private static let maxRepeatableBytes = 64 << 10
    var deadlineTask: Scheduled<Void>?

    init(eventLoop: any EventLoop, path: String, options: Options, configuration: ClientConfiguration) {
        self.eventLoop = eventLoop
        self.path = path
        self.options = options
        self.sendBuffer = configuration.streamSendBuffer
        self.connectionSendBuffer = configuration.connectionSendBuffer
        self.inbound = InboundMessages(limit: configuration.maxResponseBytes)
    }

    /// False once the call ended.
    public var isActive: Bool {
        eventLoop.preconditionInEventLoop()
        return !hasEnded
    }

    /// The server may have seen the call. False: it went nowhere, and doing it again does not do it twice.
    public var wasSent: Bool {
        eventLoop.preconditionInEventLoop()
        return streamID > 0
    }

    /// The first value of a response header or trailer, by its lower-case name.
    public func metadata(_ name: String) -> String? {
        eventLoop.preconditionInEventLoop()
        return response.metadata.value(of: name)
    }

    /// Queues a request message.
    public func send(_ message: [UInt8]) {
        eventLoop.preconditionInEventLoop()
        guard !hasEnded, !isSendingDone else { return }
        let before = outbound.byteCount
        outbound.append(message)
        remember(message)
        if streamID > 0 { connection?.queuedBytes += outbound.byteCount - before }
        if !fits(within: 1) { waitForRoom() }
        wakeSending()
    }

    private func remember(_ message: [UInt8]) {
        guard repeatable != nil else { return }
        repeatableBytes += message.count
        if repeatableBytes > Self.maxRepeatableBytes { repeatable = nil } else { repeatable?.append(message) }
    }

    /// Whether a producer should go on. After a false, `onRoom` follows unless the call ends.
    public var hasRoom: Bool {
        eventLoop.preconditionInEventLoop()
        guard !hasEnded else { return false }
        if !fits(within: 1) { waitForRoom() }
        return !isWaitingForRoom
    }

    /// Whether the queues are below their bounds divided by `divisor`.
    private func fits(within divisor: Int) -> Bool {
        outbound.byteCount < sendBuffer / divisor
            && (connection?.queuedBytes ?? 0) < connectionSendBuffer / divisor
    }

    private func waitForRoom() {
        guard !isWaitingForRoom else { return }
        isWaitingForRoom = true
        connection?.waitForRoom(self)
    }

    /// The request is complete.
    public func finishSending() {
        eventLoop.preconditionInEventLoop()
        guard !hasEnded, !isSendingDone else { return }
        isSendingDone = true
        wakeSending()
    }

    /// Ends the call with `cancelled`, unless it ended before. Any thread.
    public func cancel() {
        if eventLoop.inEventLoop {
            abandon(GRPCStatus(.cancelled, "cancelled by the caller"))
        } else {
            eventLoop.execute { self.abandon(GRPCStatus(.cancelled, "cancelled by the caller")) }
        }
    }

    /// While true, no message is delivered, and the server is stopped by flow control after one window.
    public var isReadingPaused: Bool {
        get { holdsMessages }
        set {
            eventLoop.preconditionInEventLoop()
            holdsMessages = newValue
            if !newValue { deliverHeld() }
        }
    }

    // MARK: For the connection

    /// Gives the call up: the server is told by a reset.
    func abandon(_ status: GRPCStatus) {
        guard !hasEnded else { return }
        connection?.reset(self, code: NGHTTP2_CANCEL.rawValue)
        heldMessages = []
        holdsMessages = false
        end(status)
    }

    func deliver(_ message: [UInt8]) {
        guard !hasEnded else { return }
        repeatable = nil
        if holdsMessages { heldMessages.append(message) } else { onMessage?(message) }
    }

    func end(_ status: GRPCStatus) {
        guard !hasEnded else { return }
        guard !holdsMessages || heldMessages.isEmpty else {
            heldEnd = heldEnd ?? status
            return
        }
        hasEnded = true
        deadlineTask?.cancel()
        dropOutbound()
        let callback = onEnd
        onMessage = nil
        onRoom = nil
        onEnd = nil
        callback?(status)
    }

    private func deliverHeld() {
        while !holdsMessages, !heldMessages.isEmpty { onMessage?(heldMessages.removeFirst()) }
        guard !holdsMessages else { return }
        if let heldEnd { end(heldEnd) } else { connection?.consume(self) }
    }

    private func wakeSending() {
        guard isDeferred, let connection else { return }
        isDeferred = false
        connection.resume(self)
    }

    /// Puts the call back to before it was sent; false when that cannot be done.
    func rewind() -> Bool {
        guard let repeatable, repeatsLeft > 0 else { return false }
        repeatsLeft -= 1
        dropOutbound()
        streamID = 0
        for message in repeatable { outbound.append(message) }
        isDeferred = false
        response = ResponseHead()
        return true
    }

    /// False: it waits on.
    func noticeRoom() -> Bool {
        guard isWaitingForRoom, !hasEnded else { return true }
        guard fits(within: 2) else { return false }
        isWaitingForRoom = false
        onRoom?()
        return true
    }

    /// Its connection has opened a stream for this call.
    func started(streamID: Int32, on connection: ClientConnection) {
        self.streamID = streamID
        connection.queuedBytes += outbound.byteCount
        if isWaitingForRoom { connection.waitForRoom(self) }
    }

    private func dropOutbound() {
        if streamID > 0 { connection?.queuedBytes -= outbound.byteCount }
        outbound.removeAll()
    }

    /// Its stream is gone.
    func detach() {
        if streamID > 0 { connection?.queuedBytes -= outbound.byteCount }
        connection = nil
    }

    /// Bytes nghttp2 may take now, and whether they are the last; nil when there are none yet.
    func offer(upTo limit: Int) -> (count: Int, isLast: Bool)? {
        let count = min(outbound.byteCount, limit)
        if count == 0 && !isSendingDone {
            isDeferred = true
            return nil
        }
        return (count, isSendingDone && count == outbound.byteCount)
    }

    func take(_ length: Int, into output: inout ByteBuffer) {
        outbound.take(length, into: &output)
        connection?.queuedBytes -= length
    }
}

/// What a response's headers and trailers said.
struct ResponseHead {
    var httpStatus = 0
    var code: Int?
    var message = ""
    var metadata = MetadataBlock()

    mutating func add(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        switch name.count {
        case 7 where name.equals(":status"): httpStatus = Int(String(decoding: value, as: UTF8.self)) ?? 0
        case 11 where name.equals("grpc-status"): code = Int(String(decoding: value, as: UTF8.self)) ?? -1
        case 12 where name.equals("grpc-message"): message = PercentEncoding.decode(value)
        case 12 where name.equals("content-type"): break
        default: metadata.append(name: name, value: value)
        }
    }

    /// How the call ended, once its stream did. An answer without a gRPC status is judged by its HTTP status.
    var status: GRPCStatus {
        if let code {
            guard let known = GRPCCode(rawValue: code) else { return GRPCStatus(.unknown, message) }
            return GRPCStatus(known, message)
        }
        let code: GRPCCode =
            switch httpStatus {
            case 400: .internal
            case 401: .unauthenticated
            case 403: .permissionDenied
            case 404: .unimplemented
            case 429, 502, 503, 504: .unavailable
            default: .unknown
            }
        return GRPCStatus(code, "no grpc-status in a response with HTTP status \(httpStatus)")
    }
}
