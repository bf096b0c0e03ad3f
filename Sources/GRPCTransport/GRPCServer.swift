public import Logging
import Measures
public import NIOCore
public import NIOPosix
import NIOHTTP1
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A listening gRPC server. Its handlers run on the event loops of the group it was bound with.
public final class GRPCServer: Sendable {
    private let channel: any Channel
    private let loops: [ObjectIdentifier: LoopContext]
    private let connections: ConnectionCount

    /// Where it listens, with the port that was chosen when 0 was asked for.
    public var localAddress: SocketAddress? { channel.localAddress }

    /// Connections open now.
    public var connectionCount: Int { connections.open }

    private init(channel: any Channel, loops: [ObjectIdentifier: LoopContext], connections: ConnectionCount) {
        self.channel = channel
        self.loops = loops
        self.connections = connections
    }

    /// Starts to listen.
    ///
    /// - Parameters:
    ///   - host: a name or an address of this machine.
    ///   - port: 0 for any free one.
    ///   - http1: answers what is no gRPC request, by HTTP/1.1 or HTTP/2, on an event loop.
    /// - Throws: what the system said when the address cannot be had.
    public static func bind(
        host: String, port: Int, group: MultiThreadedEventLoopGroup, services: ServiceTable,
        http1: @escaping @Sendable (HTTPExchange) -> Void, configuration: ServerConfiguration = .init(),
        logger: Logger
    ) async throws -> GRPCServer {
        var contexts: [ObjectIdentifier: LoopContext] = [:]
        for eventLoop in group.makeIterator() {
            contexts[ObjectIdentifier(eventLoop)] = LoopContext(
                eventLoop: eventLoop, meter: services.meter?.makeLoop())
        }
        let loops = contexts
        let connections = ConnectionCount(limit: configuration.maxConnections)
        let methods = MethodTable(services)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: configuration.reusesPort ? 1 : 0)
            .serverChannelOption(.maxMessagesPerRead, value: 32)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .writeBufferWaterMark, value: ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: 256 << 10)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let loop = loops[ObjectIdentifier(channel.eventLoop)], connections.add() else {
                        services.meter?.refused(by: .connections)
                        logger.warning(
                            "connection refused: too many are open", metadata: ["open": "\(connections.open)"])
                        throw ChannelError.eof
                    }
                    services.meter?.connectionsOpened.add()
                    channel.closeFuture.whenComplete { _ in
                        connections.remove()
                        services.meter?.connectionsClosed.add()
                    }
                    var own = configuration
                    try configuration.prepareConnection?(channel, &own)
                    try addChooser(channel, loop, own, methods, http1)
                }
            }
            .bind(host: host, port: port).get()
        return GRPCServer(channel: channel, loops: loops, connections: connections)
    }

    static func addChooser(
        _ channel: any Channel, _ loop: LoopContext, _ configuration: ServerConfiguration, _ methods: MethodTable,
        _ http1: @escaping @Sendable (HTTPExchange) -> Void
    ) throws {
        let chooser = ProtocolChooser(
            loop: loop, timeout: configuration.handshakeTimeout, peer: configuration.peer,
            addHTTP2: { channel in
                try channel.pipeline.syncOperations.addHandler(
                    ServerConnection(
                        loop: loop, configuration: configuration, methods: methods, plainHandler: http1))
            },
            addHTTP1: { channel in
                try channel.pipeline.syncOperations.addHandlers([
                    HTTPResponseEncoder(),
                    // What came with a WebSocket's handshake goes on to the WebSocket's handlers.
                    ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes)),
                    HTTP1Responder(loop: loop, configuration: configuration, handler: http1),
                ])
            })
        try channel.pipeline.syncOperations.addHandler(chooser)
    }

    /// Takes no new connection or call, lets calls finish, then closes.
    ///
    /// - Parameter deadline: when calls that are still open are cancelled; nil waits for them all.
    public func shutdownGracefully(deadline: NIODeadline? = nil) async {
        try? await channel.close()  // Fails only when it is closed already.
        let abort = deadline.map { deadline in
            loops.values.map { loop in loop.eventLoop.scheduleTask(deadline: deadline) { loop.abort() } }
        }
        // All loops begin at once; none waits for the calls of another.
        let drained = loops.values.map { loop in loop.eventLoop.flatSubmit { loop.drain() } }
        for loop in drained {
            try? await loop.get()  // A connection's end is not an error here.
        }
        for task in abort ?? [] { task.cancel() }
    }
}

/// Counts a server's open connections against their bound.
private final class ConnectionCount: Sendable {
    private let count = Atomic<Int>(0)
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var open: Int { count.load(ordering: .relaxed) }

    func add() -> Bool {
        guard count.add(1, ordering: .relaxed).newValue <= limit else {
            remove()
            return false
        }
        return true
    }

    func remove() { count.subtract(1, ordering: .relaxed) }
}
