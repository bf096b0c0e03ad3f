import GRPCTransport

/// A stream that ends only when its client, or the server's shutdown, ends it: what all such streams do alike. Subclasses
/// say what they do with messages and what they let go of.
///
/// Isolation: the event loop of its call.
class OpenStream: OpenEndedCall {
    final let call: ServerCall
    final let loop: ServerLoop
    private var hasClosed = false

    init(call: ServerCall) {
        self.call = call
        loop = .here
    }

    /// Begins to take messages.
    final func start() {
        loop.track(self)
        call.onMessage = { self.receive($0) }
        call.onHalfClose = { self.requestsEnded() }
        call.onRoom = { self.roomIsFree() }
        call.onCancel = { _ in self.close() }
    }

    final var endsWithoutLeader: Bool { call.requiresLeader }

    /// Whether the stream is open for answers.
    final var isOpen: Bool { !hasClosed && call.isActive }

    /// Tells the client, and lets go of everything. Nothing is done to a stream that has ended.
    final func end(_ status: GRPCStatus) {
        guard !hasClosed else { return }
        close()
        call.finish(status)
    }

    private func close() {
        guard !hasClosed else { return }
        hasClosed = true
        loop.untrack(self)
        call.onMessage = nil
        call.onHalfClose = nil
        call.onRoom = nil
        call.onCancel = nil
        closed()
    }

    // MARK: For subclasses

    /// A message from the client.
    func receive(_ message: [UInt8]) {}
    /// The client sends nothing more.
    func requestsEnded() {}
    /// There is room for answers again.
    func roomIsFree() {}
    /// The stream ended, whoever ended it: called once.
    func closed() {}
}
