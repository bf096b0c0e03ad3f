import GRPCTransport
import NIOCore
import NIOEmbedded

/// Bytes as a connection receives them, through the server's own handlers, on a channel without a socket.
///
/// The first byte says how they arrive: its low seven bits are the size of each read (0: all in one), and for HTTP/2 a
/// set high bit means that the bytes begin with the preface themselves; otherwise it and empty settings come first, so
/// that no mutation is lost to a broken preface. Afterwards the clock runs on past every time limit and the connection
/// ends.
enum TransportTarget {
    /// Answers are bounded by what was asked: one that grows past this is a hole.
    private static let maxOutputBytes = 16 << 20

    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]

    static func http2(_ input: UnsafeRawBufferPointer) {
        guard let first = input.first else { return }
        feed(input.dropFirst(), startingWith: first & 0x80 == 0 ? preface : [], readSize: Int(first & 0x7f))
    }

    static func http1(_ input: UnsafeRawBufferPointer) {
        guard let first = input.first else { return }
        feed(input.dropFirst(), startingWith: [], readSize: Int(first & 0x7f))
    }

    private static let pipeline = ServerPipeline(services: FuzzServices.table, http1: FuzzServices.plain)

    private static func feed(_ input: Slice<UnsafeRawBufferPointer>, startingWith start: [UInt8], readSize: Int) {
        let channel = EmbeddedChannel()
        let loop = channel.embeddedEventLoop
        var output = 0
        do {
            try pipeline.add(to: channel)
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            if !start.isEmpty { try channel.writeInbound(ByteBuffer(bytes: start)) }
            var rest = input
            while !rest.isEmpty, channel.isActive {
                let read = rest.prefix(readSize == 0 ? rest.count : readSize)
                rest = rest.dropFirst(read.count)
                try channel.writeInbound(ByteBuffer(bytes: read))
                loop.run()
                output += try take(from: channel)
            }
            loop.advanceTime(by: .seconds(30))
            output += try take(from: channel)
        } catch {
            // What a handler throws ends the connection, as it would a real one.
        }
        precondition(output <= maxOutputBytes, "\(input.count) bytes were answered with \(output)")
        _ = try? channel.finish(acceptAlreadyClosed: true)
        loop.run()
    }

    private static func take(from channel: EmbeddedChannel) throws -> Int {
        var count = 0
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { count += bytes.readableBytes }
        return count
    }
}
