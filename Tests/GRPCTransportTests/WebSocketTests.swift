import GRPCTransport
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(10))) struct WebSocketTests {
    private let handshake = Array(
        ("GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            + "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").utf8)
    /// "a" as a text message, masked with zeros.
    private let message: [UInt8] = [0x81, 0x81, 0, 0, 0, 0, UInt8(ascii: "a")]

    /// All that the server sends until it closes.
    private func answers(
        to bytes: [UInt8], _ handler: @escaping @Sendable (HTTPExchange) -> Void
    ) async throws -> [UInt8] {
        var answers: [UInt8] = []
        try await ServerFixture.run(http1: handler) { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            try await peer.send(bytes)
            while let more = await peer.bytes() { answers += more }
        }
        return answers
    }

    @Test func `all that was written reaches the client before the connection closes`() async throws {
        let line = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20) + [UInt8(ascii: "\n")]
        let received = try await answers(to: handshake) { exchange in
            exchange.acceptWebSocket(subprotocol: nil)
            exchange.start(status: 200, headers: [])
            for _ in 0..<24 { exchange.write(line) }
            exchange.finish()
        }
        #expect(received.count > 24 << 20)
        #expect(received.suffix(4) == [0x88, 2, 0x03, 0xE8])
    }

    /// Answers one message with itself.
    private let echo: @Sendable (HTTPExchange) -> Void = { exchange in
        exchange.acceptWebSocket(subprotocol: nil)
        exchange.onBody = { bytes in
            exchange.start(status: 200, headers: [])
            exchange.write(Array(bytes))
            exchange.finish()
        }
    }

    @Test func `a message in the same packet as the handshake is not lost`() async throws {
        let received = try await answers(to: handshake + message, echo)
        #expect(received.suffix(7) == [0x81, 1, UInt8(ascii: "a"), 0x88, 2, 0x03, 0xE8])
    }

    @Test func `a frame without a mask is a protocol error`() async throws {
        let received = try await answers(to: handshake + [0x81, 1, UInt8(ascii: "a")], echo)
        #expect(received.suffix(4) == [0x88, 2, 0x03, 0xEA])
    }
}
