import CNghttp2
import Logging
import NIOCore

/// The server's side of one HTTP/2 connection: opens a `ServerCall` for each stream, routes it, guards the bounds.
final class ServerConnection: HTTP2Connection, ServerMember {
    let configuration: ServerConfiguration
    let methods: MethodTable
    /// Answers what is no gRPC request; nil refuses it.
    let plainHandler: (@Sendable (HTTPExchange) -> Void)?
    @exclusivity(unchecked) var calls: [ServerCall] = []
    /// The call whose request headers are arriving: a block of headers is never interrupted.
    @exclusivity(unchecked) private var opening: ServerCall?
    private var roomWaiters: [ServerCall] = []
    /// The call whose unary request lies in the bytes now being received.
    private var borrower: ServerCall?
    private var borrowed = UnsafeRawBufferPointer(start: nil, count: 0)
    private var unconsumedBytes = 0
    /// Request bytes held for all calls: unfinished messages, those a paused reader waits to take, and metadata.
    private var heldBytes = 0
    private var grantedBytes = 0
    private var grantQueue: [ServerCall] = []
    var continuations = 0
    @exclusivity(unchecked) var policy: ConnectionPolicy
    // What `ServerConnection+Lifetime` works with.
    var deadlineTask: Scheduled<Void>?
    var nextDeadline = NIODeadline.distantFuture
    var watchdog: Scheduled<Void>?
    var isPinged = false
    var idleTask: Scheduled<Void>?
    var isDraining = false
    var hasSentFinalGoaway = false

    private var meter: CallMeter? { methods.meter }

    override func willLeave(text: String) {
        if let bound = CallMeter.Bound(rawValue: text) { meter?.refused(by: bound) }
    }

    /// The window every stream starts with: HTTP/2's own default, so that nobody has to wait for settings.
    static let streamWindow = 65_535
    /// Marks the ping whose answer shows that the client has seen the shutdown notice.
    static let drainPing: [UInt8] = Array("drained?".utf8)

    /// A response's headers and a reset for every stream there may be, and the few frames of the connection itself.
    override var maxQueuedFrames: Int { 2 * configuration.maxConcurrentStreams + 1_000 }

    init(
        loop: LoopContext, configuration: ServerConfiguration, methods: MethodTable,
        plainHandler: (@Sendable (HTTPExchange) -> Void)? = nil
    ) {
        self.configuration = configuration
        self.methods = methods
        self.plainHandler = plainHandler
        self.policy = ConnectionPolicy(configuration, now: .now())
        super.init(loop: loop)
    }

    override func makeSession() -> OpaquePointer? {
        guard let session = ServerCallbacks.newSession(for: self) else { return nil }
        var settings = [
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue),
                value: UInt32(clamping: configuration.maxConcurrentStreams)),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue),
                value: UInt32(clamping: configuration.maxHeaderListBytes)),
        ]
        nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
        nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(clamping: configuration.connectionWindow))
        return session
    }

    override func handlerAdded(context: ChannelHandlerContext) {
        super.handlerAdded(context: context)
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: configuration.handshakeTimeout) {
            self.handshakeTimedOut()
        }
        callCountChanged()
        loop.join(self, channel: context.channel)
    }

    override func connectionEnded() {
        deadlineTask?.cancel()
        watchdog?.cancel()
        idleTask?.cancel()
        borrower = nil
        opening = nil
        roomWaiters = []
        grantQueue = []
        let ended = calls
        calls = []
        for call in ended {
            call.detach()
            call.cancel(.connectionLost)
        }
    }

    override func channelInactive(context: ChannelHandlerContext) {
        loop.leave(channel: context.channel)
        super.channelInactive(context: context)
    }

    // MARK: Streams

    func open(stream id: Int32) {
        let call = ServerCall(connection: self, streamID: id, messageLimit: configuration.maxRequestBytes)
        call.slot = calls.count
        call.openedAt = now
        calls.append(call)
        opening = call
        expectsToSend = true
        nghttp2_session_set_stream_user_data(session, id, Unmanaged.passUnretained(call).toOpaque())
        if calls.count == 1 { callCountChanged() }
    }

    /// Takes one header of a request. Those of trailers say nothing.
    func receivedHeader(of stream: Int32, name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        guard let opening, opening.streamID == stream else { return }
        opening.request.add(name: name, value: value, limit: configuration.maxHeaderListBytes, methods: methods)
    }

    func headersComplete(_ call: ServerCall) {
        guard !call.request.isComplete else { return }
        opening = nil
        call.request.isComplete = true
        if !call.request.isGRPC, call.request.method == nil, let plainHandler {
            return PlainStream.begin(on: call, of: self, plainHandler)
        }
        if let timeout = call.request.timeout {
            let deadline = now + timeout
            call.request.deadline = deadline
            if deadline < nextDeadline { armDeadline(deadline) }
        }
        if !call.request.isInOrder, let fault = call.request.refusal(methods: methods) {
            if case .tooLarge = call.request.fault { meter?.refused(by: .headerBytes) }
            call.refuse(httpStatus: fault.httpStatus, fault.status)
            return
        }
        if let meter = loop.meter, let position = call.request.method?.meterPosition {
            let version = call.request.metadata.clientVersion
            call.tally = CallTally(meter, method: position, isUnary: call.isUnary, version: version)
        }
        if !call.request.metadata.isEmpty { countHeld(by: call) }
        guard call.isActive else { return }
        guard case .streaming(_, let handler) = call.request.method?.kind else { return }
        handler(call)
    }

    func received(_ bytes: UnsafeRawBufferPointer, on call: ServerCall) {
        unconsumedBytes += bytes.count
        if let plain = call.plain { return plain.received(bytes) }
        var rest = bytes
        while !rest.isEmpty, call.acceptsInput {
            switch call.inbound.next(&rest) {
            case .needsMore: break
            case .borrowed(let message): receivedMessage(message, on: call)
            case .owned(let message): receivedMessage(message, on: call)
            case .tooLarge(let length):
                meter?.refused(by: .messageBytes)
                call.fail(
                    GRPCStatus(
                        .resourceExhausted,
                        "grpc: received message larger than max (\(length) vs. \(configuration.maxRequestBytes))"))
            case .compressed:
                call.fail(GRPCStatus(.internal, "compressed message without a grpc-encoding"))
            }
        }
        countHeld(by: call)
        openWindow(of: call)
    }

    private func receivedMessage(_ message: UnsafeRawBufferPointer, on call: ServerCall) {
        releaseGrant(of: call)
        call.tally?.received(bytes: message.count)
        guard call.isUnary else { return call.deliver(Array(message)) }
        guard acceptMessage(of: call) else { return }
        borrower = call
        borrowed = message
    }

    private func receivedMessage(_ message: [UInt8], on call: ServerCall) {
        releaseGrant(of: call)
        call.tally?.received(bytes: message.count)
        guard call.isUnary else { return call.deliver(message) }
        guard acceptMessage(of: call) else { return }
        call.message = message
    }

    /// A unary call has one message.
    private func acceptMessage(of call: ServerCall) -> Bool {
        guard !call.hasMessage else {
            call.fail(GRPCStatus(.unimplemented, "more than one message for a unary method"))
            return false
        }
        call.hasMessage = true
        return true
    }

    /// The bytes being received go: a request whose end has not come keeps a copy.
    override func receiveEnded() {
        keepBorrowed()
        guard unconsumedBytes > 0, let session else { return }
        nghttp2_session_consume_connection(session, unconsumedBytes)
        unconsumedBytes = 0
    }

    func keepBorrowed() {
        guard let borrower else { return }
        self.borrower = nil
        guard borrower.isActive else { return }
        borrower.message = Array(borrowed)
        countHeld(by: borrower)
    }

    func remoteClosed(_ call: ServerCall) {
        call.isRemoteClosed = true
        if let plain = call.plain { return plain.requestEnded() }
        guard call.acceptsInput else { return }
        guard call.inbound.isBetweenMessages else {
            return call.fail(GRPCStatus(.internal, "the request ended in the middle of a message"))
        }
        guard call.isUnary else { return call.remoteClosed() }
        guard call.hasMessage, case .unary(let handler) = call.request.method?.kind else {
            return call.fail(GRPCStatus(.unimplemented, "no message for a unary method"))
        }
        if let borrower, borrower === call {
            let message = borrowed
            self.borrower = nil
            handler(call, message)
        } else if let message = call.message {
            call.message = nil
            countHeld(by: call)
            message.withUnsafeBytes { handler(call, $0) }
        }
    }

    func closed(_ call: ServerCall, errorCode: UInt32) {
        let wasActive = call.isActive
        remove(call)
        call.cancel(.reset)
        // What the client did wrong may have made nghttp2 reset the stream: that is as cheap for the client.
        if wasActive, errorCode != 0 { receivedReset(call) }
    }

    // MARK: Bounds

    /// Brings the count of held request bytes up to date. A call that takes its connection over the bound fails.
    func countHeld(by call: ServerCall) {
        let held = call.heldRequestBytes
        guard held != call.countedBytes else { return }
        heldBytes += held - call.countedBytes
        let grew = held > call.countedBytes
        call.countedBytes = held
        guard grew, heldBytes > configuration.connectionRequestBuffer, call.isActive else { return }
        guard call.plain == nil else { return }  // Asks `holdsTooMuch` by itself.
        call.request.metadata = MetadataBlock()
        meter?.refused(by: .heldBytes)
        call.fail(GRPCStatus(.resourceExhausted, "the connection's calls hold too many request bytes"))
        countHeld(by: call)
    }

    /// Whether the calls hold more request bytes together than they may.
    var holdsTooMuch: Bool { heldBytes > configuration.connectionRequestBuffer }

    private func remove(_ call: ServerCall) {
        if let borrower, borrower === call { self.borrower = nil }
        if let opening, opening === call { self.opening = nil }
        let last = calls.removeLast()
        if last !== call {
            last.slot = call.slot
            calls[call.slot] = last
        }
        heldBytes -= call.countedBytes
        call.countedBytes = 0
        call.detach()
        if call.isWaitingForGrant { grantQueue.removeAll { $0 === call } }
        releaseGrant(of: call)
        if calls.isEmpty { callCountChanged() }
    }

    // MARK: Receive windows

    /// Lets the client send on: up to a window, or to the end of a message that is longer. A unary request that fits
    /// the first window never needs it.
    func openWindow(of call: ServerCall) {
        guard call.acceptsInput, !call.isRemoteClosed, !call.isReadingPaused else { return }
        if let length = call.inbound.length, length + 5 > Self.streamWindow {
            if call.grantedBytes == 0 { requestGrant(length, for: call) }
        } else if !call.isUnary {
            widenWindow(of: call, to: Self.streamWindow)
        }
    }

    /// Once half of `size` is used. The window is set by what the client may still send, so that what was granted for
    /// one message is not there for ever.
    func widenWindow(of call: ServerCall, to size: Int) {
        guard let session else { return }
        let left = Int(nghttp2_session_get_stream_local_window_size(session, call.streamID))
        guard left <= size / 2 else { return }
        nghttp2_submit_window_update(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), call.streamID, Int32(clamping: size - left))
        setNeedsFlush()
    }

    /// A message longer than the window flows once the connection's reassembly budget has room for it. Messages that
    /// were let in always complete, so waiting ones cannot wait for each other.
    private func requestGrant(_ length: Int, for call: ServerCall) {
        guard !call.isWaitingForGrant else { return }
        guard grantedBytes == 0 || grantedBytes + length <= configuration.connectionReassemblyBuffer else {
            call.isWaitingForGrant = true
            grantQueue.append(call)
            return
        }
        grant(length, to: call)
    }

    private func grant(_ length: Int, to call: ServerCall) {
        guard let session else { return }
        call.grantedBytes = length
        grantedBytes += length
        call.inbound.reserveWhole()
        let left = Int(nghttp2_session_get_stream_local_window_size(session, call.streamID))
        let wanted = call.inbound.missingBytes + Self.streamWindow
        if wanted > left {
            nghttp2_submit_window_update(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), call.streamID, Int32(clamping: wanted - left))
        }
        setNeedsFlush()
    }

    private func releaseGrant(of call: ServerCall) {
        guard call.grantedBytes > 0 else { return }
        grantedBytes -= call.grantedBytes
        call.grantedBytes = 0
        while let next = grantQueue.first {
            let length = next.inbound.length ?? 0
            guard grantedBytes == 0 || grantedBytes + length <= configuration.connectionReassemblyBuffer else { return }
            grantQueue.removeFirst()
            next.isWaitingForGrant = false
            if length > 0 { grant(length, to: next) }
        }
    }

    // MARK: Sending

    func submitResponse(_ call: ServerCall) {
        guard let session else { return }
        policy.hasAnswered = true
        ServerCallbacks.submitResponse(session, call)
        setNeedsFlush()
    }

    func submitTrailersOnly(_ call: ServerCall, httpStatus: StaticString, status: GRPCStatus) {
        guard let session else { return }
        policy.hasAnswered = true
        call.request.withTrailers(status, httpStatus: httpStatus) { fields in
            _ = nghttp2_submit_response(session, call.streamID, fields.baseAddress, fields.count, nil)
        }
        setNeedsFlush()
    }

    func resume(_ call: ServerCall) {
        guard let session else { return }
        policy.hasAnswered = true
        nghttp2_session_resume_data(session, call.streamID)
        setNeedsFlush()
    }

    func reset(_ call: ServerCall, code: UInt32) {
        guard let session else { return }
        nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), call.streamID, code)
        setNeedsFlush()
    }

    func waitForRoom(_ call: ServerCall) {
        guard !call.isWaitingForRoom else { return }
        call.isWaitingForRoom = true
        roomWaiters.append(call)
    }

    override func outputTaken() {
        guard !roomWaiters.isEmpty else { return }
        let waiting = roomWaiters
        roomWaiters = []
        for call in waiting {
            call.isWaitingForRoom = false
            if !call.fits(self, within: 2) { waitForRoom(call) } else { call.roomIsFree() }
        }
    }
}
