/// How long a call is made again while no server takes it. Pure: the caller passes the time.
package struct Patience: Sendable {
    package typealias Instant = ContinuousClock.Instant

    private let limit: Duration
    private let deadline: Instant?
    private var outageStart: Instant?
    private var failures = 0
    private let firstPause: Duration
    private static let longestPause = Duration.milliseconds(500)

    /// - Parameters:
    ///   - limit: the longest time without any server.
    ///   - deadline: the end of everything; nil when only `limit` counts, as for calls that wait for hours.
    package init(limit: Duration, deadline: Instant?, firstPause: Duration = .milliseconds(20)) {
        self.limit = limit
        self.deadline = deadline
        self.firstPause = firstPause
    }

    /// An attempt that began at `start` failed at `now`: how long to wait before the next, nil to give up.
    ///
    /// An attempt that stood longer than the limit was a connection lost, not one never had: patience starts anew.
    package mutating func failed(start: Instant, now: Instant) -> Duration? {
        if outageStart == nil || now - start > limit {
            outageStart = now - start > limit ? now : start
            failures = 0
        }
        let began = outageStart ?? start
        let pause = min(firstPause * (1 << min(failures, 10)), Self.longestPause)
        failures += 1
        let next = now + pause
        if next - began > limit { return nil }
        if let deadline, next >= deadline { return nil }
        return pause
    }

    /// Some server answered.
    package mutating func succeeded() {
        outageStart = nil
        failures = 0
    }
}
