/// Bounds and times of client connections: `--max-concurrent-streams`, `--grpc-keepalive-…`, `--socket-reuse-…`.
public struct ConnectionSettings: Sendable {
    /// Calls one connection may have open at once.
    public var maxConcurrentStreams = 10_000
    /// Pings of a client closer than this are counted against it.
    public var keepaliveMinTime: Duration = .seconds(5)
    /// A connection silent for this long is sent a ping. Whoever waits for a lock does so in an open call: a client that
    /// is cut off without a word must not stand in line for gRPC's two hours.
    public var keepaliveInterval: Duration = .seconds(30)
    /// It is closed when no byte came back after this long.
    public var keepaliveTimeout: Duration = .seconds(20)
    /// Whether other processes may listen on the same port.
    public var reusesPort = false

    /// The defaults.
    public init() {}
}
