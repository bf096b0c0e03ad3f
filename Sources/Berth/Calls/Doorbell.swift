import NIOCore
import NIOPosix
import Synchronization

/// Wakes the one task that waits: when someone rings, when the time it named comes, or when it is cancelled. A ring
/// that nobody waits for is kept for the next wait.
final class Doorbell: Sendable {
    private enum State {
        case quiet
        case rung
        case waited(CheckedContinuation<Void, Never>)
    }
    private let state = Mutex(State.quiet)

    /// Wakes who waits, or who waits next.
    func ring() {
        let waiter: CheckedContinuation<Void, Never>? = state.withLock { state in
            switch state {
            case .quiet, .rung:
                state = .rung
                return nil
            case .waited(let waiter):
                state = .quiet
                return waiter
            }
        }
        waiter?.resume()
    }

    /// Returns when rung, at `instant`, or when the task is cancelled; now and then without a reason.
    func wait(until instant: ContinuousClock.Instant?) async {
        let timer = instant.map { instant in
            MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: TimeAmount(instant - .now)) { self.ring() }
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isNow: Bool = state.withLock { state in
                    if case .quiet = state, !Task.isCancelled {
                        state = .waited(continuation)
                        return false
                    }
                    state = .quiet
                    return true
                }
                if isNow { continuation.resume() }
            }
        } onCancel: {
            ring()
        }
        timer?.cancel()
    }
}
