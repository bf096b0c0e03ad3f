public import Vocabulary

/// How often wrong passwords may be tried for one name: `burst` at once, then one for each `interval`. A right password
/// costs nothing. Names nobody has are counted like others, so that this tells no names.
///
/// Attempts that were let in together all count when they turn out wrong: what is below zero must be made up for before
/// the next is let in, so that the mean stays what it should be.
///
/// Isolation: none of its own; its owner holds it under a lock and hands it the time.
public struct AttemptLimit: Sendable {
    private struct Account {
        /// Wrong attempts that are free at `since`; grows by one for each interval, up to the burst.
        var credit: Int
        var since: MonotonicInstant
    }

    /// Names remembered. Beyond, the one with the most credit is forgotten.
    public static let maximumNames = 10_000

    private let burst: Int
    private let interval: Duration
    private let maximumNames: Int
    private var accounts: [[UInt8]: Account] = [:]

    /// The usual values: ten at once, then one a second.
    public init(burst: Int = 10, interval: Duration = .seconds(1), maximumNames: Int = Self.maximumNames) {
        precondition(burst > 0 && interval > .zero && maximumNames > 0, "something must be let in, and not all")
        self.burst = burst
        self.interval = interval
        self.maximumNames = maximumNames
    }

    /// Names remembered.
    public var count: Int { accounts.count }

    /// Whether an attempt for a name may be looked at now.
    public mutating func admits(_ name: [UInt8], now: MonotonicInstant) -> Bool {
        settle(name, now)
        return accounts[name].map { $0.credit > 0 } ?? true
    }

    /// A password was wrong.
    public mutating func failed(_ name: [UInt8], now: MonotonicInstant) {
        settle(name, now)
        if accounts[name] == nil, accounts.count >= maximumNames { forgetOne(now) }
        accounts[name, default: Account(credit: burst, since: now)].credit -= 1
    }

    /// Adds what has grown; an account that is whole again is forgotten.
    private mutating func settle(_ name: [UInt8], _ now: MonotonicInstant) {
        guard var account = accounts[name] else { return }
        let grown = Int((now - account.since) / interval)
        guard grown > 0 else { return }
        account.credit += grown
        account.since = account.since + interval * grown
        accounts[name] = account.credit >= burst ? nil : account
    }

    private mutating func forgetOne(_ now: MonotonicInstant) {
        let name = accounts.max { a, b in
            a.value.credit + Int((now - a.value.since) / interval)
                < b.value.credit + Int((now - b.value.since) / interval)
        }?.key
        if let name { accounts[name] = nil }
    }
}
