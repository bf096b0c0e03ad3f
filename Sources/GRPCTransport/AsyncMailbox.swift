import DequeModule
import NIOCore
import Synchronization

/// Hands what an event loop produces to one waiting task: messages, then an end. Also lets a task wait for room to send.
/// It asks its producer to pause when messages pile up, so it holds about `maxHeld` of them.
final class AsyncMailbox: @unchecked Sendable {
    // Sendable: every mutable member is touched on `eventLoop` alone; tasks hop there.
    typealias Outcome = Result<[UInt8]?, GRPCStatus>

    private let eventLoop: any EventLoop
    /// Called on the loop, to stop and restart the producer.
    var setPaused: ((Bool) -> Void)?
    private var messages = Deque<[UInt8]>()
    private var end: Outcome?
    private var reader: CheckedContinuation<Outcome, Never>?
    private var writers: [CheckedContinuation<GRPCStatus?, Never>] = []
    private var isPaused = false

    private static let maxHeld = 16

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    // MARK: Event loop

    func push(_ message: [UInt8]) {
        guard end == nil else { return }
        if let reader {
            self.reader = nil
            return reader.resume(returning: .success(message))
        }
        messages.append(message)
        if messages.count >= Self.maxHeld, !isPaused {
            isPaused = true
            setPaused?(true)
        }
    }

    /// No more messages: an orderly end, which readers see as nil.
    func finish() { conclude(.success(nil)) }

    /// The call is over: whoever reads gets `status`, unless an orderly end came first; so does who waits for room.
    func fail(_ status: GRPCStatus) {
        conclude(.failure(status))
        roomIsFree(failure: status)
    }

    func roomIsFree(failure: GRPCStatus? = nil) {
        let resumed = writers
        writers = []
        for writer in resumed { writer.resume(returning: failure) }
    }

    /// The caller saw no room: `writer` waits until there is, or the call ends.
    func waitForRoom(_ writer: CheckedContinuation<GRPCStatus?, Never>) { writers.append(writer) }

    private func conclude(_ outcome: Outcome) {
        if end == nil { end = outcome }
        guard let reader, let end else { return }
        self.reader = nil
        reader.resume(returning: end)
    }

    private func read(_ continuation: CheckedContinuation<Outcome, Never>, _ isCancelled: borrowing Atomic<Bool>) {
        if let message = messages.popFirst() {
            continuation.resume(returning: .success(message))
            if messages.isEmpty, isPaused {
                isPaused = false
                setPaused?(false)
            }
        } else if let end {
            continuation.resume(returning: end)
        } else if isCancelled.load(ordering: .relaxed) {
            continuation.resume(returning: .failure(Self.readCancelled))
        } else if reader != nil {
            continuation.resume(returning: .failure(GRPCStatus(.internal, "two tasks read from one stream")))
        } else {
            reader = continuation
        }
    }

    private static let readCancelled = GRPCStatus(.cancelled, "the reading task was cancelled")

    // MARK: Any task

    /// The next message, nil at an orderly end.
    func next() async throws(GRPCStatus) -> [UInt8]? {
        let cancellation = CancellationMark()
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute { self.read(continuation, cancellation.isSet) }
            }
        } onCancel: {
            cancellation.isSet.store(true, ordering: .relaxed)
            eventLoop.execute {
                guard let reader = self.reader else { return }
                self.reader = nil
                reader.resume(returning: .failure(Self.readCancelled))
            }
        }
        return try outcome.get()
    }
}

/// Says that a task was cancelled before its wait had begun on the event loop.
private final class CancellationMark: Sendable {
    let isSet = Atomic<Bool>(false)
}
