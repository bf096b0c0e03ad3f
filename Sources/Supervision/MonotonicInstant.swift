#if canImport(Glibc)
    import Glibc
#endif

/// A point in time since the machine started, its sleep included. The same in all processes of a machine, so one can be
/// handed to another.
public struct MonotonicInstant: Sendable, Hashable, Comparable {
    /// Time since the machine started.
    public let sinceBoot: Duration

    /// A point in time, for tests and decoders.
    public init(sinceBoot: Duration) { self.sinceBoot = sinceBoot }

    /// Now.
    public static var now: MonotonicInstant {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)  // Fails only for clocks the kernel does not know.
        return MonotonicInstant(sinceBoot: .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec))
    }

    /// In order of time.
    public static func < (a: Self, b: Self) -> Bool { a.sinceBoot < b.sinceBoot }
    /// Later.
    public static func + (a: Self, b: Duration) -> Self { Self(sinceBoot: a.sinceBoot + b) }
    /// Earlier.
    public static func - (a: Self, b: Duration) -> Self { Self(sinceBoot: a.sinceBoot - b) }
    /// Time between two points.
    public static func - (a: Self, b: Self) -> Duration { a.sinceBoot - b.sinceBoot }
}
