import GRPCTransport
import NIOCore
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(10))) struct HTTP1Tests {
    private final class Count: Sendable { let value = Atomic<Int>(0) }

    /// Counts answers; each is 100 kB.
    private func fixture(
        limits: @escaping ServerFixture.Limits = { _ in }, answers: Count,
        _ body: (ServerFixture) async throws -> Void
    ) async throws {
        let answer: @Sendable (HTTPExchange) -> Void = { exchange in
            answers.value.add(1, ordering: .relaxed)
            exchange.answer(HTTPResponse(status: 200, body: [UInt8](repeating: 1, count: 100_000)))
        }
        try await ServerFixture.run(limits: limits, http1: answer, body)
    }

    private let request = Array("GET / HTTP/1.1\r\nhost: x\r\n\r\n".utf8)

    @Test func `a client that asks and never reads is not answered beyond what its socket takes, and closed`()
        async throws
    {
        let answers = Count()
        try await fixture(limits: { $0.handshakeTimeout = .seconds(1) }, answers: answers) { fixture in
            let peer = try await RawPeer.connect(fixture.port, reads: false)
            let batch = (0..<2_000).flatMap { _ in request }
            await peer.flood(batch)
            await fixture.connections(reach: 1)
            #expect(answers.value.load(ordering: .relaxed) < 200)
        }
    }

    @Test func `a client that goes on reading gets a long answer, however long that takes`() async throws {
        // A starved machine may not read in time: then again, with more of it.
        for patience: Int64 in [1, 5, 25] {
            if try await readsSlowlyToTheEnd(patience) { return }
        }
        Issue.record("closed although its client read on")
    }

    /// - Returns: false when the connection was closed before the whole answer was there.
    private func readsSlowlyToTheEnd(_ patience: Int64) async throws -> Bool {
        let size = 24 << 20
        let answer: @Sendable (HTTPExchange) -> Void = { exchange in
            exchange.answer(HTTPResponse(status: 200, body: [UInt8](repeating: 1, count: size)))
        }
        var received = 0
        let wait = TimeAmount.seconds(2 * patience)
        try await ServerFixture.run(limits: { $0.handshakeTimeout = wait }, http1: answer) { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            try await peer.channel.setOption(.maxMessagesPerRead, value: 1).get()
            try await peer.channel.setOption(.autoRead, value: false).get()
            try await peer.send(request)
            var taken = 0
            while received <= size {
                peer.channel.read()
                guard let more = await peer.bytes() else { break }
                received += more.count
                taken += more.count
                guard taken >= 1 << 20 else { continue }
                taken = 0
                // The slowness is what is tested: in all three times what the server waits for a step.
                try await peer.channel.eventLoop.scheduleTask(in: .milliseconds(250 * patience)) {}.futureResult.get()
            }
        }
        return received > size
    }

    @Test func `pipelined requests are all answered when the client reads`() async throws {
        let answers = Count()
        try await fixture(answers: answers) { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            try await peer.send((0..<300).flatMap { _ in request })
            var received = 0
            while received < 300 * 100_000, let more = await peer.bytes() { received += more.count }
            #expect(received > 300 * 100_000)
            #expect(answers.value.load(ordering: .relaxed) == 300)
        }
    }

    @Test func `nothing is answered after the request that ends the connection`() async throws {
        let answers = Count()
        try await fixture(answers: answers) { fixture in
            let peer = try await RawPeer.connect(fixture.port)
            let last = Array("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".utf8)
            try await peer.send(request + last + request + request)
            _ = await peer.bytesToEnd()
            #expect(answers.value.load(ordering: .relaxed) == 2)
        }
    }
}
