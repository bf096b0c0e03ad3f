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

    /// Says how it is and stays open. An unknown name is told so and may become known, as the protocol has it.
    private func watch(_ call: ServerCall) {
        call.onMessage = { message in
            do {
                let request = try Grpc_Health_V1_HealthCheckRequest(serializedBytes: message)
                var response = Grpc_Health_V1_HealthCheckResponse()
                response.status = .serviceUnknown
                call.send(request.service.isEmpty ? state : response)
            } catch {
                call.finish(GRPCStatus(EtcdError.malformed(error)))
            }
        }
        call.onCancel = { _ in call.onMessage = nil }
    }
}
