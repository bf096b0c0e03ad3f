import CNghttp2
import DequeModule
public import NIOCore

/// One call as its handler sees it. Bound to its connection's event loop: everything but `eventLoop` must be used
/// there, and is checked to be. A reference may travel through other threads to come back later.
///
/// After `finish`, `respond`, `fail` or a cancellation the call is over: what is sent then is dropped, and its
/// callbacks, which it lets go, are not called any more.
public final class ServerCall: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone, which each public member checks.
    // `@exclusivity(unchecked)`, here and elsewhere in the transport: on the way of every request, where the check at run
    // time costs more than the access (docs/decisions/0010). None of these accesses comes back to its member while it lasts.

    /// Where the call lives.
    public let eventLoop: any EventLoop

    /// Whether the call came as JSON over plain HTTP.
    public let isGateway: Bool

    let streamID: Int32
    var connection: ServerConnection?
    /// Carries the call in place of a gRPC stream; nil for those, whose `connection` does.
    private var carrier: (any CallCarrier)?
    /// What the stream is when it is no gRPC call: then this object stands for the stream alone.
    var plain: PlainStream?
    /// Place in the connection's list of calls.
    var slot = 0
    @exclusivity(unchecked) var request: RequestHead
    @exclusivity(unchecked) var inbound: InboundMessages
    /// A unary request put together from pieces; nil while it is borrowed or not yet there.
    @exclusivity(unchecked) var message: [UInt8]?
    var hasMessage = false
    var isRemoteClosed = false
    var openedAt = NIODeadline.uptimeNanoseconds(0)
    var isResetCounted = false
    /// What the connection counted of `heldRequestBytes`.
    var countedBytes = 0
    /// What the connection's reassembly budget lent to the message that is arriving.
    var grantedBytes = 0
    var isWaitingForGrant = false
    /// What is counted of it; nil until its handler may have it, and where nobody counts.
    @exclusivity(unchecked) var tally: CallTally?
    @exclusivity(unchecked) private(set) var outbound = OutboundMessages()
    private var hasSentHeaders = false
    /// nghttp2 stopped asking for data; it must be told when there is some.
    private var isDeferred = false
    /// Set when the handler is done and trailers follow the queued messages.
    @exclusivity(unchecked) private var trailingStatus: GRPCStatus?
    var isWaitingForRoom = false
    private var active = true
    @exclusivity(unchecked) private var heldMessages = Deque<[UInt8]>()
    private var heldMessageBytes = 0
    private var holdsMessages = false
    private var isDeliveringHeld = false
    private var hasToldHalfClose = false

    private var messageCallback: (([UInt8]) -> Void)?
    private var halfCloseCallback: (() -> Void)?
    private var roomCallback: (() -> Void)?
    private var cancelCallback: ((CancelReason) -> Void)?

    init(connection: ServerConnection, streamID: Int32, messageLimit: Int) {
        self.connection = connection
        self.eventLoop = connection.loop.eventLoop
        self.streamID = streamID
        self.isGateway = false
        self.request = RequestHead()
        self.inbound = InboundMessages(limit: messageLimit)
    }

    /// A call that something else than a gRPC stream carries. The carrier delivers what arrives, and the end.
    package init(
        method: ServerMethod, carrier: any CallCarrier, metadata: MetadataBlock, deadline: NIODeadline?
    ) {
        self.carrier = carrier
        self.eventLoop = carrier.exchange.eventLoop
        self.streamID = 0
        self.isGateway = true
        self.request = RequestHead()
        self.inbound = InboundMessages(limit: 0)
        request.method = method
        request.metadata = metadata
        request.requiresLeader = metadata.value(of: "hasleader") == "true"
        request.deadline = deadline
        request.isComplete = true
    }

    // MARK: What the client sent

    /// False once the call is over.
    public var isActive: Bool {
        eventLoop.preconditionInEventLoop()
        return active
    }

    /// The first value of a request header, by its lower-case name. What the transport itself reads (pseudo-headers,
    /// `te`, `user-agent`, `content-type`, `hasleader` and the `grpc-` ones) is not kept.
    public func metadata(_ name: String) -> String? {
        eventLoop.preconditionInEventLoop()
        return request.metadata.value(of: name)
    }

    /// Whether the client wants the call refused, or ended, while there is no leader: metadata `hasleader: true`.
    public var requiresLeader: Bool {
        eventLoop.preconditionInEventLoop()
        return request.requiresLeader
    }

    /// Tells its connection from others, for bounds by connection; nil for a call of the gateway, and once it is over.
    public var connectionIdentity: ObjectIdentifier? {
        eventLoop.preconditionInEventLoop()
        return connection.map { ObjectIdentifier($0) }
    }

    /// The common name of the certificate the client showed; nil without TLS, without a certificate, and for calls of the
    /// gateway.
    public var peerCommonName: String? {
        eventLoop.preconditionInEventLoop()
        return connection?.configuration.peer?.commonName
    }

    /// When the client gives up; the call is cancelled then.
    public var deadline: NIODeadline? {
        eventLoop.preconditionInEventLoop()
        return request.deadline
    }

    /// Called with each request message of a streaming method.
    public var onMessage: (([UInt8]) -> Void)? {
        get { messageCallback }
        set { setCallback { $0.messageCallback = newValue } }
    }

    /// Called when the client will send no more.
    public var onHalfClose: (() -> Void)? {
        get { halfCloseCallback }
        set { setCallback { $0.halfCloseCallback = newValue } }
    }

    /// Called once after `hasRoom` was false, when half of the bound is free again.
    public var onRoom: (() -> Void)? {
        get { roomCallback }
        set { setCallback { $0.roomCallback = newValue } }
    }

    /// Called when the call ends without the handler's doing; exactly once, and never after it was finished.
    public var onCancel: ((CancelReason) -> Void)? {
        get { cancelCallback }
        set { setCallback { $0.cancelCallback = newValue } }
    }

    private func setCallback(_ set: (ServerCall) -> Void) {
        eventLoop.preconditionInEventLoop()
        if active { set(self) }
    }

    /// While true, no message is delivered, and the client is stopped by flow control after one window.
    public var isReadingPaused: Bool {
        get { holdsMessages }
        set {
            eventLoop.preconditionInEventLoop()
            holdsMessages = newValue
            if !newValue { deliverHeld() }
        }
    }

    // MARK: Answering

    /// Queues one response message. It is never refused: look at `hasRoom` before making the next.
    public func send(_ message: [UInt8]) {
        eventLoop.preconditionInEventLoop()
        guard active else { return }
        tally?.sent(bytes: message.count)
        guard let connection else {
            carrier?.send(message)
            return
        }
        queue(message, on: connection)
        startOrResume(connection)
        if !fits(connection, within: 1) { connection.waitForRoom(self) }
    }

    /// Whether a producer should go on. After a false, `onRoom` follows unless the call ends.
    public var hasRoom: Bool {
        eventLoop.preconditionInEventLoop()
        guard active else { return false }
        guard let connection else { return carrier?.hasRoom ?? false }
        if fits(connection, within: 1) { return true }
        connection.waitForRoom(self)
        return false
    }

    /// Response bytes queued and not yet handed to the socket.
    package var queuedBytes: Int {
        eventLoop.preconditionInEventLoop()
        return carrier?.queuedBytes ?? outbound.byteCount
    }

    /// Ends the call after what was sent.
    public func finish(_ status: GRPCStatus = .ok) {
        eventLoop.preconditionInEventLoop()
        guard active else { return }
        end(status.code)
        if let connection { close(with: status, on: connection) } else { leaveCarrier()?.finish(status) }
    }

    /// Answers with one message and success.
    public func respond(_ message: [UInt8]) {
        eventLoop.preconditionInEventLoop()
        guard active else { return }
        tally?.sent(bytes: message.count)
        end(.ok)
        guard let connection else {
            let carrier = leaveCarrier()
            carrier?.send(message)
            carrier?.finish(.ok)
            return
        }
        queue(message, on: connection)
        trailingStatus = .ok
        startOrResume(connection)
    }

    /// Ends the call with an error.
    public func fail(_ status: GRPCStatus) { finish(status) }

    // MARK: For the connection

    /// Whether the queues are below their bounds divided by `divisor`.
    func fits(_ connection: ServerConnection, within divisor: Int) -> Bool {
        (plain?.queuedBytes ?? outbound.byteCount) < connection.configuration.streamSendBuffer / divisor
            && connection.queuedBytes < connection.configuration.connectionSendBuffer / divisor
    }

    var isUnary: Bool {
        if case .unary = request.method?.kind { true } else { false }
    }

    /// Whether request bytes still matter.
    var acceptsInput: Bool { active && request.isComplete }

    /// Request bytes in memory on behalf of this call.
    var heldRequestBytes: Int {
        request.metadata.byteCount + inbound.heldBytes + heldMessageBytes + (message?.count ?? 0)
            + (plain?.heldBytes ?? 0)
    }

    func roomIsFree() { if active { roomCallback?() } }

    func deliver(_ message: [UInt8]) {
        guard holdsMessages || isDeliveringHeld else {
            messageCallback?(message)
            return
        }
        heldMessages.append(message)
        heldMessageBytes += message.count
    }

    func remoteClosed() { tellHalfClose() }

    private func tellHalfClose() {
        guard isRemoteClosed, !holdsMessages, heldMessages.isEmpty, !isDeliveringHeld, !hasToldHalfClose else { return }
        hasToldHalfClose = true
        halfCloseCallback?()
    }

    /// A handler may pause and go on again inside its callback: the delivery that is under way sees to the rest then.
    private func deliverHeld() {
        guard !isDeliveringHeld else { return }
        isDeliveringHeld = true
        while active, !holdsMessages, let message = heldMessages.popFirst() {
            heldMessageBytes -= message.count
            messageCallback?(message)
        }
        isDeliveringHeld = false
        guard active else { return }
        guard let connection else {
            tellHalfClose()
            carrier?.readingResumed()
            return
        }
        connection.countHeld(by: self)
        tellHalfClose()
        connection.openWindow(of: self)
    }

    /// Ends the call from outside. The handler hears of it, unless it was done already.
    func cancel(_ reason: CancelReason) {
        guard active else { return }
        let callback = cancelCallback
        end(reason.code)
        carrier = nil
        callback?(reason)
    }

    /// The loop of a call that no connection carries.
    var carrierLoop: LoopContext? { carrier?.exchange.loop }

    /// The carrier, which the call that is over lets go.
    private func leaveCarrier() -> (any CallCarrier)? {
        defer { carrier = nil }
        return carrier
    }

    /// Cancels for a reason the client is told.
    func cancel(_ reason: CancelReason, telling status: GRPCStatus) {
        guard active, let connection else { return }
        cancel(reason)
        if outbound.byteCount > 0 || plain != nil {
            // What is queued may never flow; trailers cannot overtake it.
            connection.reset(self, code: NGHTTP2_CANCEL.rawValue)
        } else {
            close(with: status, on: connection)
        }
    }

    /// The stream is gone.
    func detach() {
        connection?.queuedBytes -= outbound.byteCount + (plain?.queuedBytes ?? 0)
        outbound.removeAll()
        plain?.detach()
        plain = nil
        connection = nil
    }

    func end(_ code: GRPCCode) {
        active = false
        tally?.ended(code)
        messageCallback = nil
        halfCloseCallback = nil
        roomCallback = nil
        cancelCallback = nil
        heldMessages = []
        heldMessageBytes = 0
        message = nil
        inbound.discard()
        if countedBytes > 0 { connection?.countHeld(by: self) }
    }

    private func queue(_ message: [UInt8], on connection: ServerConnection) {
        let before = outbound.byteCount
        outbound.append(message)
        connection.queuedBytes += outbound.byteCount - before
    }

    private func startOrResume(_ connection: ServerConnection) {
        if !hasSentHeaders {
            hasSentHeaders = true
            connection.submitResponse(self)
        } else if isDeferred {
            isDeferred = false
            connection.resume(self)
        }
    }

    private func close(with status: GRPCStatus, on connection: ServerConnection) {
        if !hasSentHeaders && outbound.byteCount == 0 {
            hasSentHeaders = true
            connection.submitTrailersOnly(self, httpStatus: "200", status: status)
        } else {
            trailingStatus = status
            startOrResume(connection)
        }
    }

    /// Refuses a request that is no gRPC request.
    func refuse(httpStatus: StaticString, _ status: GRPCStatus) {
        guard active, let connection else { return }
        end(status.code)
        hasSentHeaders = true
        connection.submitTrailersOnly(self, httpStatus: httpStatus, status: status)
    }

    // MARK: nghttp2's questions

    func offer(upTo limit: Int) -> Offer {
        if let plain { return plain.offer(upTo: limit) }
        let count = min(outbound.byteCount, limit)
        if let trailingStatus, count == outbound.byteCount { return .lastBytes(count, trailers: trailingStatus) }
        guard count > 0 else {
            isDeferred = true
            return .nothingYet
        }
        return .bytes(count)
    }

    func take(_ length: Int, into output: inout ByteBuffer) {
        if let plain { plain.take(length, into: &output) } else { outbound.take(length, into: &output) }
        connection?.queuedBytes -= length
    }
}
