import CNghttp2
import NIOCore

/// HTTP/2 frames made by hand, right or wrong as a test wants them.
enum Frames {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    static func frame(
        _ type: nghttp2_frame_type, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = [], length: Int? = nil
    ) -> [UInt8] {
        let length = length ?? payload.count
        return bytes(UInt32(length), 3) + [UInt8(type.rawValue), flags] + bytes(stream, 4) + payload
    }

    static func bytes(_ value: UInt32, _ count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
    }

    static func settings(_ values: [(UInt16, UInt32)] = []) -> [UInt8] {
        frame(NGHTTP2_SETTINGS, values.flatMap { bytes(UInt32($0.0), 2) + bytes($0.1, 4) })
    }

    /// A header block of literals that leave the dynamic table alone.
    static func block(_ fields: [(String, String)]) -> [UInt8] {
        func string(_ text: String) -> [UInt8] {
            let count = text.utf8.count
            guard count >= 127 else { return [UInt8(count)] + Array(text.utf8) }
            var length: [UInt8] = [127]
            var rest = count - 127
            while rest >= 128 {
                length.append(UInt8(rest % 128) | 128)
                rest /= 128
            }
            return length + [UInt8(rest)] + Array(text.utf8)
        }
        return fields.flatMap { [0] + string($0.0) + string($0.1) }
    }

    static func requestFields(_ path: String, _ more: [(String, String)] = []) -> [(String, String)] {
        [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ] + more
    }

    static func headers(_ fields: [(String, String)], stream: UInt32, endStream: Bool = false) -> [UInt8] {
        frame(NGHTTP2_HEADERS, flags: 4 | (endStream ? 1 : 0), stream: stream, block(fields))
    }

    static func request(_ path: String, _ more: [(String, String)] = [], stream: UInt32) -> [UInt8] {
        headers(requestFields(path, more), stream: stream)
    }

    static func data(_ payload: [UInt8], stream: UInt32, endStream: Bool = true) -> [UInt8] {
        frame(NGHTTP2_DATA, flags: endStream ? 1 : 0, stream: stream, payload)
    }

    /// A message with its prefix; `length` may lie.
    static func message(_ payload: [UInt8], length: Int? = nil, flag: UInt8 = 0) -> [UInt8] {
        [flag] + bytes(UInt32(length ?? payload.count), 4) + payload
    }

    static func reset(stream: UInt32, code: UInt32 = 8) -> [UInt8] {
        frame(NGHTTP2_RST_STREAM, stream: stream, bytes(code, 4))
    }

    static func windowUpdate(_ increment: UInt32, stream: UInt32) -> [UInt8] {
        frame(NGHTTP2_WINDOW_UPDATE, stream: stream, bytes(increment, 4))
    }

    static func ping(_ payload: String = "12345678", isAnswer: Bool = false) -> [UInt8] {
        frame(NGHTTP2_PING, flags: isAnswer ? 1 : 0, Array(payload.utf8))
    }
}

/// One frame as it arrived.
struct ReceivedFrame {
    var type: UInt32
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]
    /// Filled for HEADERS.
    var fields: [String: String] = [:]

    var endsStream: Bool { flags & 1 != 0 }

    func isType(_ type: nghttp2_frame_type) -> Bool { self.type == type.rawValue }

    /// The code of GOAWAY or RST_STREAM.
    var errorCode: UInt32 {
        let bytes = isType(NGHTTP2_GOAWAY) ? payload.dropFirst(4).prefix(4) : payload.prefix(4)
        return bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// What GOAWAY says in words.
    var goawayText: String { String(decoding: payload.dropFirst(8), as: UTF8.self) }
}

/// Decodes the header blocks of one connection.
final class HeaderDecoder {
    private var inflater: OpaquePointer?

    init() { nghttp2_hd_inflate_new(&inflater) }
    deinit { nghttp2_hd_inflate_del(inflater) }

    func decode(_ block: [UInt8]) -> [String: String] {
        var fields: [String: String] = [:]
        block.withUnsafeBufferPointer { bytes in
            var offset = 0
            while true {
                var field = nghttp2_nv()
                var flags: Int32 = 0
                let used = nghttp2_hd_inflate_hd2(
                    inflater, &field, &flags, bytes.baseAddress.map { $0 + offset }, bytes.count - offset, 1)
                guard used >= 0 else { return }
                offset += used
                if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
                    let name = String(
                        decoding: UnsafeBufferPointer(start: field.name, count: field.namelen), as: UTF8.self)
                    fields[name] = String(
                        decoding: UnsafeBufferPointer(start: field.value, count: field.valuelen), as: UTF8.self)
                }
                if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
                    nghttp2_hd_inflate_end_headers(inflater)
                    return
                }
                if used == 0, offset == bytes.count { return }
            }
        }
        return fields
    }
}
