public import Vocabulary

/// How often wrong passwords may be tried for one name: `burst` at once, then one for each `interval`. A right password
/// costs nothing. Names nobody has are counted like others, so that this tells no names.
///
/// An attempt takes its credit when it is let in, and a right one gives it back: so no more are looked at together than may
/// be wrong, and nobody is ever in debt. Attempts beside those may wait for what they give back.
///
/// Isolation: none of its own; its owner holds it under a lock and hands it the time.
public struct AttemptLimit: Sendable {
    /// What becomes of an attempt.
    public enum Admission: Sendable {
        /// It may be looked at; `succeeded` or `failed` is to follow. One of which nothing is heard has cost its credit.
        case admitted
        /// The credit is with attempts under way, and may come back.
        case occupied
        /// There is none left.
        case refused
    }

    private struct Account {
        /// Wrong attempts that are free at `since`; grows by one for each interval, up to the burst.
        var credit: Int
        var since: MonotonicInstant
        /// Attempts under way.
        var pending = 0
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

    /// Whether an attempt for a name may be looked at now; takes its credit.
    public mutating func admits(_ name: [UInt8], now: MonotonicInstant) -> Admission {
        settle(name, now)
        if accounts[name] == nil, accounts.count >= maximumNames { forgetOne(now) }
        var account = accounts[name] ?? Account(credit: burst, since: now)
        guard account.credit > 0 else { return account.pending > 0 ? .occupied : .refused }
        account.credit -= 1
        account.pending += 1
        accounts[name] = account
        return .admitted
    }

    /// An admitted attempt was wrong: it has cost its credit.
    public mutating func failed(_ name: [UInt8], now: MonotonicInstant) {
        settle(name, now)
        accounts[name].map { accounts[name]?.pending = max(0, $0.pending - 1) }
    }

    /// An admitted attempt was right, or was not looked at after all: its credit comes back.
    public mutating func succeeded(_ name: [UInt8], now: MonotonicInstant) {
        settle(name, now)
        guard var account = accounts[name] else { return }
        account.credit += 1
        account.pending = max(0, account.pending - 1)
        accounts[name] = account.credit >= burst ? nil : account
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
