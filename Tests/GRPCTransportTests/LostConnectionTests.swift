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
@Suite(.timeLimit(.minutes(10))) struct LostConnectionTests {
    /// Makes the peer's close a TCP reset, and gives what does it: from another loop, returning when it is done.
    private func resetter(of peer: RawPeer) async throws -> @Sendable () -> Void {
        let channel = peer.channel
        let provider = try #require(channel as? any SocketOptionProvider)
        try await provider.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        return {
            let isClosed = ClosedMark()
            channel.close().whenComplete { _ in isClosed.value.store(true, ordering: .releasing) }
            while !isClosed.value.load(ordering: .acquiring) { sched_yield() }
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
        for _ in 0..<10 {
            try await ServerFixture.run(limits: { $0.maxConnectionIdle = .milliseconds(50) }, group: group) { fixture in
                let peer = try await RawPeer.connect(fixture.port)
                // All at once: the call is there before the idle timer is, and the timer starts when it ends.
                try await peer.send(
                    Frames.preface + Frames.settings() + Frames.request("/test.Test/ParkStream", stream: 1))
                let parked = try #require(await fixture.parked.next())
                let reset = try await resetter(of: peer)
                let isReset = Events<Bool>()
                try await parked.run { call in
                    let loop = call.eventLoop
                    call.onCancel = { _ in
                        loop.execute {
                            reset()
                            // Until the idle timer is due: it runs before the loop looks at its sockets again.
                            let end = NIODeadline.now() + .milliseconds(60)
                            while NIODeadline.now() < end {}
                            isReset.add(true)
                        }
                    }
                }
                try await peer.send(Frames.reset(stream: 1))
                _ = await isReset.next()
                await fixture.connections(reach: 1)
            }
        }
        try await group.shutdownGracefully()
    }
}
