import Synchronization

/// Something that happens at most once and that any number of tasks may wait for.
final class OneShot<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var nextWaiter = 0
        var waiters: [Int: CheckedContinuation<Value?, Never>] = [:]
        var handlers: [@Sendable (Value) -> Void] = []
    }
    private let state = Mutex(State())

    /// What happened; nil while it has not.
    var value: Value? { state.withLock { $0.value } }

    /// It happens, unless it did before; tells whether this call made it so.
    @discardableResult
    func fire(_ value: Value) -> Bool {
        let before: State? = state.withLock { state in
            guard state.value == nil else { return nil }
            defer {
                state.waiters = [:]
                state.handlers = []
            }
            state.value = value
            return state
        }
        guard let before else { return false }
        for waiter in before.waiters.values { waiter.resume(returning: value) }
        for handler in before.handlers { handler(value) }
        return true
    }

    /// Calls `handler` once when it happens, at once if it has, on whichever task makes it so.
    func whenFired(_ handler: @escaping @Sendable (Value) -> Void) {
        let value = state.withLock { state in
            if state.value == nil { state.handlers.append(handler) }
            return state.value
        }
        if let value { handler(value) }
    }

    /// Returns when it has happened; nil when the waiting task is cancelled first.
    func wait() async -> Value? {
        let ticket = state.withLock { state in
            defer { state.nextWaiter += 1 }
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Value?? = state.withLock { state in
                    if let value = state.value { return .some(value) }
                    // The handler below runs before or after this, never in the middle: both take the lock.
                    if Task.isCancelled { return .some(nil) }
                    state.waiters[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume(returning: nil)
        }
    }
}
