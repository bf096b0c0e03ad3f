import CNghttp2
import GRPCTransport
import NIOCore
import NIOEmbedded
import Testing

/// When answers to pings leave: on a channel without a socket, whose clock is the test's.
@Suite struct PingTests {
    /// A connection that has been greeted, and what it writes.
    private final class Connection: @unchecked Sendable {
        // Sendable: its handlers run on the test's thread, which is the loop's.
        let channel = EmbeddedChannel()
        var loop: EmbeddedEventLoop { channel.embeddedEventLoop }
        private(set) var call: ServerCall?

        init() throws {
            var services = ServiceTable()
            services.unary("/test.Test/Park") { [unowned self] call, _ in self.call = call }
            services.streaming("/test.Test/ParkStream") { [unowned self] call in self.call = call }
            var configuration = ServerConfiguration()
            configuration.maxPingStrikes = 100
            try ServerPipeline(services: services, http1: { _ in }, configuration: configuration).add(to: channel)
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            _ = try types(after: Frames.preface + Frames.settings() + Frames.frame(NGHTTP2_SETTINGS, flags: 1))
        }

        /// The types of the frames of each write that follows what arrives.
        func types(after bytes: [UInt8]) throws -> [[UInt32]] {
            try channel.writeInbound(ByteBuffer(bytes: bytes))
            return try types()
        }

        /// The same of writes that nobody has looked at yet.
        func types() throws -> [[UInt32]] {
            loop.run()
            var writes: [[UInt32]] = []
            while var write = try channel.readOutbound(as: ByteBuffer.self) {
                var types: [UInt32] = []
                while let head = write.readBytes(length: 9) {
                    types.append(UInt32(head[3]))
                    write.moveReaderIndex(forwardBy: Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2]))
                }
                writes.append(types)
            }
            return writes
        }
    }

    private let ping = NGHTTP2_PING.rawValue
    private let responseTypes = [NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue, NGHTTP2_HEADERS.rawValue]

    private func request(_ stream: UInt32 = 1) -> [UInt8] {
        Frames.request("/test.Test/Park", stream: stream) + Frames.data(Frames.message([7]), stream: stream)
    }

    @Test func `the answer to a request's ping goes with the response`() throws {
        let connection = try Connection()
        #expect(try connection.types(after: request() + Frames.ping()) == [])
        connection.loop.advanceTime(by: .milliseconds(4))
        try #require(connection.call).respond([1])
        #expect(try connection.types() == [[ping] + responseTypes])
        connection.loop.advanceTime(by: .milliseconds(10))
        #expect(try connection.types() == [])
        _ = try connection.channel.finish()
    }

    @Test func `it waits for five milliseconds and no longer`() throws {
        let connection = try Connection()
        _ = try connection.types(after: request() + Frames.ping())
        connection.loop.advanceTime(by: .milliseconds(4))
        #expect(try connection.types() == [])
        connection.loop.advanceTime(by: .milliseconds(1))
        #expect(try connection.types() == [[ping]])
        try #require(connection.call).respond([1])
        #expect(try connection.types() == [responseTypes])
        _ = try connection.channel.finish()
    }

    @Test func `a ping is answered at once when no request came with it`() throws {
        let connection = try Connection()
        #expect(try connection.types(after: Frames.ping()) == [[ping]])
        _ = try connection.types(after: Frames.request("/test.Test/ParkStream", stream: 1) + Frames.ping())
        connection.loop.advanceTime(by: .milliseconds(5))
        #expect(try connection.types() == [[ping]])
        // The call is open, but it may be long until it says something.
        #expect(try connection.types(after: Frames.ping()) == [[ping]])
        _ = try connection.channel.finish()
    }

    @Test func `a response that may wait for a window is not kept waiting`() throws {
        let connection = try Connection()
        // As gRPC's clients send it with every ping: the connection's window, which is wide.
        let usual = request() + Frames.windowUpdate(33, stream: 0) + Frames.ping()
        #expect(try connection.types(after: usual) == [])
        let other = request(3) + Frames.windowUpdate(33, stream: 1) + Frames.ping()
        #expect(try connection.types(after: other) == [[ping, ping]])
        _ = try connection.channel.finish()
    }

    @Test func `nothing else waits with it, nor more than eight`() throws {
        let connection = try Connection()
        let settings = try connection.types(after: request() + Frames.ping() + Frames.settings())
        #expect(settings.first.map { Set($0) } == [ping, NGHTTP2_SETTINGS.rawValue])
        let many = try connection.types(after: request(3) + Array(repeating: Frames.ping(), count: 8).flatMap { $0 })
        #expect(many == [])
        let oneMore = try connection.types(after: Frames.ping())
        #expect(oneMore == [Array(repeating: ping, count: 9)])
        _ = try connection.channel.finish()
    }
}
