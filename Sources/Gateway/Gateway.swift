public import GRPCTransport
import NIOCore

/// The HTTP/JSON gateway: turns a request under `/v3/` into a call of the same handler that gRPC would reach, and its
/// answers back into JSON. What there is stands in `Route.all` and in the service descriptions; no method has code of its
/// own here.
///
/// It must never know what a message means, and never hold more of a client's bytes than its bound: one message as JSON.
public struct Gateway: Sendable {
    struct Entry: Sendable {
        let path: String
        let types: Schema.Method
        /// Nil when this server has no such service.
        let method: ServerMethod?
    }

    private let entries: [String: Entry]
    /// Refuses calls with the metadata `hasleader: true` while there is no leader, as gRPC's are.
    let leaderCheck: (@Sendable () -> GRPCStatus?)?
    let schema: Schema
    /// The longest message, in bytes of protobuf.
    let maxMessageBytes: Int
    /// The longest message as JSON: base64 makes bytes a third longer, names and spaces do the rest.
    var maxTextBytes: Int { 2 * maxMessageBytes + (64 << 10) }

    /// - Parameters:
    ///   - services: whose handlers answer.
    ///   - maxMessageBytes: the longest request message, as for gRPC.
    public init(services: ServiceTable, maxMessageBytes: Int, schema: Schema = .current) {
        var entries: [String: Entry] = [:]
        for route in Route.all {
            guard let types = schema.methods[route.method] else {
                preconditionFailure("the route \(route.path) leads to \(route.method), which no description knows")
            }
            entries[route.path] = Entry(
                path: route.method, types: types, method: services.method(at: route.method))
        }
        self.entries = entries
        leaderCheck = services.leaderCheck
        self.schema = schema
        self.maxMessageBytes = maxMessageBytes
    }

    /// Answers a request.
    ///
    /// - Parameter path: what follows `/v3/`, without a query.
    public func respond(to exchange: HTTPExchange, path: String) {
        if exchange.head.wantsWebSocket {
            exchange.acceptWebSocket(subprotocol: bearer(of: exchange.head).map { _ in "Bearer" })
            // A handshake that was not complete is refused by now.
            guard exchange.isActive else { return }
        } else if exchange.head.method != "POST" {
            guard entries[path] == nil else { return exchange.answer(.text(405, "Method Not Allowed\n")) }
        }
        guard let entry = entries[path] else { return exchange.answer(.text(404, "Not Found\n")) }
        guard let method = entry.method else {
            return refuse(exchange, GRPCStatus(.unimplemented, Self.unknown(entry.path)))
        }
        let deadline: NIODeadline?
        switch exchange.head.timeout {
        case .none: deadline = nil
        case .after(let time): deadline = .now() + time
        case .malformed(let text):
            guard let time = Self.longTimeout(text) else {
                return refuse(exchange, GRPCStatus(.invalidArgument, "invalid grpc-timeout: \(text)"))
            }
            deadline = .now() + time
        }
        let call = GatewayCall(
            exchange, entry, method, self, metadata: metadata(of: exchange.head), deadline: deadline)
        call.start()
    }

    private func refuse(_ exchange: HTTPExchange, _ status: GRPCStatus) {
        exchange.answer(GatewayCall.failure(status))
    }

    private static func unknown(_ path: String) -> String {
        let service = path.dropFirst().prefix { $0 != "/" }
        return "unknown method \(path.dropFirst(service.count + 2)) for service \(service)"
    }

    /// gRPC allows eight digits; etcd's gateway as many as fit.
    private static func longTimeout(_ text: String) -> TimeAmount? {
        let units: [Character: Int64] = [
            "n": 1, "u": 1_000, "m": 1_000_000, "S": 1_000_000_000, "M": 60_000_000_000, "H": 3_600_000_000_000,
        ]
        guard let unit = text.last.flatMap({ units[$0] }), let amount = Int64(text.dropLast()), amount >= 0 else {
            return nil
        }
        let (nanoseconds, isTooLong) = amount.multipliedReportingOverflow(by: unit)
        // Half of what the clock can hold, so that adding it to now cannot overflow.
        return .nanoseconds(isTooLong ? .max / 2 : min(nanoseconds, .max / 2))
    }

    // MARK: - Metadata

    /// What a handler sees of the request's headers: `Authorization`, and those named `Grpc-Metadata-…` without that.
    private func metadata(of head: HTTPHead) -> MetadataBlock {
        var block = MetadataBlock()
        let prefix = "grpc-metadata-"
        for header in head.headers {
            if header.name == "authorization" {
                block.append(name: header.name, value: header.value)
            } else if header.name.hasPrefix(prefix), header.name.utf8.count > prefix.utf8.count {
                block.append(name: String(header.name.dropFirst(prefix.count)), value: header.value)
            }
        }
        if head.wantsWebSocket, let token = bearer(of: head) {
            block.append(name: "authorization", value: "Bearer \(token)")
        }
        return block
    }

    /// The token that a page's script, which cannot set headers, puts into `Sec-WebSocket-Protocol: Bearer, TOKEN`.
    private func bearer(of head: HTTPHead) -> Substring? {
        guard head.wantsWebSocket, let offered = head.header("sec-websocket-protocol") else { return nil }
        let parts = offered.split(separator: ",").map { $0.drop { $0 == " " } }
        guard parts.count == 2, parts[0] == "Bearer" else { return nil }
        return parts[1]
    }
}
