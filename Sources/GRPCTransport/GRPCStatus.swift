/// A gRPC status code, with its number on the wire as raw value.
public enum GRPCCode: Int, Sendable, CaseIterable {
    /// The call succeeded.
    case ok = 0
    /// The caller gave the call up.
    case cancelled = 1
    /// An error without a better code.
    case unknown = 2
    /// The request is wrong whatever the state of the system.
    case invalidArgument = 3
    /// The deadline passed before the call was done.
    case deadlineExceeded = 4
    /// What was asked for does not exist.
    case notFound = 5
    /// What was to be created exists.
    case alreadyExists = 6
    /// The caller may not do this.
    case permissionDenied = 7
    /// A quota or a bound was reached.
    case resourceExhausted = 8
    /// The system is not in the state the call needs.
    case failedPrecondition = 9
    /// A conflict with another call.
    case aborted = 10
    /// A value past the valid range.
    case outOfRange = 11
    /// The method, or something it needs, does not exist here.
    case unimplemented = 12
    /// An invariant is broken.
    case `internal` = 13
    /// Not available now; a repeat may succeed.
    case unavailable = 14
    /// Data is lost or corrupt.
    case dataLoss = 15
    /// The caller did not say who it is.
    case unauthenticated = 16
}

/// How a call ended: a code, and a text for people.
public struct GRPCStatus: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of outcome.
    public var code: GRPCCode
    /// Any text; percent-encoded on the wire.
    public var message: String
    /// An encoded `google.rpc.Status` for the trailer `grpc-status-details-bin`; empty for none. A server sends at most
    /// 4 KiB of it; on a client it stays empty, see `CallFailure`.
    public var details: [UInt8] = []

    /// A status with its text.
    public init(_ code: GRPCCode, _ message: String = "") {
        self.code = code
        self.message = message
    }

    /// Success.
    public static let ok = GRPCStatus(.ok)

    /// The code's name and the text.
    public var description: String { message.isEmpty ? "\(code)" : "\(code): \(message)" }
}
