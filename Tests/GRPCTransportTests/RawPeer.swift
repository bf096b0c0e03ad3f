import CNghttp2
import NIOCore
import NIOPosix
import Testing

/// A client that sends any bytes it is told to and shows what comes back. Used by one task at a time.
final class RawPeer {
    let channel: any Channel
    private var arrivals: AsyncStream<ByteBuffer>.AsyncIterator
    private var received: [UInt8] = []
    private let decoder = HeaderDecoder()
    /// Answers the server's settings as a real client does.
    var acknowledges = true

    private init(channel: any Channel, arrivals: AsyncStream<ByteBuffer>) {
        self.channel = channel
        self.arrivals = arrivals.makeAsyncIterator()
    }

    /// - Parameter reads: false leaves everything in the socket.
    static func connect(_ port: Int, reads: Bool = true) async throws -> RawPeer {
        let (stream, continuation) = AsyncStream.makeStream(of: ByteBuffer.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.hours(1))
            .channelOption(.autoRead, value: reads)
            .channelOption(.socketOption(.so_rcvbuf), value: reads ? 1 << 20 : 8_192)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(continuation))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawPeer(channel: channel, arrivals: stream)
    }

    /// Connects and greets.
    static func greeted(_ port: Int, settings: [(UInt16, UInt32)] = [], reads: Bool = true) async throws -> RawPeer {
        let peer = try await connect(port, reads: reads)
        try await peer.send(Frames.preface + Frames.settings(settings))
        return peer
    }

    /// A server that takes one connection and then behaves as a test wants: its port, and the peer once it is there.
    static func listen() async throws -> (port: Int, accept: @Sendable () async throws -> RawPeer?) {
        let (stream, continuation) = AsyncStream.makeStream(of: ByteBuffer.self)
        let (accepted, acceptance) = AsyncStream.makeStream(of: (any Channel).self)
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // Not before it is active: a listener that closes earlier takes it along.
                    try channel.pipeline.syncOperations.addHandler(
                        Collector(continuation) { acceptance.yield(channel) })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return (
            listener.localAddress?.port ?? 0,
            {
                var channels = accepted.makeAsyncIterator()
                guard let channel = await channels.next() else { return nil }
                try await listener.close().get()
                let peer = RawPeer(channel: channel, arrivals: stream)
                while peer.received.count < Frames.preface.count, let more = await peer.bytes() {
                    peer.received += more
                }
                try #require(peer.received.count >= Frames.preface.count, "the client left before it greeted")
                peer.received.removeFirst(Frames.preface.count)
                try await peer.send(Frames.settings())
                return peer
            }
        )
    }

    func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }

    /// Sends as far as the server listens: a connection it has closed is no error here.
    func flood(_ bytes: [UInt8]) async { try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }

    func close() async throws { try await channel.close().get() }

    /// The next bytes, nil when the server closed.
    func bytes() async -> [UInt8]? { await arrivals.next().map { Array($0.readableBytesView) } }

    /// Everything up to the close.
    func bytesToEnd() async -> [UInt8] {
        var all = received
        while let more = await bytes() { all += more }
        return all
    }

    /// The next frame, nil when the server closed.
    func frame() async -> ReceivedFrame? {
        while true {
            if received.count >= 9 {
                let length = received.prefix(3).reduce(0) { $0 << 8 | Int($1) }
                if received.count >= 9 + length { return take(length) }
            }
            guard let more = await bytes() else { return nil }
            received += more
        }
    }

    private func take(_ length: Int) -> ReceivedFrame {
        var frame = ReceivedFrame(
            type: UInt32(received[3]), flags: received[4],
            stream: received[5..<9].reduce(0) { $0 << 8 | UInt32($1) }, payload: Array(received[9..<(9 + length)]))
        received.removeFirst(9 + length)
        if frame.isType(NGHTTP2_HEADERS) { frame.fields = decoder.decode(frame.payload) }
        if acknowledges, frame.isType(NGHTTP2_SETTINGS), frame.flags & 1 == 0 {
            channel.writeAndFlush(ByteBuffer(bytes: Frames.frame(NGHTTP2_SETTINGS, flags: 1)), promise: nil)
        }
        return frame
    }

    /// Skips to the next frame that `wanted` accepts; nil when the server closed before.
    func frame(where wanted: (ReceivedFrame) -> Bool) async -> ReceivedFrame? {
        while let frame = await frame() {
            if wanted(frame) { return frame }
        }
        return nil
    }

    /// The HEADERS that end `stream`, or its RST_STREAM.
    func end(of stream: UInt32) async -> ReceivedFrame? {
        await frame {
            $0.stream == stream && ($0.endsStream && !$0.isType(NGHTTP2_PING) || $0.isType(NGHTTP2_RST_STREAM))
        }
    }

    /// The next frame of one type.
    func frame(of type: nghttp2_frame_type) async -> ReceivedFrame? {
        while let next = await frame() {
            if next.isType(type) { return next }
        }
        return nil
    }

    func goaway() async -> ReceivedFrame? { await frame { $0.isType(NGHTTP2_GOAWAY) } }
}

private final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let continuation: AsyncStream<ByteBuffer>.Continuation

    private let onActive: () -> Void

    init(_ continuation: AsyncStream<ByteBuffer>.Continuation, onActive: @escaping () -> Void = {}) {
        self.continuation = continuation
        self.onActive = onActive
    }

    func channelActive(context: ChannelHandlerContext) { onActive() }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) { continuation.yield(unwrapInboundIn(data)) }
    func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
