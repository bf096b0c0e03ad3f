import Synchronization

/// Tasks that outlive the call that started them, such as giving up a place after a cancellation. Owned by the client,
/// which waits for them, and cancels them, when it is closed.
final class TaskBag: Sendable {
    private struct State {
        var next = 0
        var tasks: [Int: Task<Void, Never>] = [:]
        var isClosed = false
    }
    private let state = Mutex(State())

    /// Starts a task; not any more once the bag is closed.
    func add(_ work: @escaping @Sendable () async -> Void) {
        state.withLock { state in
            guard !state.isClosed else { return }
            let ticket = state.next
            state.next += 1
            state.tasks[ticket] = Task {
                await work()
                self.state.withLock { $0.tasks[ticket] = nil }
            }
        }
    }

    /// Takes no more tasks and waits until all have ended. Each bounds its own time.
    func close() async {
        let tasks = state.withLock { state in
            state.isClosed = true
            return Array(state.tasks.values)
        }
        for task in tasks { await task.value }
    }
}

/// Runs `work` to its end even when the calling task is cancelled; `work` bounds its own time.
func shielded<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) async -> Value {
    await Task { await work() }.value
}
