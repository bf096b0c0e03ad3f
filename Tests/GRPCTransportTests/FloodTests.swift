import CNghttp2
import GRPCTransport
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(10))) struct FloodTests {
    /// The GOAWAY that ends a connection which overdid something, and the close after it.
    private func expectCalmed(_ peer: RawPeer, _ text: String) async {
        let goaway = await peer.goaway()
        #expect(goaway?.errorCode == NGHTTP2_ENHANCE_YOUR_CALM.rawValue)
        #expect(goaway?.goawayText == text)
        while await peer.frame() != nil {}
    }

    @Test func `a rapid reset closes the connection and every handler hears of its end once`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.rapidResets = (burst: 20, perSecond: 1)
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            var bytes: [UInt8] = []
            for number in 0..<100 {
                let stream = UInt32(2 * number + 1)
                bytes += Frames.request("/test.Test/ParkStream", stream: stream) + Frames.reset(stream: stream)
            }
            await peer.flood(bytes)
            await expectCalmed(peer, "too_many_resets")
            #expect(fixture.cancelled.all.count == fixture.parked.all.count)
        }
    }

    @Test(arguments: [
        ("/test.Test/ParkStream", UInt32(0)), ("/test.Test/Nope", 8), ("/test.Test/Nope", 0), ("/test.Test/Echo", 8),
    ])
    func `a rapid reset counts whatever its code, and also when the call is answered`(
        path: String, code: UInt32
    ) async throws {
        var configuration = ServerConfiguration.patient
        configuration.rapidResets = (burst: 20, perSecond: 1)
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            var bytes: [UInt8] = []
            for number in 0..<100 {
                let stream = UInt32(2 * number + 1)
                bytes += Frames.request(path, stream: stream)
                if path.hasSuffix("Echo") { bytes += Frames.data(Frames.message([1]), stream: stream) }
                bytes += Frames.reset(stream: stream, code: code)
            }
            await peer.flood(bytes)
            await expectCalmed(peer, "too_many_resets")
        }
    }

    @Test func `answers to closed streams do not pile up for a client that does not read`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.maxConcurrentStreams = 100
        configuration.rapidResets = (burst: .max >> 32, perSecond: 1_000_000)
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port, reads: false)
            var stream = UInt32(1)
            // Sends until the server closes; without a bound this would go on until the time limit.
            while peer.channel.isActive, fixture.server.connectionCount == 2 {
                var batch: [UInt8] = []
                for _ in 0..<1_000 {
                    batch += Frames.request("/test.Test/Nope", stream: stream) + Frames.reset(stream: stream)
                    stream += 2
                }
                await peer.flood(batch)
            }
            await fixture.connections(reach: 1)
        }
    }

    @Test func `many calls that waited long may be given up at once`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.rapidResetAge = .milliseconds(50)
        configuration.rapidResets = (burst: 20, perSecond: 1)
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let streams = (0..<1_500).map { UInt32(2 * $0 + 1) }
            try await peer.send(streams.flatMap { Frames.request("/test.Test/ParkStream", stream: $0) })
            for _ in streams { _ = await fixture.parked.next() }
            let age = NIODeadline.now() + .milliseconds(60)
            while NIODeadline.now() < age { await Task.yield() }
            try await peer.send(streams.flatMap { Frames.reset(stream: $0) })
            for _ in streams { #expect(await fixture.cancelled.next() == .reset) }
            try await peer.send(
                Frames.request("/test.Test/Echo", stream: 3_001) + Frames.data(Frames.message([1]), stream: 3_001))
            let next = await peer.frame { $0.isType(NGHTTP2_GOAWAY) || $0.isType(NGHTTP2_HEADERS) && $0.endsStream }
            #expect(next?.fields["grpc-status"] == "0", "a GOAWAY came")
        }
    }

    @Test func `resets within the bound are served`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            for number in 0..<100 {
                let stream = UInt32(2 * number + 1)
                try await peer.send(Frames.request("/test.Test/ParkStream", stream: stream))
                _ = await fixture.parked.next()
                try await peer.send(Frames.reset(stream: stream))
                #expect(await fixture.cancelled.next() == .reset)
            }
        }
    }

    @Test func `quick pings without a call close the connection`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            await peer.flood((0..<10).flatMap { _ in Frames.ping() })
            await expectCalmed(peer, "too_many_pings")
        }
    }

    @Test func `a ping is answered`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.ping("abcdefgh"))
            let answer = await peer.frame { $0.isType(NGHTTP2_PING) }
            #expect(answer?.flags == 1)
            #expect(answer?.payload == Array("abcdefgh".utf8))
        }
    }

    @Test(arguments: ["settings", "priority", "empty data"])
    func `a flood of frames without work closes the connection`(kind: String) async throws {
        var configuration = ServerConfiguration.patient
        configuration.idleFrames = (burst: 50, perSecond: 1)
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 1))
            let frame: [UInt8] =
                switch kind {
                case "settings": Frames.settings()
                case "priority": Frames.frame(NGHTTP2_PRIORITY, stream: 1, [0, 0, 0, 0, 9])
                default: Frames.data([], stream: 1, endStream: false)
                }
            await peer.flood((0..<200).flatMap { _ in frame })
            await expectCalmed(peer, "too_many_frames")
            #expect(await fixture.cancelled.next() == .connectionLost)
        }
    }

    @Test func `pings of a client that reads no answers do not pile up`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.maxPingStrikes = .max
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port, reads: false)
            let batch = (0..<1_000).flatMap { _ in Frames.ping() }
            // Sends until the server closes; without a bound this would go on until the time limit.
            while peer.channel.isActive, fixture.server.connectionCount == 2 { await peer.flood(batch) }
            await fixture.connections(reach: 1)
        }
    }

    @Test func `endless continuations close the connection`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            let piece = Frames.block([("a", "b")])
            await peer.flood(
                Frames.frame(NGHTTP2_HEADERS, stream: 1, Frames.block(Frames.requestFields("/test.Test/Echo")))
                    + (0..<100).flatMap { _ in Frames.frame(NGHTTP2_CONTINUATION, stream: 1, piece) })
            #expect(await peer.goaway()?.errorCode == NGHTTP2_ENHANCE_YOUR_CALM.rawValue)
            #expect(await peer.frame() == nil)
            #expect(fixture.parked.all.isEmpty)
        }
    }

    @Test func `streams over the bound are refused and the others go on`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.maxConcurrentStreams = 2
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            // Who knows the bound and breaks it loses the connection; this one has not acknowledged it.
            peer.acknowledges = false
            let settings = try #require(await peer.frame(of: NGHTTP2_SETTINGS))
            let announced = Array(settings.payload.prefix(6))
            #expect(announced == [0, 3, 0, 0, 0, 2])
            for stream in [UInt32(1), 3, 5] {
                try await peer.send(Frames.request("/test.Test/ParkStream", stream: stream))
            }
            let refused = try #require(await peer.frame(of: NGHTTP2_RST_STREAM))
            #expect(refused.stream == 5)
            #expect(refused.errorCode == NGHTTP2_REFUSED_STREAM.rawValue)
            for _ in 0..<2 {
                let parked = try #require(await fixture.parked.next())
                try await parked.run { $0.finish() }
            }
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 7))
            #expect(await fixture.parked.next() != nil)
        }
    }

    @Test func `a silent connection is pinged, and closed when it does not answer`() async throws {
        // A starved machine may not answer in time: then again, with more of it.
        for timeout in [TimeAmount.milliseconds(200), .seconds(5), .seconds(100)] {
            if try await answersThricePingedAndIsClosedWhenSilent(timeout) { return }
        }
        Issue.record("closed although it answered")
    }

    /// - Returns: false when the connection was closed before three answers.
    private func answersThricePingedAndIsClosedWhenSilent(_ timeout: TimeAmount) async throws -> Bool {
        // The healthy client is pinged as often, and has all the time to answer.
        var configuration = ServerConfiguration.patient
        configuration.keepaliveInterval = .milliseconds(50)
        configuration.keepaliveTimeout = .hours(1)
        var answers = 0
        try await ServerFixture.run(configuration, limits: { $0.keepaliveTimeout = timeout }) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            while answers < 3, let ping = await peer.frame(where: { $0.isType(NGHTTP2_PING) && $0.flags == 0 }) {
                await peer.flood(Frames.frame(NGHTTP2_PING, flags: 1, ping.payload))
                answers += 1
            }
            while await peer.frame() != nil {}
            await fixture.connections(reach: 1)
        }
        return answers == 3
    }
}
