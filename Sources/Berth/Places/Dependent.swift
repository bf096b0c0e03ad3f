/// How a body ended that depended on something.
struct DependentOutcome<Value: Sendable>: Sendable {
    var result: Result<Value, any Error>
    /// What it depended on was lost before it ended.
    var wasLost: Bool
}

/// Runs `body` in a child task, cancels it when `loss` returns true first, and waits for its end in any case. `loss`
/// must return when its task is cancelled, with false if nothing is lost.
func dependent<Value: Sendable>(
    on loss: @escaping @Sendable () async -> Bool, body: @escaping @Sendable () async throws -> Value
) async -> DependentOutcome<Value> {
    await withTaskGroup(of: DependentEvent<Value>.self) { group in
        group.addTask {
            do { return .ended(.success(try await body())) } catch { return .ended(.failure(error)) }
        }
        group.addTask { .loss(await loss()) }
        var wasLost = false
        while let event = await group.next() {
            switch event {
            case .ended(let result):
                group.cancelAll()
                return DependentOutcome(result: result, wasLost: wasLost)
            case .loss(let isLost):
                wasLost = isLost
                if isLost { group.cancelAll() }
            }
        }
        return DependentOutcome(result: .failure(BerthError.cancelled), wasLost: wasLost)
    }
}

private enum DependentEvent<Value: Sendable>: Sendable {
    case ended(Result<Value, any Error>)
    case loss(Bool)
}
