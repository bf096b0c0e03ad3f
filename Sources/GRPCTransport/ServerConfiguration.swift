public import NIOCore

/// The bounds and times a server works with. The defaults suit a store that clients keep connections to.
public struct ServerConfiguration: Sendable {
    /// Longest request message accepted; a longer one is refused with `resourceExhausted`.
    public var maxRequestBytes = 2 << 20
    /// Calls one connection may have open at once. Waiting for a lock is an open call.
    public var maxConcurrentStreams = 10_000
    /// Connections open at once; further ones are closed as they are accepted.
    public var maxConnections = 100_000
    /// A call's queued response bytes past which `ServerCall.hasRoom` is false.
    public var streamSendBuffer = 256 << 10
    /// All calls' queued response bytes of one connection past which `ServerCall.hasRoom` is false.
    public var connectionSendBuffer = 4 << 20
    /// Bytes of unfinished messages longer than a stream's window that one connection may have on their way; further
    /// such messages wait for their turn.
    public var connectionReassemblyBuffer = 16 << 20
    /// Request bytes that one connection's calls may hold together: unfinished messages, messages that paused handlers
    /// have not taken, and metadata. A call that would take it further fails with `resourceExhausted`.
    public var connectionRequestBuffer = 64 << 20
    /// The receive window of a whole connection.
    public var connectionWindow = 4 << 20
    /// Largest sum of a request's header names, values and 32 bytes each.
    public var maxHeaderListBytes = 16 << 10
    /// Time to send the HTTP/2 preface with its settings, or an HTTP/1.1 request: its first one's head, then each next
    /// 16 KiB of a body, and to take each 256 KiB of an answer that is whole.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// An HTTP/1.1 connection without a request for this long is closed.
    public var http1IdleTimeout: TimeAmount = .seconds(60)
    /// Pings of a client closer than this are counted against it.
    public var minPingInterval: TimeAmount = .seconds(5)
    /// Whether a client without an open call may ping at `minPingInterval` too.
    public var permitsPingsWithoutCalls = false
    /// Such pings in a row that are forgiven; one more closes the connection.
    public var maxPingStrikes = 2
    /// A connection silent for this long is sent a ping.
    public var keepaliveInterval: TimeAmount = .hours(2)
    /// It is closed when no byte came back after this long.
    public var keepaliveTimeout: TimeAmount = .seconds(20)
    /// A connection without a call for this long is told to go away; nil leaves it open.
    public var maxConnectionIdle: TimeAmount?
    /// A reset sooner after the call's start than this counts as rapid.
    public var rapidResetAge: TimeAmount = .seconds(1)
    /// Rapid resets allowed at once, and then per second; more close the connection.
    public var rapidResets = (burst: 500, perSecond: 100)
    /// Frames that carry no work (settings, priorities, empty data, invalid ones) allowed at once, and then per second.
    public var idleFrames = (burst: 500, perSecond: 100)
    /// How long a draining connection waits for its client to have seen the notice, before it takes no more calls.
    public var drainNoticeTimeout: TimeAmount = .seconds(1)
    /// Called for each accepted connection before anything else is added to its pipeline: the place for TLS, and for
    /// bounds and times of this connection alone, which it may change.
    public var prepareConnection: (@Sendable (any Channel, inout ServerConfiguration) throws -> Void)?

    /// Whether other processes may listen on the same port, each taking a share of its connections.
    public var reusesPort = false
    /// What the handshake of this connection tells of its other side; set by `prepareConnection`, nil without TLS.
    public var peer: ConnectionPeer?
    /// Whether the connection has TLS.
    var isSecure: Bool { peer != nil }

    /// The defaults.
    public init() {}
}
