public import NIOCore

/// The bounds and times a client works with.
public struct ClientConfiguration: Sendable {
    /// Longest response message accepted; a longer one ends the call with `resourceExhausted`.
    public var maxResponseBytes = Int(Int32.max)
    /// Time to connect and to be greeted by the server.
    public var connectTimeout: TimeAmount = .seconds(5)
    /// Wait after the first failed attempt; grows by 1.6 with each further one.
    public var initialBackOff: TimeAmount = .milliseconds(100)
    /// Longest wait between attempts.
    public var maxBackOff: TimeAmount = .seconds(5)
    /// Calls that may wait for a connection; further ones fail.
    public var maxWaitingCalls = 10_000
    /// Queued request bytes of a call past which `ClientCall.hasRoom` is false.
    public var streamSendBuffer = 256 << 10
    /// All calls' queued request bytes of the connection past which `ClientCall.hasRoom` is false.
    public var connectionSendBuffer = 4 << 20
    /// Receive window of a stream.
    public var streamWindow = 1 << 20
    /// Receive window of the connection.
    public var connectionWindow = 16 << 20
    /// Pings the server after this long without a byte while calls are open; nil never does.
    public var keepaliveInterval: TimeAmount?
    /// The connection is given up when no byte came back after this long.
    public var keepaliveTimeout: TimeAmount = .seconds(20)
    /// A connection without a call for this long is closed; the next call makes a new one. Nil leaves it open.
    public var maxConnectionIdle: TimeAmount?
    /// Called for each connection before anything else is added to its pipeline: the place for TLS.
    public var prepareConnection: (@Sendable (any Channel) throws -> Void)?
    /// What calls say in `:scheme`; `https` goes with TLS.
    public var scheme = "http"

    /// The defaults.
    public init() {}
}
