import GRPCTransport
import ProtobufWire

/// A part of a snapshot file, as it arrives.
public struct StoreCopyPart: Sendable {
    /// The bytes that come next.
    public var bytes: [UInt8] = []
    /// How far the server has come, of `total`.
    public var done: UInt64 = 0
    /// See `done`.
    public var total: UInt64 = 0

    init(_ message: [UInt8]) throws(BerthError) {
        let outcome = message.withUnsafeBytes { buffer -> Result<StoreCopyPart, WireError> in
            var part = StoreCopyPart()
            var reader = WireReader(buffer)
            do throws(WireError) {
                while let field = try reader.nextField() {
                    switch field.field {
                    case 1: part.bytes = Array(try reader.bytes(of: field))
                    case 2: part.done = try reader.varint(of: field)
                    case 3: part.total = try reader.varint(of: field)
                    default: try reader.skip(field)
                    }
                }
                return .success(part)
            } catch {
                return .failure(error)
            }
        }
        switch outcome {
        case .success(let part): self = part
        case .failure(let error):
            throw .server(code: GRPCCode.internal.rawValue, message: "an answer that cannot be read: \(error)")
        }
    }

    private init() {}
}

extension BerthClient {
    private static let snapshotPath = "/berth.v1.Maintenance/Snapshot"

    /// Copies the present server's whole store: hands the bytes of a snapshot file to `take`, part by part, no faster than
    /// it takes them. Everything that was acknowledged before the call is in the copy; writes go on meanwhile. The file is
    /// whole when this returns.
    ///
    /// - Throws: what the server answered, or `take` threw; `.unreachable` also when the connection is lost on the way. The
    ///   parts so far are worth nothing then.
    public func copyStore(_ take: (StoreCopyPart) async throws -> Void) async throws {
        var tries = core.configuration.endpoints.count
        while true {
            let open = try await core.caller.open(Self.snapshotPath)
            // Whatever ends this ends the call.
            defer { open.stream.cancel() }
            open.stream.post([])
            open.stream.finishSending()
            var hasBegun = false
            do {
                while let message = try await open.stream.next() {
                    hasBegun = true
                    try await take(try StoreCopyPart(message))
                }
                return
            } catch let status as GRPCStatus {
                let error = BerthError(status, path: Self.snapshotPath)
                if hasBegun, case .unreachable(let why) = error {
                    throw BerthError.unreachable("the connection was lost before the copy was whole: \(why)")
                }
                guard !hasBegun else { throw error }
                // Another server, or a new token; throws when neither would help.
                let mayRetry = status.code == .unavailable || error.asksForNewToken
                guard mayRetry else { throw error }
                try core.caller.judge(status, of: open, path: Self.snapshotPath)
                tries -= 1
                if tries <= 0 { throw error }
            }
        }
    }
}
