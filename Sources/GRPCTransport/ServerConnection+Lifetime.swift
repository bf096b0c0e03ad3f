import CNghttp2
import NIOCore

/// What happens to a connection over time: policies, keepalive, deadlines, shutdown.
extension ServerConnection {
    // MARK: Policies

    func beganFrame(type: UInt8, length: Int, flags: UInt8) {
        if type == UInt8(NGHTTP2_CONTINUATION.rawValue) {
            continuations += 1
            if continuations > ConnectionPolicy.maxContinuations {
                leave(code: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, text: "too_many_continuations")
            }
            return
        }
        continuations = 0
        if policy.isIdleFrame(type: type, length: length, flags: flags) { countIdleFrame() }
    }

    /// Resets are counted whatever their code and however far the answer is: opening a call costs the client nothing.
    /// One for a stream that is closed already is not: such calls were answered in full.
    func receivedReset(_ call: ServerCall) {
        guard !call.isResetCounted, now - call.openedAt < configuration.rapidResetAge else { return }
        call.isResetCounted = true
        if !policy.resets.take(now: now) {
            leave(code: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, text: "too_many_resets")
        }
    }

    func countIdleFrame() {
        if !policy.idleFrames.take(now: now) {
            leave(code: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, text: "too_many_frames")
        }
    }

    func receivedPing(isAnswer: Bool, payload: UnsafeRawBufferPointer) {
        guard !isAnswer else {
            if isDraining, payload.elementsEqual(Self.drainPing) { sendFinalGoaway() }
            return
        }
        unansweredPings += 1
        if policy.isPingTooMany(hasCalls: !calls.isEmpty, now: now) {
            leave(code: NGHTTP2_ENHANCE_YOUR_CALM.rawValue, text: "too_many_pings")
        }
    }

    /// The first settings are there: from now on silence is watched instead.
    func receivedSettings() {
        guard !policy.hasShakenHands else { return }
        policy.hasShakenHands = true
        armKeepalive(configuration.keepaliveInterval)
    }

    func handshakeTimedOut() {
        leave(code: NGHTTP2_PROTOCOL_ERROR.rawValue, text: "handshake_timeout")
    }

    private func armKeepalive(_ delay: TimeAmount) {
        guard let context else { return }
        sawBytes = false
        watchdog?.cancel()
        watchdog = context.eventLoop.assumeIsolated().scheduleTask(in: delay) { self.keepaliveDue() }
    }

    private func keepaliveDue() {
        guard let session else { return }
        if sawBytes {
            isPinged = false
            armKeepalive(configuration.keepaliveInterval)
        } else if isPinged {
            context?.close(promise: nil)
        } else {
            isPinged = true
            nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
            setNeedsFlush()
            armKeepalive(configuration.keepaliveTimeout)
        }
    }

    func callCountChanged() {
        guard let limit = configuration.maxConnectionIdle, let context else { return }
        idleTask?.cancel()
        guard calls.isEmpty else { return }
        idleTask = context.eventLoop.assumeIsolated().scheduleTask(in: limit) { self.drain() }
    }

    // MARK: Deadlines

    /// One timer a connection, for the earliest deadline it was ever told of; when it fires, all calls are looked at.
    /// Calls that end earlier cost nothing that way.
    func armDeadline(_ deadline: NIODeadline) {
        guard let context else { return }
        nextDeadline = deadline
        deadlineTask?.cancel()
        deadlineTask = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { self.deadlineDue() }
    }

    private func deadlineDue() {
        let time = NIODeadline.now()
        nextDeadline = .distantFuture
        for call in calls {
            guard call.isActive, let deadline = call.request.deadline, deadline <= time else { continue }
            call.cancel(
                .deadlineExceeded, telling: GRPCStatus(.deadlineExceeded, "context deadline exceeded"))
        }
        var earliest = NIODeadline.distantFuture
        for call in calls where call.isActive { earliest = min(earliest, call.request.deadline ?? .distantFuture) }
        if earliest < .distantFuture { armDeadline(earliest) }
    }

    // MARK: Shutdown

    /// GOAWAY in two steps: a notice, then, when the client has seen it, the last stream that will be served.
    func drain() {
        guard !isDraining, let noticed = session, let context else { return }
        isDraining = true
        nghttp2_submit_shutdown_notice(noticed)
        flush()  // nghttp2 sends pings before anything else, and this one must come after the notice.
        guard let session else { return }
        nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), Self.drainPing)
        setNeedsFlush()
        context.eventLoop.assumeIsolated().scheduleTask(in: configuration.drainNoticeTimeout) {
            self.sendFinalGoaway()
        }
    }

    private func sendFinalGoaway() {
        guard !hasSentFinalGoaway, let session else { return }
        hasSentFinalGoaway = true
        nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session),
            NGHTTP2_NO_ERROR.rawValue, nil, 0)
        setNeedsFlush()
    }

    func abort() {
        for call in Array(calls) {
            call.cancel(.serverShutdown, telling: GRPCStatus(.unavailable, "the server is shutting down"))
        }
        flush()
        leave(code: NGHTTP2_NO_ERROR.rawValue, text: "")
    }
}
