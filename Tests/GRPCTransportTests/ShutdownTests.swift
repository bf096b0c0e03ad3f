import CNghttp2
import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(10))) struct ShutdownTests {
    /// A fixture's loops can be drained once only, so each test here brings its own server.
    private func server(
        _ services: ServiceTable, port: Int = 0, configuration: ServerConfiguration = .patient
    ) async throws -> (GRPCServer, Int) {
        let server = try await GRPCServer.bind(
            host: "127.0.0.1", port: port, group: .singleton, services: services,
            http1: { $0.answer(HTTPResponse(status: 404)) }, configuration: configuration,
            logger: .init(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return (server, try #require(server.localAddress?.port))
    }

    private let parked = Events<ParkedCall>()
    private let cancelled = Events<CancelReason>()

    private var services: ServiceTable {
        var services = ServiceTable()
        services.unary("/test.Test/Park") { [parked, cancelled] call, _ in
            call.onCancel = { cancelled.add($0) }
            parked.add(ParkedCall(call: call))
        }
        return services
    }

    @Test func `a graceful shutdown lets calls finish and takes no new ones`() async throws {
        let reserved = try ReservedPort()
        defer { reserved.release() }
        let (server, port) = try await server(services, port: reserved.number)
        let peer = try await RawPeer.greeted(port)
        try await peer.send(Frames.request("/test.Test/Park", stream: 1) + Frames.data(Frames.message([]), stream: 1))
        let call = try #require(await parked.next())
        async let shutdown: Void = server.shutdownGracefully()
        let notice = try #require(await peer.goaway())
        #expect(notice.errorCode == NGHTTP2_NO_ERROR.rawValue)
        #expect(notice.payload.prefix(4) == [0x7f, 0xff, 0xff, 0xff])
        let ping = try #require(await peer.frame { $0.isType(NGHTTP2_PING) })
        // A request that was on its way when the notice came is served.
        try await peer.send(
            Frames.request("/test.Test/Park", stream: 3) + Frames.data(Frames.message([]), stream: 3)
                + Frames.frame(NGHTTP2_PING, flags: 1, ping.payload))
        let late = try #require(await parked.next())
        let last = try #require(await peer.goaway())
        #expect(last.payload.prefix(4) == [0, 0, 0, 3])
        try await peer.send(Frames.request("/test.Test/Park", stream: 5) + Frames.data(Frames.message([]), stream: 5))
        await #expect(throws: (any Error).self) { _ = try await RawPeer.connect(port) }
        try await call.run { $0.respond([1]) }
        #expect(await peer.end(of: 1)?.fields["grpc-status"] == "0")
        try await late.run { $0.respond([1]) }
        #expect(await peer.end(of: 3)?.fields["grpc-status"] == "0")
        #expect(await peer.frame() == nil)
        await shutdown
        #expect(server.connectionCount == 0)
        #expect(cancelled.all.isEmpty)
        #expect(parked.all.count == 2)
    }

    @Test func `calls that outlast the shutdown's deadline are cancelled and told so`() async throws {
        let (server, port) = try await server(services)
        let client = GRPCClient(patientlyTo: port)
        let answer = Task { try await client.unary("/test.Test/Park", []) }
        _ = await parked.next()
        await server.shutdownGracefully(deadline: .now() + .milliseconds(30))
        #expect(await cancelled.next() == .serverShutdown)
        await #expect(throws: GRPCStatus(.unavailable, "the server is shutting down")) { _ = try await answer.value }
        #expect(server.connectionCount == 0)
        await client.close()
    }

    @Test func `a handler that ignores its cancellation does not outlast the shutdown's deadline`() async throws {
        let started = Events<Int>()
        let release = Events<Int>()
        var services = ServiceTable()
        services.asyncUnary("/test.Test/Stubborn") { _, _ in
            started.add(1)
            await Task { _ = await release.next() }.value
            return []
        }
        let (server, port) = try await server(services)
        let client = GRPCClient(patientlyTo: port)
        let answer = Task { try await client.unary("/test.Test/Stubborn", []) }
        _ = await started.next()
        await server.shutdownGracefully(deadline: .now() + .milliseconds(30))
        await #expect(throws: GRPCStatus.self) { _ = try await answer.value }
        release.add(1)
        await client.close()
    }

    @Test func `connections without a call, or a protocol, do not hold a shutdown up`() async throws {
        let (server, port) = try await server(services)
        let silent = try await RawPeer.connect(port)
        let idle = try await RawPeer.greeted(port)
        _ = await idle.frame { $0.isType(NGHTTP2_SETTINGS) && $0.flags & 1 == 1 }
        let web = try await RawPeer.connect(port)
        try await web.send(Array("GET / HTTP/1.1\r\nhost: x\r\n\r\n".utf8))
        _ = await web.bytes()
        async let shutdown: Void = server.shutdownGracefully()
        #expect(await silent.bytes() == nil)
        #expect(await web.bytesToEnd().isEmpty)
        let ping = try #require(await idle.frame { $0.isType(NGHTTP2_PING) })
        try await idle.send(Frames.frame(NGHTTP2_PING, flags: 1, ping.payload))
        while await idle.frame() != nil {}
        await shutdown
    }

    @Test func `a client moves to a new connection when the server says goodbye`() async throws {
        let reserved = try ReservedPort()
        defer { reserved.release() }
        let (first, port) = try await server(services, port: reserved.number)
        let client = GRPCClient(patientlyTo: port)
        async let early = client.unary("/test.Test/Park", [])
        let call = try #require(await parked.next())
        async let shutdown: Void = first.shutdownGracefully()
        // New calls fail, or wait for a server to come back, while the old one is still answered.
        var status = GRPCStatus.ok
        while status.code != .unavailable {
            var options = ClientCall.Options()
            options.deadline = .now() + .milliseconds(20)
            do { _ = try await client.unary("/test.Test/Park", [], options: options) } catch { status = error }
        }
        var options = ClientCall.Options()
        options.waitsForReady = true
        let waits = options
        async let late = client.unary("/test.Test/Park", [], options: waits)
        try await call.run { $0.respond([1]) }
        #expect(try await early == [1])
        await shutdown
        var services = ServiceTable()
        services.unary("/test.Test/Park") { call, _ in call.respond([2]) }
        let (second, _) = try await server(services, port: port)
        #expect(try await late == [2])
        await client.close()
        await second.shutdownGracefully(deadline: .now())
    }
}
