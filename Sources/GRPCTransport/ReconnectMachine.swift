package import NIOCore

/// Decides when a client connects, and what becomes of a call meanwhile. Pure: no socket, no clock, no randomness.
package struct ReconnectMachine: Sendable {
    /// Where the connection stands.
    package enum State: Equatable, Sendable {
        /// No connection and nobody waiting. To `connecting` by a call.
        case idle
        /// To `ready` when the server's settings are there, to `backingOff` when it failed.
        case connecting
        /// To `idle` when the connection ends or will take no more calls.
        case ready
        /// To `idle` or `connecting` when the time is over.
        case backingOff
        /// For good.
        case closed
    }

    /// What to do with a call that starts.
    package enum CallAction: Equatable, Sendable {
        case send
        case queue
        case queueAndConnect
        case failUnavailable
        case failClosed
    }

    /// The present state.
    package private(set) var state = State.idle
    private var failures = 0
    private let initialBackOff: TimeAmount
    private let maxBackOff: TimeAmount

    /// An idle machine.
    package init(initialBackOff: TimeAmount, maxBackOff: TimeAmount) {
        self.initialBackOff = initialBackOff
        self.maxBackOff = maxBackOff
    }

    /// A call starts. One that does not wait fails while the last attempt to connect was a failure.
    package mutating func callStarted(waits: Bool) -> CallAction {
        switch state {
        case .idle:
            state = .connecting
            return .queueAndConnect
        case .connecting: return .queue
        case .ready: return .send
        case .backingOff: return waits ? .queue : .failUnavailable
        case .closed: return .failClosed
        }
    }

    /// The server greeted. False: the connection is not wanted any more.
    package mutating func connected() -> Bool {
        guard state == .connecting else { return false }
        state = .ready
        failures = 0
        return true
    }

    /// The attempt failed; the answer is how long to wait, nil when nobody tries any more.
    ///
    /// - Parameter jitter: 0 to 1, spreads the clients of a server that comes back.
    package mutating func connectFailed(jitter: Double) -> TimeAmount? {
        guard state == .connecting else { return nil }
        state = .backingOff
        var delay = Double(initialBackOff.nanoseconds)
        for _ in 0..<min(failures, 64) where delay < Double(maxBackOff.nanoseconds) { delay *= 1.6 }
        failures += 1
        delay = min(delay, Double(maxBackOff.nanoseconds)) * (0.8 + 0.4 * jitter)
        return .nanoseconds(Int64(delay))
    }

    /// The wait is over. True: connect now.
    package mutating func backOffElapsed(hasWaitingCalls: Bool) -> Bool {
        guard state == .backingOff else { return false }
        state = hasWaitingCalls ? .connecting : .idle
        return hasWaitingCalls
    }

    /// The connection takes no more calls.
    package mutating func connectionEnded() {
        if state == .ready { state = .idle }
    }

    /// The client is closed.
    package mutating func close() { state = .closed }
}
