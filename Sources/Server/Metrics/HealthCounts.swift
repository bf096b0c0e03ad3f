import Synchronization

/// What health checks over HTTP came to.
///
/// Any thread. Bounded: a check is counted under the name it has in this server, never under one a client chose.
final class HealthCounts: Sendable {
    /// One of the checks of `/livez` or `/readyz`.
    struct Check: Hashable, Sendable {
        /// `livez` or `readyz`.
        let type: String
        /// Such as `serializable_read`.
        let name: String
    }

    /// How a check went so far.
    struct Outcome: Sendable {
        var successes = 0
        var failures = 0
        var wasSuccess = false
    }

    private struct State {
        var successes = 0
        var failures = 0
        var checks: [Check: Outcome] = [:]
    }

    private let state = Mutex(State())

    /// `/health` was asked.
    func answered(isHealthy: Bool) {
        state.withLock { state in
            if isHealthy { state.successes += 1 } else { state.failures += 1 }
        }
    }

    /// One check was made.
    func checked(_ type: String, _ name: String, isSuccess: Bool) {
        state.withLock { state in
            var outcome = state.checks[Check(type: type, name: name), default: Outcome()]
            if isSuccess { outcome.successes += 1 } else { outcome.failures += 1 }
            outcome.wasSuccess = isSuccess
            state.checks[Check(type: type, name: name)] = outcome
        }
    }

    /// Answers of `/health` that said healthy, and others.
    var answers: (healthy: Int, unhealthy: Int) { state.withLock { ($0.successes, $0.failures) } }

    /// The checks there were, in order.
    var checks: [(check: Check, outcome: Outcome)] {
        state.withLock { $0.checks.map { (check: $0.key, outcome: $0.value) } }
            .sorted { ($0.check.type, $0.check.name) < ($1.check.type, $1.check.name) }
    }
}
