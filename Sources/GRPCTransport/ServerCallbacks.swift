import CNghttp2
import NIOCore

/// The C face of `ServerConnection`: callbacks that nghttp2 calls inside `nghttp2_session_mem_recv` and `_mem_send`,
/// always on the connection's event loop. The user data of a session is its connection, that of a stream its call;
/// both outlive what they are set on, so neither is retained here.
enum ServerCallbacks {
    // Unsafe: built once before first use, then only read by nghttp2.
    nonisolated(unsafe) private static let callbacks: OpaquePointer? = makeCallbacks()
    nonisolated(unsafe) private static let options: OpaquePointer? = makeOptions()

    static func newSession(for connection: ServerConnection) -> OpaquePointer? {
        var session: OpaquePointer?
        let code = nghttp2_session_server_new2(
            &session, callbacks, Unmanaged.passUnretained(connection).toOpaque(), options)
        return code == 0 ? session : nil
    }

    static func submitResponse(_ session: OpaquePointer, _ call: ServerCall) {
        var provider = nghttp2_data_provider()
        provider.source.ptr = Unmanaged.passUnretained(call).toOpaque()
        provider.read_callback = readData
        nghttp2_submit_response(
            session, call.streamID, HeaderFields.response.fields, HeaderFields.response.count, &provider)
    }

    /// Starts a plain answer; `fields` are copied. Without a body it ends with its head.
    static func submitPlain(
        _ session: OpaquePointer, _ call: ServerCall, _ fields: UnsafeMutableBufferPointer<nghttp2_nv>, hasBody: Bool
    ) {
        var provider = nghttp2_data_provider()
        provider.source.ptr = Unmanaged.passUnretained(call).toOpaque()
        provider.read_callback = readData
        withUnsafePointer(to: &provider) { provider in
            _ = nghttp2_submit_response(
                session, call.streamID, fields.baseAddress, fields.count, hasBody ? provider : nil)
        }
    }

    private static func makeOptions() -> OpaquePointer? {
        var option: OpaquePointer?
        guard nghttp2_option_new(&option) == 0, let option else { return nil }
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        // nghttp2 resets a request whose `:authority` is empty or a URL, which is what etcd's clients send. `RequestHead`
        // judges the headers gRPC needs instead, and ignores the rest.
        nghttp2_option_set_no_http_messaging(option, 1)
        // Answers to settings and pings that a peer does not read may pile up this far.
        nghttp2_option_set_max_outbound_ack(option, 500)
        nghttp2_option_set_max_settings(option, 32)
        // `ConnectionPolicy` judges resets, by the age of their calls; nghttp2's own limit would close the connection
        // of a client that gives up many calls at once which had waited long.
        nghttp2_option_set_stream_reset_rate_limit(option, 1 << 32, 1 << 32)
        return option
    }

    private static func makeCallbacks() -> OpaquePointer? {
        var made: OpaquePointer?
        guard nghttp2_session_callbacks_new(&made) == 0, let callbacks = made else { return nil }
        nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, head, user in
            guard let head, let connection = serverConnection(user) else { return 0 }
            connection.beganFrame(type: head.pointee.type, length: head.pointee.length, flags: head.pointee.flags)
            return 0
        }
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
            guard let frame, let connection = serverConnection(user), frame.isRequest else { return 0 }
            connection.open(stream: frame.head.stream_id)
            return 0
        }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, frame, name, nameLength, value, valueLength, _, user in
            guard let frame, let user else { return 0 }
            Unmanaged<ServerConnection>.fromOpaque(user)._withUnsafeGuaranteedRef { connection in
                connection.receivedHeader(
                    of: frame.head.stream_id, name: UnsafeRawBufferPointer(start: name, count: nameLength),
                    value: UnsafeRawBufferPointer(start: value, count: valueLength))
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { session, _, id, bytes, length, user in
            guard let connection = serverConnection(user), let call = serverCall(session, id) else { return 0 }
            connection.received(UnsafeRawBufferPointer(start: bytes, count: length), on: call)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { session, frame, user in
            guard let frame, let connection = serverConnection(user) else { return 0 }
            ServerCallbacks.receivedFrame(frame, session, connection)
            return 0
        }
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, _, _, user in
            serverConnection(user)?.countIdleFrame()
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { session, id, errorCode, user in
            guard let connection = serverConnection(user), let call = serverCall(session, id) else { return 0 }
            connection.closed(call, errorCode: errorCode)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { session, frame, user in
            // A response that ended before its request did: the client may stop sending.
            guard let frame, frame.head.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
                nghttp2_session_get_stream_remote_close(session, frame.head.stream_id) == 0
            else { return 0 }
            nghttp2_submit_rst_stream(
                session, UInt8(NGHTTP2_FLAG_NONE.rawValue), frame.head.stream_id, NGHTTP2_NO_ERROR.rawValue)
            return 0
        }
        nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, _, head, length, source, user in
            guard let head, let source, let connection = serverConnection(user), let context = source.pointee.ptr else {
                return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
            }
            connection.policy.sentData()
            connection.loop.output.writeBytes(UnsafeRawBufferPointer(start: head, count: 9))
            Unmanaged<ServerCall>.fromOpaque(context)._withUnsafeGuaranteedRef { call in
                call.take(length, into: &connection.loop.output)
            }
            return 0
        }
        return callbacks
    }

    private static func receivedFrame(
        _ frame: UnsafePointer<nghttp2_frame>, _ session: OpaquePointer?, _ connection: ServerConnection
    ) {
        let head = frame.head
        switch UInt32(head.type) {
        case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
            guard let call = serverCall(session, head.stream_id) else { return }
            if UInt32(head.type) == NGHTTP2_HEADERS.rawValue { connection.headersComplete(call) }
            if head.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 {
                connection.remoteClosed(call)
            } else {
                connection.keepBorrowed()
            }
        case NGHTTP2_PING.rawValue:
            withUnsafeBytes(of: frame.pointee.ping.opaque_data) { payload in
                connection.receivedPing(
                    isAnswer: head.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0, payload: payload)
            }
        case NGHTTP2_SETTINGS.rawValue:
            connection.receivedSettings()
        case NGHTTP2_WINDOW_UPDATE.rawValue:
            // A response may have waited for it.
            if head.stream_id != 0 { connection.setNeedsFlush() }
        case NGHTTP2_RST_STREAM.rawValue:
            if let call = serverCall(session, head.stream_id) { connection.receivedReset(call) }
        default: break
        }
    }

    private static let readData: nghttp2_data_source_read_callback = {
        session, id, _, length, flags, source, _ in
        guard let flags, let context = source?.pointee.ptr else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
        let call = Unmanaged<ServerCall>.fromOpaque(context).takeUnretainedValue()
        switch call.offer(upTo: length) {
        case .bytes(let count):
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            return count
        case .nothingYet:
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        case .plainEnd(let count):
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue | NGHTTP2_DATA_FLAG_EOF.rawValue
            return count
        case .lastBytes(let count, let trailers):
            flags.pointee |=
                NGHTTP2_DATA_FLAG_NO_COPY.rawValue | NGHTTP2_DATA_FLAG_EOF.rawValue
                | NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
            if trailers.code == .ok, trailers.message.isEmpty {
                nghttp2_submit_trailer(session, id, HeaderFields.okTrailers.fields, HeaderFields.okTrailers.count)
            } else {
                call.request.withTrailers(trailers, httpStatus: nil) { fields in
                    _ = nghttp2_submit_trailer(session, id, fields.baseAddress, fields.count)
                }
            }
            return count
        }
    }
}

// Free functions, as a closure that becomes a C function can capture nothing, not even its type.

private func serverConnection(_ user: UnsafeMutableRawPointer?) -> ServerConnection? {
    guard let user else { return nil }
    return Unmanaged<ServerConnection>.fromOpaque(user).takeUnretainedValue()
}

private func serverCall(_ session: OpaquePointer?, _ id: Int32) -> ServerCall? {
    guard let user = nghttp2_session_get_stream_user_data(session, id) else { return nil }
    return Unmanaged<ServerCall>.fromOpaque(user).takeUnretainedValue()
}

extension UnsafePointer<nghttp2_frame> {
    /// The header every frame begins with, read without copying the whole union.
    @inline(__always)
    var head: nghttp2_frame_hd { UnsafeRawPointer(self).assumingMemoryBound(to: nghttp2_frame_hd.self).pointee }

    /// Whether these headers open a stream of a client.
    var isRequest: Bool {
        UInt32(head.type) == NGHTTP2_HEADERS.rawValue
            && UnsafeRawPointer(self).assumingMemoryBound(to: nghttp2_headers.self).pointee.cat == NGHTTP2_HCAT_REQUEST
    }
}
