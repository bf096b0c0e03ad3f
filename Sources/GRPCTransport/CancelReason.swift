/// Why a call ended before its handler finished it.
public enum CancelReason: Sendable {
    /// The client reset the stream.
    case reset
    /// The connection is gone.
    case connectionLost
    /// The call's deadline passed; the client is told so.
    case deadlineExceeded
    /// The server stops and waits no longer.
    case serverShutdown
}
