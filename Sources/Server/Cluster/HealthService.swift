import EtcdAPI
import GRPCTransport
import ReplicatedLog
import SwiftProtobuf

/// `grpc.health.v1.Health`: one service, the server itself, under the empty name.
struct HealthService: Sendable {
    let context: ServerContext

    private static let unknownService = GRPCStatus(.notFound, "unknown service")

    func register(in table: inout ServiceTable) {
        table.unary("/grpc.health.v1.Health/Check") { call, request in
            guard let decoded = decode(Grpc_Health_V1_HealthCheckRequest.self, request, call) else { return }
            guard decoded.service.isEmpty else { return call.fail(Self.unknownService) }
            call.respond(state)
        }
        table.streaming("/grpc.health.v1.Health/Watch") { watch($0) }
    }

    private var state: Grpc_Health_V1_HealthCheckResponse {
        var response = Grpc_Health_V1_HealthCheckResponse()
        response.status = context.log.status.isLeader ? .serving : .notServing
        return response
    }

    private func watch(_ call: ServerCall) {
        HealthStream(call: call) { name in
            guard name.isEmpty else { return .with { $0.status = .serviceUnknown } }
            return state
        }.start()
    }
}

/// One Watch stream of health: says how it is and stays open. An unknown name is told so, as it may become known.
///
/// Isolation: the event loop of its call.
private final class HealthStream: OpenStream {
    private var hasRequest = false
    private let state: (_ service: String) -> Grpc_Health_V1_HealthCheckResponse

    init(call: ServerCall, state: @escaping (String) -> Grpc_Health_V1_HealthCheckResponse) {
        self.state = state
        super.init(call: call)
    }

    override func requestsEnded() {
        if !hasRequest { end(.missingRequest) }
    }

    override func receive(_ message: [UInt8]) {
        guard !hasRequest else { return }
        hasRequest = true
        do {
            call.send(state(try Grpc_Health_V1_HealthCheckRequest(serializedBytes: message).service))
        } catch {
            end(GRPCStatus(EtcdError.malformed(error)))
        }
    }
}
