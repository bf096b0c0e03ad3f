import NIOCore

/// What carries a `ServerCall` in place of a gRPC stream: the other side of everything its handler does. On the call's
/// event loop.
package protocol CallCarrier: AnyObject {
    /// The HTTP exchange it answers.
    var exchange: HTTPExchange { get }
    /// One response message.
    func send(_ message: [UInt8])
    /// The call is over. Comes once, unless the call was cancelled.
    func finish(_ status: GRPCStatus)
    /// Whether the handler should go on; after a false, `ServerCall.roomIsFree()` is to follow.
    var hasRoom: Bool { get }
    /// Response bytes not yet handed to the socket.
    var queuedBytes: Int { get }
    /// The handler takes messages again.
    func readingResumed()
}

extension ServerCall {
    /// The loop whose shutdown waits for the call.
    var loop: LoopContext? { connection?.loop ?? carrierLoop }

    // MARK: For the carrier

    /// Starts a method that takes one message. `request` is valid during the call.
    package func begin(unary request: UnsafeRawBufferPointer) {
        guard case .unary(let handler) = calledMethod?.kind else { return }
        tally = CallTally(self.request, isUnary: true, loop?.meter)
        tally?.received(bytes: request.count)
        handler(self, request)
    }

    /// Starts a method with a stream of requests, answers or both.
    package func beginStreaming() {
        guard case .streaming(_, let handler) = calledMethod?.kind else { return }
        tally = CallTally(request, isUnary: false, loop?.meter)
        handler(self)
    }

    /// Hands one request message to a streaming handler.
    package func receive(_ message: [UInt8]) {
        guard isActive else { return }
        tally?.received(bytes: message.count)
        deliver(message)
    }

    /// The client will send no more.
    package func receiveEnd() {
        guard isActive else { return }
        isRemoteClosed = true
        remoteClosed()
    }

    /// There is room again.
    package func carrierHasRoom() { roomIsFree() }

    /// Ends the call from outside.
    package func carrierEnded(_ reason: CancelReason) { cancel(reason) }

    private var calledMethod: ServerMethod? { request.method }
}
