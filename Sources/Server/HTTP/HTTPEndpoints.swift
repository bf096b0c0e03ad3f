import EtcdAPI
import GRPCTransport
import Gateway
import StateMachine

/// Everything that is answered over plain HTTP: the JSON gateway under `/v3/`, and the few pages beside it, of which the
/// health checks need no user. Says who may ask from a browser (CORS).
struct HTTPEndpoints: Sendable {
    /// What an address is for.
    enum Scope: Sendable {
        /// Everything.
        case client
        /// Metrics and health alone: `--listen-metrics-urls`.
        case metrics
    }

    let context: ServerContext
    /// Nil answers `/v3/` as not found.
    let gateway: Gateway?
    private let health: HealthChecks
    private let origins: Set<String>

    init(context: ServerContext, gateway: Gateway?) {
        self.context = context
        self.gateway = gateway
        health = HealthChecks(context: context)
        origins = Set(context.settings.http.allowedOrigins)
    }

    /// Answers a request, now or later.
    func respond(to exchange: HTTPExchange, _ scope: Scope) {
        let target = HTTPTarget(exchange.head.target)
        if scope == .client {
            exchange.commonHeaders = corsHeaders(exchange.head)
            guard exchange.head.method != "OPTIONS" else { return exchange.answer(HTTPResponse(status: 200)) }
            if let gateway, let path = target.gatewayPath {
                if let refusal = refusal(of: exchange.head) { return exchange.answer(refusal) }
                return gateway.respond(to: exchange, path: path)
            }
        }
        exchange.answer(page(target, exchange.head.method, scope))
    }

    /// A client whose certificate would say who it is by gRPC is told that it does not here, as in etcd: it could believe
    /// to act as somebody.
    private func refusal(of head: HTTPHead) -> HTTPResponse? {
        guard context.settings.tls?.requiresClientCertificate == true, context.access.table.isEnabled,
            let name = head.peerCommonName, !name.isEmpty
        else { return nil }
        return .text(
            400,
            "the certificate's common name says nothing to the gateway; send a token, and use a certificate without one\n"
        )
    }

    // MARK: - Pages

    private func page(_ target: HTTPTarget, _ method: String, _ scope: Scope) -> HTTPResponse {
        let make: () -> HTTPResponse
        switch target.path {
        case "/health": make = { health.health(target) }
        case "/metrics": make = { metrics() }
        case "/version" where scope == .client: make = { version() }
        default:
            guard let checks = health.checks(at: target.path) else { return .text(404, "404 page not found\n") }
            make = { health.report(checks, target) }
        }
        guard method == "GET" else {
            var refusal = HTTPResponse.text(405, "Method Not Allowed\n")
            refusal.headers.append((name: "Allow", value: "GET"))
            return refusal
        }
        return make()
    }

    private func version() -> HTTPResponse {
        HTTPResponse(
            status: 200, headers: [(name: "Content-Type", value: "application/json")],
            body: Array("{\"etcdserver\":\"\(MaintenanceService.etcdVersion)\",\"etcdcluster\":\"3.5.0\"}".utf8))
    }

    private func metrics() -> HTTPResponse {
        HTTPResponse(
            status: 200, headers: [(name: "Content-Type", value: MetricText.contentType)],
            body: Array(MetricText.render(MetricTable.all, context).utf8))
    }

    // MARK: - Who may ask

    /// Browsers let a page of another origin see answers that carry these.
    private func corsHeaders(_ head: HTTPHead) -> [(name: String, value: String)] {
        let allowed: String
        if origins.isEmpty || origins.contains("*") {
            allowed = "*"
        } else if let origin = head.header("origin"), origins.contains(origin) {
            allowed = origin
        } else {
            return []
        }
        return [
            (name: "Access-Control-Allow-Methods", value: "POST, GET, OPTIONS, PUT, DELETE"),
            (name: "Access-Control-Allow-Origin", value: allowed),
            (name: "Access-Control-Allow-Headers", value: "accept, content-type, authorization"),
        ]
    }
}

/// Where a request is for: its path with percent escapes resolved, and its query.
struct HTTPTarget: Sendable {
    let path: String
    private let query: [(name: String, value: String)]

    init(_ target: String) {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = Self.unescaped(parts.first ?? "")
        query = (parts.count > 1 ? parts[1].split(separator: "&") : []).map { pair in
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (Self.unescaped(sides[0]), sides.count > 1 ? Self.unescaped(sides[1]) : "")
        }
    }

    /// What the gateway is asked for; nil when it is not. `/v3beta/` is another name of `/v3/`.
    var gatewayPath: String? {
        for prefix in ["/v3/", "/v3beta/"] where path.hasPrefix(prefix) { return String(path.dropFirst(prefix.count)) }
        return nil
    }

    /// All values given for a name, but for empty ones.
    func values(_ name: String) -> Set<String> {
        Set(query.filter { $0.name == name && !$0.value.isEmpty }.map(\.value))
    }

    /// The first value given for a name.
    func value(_ name: String) -> String? { query.first { $0.name == name }?.value }

    private static func unescaped(_ text: Substring) -> String {
        text.contains("%") ? PercentEncoding.decode(text.utf8) : String(text)
    }
}
