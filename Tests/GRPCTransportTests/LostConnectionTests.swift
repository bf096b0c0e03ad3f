import CNghttp2
import GRPCTransport
import NIOCore
import NIOPosix
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The peer is gone before the server knows, so that a write is what tells it.
@Suite(.timeLimit(.minutes(1))) struct LostConnectionTests {
    /// Makes the peer's close a TCP reset, and gives what does it: from another loop, returning when it is done.
    private func resetter(of peer: RawPeer) async throws -> @Sendable () -> Void {
        let channel = peer.channel
        let provider = try #require(channel as? any SocketOptionProvider)
        try await provider.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        return {
            let isClosed = ClosedMark()
            channel.close().whenComplete { _ in isClosed.value.store(true, ordering: .releasing) }
            while !isClosed.value.load(ordering: .acquiring) {}
        }
    }

    private final class ClosedMark: Sendable { let value = Atomic<Bool>(false) }

    @Test func `a reset that a write of answers runs into ends the calls and nothing else`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        for _ in 0..<20 {
            try await ServerFixture.run(group: group) { fixture in
                let peer = try await RawPeer.greeted(fixture.port)
                for stream in [UInt32(1), 3, 5] {
                    try await peer.send(Frames.request("/test.Test/ParkStream", stream: stream))
                }
                let first = try #require(await fixture.parked.next())
                let others = [try #require(await fixture.parked.next()), try #require(await fixture.parked.next())]
                let reset = try await resetter(of: peer)
                try await first.run { call in
                    reset()
                    call.send([UInt8](repeating: 1, count: 50_000))
                    for other in others { other.call.respond([2]) }
                }
                #expect(await fixture.cancelled.next() == .connectionLost)
                await fixture.connections(reach: 1)
            }
        }
        try await group.shutdownGracefully()
    }

    @Test func `a reset that a goodbye runs into ends the connection and nothing else`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var configuration = ServerConfiguration()
        configuration.maxConnectionIdle = .milliseconds(100)
        for _ in 0..<10 {
            try await ServerFixture.run(configuration, group: group) { fixture in
                let peer = try await RawPeer.greeted(fixture.port)
                _ = await peer.frame { $0.isType(NGHTTP2_SETTINGS) && $0.flags & 1 == 1 }
                let reset = try await resetter(of: peer)
                // Until the idle timer is due: it runs before the loop looks at its sockets again.
                try await group.next().submit {
                    reset()
                    let end = NIODeadline.now() + .milliseconds(120)
                    while NIODeadline.now() < end {}
                }.get()
                await fixture.connections(reach: 1)
            }
        }
        try await group.shutdownGracefully()
    }
}
