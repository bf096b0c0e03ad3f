import Synchronization
import Vocabulary

/// A number that only grows. Any thread.
final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    func add(_ amount: Int = 1) { count.wrappingAdd(amount, ordering: .relaxed) }

    var value: Double { Double(count.load(ordering: .relaxed)) }
}

/// Durations counted by their length. For what happens a few times a second at most: each takes a mutex.
final class DurationHistogram: Sendable {
    private struct State {
        var counts: [Int]
        var count = 0
        var sum = Duration.zero
    }

    /// Upper bounds in seconds.
    private let bounds: [Double]
    private let state: Mutex<State>

    init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count)))
    }

    func observe(_ duration: Duration) {
        let seconds = duration / .seconds(1)
        state.withLock { state in
            if let bucket = bounds.firstIndex(where: { seconds <= $0 }) { state.counts[bucket] += 1 }
            state.count += 1
            state.sum += duration
        }
    }

    var count: Double { state.withLock { Double($0.count) } }

    /// Buckets as Prometheus has them, each with all that are shorter too.
    var samples: [MetricSample] {
        let state = state.withLock { $0 }
        var below = 0
        var samples: [MetricSample] = []
        for (bound, count) in zip(bounds, state.counts) {
            below += count
            samples.append(
                MetricSample(Double(below), suffix: "_bucket", labels: [("le", MetricText.number(bound))]))
        }
        samples.append(MetricSample(Double(state.count), suffix: "_bucket", labels: [("le", "+Inf")]))
        samples.append(MetricSample(state.sum / .seconds(1), suffix: "_sum"))
        samples.append(MetricSample(Double(state.count), suffix: "_count"))
        return samples
    }
}

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
