import CNghttp2
import NIOCore

/// The client's side of one HTTP/2 connection.
final class ClientConnection: HTTP2Connection {
    private var onReady: ((ClientConnection) -> Void)?
    private var onNoMoreCalls: ((ClientConnection) -> Void)?
    /// A call the server has certainly not seen, to be sent elsewhere.
    var onRepeat: ((ClientCall) -> Void)?

    private let configuration: ClientConfiguration
    private let authority: String
    private var calls: [ClientCall] = []
    private var roomWaiters: [ClientCall] = []
    private var unconsumedBytes = 0
    private var isReady = false
    private var takesCalls = true
    private var keepalive: Scheduled<Void>?
    private var isPinged = false
    private var idleEnd: Scheduled<Void>?
    /// What ended the connection, when something below this handler said it.
    private(set) var failure: (any Error)?

    init(loop: LoopContext, configuration: ClientConfiguration, authority: String) {
        self.configuration = configuration
        self.authority = authority
        super.init(loop: loop)
    }

    override func makeSession() -> OpaquePointer? {
        guard let session = ClientCallbacks.newSession(for: self) else { return nil }
        var settings = [
            nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue),
                value: UInt32(clamping: configuration.streamWindow)),
        ]
        nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
        nghttp2_session_set_local_window_size(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(clamping: configuration.connectionWindow))
        return session
    }

    /// - Parameters:
    ///   - onReady: the server greeted, its settings are here.
    ///   - onNoMoreCalls: a GOAWAY came, or the connection is gone. Called once, also when that happened before.
    func watch(onReady: @escaping (ClientConnection) -> Void, onNoMoreCalls: @escaping (ClientConnection) -> Void) {
        guard takesCalls else { return onNoMoreCalls(self) }
        self.onNoMoreCalls = onNoMoreCalls
        if isReady { onReady(self) } else { self.onReady = onReady }
    }

    override func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = failure ?? error
        super.errorCaught(context: context, error: error)
    }

    override func connectionEnded() {
        keepalive?.cancel()
        idleEnd?.cancel()
        roomWaiters = []
        let ended = calls
        calls = []
        noMoreCalls()
        for call in ended {
            call.connection = nil
            call.end(GRPCStatus(.unavailable, "the connection was lost"))
        }
    }

    /// Sends what is queued, then closes; open calls end.
    func close() {
        flush()
        leave(code: NGHTTP2_NO_ERROR.rawValue, text: "")
        context?.close(promise: nil)
    }

    private func noMoreCalls() {
        guard takesCalls else { return }
        takesCalls = false
        let callback = onNoMoreCalls
        onNoMoreCalls = nil
        onReady = nil
        callback?(self)
    }

    // MARK: Calls

    func start(_ call: ClientCall) {
        guard let session else { return call.end(GRPCStatus(.unavailable, "the connection was lost")) }
        call.connection = self
        call.slot = calls.count
        calls.append(call)
        idleEnd?.cancel()
        if calls.count == 1 { armKeepalive() }
        let id = ClientCallbacks.submit(session, call, scheme: configuration.scheme, authority: authority)
        if id < 0 {
            remove(call)
            return call.end(GRPCStatus(.unavailable, "the connection takes no more calls"))
        }
        call.started(streamID: id, on: self)
        setNeedsFlush()
    }

    func resume(_ call: ClientCall) {
        guard let session else { return }
        nghttp2_session_resume_data(session, call.streamID)
        setNeedsFlush()
    }

    func reset(_ call: ClientCall, code: UInt32) {
        guard let session, call.streamID > 0 else { return }
        nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), call.streamID, code)
        setNeedsFlush()
    }

    func waitForRoom(_ call: ClientCall) { roomWaiters.append(call) }

    override func outputTaken() {
        guard !roomWaiters.isEmpty else { return }
        let waiting = roomWaiters
        roomWaiters = []
        for call in waiting where !call.noticeRoom() { waitForRoom(call) }
    }

    func received(_ bytes: UnsafeRawBufferPointer, on call: ClientCall) {
        unconsumedBytes += bytes.count
        call.unconsumedBytes += bytes.count
        var rest = bytes
        while !rest.isEmpty, call.isActive {
            switch call.inbound.next(&rest) {
            case .needsMore: break
            case .borrowed(let message): call.deliver(Array(message))
            case .owned(let message): call.deliver(message)
            case .tooLarge(let length):
                call.abandon(
                    GRPCStatus(
                        .resourceExhausted,
                        "received a message of \(length) bytes, the limit is \(configuration.maxResponseBytes)"))
            case .compressed:
                call.abandon(GRPCStatus(.internal, "compressed response without having asked for it"))
            }
        }
        consume(call)
    }

    func consume(_ call: ClientCall) {
        guard !call.isReadingPaused, call.unconsumedBytes > 0, let session else { return }
        nghttp2_session_consume_stream(session, call.streamID, call.unconsumedBytes)
        call.unconsumedBytes = 0
        setNeedsFlush()
    }

    override func receiveEnded() {
        guard unconsumedBytes > 0, let session else { return }
        nghttp2_session_consume_connection(session, unconsumedBytes)
        unconsumedBytes = 0
    }

    func remoteClosed(_ call: ClientCall) {
        guard call.inbound.isBetweenMessages else {
            call.end(GRPCStatus(.internal, "the response ended in the middle of a message"))
            return stopSending(call)
        }
        call.end(call.response.status)
        stopSending(call)
    }

    /// A request whose answer is complete goes no further, or its stream would stay open for ever.
    private func stopSending(_ call: ClientCall) {
        guard let session, nghttp2_session_get_stream_local_close(session, call.streamID) == 0 else { return }
        reset(call, code: NGHTTP2_NO_ERROR.rawValue)
    }

    func closed(_ call: ClientCall, errorCode: UInt32) {
        remove(call)
        guard call.isActive else { return }
        if errorCode == NGHTTP2_REFUSED_STREAM.rawValue, let onRepeat, call.rewind() { return onRepeat(call) }
        let code: GRPCCode =
            switch errorCode {
            case NGHTTP2_REFUSED_STREAM.rawValue: .unavailable
            case NGHTTP2_CANCEL.rawValue: .cancelled
            case NGHTTP2_ENHANCE_YOUR_CALM.rawValue: .resourceExhausted
            default: .internal
            }
        call.end(GRPCStatus(code, "the server reset the stream, HTTP/2 error \(errorCode)"))
    }

    private func remove(_ call: ClientCall) {
        let last = calls.removeLast()
        if last !== call {
            last.slot = call.slot
            calls[call.slot] = last
        }
        call.detach()
        if calls.isEmpty {
            keepalive?.cancel()
            if takesCalls { armIdleEnd() } else { setNeedsFlush() }
        }
    }

    private func armIdleEnd() {
        guard let limit = configuration.maxConnectionIdle, let context else { return }
        idleEnd = context.eventLoop.assumeIsolated().scheduleTask(in: limit) {
            guard self.calls.isEmpty else { return }
            self.noMoreCalls()
            self.close()
        }
    }

    // MARK: The connection

    func receivedSettings() {
        guard !isReady else { return }
        isReady = true
        let callback = onReady
        onReady = nil
        callback?(self)
        if calls.isEmpty, takesCalls { armIdleEnd() }
    }

    func receivedGoaway() { noMoreCalls() }

    private func armKeepalive(_ delay: TimeAmount? = nil) {
        guard let interval = delay ?? configuration.keepaliveInterval, let context else { return }
        sawBytes = false
        keepalive?.cancel()
        keepalive = context.eventLoop.assumeIsolated().scheduleTask(in: interval) { self.keepaliveDue() }
    }

    private func keepaliveDue() {
        guard let session else { return }
        if sawBytes {
            isPinged = false
            armKeepalive()
        } else if isPinged {
            context?.close(promise: nil)
        } else {
            isPinged = true
            nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
            setNeedsFlush()
            armKeepalive(configuration.keepaliveTimeout)
        }
    }
}
