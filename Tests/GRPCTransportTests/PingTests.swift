import CNghttp2
import GRPCTransport
import NIOCore
import Testing

/// When answers to pings leave.
@Suite(.timeLimit(.minutes(2))) struct PingTests {
    /// Answers after a millisecond, as a server does that asks its disk first.
    private func addSlowEcho(_ services: inout ServiceTable) {
        services.unary("/test.Test/SlowEcho") { call, request in
            let message = Array(request)
            call.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { call.respond(message) }
        }
    }

    @Test func `the answer to a request's ping goes with the response`() async throws {
        try await ServerFixture.run(more: addSlowEcho) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            var together = 0
            let rounds = 50
            for stream in (0..<rounds).map({ UInt32(2 * $0 + 1) }) {
                try await peer.send(
                    Frames.request("/test.Test/SlowEcho", stream: stream)
                        + Frames.data(Frames.message([7]), stream: stream) + Frames.ping("measured"))
                let answer = try #require(await peer.frame { $0.isType(NGHTTP2_PING) && $0.flags == 1 })
                #expect(answer.payload == Array("measured".utf8))
                let pieces = peer.pieces
                _ = try #require(await peer.end(of: stream))
                if peer.pieces == pieces { together += 1 }
            }
            // All of them, but for a loop that was not let run for the few milliseconds that an answer waits.
            #expect(together > rounds / 2, "\(together) of \(rounds) came together")
            try await peer.close()
        }
    }

    @Test func `a ping is answered while its request waits`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/Park", stream: 1) + Frames.data(Frames.message([]), stream: 1)
                    + Frames.ping("waiting!"))
            let parked = try #require(await fixture.parked.next())
            for payload in ["waiting!", "as well!"] {
                let answer = try #require(await peer.frame { $0.isType(NGHTTP2_PING) && $0.flags == 1 })
                #expect(answer.payload == Array(payload.utf8))
                if payload == "waiting!" { try await peer.send(Frames.ping("as well!")) }
            }
            try await parked.run { $0.respond([1]) }
            _ = try #require(await peer.end(of: 1))
            try await peer.close()
        }
    }
}
