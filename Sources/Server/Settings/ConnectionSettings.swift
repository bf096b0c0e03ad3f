import GRPCTransport
import NIOCore

/// Bounds and times of client connections: `--max-concurrent-streams`, `--grpc-keepalive-…`, `--socket-reuse-…`.
public struct ConnectionSettings: Sendable {
    /// Calls one connection may have open at once.
    public var maxConcurrentStreams = 10_000
    /// Pings of a client closer than this are counted against it; zero means gRPC's own 5 minutes, as in etcd.
    public var keepaliveMinTime: Duration = .seconds(5)
    /// A connection silent for this long is sent a ping. Whoever waits for a lock does so in an open call: a client that
    /// is cut off without a word must not stand in line for gRPC's two hours, which zero means.
    public var keepaliveInterval: Duration = .seconds(30)
    /// It is closed when no byte came back after this long; zero means gRPC's own 20 seconds.
    public var keepaliveTimeout: Duration = .seconds(20)
    /// Whether other processes may listen on the same port.
    public var reusesPort = false

    /// The defaults.
    public init() {}

    /// Refuses what cannot be used.
    ///
    /// - Throws: `SettingsError` naming the setting that is wrong.
    public func check() throws(SettingsError) {
        guard (1...Int(UInt32.max)).contains(maxConcurrentStreams) else {
            throw SettingsError("--max-concurrent-streams is \(maxConcurrentStreams); expected 1 to \(UInt32.max)")
        }
        let times: [(name: String, time: Duration)] = [
            ("--grpc-keepalive-min-time", keepaliveMinTime), ("--grpc-keepalive-interval", keepaliveInterval),
            ("--grpc-keepalive-timeout", keepaliveTimeout),
        ]
        for (name, time) in times where !(Duration.zero...Self.longestTime).contains(time) {
            throw SettingsError("\(name) is \(time / .seconds(1)) s; expected 0 to \(Self.longestTime / .seconds(1)) s")
        }
    }

    /// A hundred years: as good as never, and no overflow when an instant is added.
    private static let longestTime = Duration.seconds(100 * 366 * 86_400)

    /// Sets a listener up.
    func apply(to configuration: inout ServerConfiguration) {
        configuration.maxConcurrentStreams = maxConcurrentStreams
        configuration.minPingInterval = keepaliveMinTime == .zero ? .minutes(5) : TimeAmount(keepaliveMinTime)
        configuration.keepaliveInterval = keepaliveInterval == .zero ? .hours(2) : TimeAmount(keepaliveInterval)
        configuration.keepaliveTimeout = keepaliveTimeout == .zero ? .seconds(20) : TimeAmount(keepaliveTimeout)
        configuration.reusesPort = reusesPort
    }
}
