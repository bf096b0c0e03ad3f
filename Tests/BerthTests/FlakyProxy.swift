import NIOCore
import NIOPosix
import Synchronization

/// Stands between a client and a server, and breaks connections when a test says so.
final class FlakyProxy: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var refuses = false
        var accepted = 0
    }
    private let state = Mutex(State())
    private let closings = AsyncStream.makeStream(of: Void.self)
    private let listener: any Channel
    /// Where clients connect.
    let port: Int

    private init(listener: any Channel) {
        self.listener = listener
        port = listener.localAddress?.port ?? 0
    }

    /// Runs `body` with a proxy of the server at `target`.
    static func run(to target: Int, _ body: (FlakyProxy) async throws -> Void) async throws {
        let shared = Holder()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in shared.proxy?.accept(channel, target) ?? channel.close() }
            .bind(host: "127.0.0.1", port: 0).get()
        let proxy = FlakyProxy(listener: listener)
        shared.set(proxy)
        do {
            try await body(proxy)
        } catch {
            await proxy.stop()
            throw error
        }
        await proxy.stop()
    }

    private final class Holder: Sendable {
        private let state = Mutex<FlakyProxy?>(nil)
        var proxy: FlakyProxy? { state.withLock { $0 } }
        func set(_ proxy: FlakyProxy) { state.withLock { $0 = proxy } }
    }

    /// Connections accepted so far.
    var accepted: Int { state.withLock { $0.accepted } }

    /// Breaks all connections; new ones are taken.
    func cut() async {
        for channel in state.withLock({ Array($0.channels.values) }) { try? await channel.close() }
    }

    /// Closes each new connection at once, or not any more.
    func refuse(_ refuses: Bool) { state.withLock { $0.refuses = refuses } }

    /// Returns when a client's connection was closed that nobody waited for yet.
    func nextClosing() async {
        for await _ in closings.stream { return }
    }

    private func stop() async {
        try? await listener.close()
        refuse(true)
        await cut()
    }

    private func accept(_ inbound: any Channel, _ target: Int) -> EventLoopFuture<Void> {
        let takes = state.withLock { state in
            state.accepted += 1
            return !state.refuses
        }
        guard takes else { return inbound.close() }
        track(inbound)
        inbound.closeFuture.whenComplete { _ in self.closings.continuation.yield(()) }
        return ClientBootstrap(group: inbound.eventLoop).channelOption(.autoRead, value: false)
            .connect(host: "127.0.0.1", port: target)
            .flatMap { outbound in
                self.track(outbound)
                return inbound.eventLoop.makeCompletedFuture {
                    try inbound.pipeline.syncOperations.addHandler(Pump(to: outbound))
                    try outbound.pipeline.syncOperations.addHandler(Pump(to: inbound))
                    inbound.setOption(.autoRead, value: true).cascade(to: nil)
                    outbound.setOption(.autoRead, value: true).cascade(to: nil)
                }
            }
    }

    private func track(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        state.withLock { $0.channels[id] = channel }
        channel.closeFuture.whenComplete { _ in self.state.withLock { $0.channels[id] = nil } }
    }

    /// Passes bytes on, and the end.
    private final class Pump: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let other: any Channel

        init(to other: any Channel) { self.other = other }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            other.writeAndFlush(unwrapInboundIn(data), promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            other.close(promise: nil)
            context.fireChannelInactive()
        }
    }
}
