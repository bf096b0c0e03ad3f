package import NIOCore

/// A server's handlers for a channel that somebody else made: an embedded one, whose bytes and clock a test holds.
package struct ServerPipeline {
    private let methods: MethodTable
    private let configuration: ServerConfiguration
    private let http1: @Sendable (HTTPExchange) -> Void

    /// The handlers that `GRPCServer.bind` gives to every connection it accepts.
    package init(
        services: ServiceTable, http1: @escaping @Sendable (HTTPExchange) -> Void,
        configuration: ServerConfiguration = .init()
    ) {
        self.methods = MethodTable(services)
        self.configuration = configuration
        self.http1 = http1
    }

    /// Adds them; called on the channel's event loop.
    package func add(to channel: any Channel) throws {
        try GRPCServer.addChooser(channel, LoopContext(eventLoop: channel.eventLoop), configuration, methods, http1)
    }
}
