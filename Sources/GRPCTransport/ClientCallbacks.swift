import CNghttp2
import NIOCore

/// The C face of `ClientConnection`; the rules of `ServerCallbacks` hold here too.
enum ClientCallbacks {
    // Unsafe: built once before first use, then only read by nghttp2.
    nonisolated(unsafe) private static let callbacks: OpaquePointer? = makeCallbacks()
    nonisolated(unsafe) private static let options: OpaquePointer? = makeOptions()

    static func newSession(for connection: ClientConnection) -> OpaquePointer? {
        var session: OpaquePointer?
        let code = nghttp2_session_client_new2(
            &session, callbacks, Unmanaged.passUnretained(connection).toOpaque(), options)
        return code == 0 ? session : nil
    }

    /// Opens a stream for `call`; a negative result is nghttp2's error.
    static func submit(
        _ session: OpaquePointer, _ call: ClientCall, scheme: String, authority: String
    ) -> Int32 {
        var block: [UInt8] = []  // Names and values one after another, as the fields point into it.
        var lengths: [(name: Int, value: Int)] = []
        func add(_ name: String, _ value: String) {
            block.append(contentsOf: name.utf8)
            block.append(contentsOf: value.utf8)
            lengths.append((name.utf8.count, value.utf8.count))
        }
        add(":method", "POST")
        add(":scheme", scheme)
        add(":path", call.path)
        add(":authority", authority)
        add("content-type", GRPCTransport.contentType)
        add("te", "trailers")
        if let deadline = call.options.deadline { add("grpc-timeout", TimeoutHeader.format(deadline - .now())) }
        for (name, value) in call.options.metadata { add(name, value) }
        var provider = nghttp2_data_provider()
        provider.source.ptr = Unmanaged.passUnretained(call).toOpaque()
        provider.read_callback = readData
        return block.withUnsafeMutableBufferPointer { block in
            var fields: [nghttp2_nv] = []
            fields.reserveCapacity(lengths.count)
            var position = block.baseAddress
            for (name, value) in lengths {
                fields.append(
                    nghttp2_nv(
                        name: position, value: position.map { $0 + name }, namelen: name, valuelen: value, flags: 0))
                position = position.map { $0 + name + value }
            }
            return nghttp2_submit_request(
                session, nil, fields, fields.count, &provider, Unmanaged.passUnretained(call).toOpaque())
        }
    }

    private static func makeOptions() -> OpaquePointer? {
        var option: OpaquePointer?
        guard nghttp2_option_new(&option) == 0, let option else { return nil }
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        return option
    }

    private static func makeCallbacks() -> OpaquePointer? {
        var made: OpaquePointer?
        guard nghttp2_session_callbacks_new(&made) == 0, let callbacks = made else { return nil }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            session, frame, name, nameLength, value, valueLength, _, _ in
            guard let frame, let call = clientCall(session, frame.head.stream_id) else { return 0 }
            call.response.add(
                name: UnsafeRawBufferPointer(start: name, count: nameLength),
                value: UnsafeRawBufferPointer(start: value, count: valueLength))
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { session, _, id, bytes, length, user in
            guard let connection = clientConnection(user), let call = clientCall(session, id) else { return 0 }
            connection.received(UnsafeRawBufferPointer(start: bytes, count: length), on: call)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { session, frame, user in
            guard let frame, let connection = clientConnection(user) else { return 0 }
            switch UInt32(frame.head.type) {
            case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
                guard frame.head.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
                    let call = clientCall(session, frame.head.stream_id)
                else { return 0 }
                connection.remoteClosed(call)
            case NGHTTP2_SETTINGS.rawValue: connection.receivedSettings()
            case NGHTTP2_GOAWAY.rawValue: connection.receivedGoaway()
            default: break
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { session, id, errorCode, user in
            guard let connection = clientConnection(user), let call = clientCall(session, id) else { return 0 }
            connection.closed(call, errorCode: errorCode)
            return 0
        }
        nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, _, head, length, source, user in
            guard let head, let source, let connection = clientConnection(user), let context = source.pointee.ptr
            else { return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
            connection.loop.output.writeBytes(UnsafeRawBufferPointer(start: head, count: 9))
            Unmanaged<ClientCall>.fromOpaque(context).takeUnretainedValue()
                .take(length, into: &connection.loop.output)
            return 0
        }
        return callbacks
    }

    private static let readData: nghttp2_data_source_read_callback = { _, _, _, length, flags, source, _ in
        guard let flags, let context = source?.pointee.ptr else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
        let call = Unmanaged<ClientCall>.fromOpaque(context).takeUnretainedValue()
        guard let offer = call.offer(upTo: length) else { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
        flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
        if offer.isLast { flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue }
        return offer.count
    }
}

private func clientConnection(_ user: UnsafeMutableRawPointer?) -> ClientConnection? {
    guard let user else { return nil }
    return Unmanaged<ClientConnection>.fromOpaque(user).takeUnretainedValue()
}

private func clientCall(_ session: OpaquePointer?, _ id: Int32) -> ClientCall? {
    guard let user = nghttp2_session_get_stream_user_data(session, id) else { return nil }
    return Unmanaged<ClientCall>.fromOpaque(user).takeUnretainedValue()
}
