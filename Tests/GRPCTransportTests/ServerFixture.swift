import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// Events in the order they happened, for a test to wait for.
final class Events<Event: Sendable>: Sendable {
    private let stream: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private let seen = Mutex<[Event]>([])

    init() { (stream, continuation) = AsyncStream.makeStream(of: Event.self) }

    /// All events so far.
    var all: [Event] { seen.withLock { $0 } }

    func add(_ event: Event) {
        seen.withLock { $0.append(event) }
        continuation.yield(event)
    }

    /// The next event not yet waited for.
    func next() async -> Event? {
        var iterator = stream.makeAsyncIterator()
        return await iterator.next()
    }
}

/// A call that a handler parked, to be used from a test's task.
struct ParkedCall: Sendable {
    let call: ServerCall

    /// Runs on the call's event loop.
    func run<Value: Sendable>(_ body: @escaping @Sendable (ServerCall) -> Value) async throws -> Value {
        let call = call
        return try await call.eventLoop.submit { body(call) }.get()
    }
}

extension ServerConfiguration {
    /// The defaults, but for times that a client on a starved machine could run into.
    static var patient: ServerConfiguration {
        var configuration = ServerConfiguration()
        configuration.handshakeTimeout = .hours(1)
        configuration.drainNoticeTimeout = .hours(1)
        return configuration
    }
}

extension GRPCClient {
    /// A client that waits for a starved server as long as it takes.
    convenience init(
        host: String = "127.0.0.1", patientlyTo port: Int, _ change: (inout ClientConfiguration) -> Void = { _ in }
    ) {
        var configuration = ClientConfiguration()
        configuration.connectTimeout = .hours(1)
        change(&configuration)
        self.init(
            host: host, port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: configuration)
    }
}

/// A server with a few methods that every test needs, and a well-behaved client beside whatever a test does.
struct ServerFixture: Sendable {
    let server: GRPCServer
    let client: GRPCClient
    let port: Int
    /// Calls of `/test.Test/Park` and `/test.Test/ParkStream`.
    let parked = Events<ParkedCall>()
    let cancelled = Events<CancelReason>()
    let messages = Events<[UInt8]>()
    /// One for each connection that came or went.
    private let connectionChanges = Events<Void>()

    private init(
        _ configuration: ServerConfiguration, limits: @escaping Limits, group: MultiThreadedEventLoopGroup,
        more: (inout ServiceTable) -> Void, http1: @escaping @Sendable (HTTPExchange) -> Void
    ) async throws {
        var services = ServiceTable()
        services.unary("/test.Test/Echo") { call, request in call.respond(Array(request)) }
        services.unary("/test.Test/Fail") { call, _ in call.fail(GRPCStatus(.aborted, "no 100% luck: é")) }
        services.unary("/test.Test/Park") { [parked, cancelled] call, _ in
            call.onCancel = { cancelled.add($0) }
            parked.add(ParkedCall(call: call))
        }
        services.streaming("/test.Test/ParkStream") { [parked, cancelled, messages] call in
            call.onCancel = { cancelled.add($0) }
            call.onMessage = { messages.add($0) }
            parked.add(ParkedCall(call: call))
        }
        services.streaming("/test.Test/EchoStream") { call in
            call.onMessage = { [unowned call] in call.send($0) }
            call.onHalfClose = { [unowned call] in call.finish() }
        }
        more(&services)
        let isFirst = Mutex(true)
        var prepared = configuration
        prepared.prepareConnection = { [connectionChanges] channel, own in
            try configuration.prepareConnection?(channel, &own)
            // The first one is the healthy client's.
            let isHealthy = isFirst.withLock { isFirst in
                defer { isFirst = false }
                return isFirst
            }
            if !isHealthy { limits(&own) }
            connectionChanges.add(())
            channel.closeFuture.whenComplete { _ in connectionChanges.add(()) }
        }
        server = try await GRPCServer.bind(
            host: "127.0.0.1", port: 0, group: group, services: services,
            http1: http1, configuration: prepared, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        port = try #require(server.localAddress?.port)
        client = GRPCClient(patientlyTo: port)
    }

    typealias Limits = @Sendable (inout ServerConfiguration) -> Void

    /// Knows `/health` and nothing else.
    private static let answerHealth: @Sendable (HTTPExchange) -> Void = { exchange in
        exchange.answer(
            exchange.head.target == "/health"
                ? HTTPResponse(status: 200, headers: [("content-type", "text/plain")], body: Array("fine".utf8))
                : HTTPResponse(status: 404))
    }

    /// Runs `body` beside a healthy client, which must not have noticed anything afterwards.
    ///
    /// - Parameter limits: short times for every connection but the healthy client's, which a starved machine could
    ///   keep from being in time.
    static func run(
        _ configuration: ServerConfiguration = .patient, limits: @escaping Limits = { _ in },
        group: MultiThreadedEventLoopGroup = .singleton, more: (inout ServiceTable) -> Void = { _ in },
        http1: @escaping @Sendable (HTTPExchange) -> Void = answerHealth,
        _ body: (ServerFixture) async throws -> Void
    ) async throws {
        let fixture = try await ServerFixture(
            configuration, limits: limits, group: group, more: more, http1: http1)
        // Opened before and held over the whole test: a lost connection would end it.
        let held = await fixture.client.stream("/test.Test/EchoStream")
        try await fixture.check(held, 1)
        do {
            try await body(fixture)
            try await fixture.check(held, 2)
            try await fixture.checkEnd(held)
        } catch {
            await fixture.stop()
            throw error
        }
        await fixture.stop()
    }

    private func check(_ held: ClientStream, _ byte: UInt8) async throws {
        try await held.send([byte])
        let echo = try await held.next()
        #expect(echo == [byte], "the healthy client's stream was hurt")
    }

    private func checkEnd(_ held: ClientStream) async throws {
        held.finishSending()
        let end = try await held.next()
        #expect(end == nil)
        let echo = try await client.unary("/test.Test/Echo", [3])
        #expect(echo == [3])
    }

    private func stop() async {
        await client.close()
        await server.shutdownGracefully(deadline: .now())
    }

    /// Waits until the server holds `count` connections; the suite's time limit bounds it.
    func connections(reach count: Int) async {
        while server.connectionCount != count, await connectionChanges.next() != nil {}
        #expect(server.connectionCount == count)
    }
}
