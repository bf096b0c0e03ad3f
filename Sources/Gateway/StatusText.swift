import GRPCTransport

/// How the outcome of a call looks over HTTP: etcd 3.5's numbers and bodies.
enum StatusText {
    /// The HTTP status that stands for a gRPC code.
    static func httpStatus(_ code: GRPCCode) -> Int {
        switch code {
        case .ok: 200
        case .cancelled: 408
        case .unknown, .internal, .dataLoss: 500
        case .invalidArgument, .failedPrecondition, .outOfRange: 400
        case .deadlineExceeded: 504
        case .notFound: 404
        case .alreadyExists, .aborted: 409
        case .permissionDenied: 403
        case .unauthenticated: 401
        case .resourceExhausted: 429
        case .unimplemented: 501
        case .unavailable: 503
        }
    }

    private static func phrase(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 429: "Too Many Requests"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        default: "Internal Server Error"
        }
    }

    /// The body of a unary call's error.
    static func body(_ status: GRPCStatus) -> [UInt8] {
        var writer = JSONWriter(.current, capacity: 64 + 2 * status.message.utf8.count)
        writer.literal("{\"error\":")
        writer.string(status.message)
        writer.literal(",\"code\":")
        writer.number(status.code.rawValue)
        writer.literal(",\"message\":")
        writer.string(status.message)
        writer.literal("}")
        return writer.output
    }

    /// The last line of a stream that failed.
    static func line(_ status: GRPCStatus) -> [UInt8] {
        let http = httpStatus(status.code)
        var writer = JSONWriter(.current, capacity: 96 + status.message.utf8.count)
        writer.literal("{\"error\":{\"grpc_code\":")
        writer.number(status.code.rawValue)
        writer.literal(",\"http_code\":")
        writer.number(http)
        writer.literal(",\"message\":")
        writer.string(status.message)
        writer.literal(",\"http_status\":")
        writer.string(phrase(http))
        writer.literal("}}")
        return writer.output
    }
}

extension JSONWriter {
    fileprivate mutating func string(_ text: String) {
        var text = text
        text.withUTF8 { string(UnsafeRawBufferPointer($0)) }
    }
}
