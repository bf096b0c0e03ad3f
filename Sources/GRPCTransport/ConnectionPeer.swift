public import NIOCore

/// What a connection's handshake told of its other side. Whoever prepares the connection makes one and fills it in before
/// any byte of the client is passed on; calls and the choice of the protocol read it.
public final class ConnectionPeer: @unchecked Sendable {
    // Sendable: the mutable members are touched on `eventLoop` alone, which each checks.
    private let eventLoop: any EventLoop
    private var storedCommonName: String?
    private var storedProtocol: String?

    /// For a connection of `eventLoop`.
    public init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// The common name of the certificate the client showed, which was verified; nil without one.
    public var commonName: String? {
        get {
            eventLoop.preconditionInEventLoop()
            return storedCommonName
        }
        set {
            eventLoop.preconditionInEventLoop()
            storedCommonName = newValue
        }
    }

    /// What was agreed on by ALPN, `h2` or `http/1.1`; nil leaves it to the first bytes.
    public var applicationProtocol: String? {
        get {
            eventLoop.preconditionInEventLoop()
            return storedProtocol
        }
        set {
            eventLoop.preconditionInEventLoop()
            storedProtocol = newValue
        }
    }
}
