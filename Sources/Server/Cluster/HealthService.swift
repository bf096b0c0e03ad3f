import EtcdAPI
import GRPCTransport
import SwiftProtobuf

/// `grpc.health.v1.Health`: how the member is, under the empty name as etcd has it, and under the name of each service.
/// All say the same: a member that does not lead, or refuses writes, serves none of them as promised.
struct HealthService: Sendable {
    private let names: Set<String>

    private static let unknownService = GRPCStatus(.notFound, "unknown service")

    /// - Parameter services: full names of the services that may be asked about.
    init(services: Set<String>) { names = services.union(["", "grpc.health.v1.Health"]) }

    func register(in table: inout ServiceTable) {
        table.unary("/grpc.health.v1.Health/Check") { call, request in
            guard let decoded = decode(Grpc_Health_V1_HealthCheckRequest.self, request, call) else { return }
            guard names.contains(decoded.service) else { return call.fail(Self.unknownService) }
            call.respond(Grpc_Health_V1_HealthCheckResponse.with { $0.status = .init(ServerLoop.here.condition) })
        }
        table.streaming("/grpc.health.v1.Health/Watch") { HealthStream(call: $0, names: names).start() }
    }
}

extension Grpc_Health_V1_HealthCheckResponse.ServingStatus {
    fileprivate init(_ condition: MemberCondition) {
        switch condition {
        case .serving: self = .serving
        case .refusingWrites, .withoutLeader: self = .notServing
        }
    }
}

/// One Watch stream of health: says how the member is, then each change. An unknown name is told so, and stays open, as
/// the health protocol asks for.
///
/// Isolation: the event loop of its call.
private final class HealthStream: OpenStream {
    private let names: Set<String>
    private var hasRequest = false
    /// What the client was told last.
    private var told: Grpc_Health_V1_HealthCheckResponse.ServingStatus?

    init(call: ServerCall, names: Set<String>) {
        self.names = names
        super.init(call: call)
    }

    override func requestsEnded() {
        if !hasRequest { end(.missingRequest) }
    }

    override func closed() { loop.stopFollowing(self) }

    override func roomIsFree() {
        if told != nil { tell(.init(loop.condition)) }
    }

    override func receive(_ message: [UInt8]) {
        guard !hasRequest else { return }
        hasRequest = true
        let request: Grpc_Health_V1_HealthCheckRequest
        do {
            request = try Grpc_Health_V1_HealthCheckRequest(serializedBytes: message)
        } catch {
            return end(GRPCStatus(EtcdError.malformed(error)))
        }
        guard names.contains(request.service) else {
            return call.send(Grpc_Health_V1_HealthCheckResponse.with { $0.status = .serviceUnknown })
        }
        tell(.init(loop.condition))
        loop.followCondition(self) { [weak self] in self?.tell(.init($0)) }
    }

    /// Who does not read is told the newest state when there is room again.
    private func tell(_ status: Grpc_Health_V1_HealthCheckResponse.ServingStatus) {
        guard isOpen, status != told, told == nil || call.hasRoom else { return }
        told = status
        call.send(Grpc_Health_V1_HealthCheckResponse.with { $0.status = status })
    }
}
