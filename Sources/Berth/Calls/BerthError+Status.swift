import EtcdAPI
import GRPCTransport
import ProtobufWire
import SwiftProtobuf

// Where a gRPC status becomes an error of this library. etcd's clients, too, go by the texts before the codes.
extension BerthError {
    /// What `failure` of a call of `path` means.
    init(_ failure: CallFailure, path: String) {
        let message = failure.status.message
        if let detail = LockedInfo(failure.details, message: message) {
            self = .locked(detail)
            return
        }
        self = Self.byText(message) ?? Self.byCode(failure.status, path: path)
    }

    /// What the end of a stream of `path` means.
    init(_ status: GRPCStatus, path: String) {
        self.init(CallFailure(status: status, wasSent: true), path: path)
    }

    /// Errors that the servers tell by their text, often with a code that says less.
    static func byText(_ message: String) -> BerthError? {
        let known: [(String, BerthError)] = [
            ("required revision has been compacted", .compacted(revision: 0)),
            ("required revision is a future revision", .futureRevision),
            ("database space exceeded", .noSpace),
            ("request is too large", .tooLarge(message)),
            ("received message larger than max", .tooLarge(message)),
            // This client's own words.
            ("received a message of", .tooLarge(message)),
            ("requested lease not found", .leaseNotFound),
            ("authentication failed", .unauthenticated("user name or password is wrong")),
            ("user name is empty", .unauthenticated("the servers ask for a user name and password")),
            ("invalid auth token", .unauthenticated("the servers do not know this client's token")),
            ("revision of auth store is old", .unauthenticated("users or roles changed since this client's token")),
            ("permission denied", .permissionDenied("this user's roles do not cover the keys of the request")),
        ]
        if message.hasPrefix("berth: key is locked") { return .locked(LockedInfo(message: message)) }
        return known.first { message.contains($0.0) }?.1
    }

    private static func byCode(_ status: GRPCStatus, path: String) -> BerthError {
        switch status.code {
        case .cancelled: .cancelled
        case .deadlineExceeded: .timedOut(path)
        case .unavailable: .unreachable(status.message)
        case .unimplemented: .unsupported("this server does not offer \(path.drop { $0 == "/" })")
        case .unauthenticated: .unauthenticated(status.message)
        case .permissionDenied: .permissionDenied(status.message)
        case .invalidArgument: .invalid(status.message)
        case .ok, .unknown, .notFound, .alreadyExists, .resourceExhausted, .failedPrecondition, .aborted, .outOfRange,
            .internal, .dataLoss:
            .server(code: status.code.rawValue, message: status.message)
        }
    }

    /// A fresh token may help: the old one has run out, or users changed.
    var asksForNewToken: Bool {
        if case .unauthenticated(let why) = self { return !why.contains("is wrong") }
        return false
    }
}

extension LockedInfo {
    init(message: String) {
        self.init(key: [], lock: [], holder: [], token: 0, owner: "", remaining: .zero, message: message)
    }

    /// Reads the details of a refusal; nil when `status`, a `google.rpc.Status`, holds none.
    init?(_ status: [UInt8], message: String) {
        guard !status.isEmpty, let bytes = Self.detail(in: status),
            let detail = try? Berth_V1_LockedDetail(serializedBytes: bytes)
        else { return nil }
        self.init(
            key: Bytes(detail.key), lock: Bytes(detail.lock), holder: Bytes(detail.holder), token: detail.token,
            owner: detail.owner, remaining: .milliseconds(detail.remainingMilliseconds), message: message)
    }

    /// The value of the first `Any` of the right type: field 3 of the status, whose field 1 is the type, 2 the value.
    private static func detail(in status: [UInt8]) -> [UInt8]? {
        status.withUnsafeBytes { bytes -> [UInt8]? in
            var reader = WireReader(bytes)
            do {
                while let field = try reader.nextField() {
                    guard field.field == 3 else {
                        try reader.skip(field)
                        continue
                    }
                    var entry = WireReader(try reader.bytes(of: field))
                    var isRight = false
                    var value: [UInt8] = []
                    while let field = try entry.nextField() {
                        switch field.field {
                        case 1:
                            let type = String(decoding: try entry.bytes(of: field), as: UTF8.self)
                            isRight = type == "type.googleapis.com/berth.v1.LockedDetail"
                        case 2: value = Array(try entry.bytes(of: field))
                        default: try entry.skip(field)
                        }
                    }
                    if isRight { return value }
                }
            } catch {
                return nil  // The status alone still says what happened.
            }
            return nil
        }
    }
}
