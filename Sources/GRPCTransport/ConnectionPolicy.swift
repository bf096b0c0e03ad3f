import CNghttp2
package import NIOCore

/// Counts what a peer may do for free, and says when it is too much. Pure: the caller passes the time.
package struct ConnectionPolicy {
    package var resets: TokenBucket
    package var idleFrames: TokenBucket
    /// The server sent headers or data since the last ping: then a ping is fair, as clients measure with them.
    package var hasAnswered = false
    package var hasShakenHands = false
    /// Data frames sent, each of which excuses a ping: clients measure with one a frame, and what was sent at once may be
    /// answered one by one, long after.
    private var excusedPings = 0
    /// At most so many are remembered: a window of 16 MiB in frames of 16 KiB.
    private static let maxExcusedPings = 1_024
    private var pingStrikes = 0
    private var lastPing: NIODeadline?
    private let configuration: ServerConfiguration

    /// CONTINUATION frames in a row, whatever they hold; a header list within bounds needs no more.
    package static let maxContinuations = 6
    /// Without a call pings must be this far apart, unless the configuration permits them.
    private static let minIdlePingInterval = TimeAmount.hours(2)

    package init(_ configuration: ServerConfiguration, now: NIODeadline) {
        self.configuration = configuration
        self.resets = TokenBucket(
            burst: configuration.rapidResets.burst, perSecond: configuration.rapidResets.perSecond, now: now)
        self.idleFrames = TokenBucket(
            burst: configuration.idleFrames.burst, perSecond: configuration.idleFrames.perSecond, now: now)
    }

    /// A data frame left.
    package mutating func sentData() { excusedPings = min(excusedPings + 1, Self.maxExcusedPings) }

    /// Judges one ping.
    package mutating func isPingTooMany(hasCalls: Bool, now: NIODeadline) -> Bool {
        defer { lastPing = now }
        if hasAnswered || excusedPings > 0 {
            hasAnswered = false
            excusedPings = max(0, excusedPings - 1)
            pingStrikes = 0
            return false
        }
        let interval =
            hasCalls || configuration.permitsPingsWithoutCalls
            ? configuration.minPingInterval : Self.minIdlePingInterval
        if let lastPing, now - lastPing < interval { pingStrikes += 1 }
        return pingStrikes > configuration.maxPingStrikes
    }

    /// Whether a frame does no work: settings, priorities, empty data that ends nothing.
    package func isIdleFrame(type: UInt8, length: Int, flags: UInt8) -> Bool {
        switch UInt32(type) {
        case NGHTTP2_SETTINGS.rawValue: flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0
        case NGHTTP2_DATA.rawValue: length == 0 && flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) == 0
        case NGHTTP2_PRIORITY.rawValue: true
        default: false
        }
    }
}
