import Synchronization
import Vocabulary

/// How long proposals were held back because the store had no layer with room. The log thread tells when that begins
/// and ends, not in between; anybody reads.
final class ProposalHold: Sendable {
    private struct State {
        var total = Duration.zero
        var since: MonotonicInstant?
    }

    private let state = Mutex(State())

    /// Proposals wait and none is taken, from now on. Harmless when repeated.
    func begin(now: MonotonicInstant) {
        state.withLock { state in
            if state.since == nil { state.since = now }
        }
    }

    /// Proposals are taken again.
    func end(now: MonotonicInstant) {
        state.withLock { state in
            if let since = state.since { state.total += max(.zero, now - since) }
            state.since = nil
        }
    }

    /// Forgets everything: a replay was held back, no proposal.
    func reset() { state.withLock { $0 = State() } }

    /// All of the time, up to now, and whether it still goes on.
    func reading(now: MonotonicInstant) -> (total: Duration, isHeld: Bool) {
        state.withLock { state in
            (state.total + (state.since.map { max(.zero, now - $0) } ?? .zero), state.since != nil)
        }
    }
}
