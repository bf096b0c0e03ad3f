import EtcdAPI
import GRPCTransport
import ReplicatedLog
import StateMachine

/// The plain HTTP/1.1 answers on the client port: `/health`, `/version` and `/metrics`.
struct HTTPEndpoints: Sendable {
    let context: ServerContext

    func respond(to request: HTTP1Request) -> HTTP1Response {
        let parts = request.target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts.first.map(String.init) ?? "/"
        guard ["/health", "/version", "/metrics"].contains(path) else { return Self.text(404, "404 page not found\n") }
        guard request.method == "GET" else {
            var refusal = Self.text(405, "Method Not Allowed\n")
            refusal.headers.append((name: "allow", value: "GET"))
            return refusal
        }
        if path == "/version" {
            return HTTP1Response(
                status: 200, headers: [(name: "content-type", value: "application/json")],
                body: Array("{\"etcdserver\":\"\(MaintenanceService.etcdVersion)\",\"etcdcluster\":\"3.5.0\"}".utf8))
        }
        if path == "/metrics" {
            return HTTP1Response(
                status: 200, headers: [(name: "content-type", value: MetricText.contentType)],
                body: Array(MetricText.render(MetricTable.all, context).utf8))
        }
        return health(excluding: parts.count > 1 ? String(parts[1]) : "")
    }

    private static func text(_ status: Int, _ body: String) -> HTTP1Response {
        HTTP1Response(
            status: status, headers: [(name: "content-type", value: "text/plain; charset=utf-8")],
            body: Array(body.utf8))
    }

    private func health(excluding query: String) -> HTTP1Response {
        let excluded = Set(
            query.split(separator: "&").filter { $0.hasPrefix("exclude=") }.map { String($0.dropFirst(8)) })
        let alarm = context.alarms.list().map(\.kind.etcdName).first { !excluded.contains($0) }
        let reason = alarm.map { "ALARM \($0)" } ?? (context.log.status.isLeader ? "" : "RAFT NO LEADER")
        let isHealthy = reason.isEmpty
        context.metrics.health.answered(isHealthy: isHealthy)
        return Self.text(
            isHealthy ? 200 : 503,
            "{\"health\":\"\(isHealthy)\",\"reason\":\"\(reason)\"}\(isHealthy ? "" : "\n")")
    }
}
