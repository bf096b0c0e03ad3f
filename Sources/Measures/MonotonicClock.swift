#if canImport(Glibc)
    import Glibc
#endif

/// The monotonic clock as a plain number: for durations taken with every entry, where a `Duration` is too wide.
public enum MonotonicClock {
    /// Nanoseconds since some moment before the process began; never zero.
    public static var nanoseconds: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec &* 1_000_000_000 &+ time.tv_nsec
    }
}
