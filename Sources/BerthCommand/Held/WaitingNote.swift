import Berth
import CommandText

/// Tells a person who waits in line for whom.
enum WaitingNote {
    /// Runs something that waits for a lock; when it takes a while and a person looks on, says so once.
    static func beside<Value: Sendable>(
        _ client: BerthClient, _ name: String, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard Output.isErrorTerminal else { return try await body() }
        let note = Task {
            try await Task.sleep(for: .seconds(1))
            guard let first = try await client.locks.inspect(name, limit: 1).places.first else { return }
            Output.complain("waiting for \(name), held by \(LockText.who(first)) with token \(first.token)")
        }
        defer { note.cancel() }
        return try await body()
    }
}
