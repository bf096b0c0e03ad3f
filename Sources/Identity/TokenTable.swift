public import Vocabulary

/// The simple tokens that are good: whose each is, and until when. Each use gives a token its whole time again.
///
/// Knows tokens by number and digest alone. Bounds: `maximumOfUser` and `maximum`; at either the one that would end first
/// ends at once, and its owner logs in again.
///
/// Isolation: none of its own; its owner holds it under a lock and hands it the time.
public struct TokenTable: Sendable {
    private struct Token {
        let user: [UInt8]
        let digest: [UInt8]
        var expiry: MonotonicInstant
    }

    /// Tokens one user may have.
    public static let maximumOfUser = 4_096
    /// Tokens there may be.
    public static let maximum = 65_536

    private let timeToLive: Duration
    private let maximumOfUser: Int
    private let maximum: Int
    private var tokens: [UInt64: Token] = [:]
    private var numbers: [[UInt8]: Set<UInt64>] = [:]
    /// Tokens at which those that have run out are looked for: so that looking costs little for each token made.
    private var nextSweep = 64

    /// - Parameter timeToLive: how long a token lives after its last use.
    public init(timeToLive: Duration, maximumOfUser: Int = Self.maximumOfUser, maximum: Int = Self.maximum) {
        precondition(timeToLive > .zero, "a token lives for a while")
        self.timeToLive = timeToLive
        self.maximumOfUser = maximumOfUser
        self.maximum = maximum
    }

    /// How many are kept, those that have run out and were not looked at since included.
    public var count: Int { tokens.count }

    /// A user logged in.
    public mutating func add(_ number: UInt64, user: [UInt8], digest: [UInt8], now: MonotonicInstant) {
        if tokens.count >= nextSweep {
            for (number, token) in tokens where token.expiry <= now { remove(number) }
            nextSweep = max(64, 2 * tokens.count)
        }
        if let mine = numbers[user], mine.count >= maximumOfUser { removeFirstToEnd(of: Array(mine)) }
        if tokens.count >= maximum { removeFirstToEnd(of: Array(tokens.keys)) }
        tokens[number] = Token(user: user, digest: digest, expiry: now + timeToLive)
        numbers[user, default: []].insert(number)
    }

    /// Whose token this is; nil when it is nobody's, or its time is up. Its time begins anew.
    public mutating func use(_ number: UInt64, digest: [UInt8], now: MonotonicInstant) -> [UInt8]? {
        guard let token = tokens[number] else { return nil }
        guard token.expiry > now else {
            remove(number)
            return nil
        }
        var difference = digest.count == token.digest.count ? UInt8(0) : 1
        for (a, b) in zip(digest, token.digest) { difference |= a ^ b }
        guard difference == 0 else { return nil }
        tokens[number]?.expiry = now + timeToLive
        return token.user
    }

    /// Ends all tokens of a user.
    public mutating func end(user: [UInt8]) {
        for number in numbers.removeValue(forKey: user) ?? [] { tokens[number] = nil }
    }

    /// Ends all tokens.
    public mutating func endAll() {
        tokens = [:]
        numbers = [:]
    }

    private mutating func remove(_ number: UInt64) {
        guard let token = tokens.removeValue(forKey: number) else { return }
        numbers[token.user]?.remove(number)
        if numbers[token.user]?.isEmpty == true { numbers[token.user] = nil }
    }

    private mutating func removeFirstToEnd(of candidates: [UInt64]) {
        let known = candidates.compactMap { number in tokens[number].map { (expiry: $0.expiry, number: number) } }
        if let first = known.min(by: { ($0.expiry, $0.number) < ($1.expiry, $1.number) }) { remove(first.number) }
    }
}
