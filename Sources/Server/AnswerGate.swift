import DequeModule
import GRPCTransport

/// Bounds the large answers an event loop has in the making: those whose size the request does not tell (previous
/// values, transactions, long ranges). A client that does not read its answers gets no further ones made, and holds
/// back nobody else.
///
/// What waits here is requests, which the transport bounds.
///
/// Isolation: its event loop.
final class AnswerGate {
    /// Answers in the making at once on one loop.
    private static let limit = 128

    private var running = 0
    private var waiting = Deque<(call: ServerCall, start: () -> Void)>()

    /// Calls `start` now or later, unless the call ends first. Each start is followed by one `finished`.
    func admit(_ call: ServerCall, _ start: @escaping () -> Void) {
        guard call.isActive else { return }
        guard call.hasRoom else {
            call.onRoom = {
                call.onRoom = nil
                self.admit(call, start)
            }
            return
        }
        guard running < Self.limit else { return waiting.append((call, start)) }
        running += 1
        start()
    }

    /// An answer that was started is made, or will not be.
    func finished() {
        running -= 1
        while running < Self.limit, let next = waiting.popFirst() { admit(next.call, next.start) }
    }
}
