import GRPCTransport
import NIOCore
import SwiftProtobuf
import Synchronization

/// Makes calls: at one server after the other, again where that is safe, with the user's token. Owns the connections.
final class Caller: Sendable {
    /// How one call is made.
    struct Options: Sendable {
        /// Longest time for the answer; nil when the call waits for something that may never come.
        var timeout: Timeout = .configured
        /// Overrides what the method says.
        var isRepeatable: Bool?
        /// Sends the user's token.
        var isAuthenticated = true

        enum Timeout: Sendable {
            case configured
            case after(Duration)
            case none
        }
    }

    /// A stream, and what it was opened with.
    struct OpenStream: Sendable {
        let stream: ClientStream
        fileprivate let token: Authenticator.Token?
        fileprivate let endpoint: Int
    }

    let configuration: BerthConfiguration
    private let clients: [GRPCClient]
    private let names: [String]
    private let authenticator: Authenticator?
    private let current = Atomic<Int>(0)
    private let isClosed = Atomic<Bool>(false)

    init(_ configuration: BerthConfiguration) throws(BerthError) {
        guard !configuration.endpoints.isEmpty else { throw .invalid("no endpoint is given: name at least one server") }
        self.configuration = configuration
        var clients: [GRPCClient] = []
        for text in configuration.endpoints {
            clients.append(try Endpoint(text, prefersTLS: configuration.tls != nil).client(configuration))
        }
        self.clients = clients
        names = configuration.endpoints
        authenticator = configuration.credentials.map { Authenticator($0) }
    }

    /// Ends all calls and closes the connections.
    func close() async {
        isClosed.store(true, ordering: .releasing)
        for client in clients { await client.close() }
    }

    // MARK: One message each way

    /// Makes a call.
    ///
    /// - Throws: what the servers answered, or why they did not.
    func call<Request, Response>(
        _ method: Method<Request, Response>, _ request: Request, options: Options = .init()
    ) async throws(BerthError) -> Response {
        let answer = try await callEncoded(method, request, options: options)
        do {
            return try Response(serializedBytes: answer)
        } catch {
            throw .server(code: GRPCCode.internal.rawValue, message: "an answer that cannot be read: \(error)")
        }
    }

    /// Makes a call and leaves the answer as it came.
    func callEncoded<Request, Response>(
        _ method: Method<Request, Response>, _ request: Request, options: Options = .init()
    ) async throws(BerthError) -> [UInt8] {
        let bytes: [UInt8]
        do { bytes = try request.serializedBytes() } catch { throw .invalid("the request cannot be encoded: \(error)") }
        return try await callEncoded(method, encoded: bytes, options: options)
    }

    /// Makes a call with a request that is encoded already, and leaves the answer as it came.
    func callEncoded<Request, Response>(
        _ method: Method<Request, Response>, encoded request: [UInt8], options: Options = .init()
    ) async throws(BerthError) -> [UInt8] {
        let isRepeatable = options.isRepeatable ?? (method.repeats == .always)
        return try await call(method.path, request, isRepeatable: isRepeatable, options)
    }

    private func call(
        _ path: String, _ request: [UInt8], isRepeatable: Bool, _ options: Options
    ) async throws(BerthError) -> [UInt8] {
        let limit = configuration.requestTimeout
        let end: ContinuousClock.Instant? =
            switch options.timeout {
            case .configured: .now + limit
            case .after(let duration): .now + duration
            case .none: nil
            }
        var patience = Patience(limit: limit, deadline: end)
        var renewals = 2
        var lastOutage: String?
        while true {
            let token = options.isAuthenticated ? try await token() : nil
            let endpoint = current.load(ordering: .relaxed)
            let start = ContinuousClock.now
            let failure: CallFailure
            do throws(CallFailure) {
                return try await clients[endpoint].call(path, request, options: callOptions(token, end: end))
            } catch {
                failure = error
            }
            try checkOpen()
            let error = BerthError(failure, path: path)
            if error.asksForNewToken, let authenticator, let token, renewals > 0 {
                renewals -= 1
                authenticator.refused(token)
                continue
            }
            if failure.status.code == .deadlineExceeded { leave(endpoint) }
            if failure.status.code == .deadlineExceeded, !failure.wasSent {
                throw .unreachable(lastOutage ?? "\(names[endpoint]): no connection in time")
            }
            guard failure.status.code == .unavailable else { throw error }
            leave(endpoint)
            let text = "\(names[endpoint]): \(failure.status.message)"
            lastOutage = text
            if failure.wasSent, !isRepeatable { throw .uncertain(text) }
            guard let pause = patience.failed(start: start, now: .now) else { throw .unreachable(text) }
            try await rest(pause)
        }
    }

    private func callOptions(_ token: Authenticator.Token?, end: ContinuousClock.Instant?) -> ClientCall.Options {
        var options = ClientCall.Options()
        if let token, !token.text.isEmpty { options.metadata.append(("token", token.text)) }
        if let end { options.deadline = .now() + TimeAmount(max(end - .now, .milliseconds(1))) }
        return options
    }

    // MARK: Streams

    /// Opens a stream at the present server; whether that works, its first message tells.
    func open(_ path: String) async throws(BerthError) -> OpenStream {
        try checkOpen()
        let token = try await token()
        let endpoint = current.load(ordering: .relaxed)
        let stream = await clients[endpoint].stream(path, options: callOptions(token, end: nil))
        return OpenStream(stream: stream, token: token, endpoint: endpoint)
    }

    /// A stream ended with `status`.
    ///
    /// - Throws: the reason, when opening it again would end no better.
    func judge(_ status: GRPCStatus, of open: OpenStream, path: String) throws(BerthError) {
        try checkOpen()
        let error = BerthError(status, path: path)
        if try renewsToken(after: error, of: open) { return }
        switch status.code {
        case .unavailable, .cancelled, .internal, .ok, .deadlineExceeded, .resourceExhausted: leave(open.endpoint)
        // A server that restarts in the middle says many things under this code.
        case .unknown where BerthError.byText(status.message) == nil: leave(open.endpoint)
        default: throw error
        }
    }

    /// Whether `error` is about the token, and a new one can be had. Throws it when it is not.
    func renewsToken(after error: BerthError, of open: OpenStream) throws(BerthError) -> Bool {
        guard error.asksForNewToken else { return false }
        guard let authenticator, let token = open.token else { throw error }
        authenticator.refused(token)
        return true
    }

    /// The next call gets a new token. False: there are none.
    func forgetToken(of open: OpenStream) -> Bool {
        guard let authenticator, let token = open.token else { return false }
        authenticator.refused(token)
        return true
    }

    // MARK: -

    /// The other servers come next. Several calls that failed at one server move on once.
    func leave(_ endpoint: Int) {
        let next = (endpoint + 1) % clients.count
        _ = current.compareExchange(expected: endpoint, desired: next, ordering: .relaxed)
    }

    private func token() async throws(BerthError) -> Authenticator.Token? {
        guard let authenticator else { return nil }
        return try await authenticator.token(from: self)
    }

    /// - Throws: `.closed` or `.cancelled`.
    func checkOpen() throws(BerthError) {
        if isClosed.load(ordering: .acquiring) { throw .closed }
        if Task.isCancelled { throw .cancelled }
    }

    /// Waits between two tries.
    func rest(_ pause: Duration) async throws(BerthError) {
        do { try await Task.sleep(for: pause) } catch { throw .cancelled }
        try checkOpen()
    }
}
