package import NIOCore

/// Allows a burst, then a steady rate. Decides nothing but yes or no; the caller passes the time.
package struct TokenBucket: Sendable {
    private let burst: Int64
    private let refillInterval: Int64  // nanoseconds for one token
    /// Nanoseconds' worth of tokens left; whole tokens only would lose the remainder at each refill.
    private var credit: Int64
    private var lastRefill: NIODeadline

    /// A full bucket.
    package init(burst: Int, perSecond: Int, now: NIODeadline) {
        precondition(burst > 0 && perSecond > 0, "a bucket that never refills would close every connection in time")
        self.burst = Int64(burst)
        self.refillInterval = 1_000_000_000 / Int64(perSecond)
        self.credit = Int64(burst) * refillInterval
        self.lastRefill = now
    }

    /// Takes one token; false when none is left.
    package mutating func take(now: NIODeadline) -> Bool {
        if credit < refillInterval || now > lastRefill {
            credit = min(credit + max((now - lastRefill).nanoseconds, 0), burst * refillInterval)
            lastRefill = now
        }
        guard credit >= refillInterval else { return false }
        credit -= refillInterval
        return true
    }
}
