import CNghttp2
import NIOCore

/// One nghttp2 session on one channel: feeds it what arrives, collects what it wants to send into one write a turn,
/// and sees the connection off. What streams mean is the business of the subclasses for either side.
///
/// nghttp2 forbids freeing a session inside its callbacks; so `leave`, and the end of the channel, wait there until
/// they are done. A write can fail at once and end everything before it returns, and so can what it calls out to: no
/// copy of `session` is used after one.
class HTTP2Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Phase {
        /// To `leaving` by `leave`, to `closed` when the channel closes.
        case open
        /// GOAWAY written and the sending side shut; bytes still arriving are dropped, so that the close does not
        /// become a TCP reset that overtakes the GOAWAY. To `closed` by the peer or by the clock.
        case leaving
        /// The channel is closed.
        case closed
    }

    let loop: LoopContext
    /// Nil before the handler is added, and once the connection is leaving.
    private(set) var session: OpaquePointer?
    private(set) var context: ChannelHandlerContext?
    /// In the loop's dirty list.
    var isDirty = false
    /// Time of the last read: precise enough for policies, and one clock call a read, not one a stream.
    private(set) var now = NIODeadline.now()
    /// Something that the last read asked for is there to be sent.
    private var isFlushWanted = false
    /// A request came since the last flush, so that a response may come soon, with which answers to pings may go.
    var expectsToSend = false
    /// Pings whose answers nghttp2 holds until the next flush.
    var unansweredPings = 0
    /// In the loop's list of those whose answers to pings wait.
    var isHeld = false
    /// Bytes came since this was last set to false.
    var sawBytes = true
    private var phase = Phase.open
    private var isInCallbacks = false
    private var isInReadTurn = false
    private var isFlushing = false
    private var pendingLeave: (code: UInt32, text: String)?
    private var isDropPending = false
    /// Response bytes queued in all streams, not yet copied to output.
    var queuedBytes = 0

    /// Bytes collected before a write is made of them.
    private static let writeChunk = 128 << 10
    /// Bytes written in one go before other connections get their turn.
    private static let writeTurn = 1 << 20
    private static let heldPings = 8
    private static let lingerTime = TimeAmount.seconds(1)

    init(loop: LoopContext) { self.loop = loop }

    // MARK: For subclasses

    /// Makes the session; called once, when the handler is in its pipeline.
    func makeSession() -> OpaquePointer? { nil }
    /// The bytes given to nghttp2 are about to go.
    func receiveEnded() {}
    /// Frames that may wait to be sent, but for messages; a peer that lets more pile up is left.
    var maxQueuedFrames: Int { .max }
    /// Streams may have room again.
    func outputTaken() {}
    /// The connection ends for a reason the peer is told.
    func willLeave(text: String) {}
    /// The session is gone; streams end with it. Called once.
    func connectionEnded() {}

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        session = makeSession()
        if session == nil { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end()
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        flush()
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard phase == .open, let session else { return }
        isInReadTurn = true
        sawBytes = true
        now = .now()
        let used = unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            isInCallbacks = true
            let used = nghttp2_session_mem_recv(
                session, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
            receiveEnded()
            callbacksDone()
            return used
        }
        guard let session = self.session else { return }
        if let pendingLeave {
            leave(code: pendingLeave.code, text: pendingLeave.text)
        } else if used < 0 {
            let isFlood = used == Int(NGHTTP2_ERR_FLOODED.rawValue)
            leave(
                code: isFlood ? NGHTTP2_ENHANCE_YOUR_CALM.rawValue : NGHTTP2_PROTOCOL_ERROR.rawValue,
                text: isFlood ? "too_many_frames" : "")
        } else if nghttp2_session_get_outbound_queue_size(session) > maxQueuedFrames {
            leave(code: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, text: "too_many_queued_frames")
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isInReadTurn = false
        if hasOnlyPingsToAnswer { loop.hold(self) } else { flush() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { flush() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    // MARK: Sending

    /// There is something to send: it leaves at the end of this read, or before the loop waits again.
    func setNeedsFlush() {
        isFlushWanted = true
        guard !isInReadTurn, !isDirty, session != nil else { return }
        isDirty = true
        loop.markDirty(self)
    }

    /// Writes what the session wants to send, as far as the socket takes it; the rest stays in the streams' queues.
    func flush() {
        guard phase == .open, !isFlushing, !isInCallbacks, let context else { return }
        isFlushing = true
        defer { isFlushing = false }
        isFlushWanted = false
        expectsToSend = false
        unansweredPings = 0
        var written = 0
        while let session, context.channel.isWritable {
            let isDone = collect(from: session)
            if loop.output.readableBytes > 0 {
                written += loop.output.readableBytes
                context.writeAndFlush(wrapOutboundOut(loop.output), promise: nil)
            }
            outputTaken()
            if let pendingLeave { return leave(code: pendingLeave.code, text: pendingLeave.text) }
            guard let session = self.session else { return }
            if isDone && nghttp2_session_want_write(session) == 0 { break }
            if written >= Self.writeTurn {
                setNeedsFlush()
                break
            }
        }
        guard let session, nghttp2_session_want_read(session) == 0, nghttp2_session_want_write(session) == 0 else {
            return
        }
        shutDown()
    }

    /// gRPC's clients send a ping with nearly every request, to measure the way. Its answer in a write of its own would
    /// cost both sides a system call and the client a wake-up; so it goes with the response when that comes at once.
    private var hasOnlyPingsToAnswer: Bool {
        guard unansweredPings > 0, unansweredPings <= Self.heldPings, !isFlushWanted, queuedBytes == 0, expectsToSend,
            let session
        else { return false }
        return nghttp2_session_get_outbound_queue_size(session) == unansweredPings
    }

    /// Moves frames to the loop's output; true when the session has none left.
    private func collect(from session: OpaquePointer) -> Bool {
        loop.output.clear()
        isInCallbacks = true
        defer { callbacksDone() }
        while loop.output.readableBytes < Self.writeChunk {
            var frame: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &frame)
            guard count > 0, let frame else { return true }
            loop.output.writeBytes(UnsafeRawBufferPointer(start: frame, count: count))
        }
        return false
    }

    // MARK: Leaving

    /// Ends the connection for a reason the peer is told: GOAWAY, then the end. Streams end at once.
    func leave(code: UInt32, text: String) {
        guard !isInCallbacks else {
            if pendingLeave == nil { pendingLeave = (code, text) }
            return
        }
        guard phase == .open, let session, let context else { return }
        phase = .leaving
        willLeave(text: text)
        // By hand, as the session would send what its streams have queued first. Sent bytes always end with a frame.
        var frame = context.channel.allocator.buffer(capacity: 32)
        frame.writeInteger(UInt32(8 + text.utf8.count) << 8 | UInt32(NGHTTP2_GOAWAY.rawValue))
        frame.writeInteger(UInt8(0))
        frame.writeInteger(UInt32(0))
        frame.writeInteger(UInt32(bitPattern: nghttp2_session_get_last_proc_stream_id(session)))
        frame.writeInteger(code)
        frame.writeString(text)
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
        finishLeaving()
    }

    /// Shuts the sending side, waits a moment for the peer to close.
    private func shutDown() {
        guard phase == .open else { return }
        phase = .leaving
        finishLeaving()
    }

    private func finishLeaving() {
        guard phase == .leaving, let context else { return }
        dropSession()
        context.close(mode: .output, promise: nil)
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.lingerTime) { channel.close(promise: nil) }
    }

    private func end() {
        guard phase != .closed else { return }
        phase = .closed
        dropSession()
    }

    private func dropSession() {
        guard let session else { return }
        guard !isInCallbacks else {
            isDropPending = true
            return
        }
        self.session = nil
        nghttp2_session_del(session)
        connectionEnded()
    }

    private func callbacksDone() {
        isInCallbacks = false
        if isDropPending { dropSession() }
    }
}
