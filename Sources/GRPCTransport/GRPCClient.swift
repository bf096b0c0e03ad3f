import DequeModule
public import NIOCore
import NIOPosix

/// Calls the methods of one server over one connection, which it makes when it is first needed, makes again after a
/// loss with growing waits between failed attempts, and replaces when the server says GOAWAY.
public final class GRPCClient: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone, which each method checks or hops to.

    /// Where everything happens.
    public let eventLoop: any EventLoop
    private let host: String
    private let port: Int
    private let configuration: ClientConfiguration
    private let loop: LoopContext
    private var machine: ReconnectMachine
    private var connection: ClientConnection?
    private var waiting = Deque<ClientCall>()
    private var lastFailure = ""
    private var channels: [ObjectIdentifier: any Channel] = [:]

    /// A client of the server at `host` and `port`; does not connect yet.
    public init(host: String, port: Int, eventLoop: any EventLoop, configuration: ClientConfiguration = .init()) {
        self.host = host
        self.port = port
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.loop = LoopContext(eventLoop: eventLoop)
        self.machine = ReconnectMachine(
            initialBackOff: configuration.initialBackOff, maxBackOff: configuration.maxBackOff)
    }

    /// Makes a call and starts it, on the client's event loop.
    ///
    /// - Parameter prepare: sets the call's callbacks, and may queue messages already.
    @discardableResult
    public func start(
        _ path: String, options: ClientCall.Options = .init(), _ prepare: (ClientCall) -> Void
    ) -> ClientCall {
        eventLoop.preconditionInEventLoop()
        let call = ClientCall(eventLoop: eventLoop, path: path, options: options, configuration: configuration)
        prepare(call)
        guard call.isActive else { return call }
        if let deadline = options.deadline {
            call.deadlineTask = eventLoop.scheduleTask(deadline: deadline) {
                call.abandon(GRPCStatus(.deadlineExceeded, "the call's deadline passed"))
            }
        }
        begin(call)
        return call
    }

    /// Starts a call with one message each way, on the client's event loop. The callback comes exactly once.
    @discardableResult
    public func unary(
        _ path: String, _ request: [UInt8], options: ClientCall.Options = .init(),
        _ done: @escaping (Result<[UInt8], GRPCStatus>) -> Void
    ) -> ClientCall {
        start(path, options: options) { call in
            var response: [UInt8]?
            var count = 0
            call.onMessage = { message in
                response = message
                count += 1
            }
            call.onEnd = { status in
                switch (status.code, response, count) {
                case (.ok, let response?, 1): done(.success(response))
                case (.ok, _, _): done(.failure(GRPCStatus(.internal, "\(count) messages answer a unary call")))
                default: done(.failure(status))
                }
            }
            call.send(request)
            call.finishSending()
        }
    }

    /// Ends open calls and closes the connection.
    public func close() async {
        let closed = eventLoop.flatSubmit {
            self.machine.close()
            let waiting = self.waiting
            self.waiting = []
            for call in waiting { call.end(GRPCStatus(.cancelled, "the client was closed")) }
            self.connection?.close()
            let channels = Array(self.channels.values)
            for channel in channels { channel.close(promise: nil) }
            return EventLoopFuture.andAllComplete(channels.map(\.closeFuture), on: self.eventLoop)
        }
        try? await closed.get()  // Never fails.
    }

    // MARK: On the event loop

    private func begin(_ call: ClientCall) {
        switch machine.callStarted(waits: call.options.waitsForReady) {
        case .send: connection?.start(call)
        case .queue: wait(call)
        case .queueAndConnect:
            wait(call)
            connect()
        case .failUnavailable: call.end(GRPCStatus(.unavailable, "no connection to \(host):\(port): \(lastFailure)"))
        case .failClosed: call.end(GRPCStatus(.cancelled, "the client was closed"))
        }
    }

    private func wait(_ call: ClientCall) {
        guard waiting.count < configuration.maxWaitingCalls else {
            return call.end(GRPCStatus(.resourceExhausted, "too many calls wait for a connection"))
        }
        waiting.append(call)
    }

    private func connect() {
        let greeting = eventLoop.makePromise(of: NIOLoopBound<ClientConnection>.self)
        let (loop, configuration, authority) = (loop, configuration, "\(host):\(port)")
        // A name may have several addresses: each attempt is a channel of its own, and the first that connects is kept.
        let connecting = ClientBootstrap(group: eventLoop)
            .connectTimeout(configuration.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try configuration.prepareConnection?(channel)
                    try channel.pipeline.syncOperations.addHandler(
                        ClientConnection(loop: loop, configuration: configuration, authority: authority))
                }
            }
            .connect(host: host, port: port)
        let timeout = eventLoop.scheduleTask(in: configuration.connectTimeout) {
            greeting.fail(GRPCStatus(.unavailable, "the server did not greet in time"))
        }
        connecting.whenComplete { result in
            switch result {
            case .success(let channel):
                self.track(channel)
                self.awaitGreeting(on: channel, greeting)
            case .failure(let error): greeting.fail(error)
            }
        }
        greeting.futureResult.whenComplete { result in
            timeout.cancel()
            switch result {
            case .success(let connection) where self.machine.connected(): self.ready(connection.value)
            case .success(let connection): connection.value.close()
            case .failure(let error):
                connecting.whenSuccess { $0.close(promise: nil) }
                self.connectFailed("\(error)")
            }
        }
    }

    private func awaitGreeting(on channel: any Channel, _ greeting: EventLoopPromise<NIOLoopBound<ClientConnection>>) {
        guard let connection = try? channel.pipeline.syncOperations.handler(type: ClientConnection.self) else {
            // Closed already, and its handlers with it.
            return greeting.fail(GRPCStatus(.unavailable, "the server closed the connection"))
        }
        connection.onRepeat = { [weak self] call in
            guard let self else { return call.end(GRPCStatus(.unavailable, "the server refused the stream")) }
            self.begin(call)
        }
        connection.watch(
            onReady: { [eventLoop] in greeting.succeed(NIOLoopBound($0, eventLoop: eventLoop)) },
            onNoMoreCalls: { [weak self] connection in
                greeting.fail(connection.failure ?? GRPCStatus(.unavailable, "the server closed the connection"))
                guard let self, self.connection === connection else { return }
                self.connection = nil
                self.machine.connectionEnded()
            })
    }

    private func track(_ channel: any Channel) {
        channels[ObjectIdentifier(channel)] = channel
        channel.closeFuture.whenComplete { _ in self.channels[ObjectIdentifier(channel)] = nil }
        if machine.state == .closed { channel.close(promise: nil) }
    }

    private func ready(_ connection: ClientConnection) {
        self.connection = connection
        let waiting = self.waiting
        self.waiting = []
        for call in waiting where call.isActive { connection.start(call) }
    }

    private func connectFailed(_ reason: String) {
        lastFailure = reason
        guard let delay = machine.connectFailed(jitter: Double.random(in: 0...1)) else { return }
        let failed = waiting.filter { !$0.options.waitsForReady }
        waiting.removeAll { !$0.options.waitsForReady }
        for call in failed { call.end(GRPCStatus(.unavailable, "no connection to \(host):\(port): \(reason)")) }
        eventLoop.scheduleTask(in: delay) {
            self.waiting.removeAll { !$0.isActive }
            if self.machine.backOffElapsed(hasWaitingCalls: !self.waiting.isEmpty) { self.connect() }
        }
    }
}
