import NIOCore

/// A client's streaming call for async callers. Usable from any task; one task reads at a time.
public struct ClientStream: Sendable, AsyncSequence {
    private let call: ClientCall
    private let mailbox: AsyncMailbox

    fileprivate init(call: ClientCall, mailbox: AsyncMailbox) {
        self.call = call
        self.mailbox = mailbox
    }

    /// Sends one message; returns when there is room for another.
    ///
    /// - Throws: `cancelled` when the call is over; `next` tells why.
    public func send(_ message: [UInt8]) async throws(GRPCStatus) {
        let failure: GRPCStatus? = await withCheckedContinuation { continuation in
            call.eventLoop.execute {
                call.send(message)
                if !call.isActive {
                    continuation.resume(returning: GRPCStatus(.cancelled, "the call is over"))
                } else if call.hasRoom {
                    continuation.resume(returning: nil)
                } else {
                    mailbox.waitForRoom(continuation)
                }
            }
        }
        if let failure { throw failure }
    }

    /// Queues one message whatever the room: for a caller that bounds by itself what it has on the way.
    public func post(_ message: [UInt8]) { call.eventLoop.execute { call.send(message) } }

    /// The request is complete.
    public func finishSending() { call.eventLoop.execute { call.finishSending() } }

    /// Gives the call up.
    public func cancel() { call.cancel() }

    /// The next response message, nil after success.
    ///
    /// - Throws: the call's status when it is not success; `cancelled` when the task is cancelled, and the call with it.
    public func next() async throws(GRPCStatus) -> [UInt8]? {
        do throws(GRPCStatus) {
            return try await mailbox.next()
        } catch {
            call.cancel()
            throw error
        }
    }

    /// Iterates over the response messages.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let stream: ClientStream

        /// The next response message.
        public mutating func next() async throws -> [UInt8]? { try await stream.next() }
    }

    /// An iterator over the response messages. All iterators of one call share them.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: self) }
}

extension GRPCClient {
    /// Calls a method with one message each way. Cancelling the task cancels the call.
    ///
    /// - Throws: the status when it is not success.
    public func unary(
        _ path: String, _ request: [UInt8], options: ClientCall.Options = .init()
    ) async throws(GRPCStatus) -> [UInt8] {
        let cancellation = CallCancellation(eventLoop: eventLoop)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute {
                    cancellation.adopt(
                        self.unary(path, request, options: options) { continuation.resume(returning: $0) })
                }
            }
        } onCancel: {
            cancellation.cancel()
        }
        return try result.get()
    }

    /// Starts a streaming call.
    public func stream(_ path: String, options: ClientCall.Options = .init()) async -> ClientStream {
        await withCheckedContinuation { continuation in
            eventLoop.execute {
                let mailbox = AsyncMailbox(eventLoop: self.eventLoop)
                let call = self.start(path, options: options) { call in
                    mailbox.setPaused = { [weak call] isPaused in call?.isReadingPaused = isPaused }
                    call.onMessage = { mailbox.push($0) }
                    call.onRoom = { mailbox.roomIsFree() }
                    call.onEnd = { status in
                        if status.code == .ok { mailbox.finish() }
                        mailbox.fail(status)
                    }
                }
                continuation.resume(returning: ClientStream(call: call, mailbox: mailbox))
            }
        }
    }
}

/// Cancels a call that may not have started yet.
final class CallCancellation: @unchecked Sendable {
    // Sendable: both members are touched on `eventLoop` alone.
    private let eventLoop: any EventLoop
    private var call: ClientCall?
    private var isCancelled = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func adopt(_ call: ClientCall) {
        self.call = call
        if isCancelled { call.cancel() }
    }

    func cancel() {
        eventLoop.execute {
            self.isCancelled = true
            self.call?.cancel()
        }
    }
}
