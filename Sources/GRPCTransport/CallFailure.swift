import NIOCore

/// Why a call with one message each way failed, with what a caller needs to decide whether to make it again.
public struct CallFailure: Error, Sendable, CustomStringConvertible {
    /// How the call ended.
    public var status: GRPCStatus
    /// The bytes of the trailer `grpc-status-details-bin`, usually a `google.rpc.Status`; empty without one.
    public var details: [UInt8]
    /// The server may have seen the request.
    public var wasSent: Bool

    /// Pairs a status with what belongs to it.
    public init(status: GRPCStatus, details: [UInt8] = [], wasSent: Bool) {
        self.status = status
        self.details = details
        self.wasSent = wasSent
    }

    /// The status.
    public var description: String { status.description }
}

extension GRPCClient {
    /// Calls a method with one message each way. Cancelling the task cancels the call.
    ///
    /// - Throws: the status when it is not success, and whether the server may have seen the call.
    public func call(
        _ path: String, _ request: [UInt8], options: ClientCall.Options = .init()
    ) async throws(CallFailure) -> [UInt8] {
        let cancellation = CallCancellation(eventLoop: eventLoop)
        let result: Result<[UInt8], CallFailure> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute {
                    cancellation.adopt(
                        self.start(path, options: options) { call in
                            Self.collect(call) { continuation.resume(returning: $0) }
                            call.send(request)
                            call.finishSending()
                        })
                }
            }
        } onCancel: {
            cancellation.cancel()
        }
        return try result.get()
    }

    /// Puts the outcome of a call with one message together. `done` comes exactly once.
    private static func collect(_ call: ClientCall, _ done: @escaping (Result<[UInt8], CallFailure>) -> Void) {
        var response: [UInt8]?
        var count = 0
        call.onMessage = { message in
            response = message
            count += 1
        }
        // Unowned: the callback is called by the call itself, and let go of then.
        call.onEnd = { [unowned call] status in
            if status.code == .ok, let response, count == 1 { return done(.success(response)) }
            let status = status.code == .ok ? GRPCStatus(.internal, "\(count) messages answer a unary call") : status
            let details = call.metadata("grpc-status-details-bin").flatMap { Base64.decode($0.utf8) } ?? []
            done(.failure(CallFailure(status: status, details: details, wasSent: call.wasSent)))
        }
    }
}

/// The encoding of binary metadata: RFC 4648, padded or not.
package enum Base64 {
    /// Nil when `text` is not base64.
    package static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        var isPadded = false
        for character in text {
            if character == UInt8(ascii: "=") {
                isPadded = true
                continue
            }
            guard !isPadded, let value = value(of: character) else { return nil }
            bits = bits << 6 | value
            count += 6
            guard count >= 8 else { continue }
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
        return count < 6 ? bytes : nil
    }

    private static func value(of character: UInt8) -> UInt32? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a") + 26)
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0") + 52)
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
