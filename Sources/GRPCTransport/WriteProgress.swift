import NIOCore

/// Whether a client goes on taking what was written to it: how far the channel's write buffer sank since it was last
/// looked at. What the system's own buffer takes counts as taken.
struct WriteProgress {
    /// Bytes that must go for a client to be given more time.
    static let step = 256 << 10
    private var waitingBytes = 0

    /// Counts from here on.
    mutating func mark(_ channel: any Channel) { waitingBytes = Self.bytesWaiting(in: channel) }

    /// True, and counting anew, when a step or more has gone.
    mutating func hasStepped(_ channel: any Channel) -> Bool {
        let now = Self.bytesWaiting(in: channel)
        guard waitingBytes - now >= Self.step else { return false }
        waitingBytes = now
        return true
    }

    /// 0 for a channel that does not tell.
    private static func bytesWaiting(in channel: any Channel) -> Int {
        (try? channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }
}
