/// How long before its lease ends a command is told to end, and made to.
public struct LeaseTiming: Sendable, Equatable {
    /// From SIGTERM to SIGKILL.
    public var grace: Duration
    /// From SIGKILL to the end of the lease: the kernel and a busy machine take their time.
    public var margin: Duration

    static let notRenewed = "it could not be renewed in time"

    /// Longest grace: renewals come at a third of the time to live, and must have had a chance to be repeated before
    /// SIGTERM is sent.
    public static func longestGrace(for timeToLive: Duration) -> Duration { timeToLive / 2 }

    /// A quarter of the time to live, ten seconds at most.
    public static func defaultGrace(for timeToLive: Duration) -> Duration { min(timeToLive / 4, .seconds(10)) }

    /// Timing for a lease.
    ///
    /// - Parameter grace: nil takes the default; one too long is cut.
    public init(timeToLive: Duration, grace: Duration? = nil) {
        self.grace = min(grace ?? Self.defaultGrace(for: timeToLive), Self.longestGrace(for: timeToLive))
        margin = min(max(timeToLive / 50, .milliseconds(200)), .seconds(1))
    }

    /// The same for the guard, whose turn comes only when the supervisor missed its own.
    public var forGuard: LeaseTiming {
        var timing = self
        timing.margin = margin / 2
        return timing
    }
}
