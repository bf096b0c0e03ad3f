import DequeModule
import Synchronization

/// Lets one task through at a time, first come, first served.
final class Turnstile: Sendable {
    private struct State {
        var isTaken = false
        var nextTicket = 0
        var line: Deque<(ticket: Int, waiter: CheckedContinuation<Bool, Never>)> = []
    }
    private let state = Mutex(State())

    /// Waits for the turn. False: the task was cancelled first, and has no turn.
    func enter() async -> Bool {
        let ticket = state.withLock { state in
            defer { state.nextTicket += 1 }
            return state.nextTicket
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    if Task.isCancelled { return false }
                    if state.isTaken {
                        state.line.append((ticket, continuation))
                        return nil
                    }
                    state.isTaken = true
                    return true
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter: CheckedContinuation<Bool, Never>? = state.withLock { state in
                guard let position = state.line.firstIndex(where: { $0.ticket == ticket }) else { return nil }
                return state.line.remove(at: position).waiter
            }
            waiter?.resume(returning: false)
        }
    }

    /// Gives the turn to the next in line.
    func leave() {
        let next: CheckedContinuation<Bool, Never>? = state.withLock { state in
            guard let next = state.line.popFirst() else {
                state.isTaken = false
                return nil
            }
            return next.waiter
        }
        next?.resume(returning: true)
    }
}
