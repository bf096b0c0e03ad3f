public import NIOCore

/// A server's call as an async handler sees it. Usable from any task; one task reads at a time.
public struct ServerStream: Sendable {
    private let call: ServerCall
    private let mailbox: AsyncMailbox
    private let metadata: MetadataBlock
    /// When the client gives up.
    public let deadline: NIODeadline?

    init(call: ServerCall, mailbox: AsyncMailbox) {
        self.call = call
        self.mailbox = mailbox
        self.metadata = call.request.metadata
        self.deadline = call.request.deadline
    }

    /// The first value of a request header, by its lower-case name.
    public func metadata(_ name: String) -> String? { metadata.value(of: name) }

    /// The next request message, nil when the client will send no more.
    ///
    /// - Throws: `cancelled` when the call or the task was cancelled.
    public func next() async throws(GRPCStatus) -> [UInt8]? { try await mailbox.next() }

    /// Sends one response message; returns when there is room for another.
    ///
    /// - Throws: `cancelled` when the call is over.
    public func send(_ message: [UInt8]) async throws(GRPCStatus) {
        let failure: GRPCStatus? = await withCheckedContinuation { continuation in
            call.eventLoop.execute {
                call.send(message)
                if !call.isActive {
                    continuation.resume(returning: Self.over)
                } else if call.hasRoom {
                    continuation.resume(returning: nil)
                } else {
                    mailbox.waitForRoom(continuation)
                }
            }
        }
        if let failure { throw failure }
    }

    static let over = GRPCStatus(.cancelled, "the call is over")
}

extension ServiceTable {
    /// Adds a unary method whose handler is a task, cancelled with the call. What it throws becomes the status.
    public mutating func asyncUnary(
        _ path: String, _ handler: @escaping @Sendable (ServerStream, [UInt8]) async throws -> [UInt8]
    ) {
        unary(path) { call, request in
            let request = Array(request)
            Self.run(call) { stream in
                let response = try await handler(stream, request)
                return { call.respond(response) }
            }
        }
    }

    /// Adds a streaming method whose handler is a task, cancelled with the call. Its return is success, what it throws
    /// becomes the status.
    public mutating func asyncStreaming(
        _ path: String, _ handler: @escaping @Sendable (ServerStream) async throws -> Void
    ) {
        streaming(path) { call in
            Self.run(call) { stream in
                try await handler(stream)
                return { call.finish() }
            }
        }
    }

    /// Runs a handler's task. The call's cancellation owns it; the loop's shutdown waits for it.
    private static func run(
        _ call: ServerCall, _ body: @escaping @Sendable (ServerStream) async throws -> @Sendable () -> Void
    ) {
        guard let loop = call.loop else { return }
        let mailbox = AsyncMailbox(eventLoop: call.eventLoop)
        mailbox.setPaused = { [weak call] isPaused in call?.isReadingPaused = isPaused }
        call.onMessage = { mailbox.push($0) }
        call.onHalfClose = { mailbox.finish() }
        call.onRoom = { mailbox.roomIsFree() }
        let stream = ServerStream(call: call, mailbox: mailbox)
        loop.taskStarted()
        let task = Task {
            let conclusion: @Sendable () -> Void
            do {
                conclusion = try await body(stream)
            } catch {
                let status = status(for: error)
                conclusion = { call.finish(status) }
            }
            loop.eventLoop.execute {
                conclusion()
                mailbox.fail(ServerStream.over)
                loop.taskEnded()
            }
        }
        call.onCancel = { _ in
            task.cancel()
            mailbox.fail(ServerStream.over)
        }
    }

    private static func status(for error: any Error) -> GRPCStatus {
        switch error {
        case let status as GRPCStatus: status
        case is CancellationError: GRPCStatus(.cancelled, "the handler was cancelled")
        default: GRPCStatus(.unknown, "\(error)")
        }
    }
}
