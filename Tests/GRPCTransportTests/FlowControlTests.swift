import CNghttp2
import GRPCTransport
import NIOCore
import Synchronization
import TestSupport
import Testing

/// Sends messages while there is room, as a producer of a long stream does.
private final class Producer: Sendable {
    static let messageBytes = 10_000
    let sent = Atomic<Int>(0)
    let most = Atomic<Int>(0)
    let rooms = Events<Int>()
    let total: Int

    init(total: Int) { self.total = total }

    func start(_ call: ServerCall) {
        call.onRoom = { [unowned call] in
            self.rooms.add(self.sent.load(ordering: .relaxed))
            self.fill(call)
        }
        fill(call)
    }

    private func fill(_ call: ServerCall) {
        while call.hasRoom {
            guard sent.load(ordering: .relaxed) < total else { return call.finish() }
            let number = sent.add(1, ordering: .relaxed).newValue
            call.send([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: Self.messageBytes))
            most.store(max(most.load(ordering: .relaxed), call.queuedBytes), ordering: .relaxed)
        }
    }
}

@Suite(.timeLimit(.minutes(10))) struct FlowControlTests {
    private func configuration() -> ServerConfiguration {
        var configuration = ServerConfiguration.patient
        configuration.streamSendBuffer = 100_000
        configuration.connectionSendBuffer = 1_000_000
        return configuration
    }

    @Test func `a client that gives no window stalls its producer, and only until it gives one`() async throws {
        let producer = Producer(total: 100)
        try await ServerFixture.run(
            configuration(), more: { $0.streaming("/test.Test/Produce") { producer.start($0) } }
        ) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/Produce", stream: 1))
            var received = 0
            // HTTP/2's first window, to the byte; then nothing more comes.
            while received < 65_535, let frame = await peer.frame(where: { $0.isType(NGHTTP2_DATA) }) {
                received += frame.payload.count
            }
            #expect(received == 65_535)
            #expect(try await fixture.client.unary("/test.Test/Echo", [1]) == [1])
            // One window, the bound, and the message that crosses it.
            let most = 65_535 + 100_000 + Producer.messageBytes
            #expect(producer.sent.load(ordering: .relaxed) * (Producer.messageBytes + 5) <= most)
            try await peer.send(Frames.windowUpdate(2_000_000, stream: 0) + Frames.windowUpdate(2_000_000, stream: 1))
            while let frame = await peer.frame(where: { $0.stream == 1 }), !frame.endsStream {
                if frame.isType(NGHTTP2_DATA) { received += frame.payload.count }
            }
            #expect(received == 100 * (Producer.messageBytes + 5))
            #expect(!producer.rooms.all.isEmpty)
            #expect(producer.most.load(ordering: .relaxed) <= 100_000 + Producer.messageBytes + 5)
        }
    }

    @Test func `a client that does not read its socket stalls its producer`() async throws {
        let producer = Producer(total: .max)
        try await ServerFixture.run(
            configuration(), more: { $0.streaming("/test.Test/Produce") { producer.start($0) } }
        ) { fixture in
            // Its windows are as wide as they can be: only the socket holds the server back.
            let peer = try await RawPeer.greeted(fixture.port, settings: [(4, 0x7fff_ffff)], reads: false)
            try await peer.send(
                Frames.windowUpdate(0x7fff_0000, stream: 0) + Frames.request("/test.Test/Produce", stream: 1))
            var last = -1
            // Stalled: a hundred calls of the healthy client pass and not one message more was made.
            while last != producer.sent.load(ordering: .relaxed) || last <= 0 {
                last = producer.sent.load(ordering: .relaxed)
                for _ in 0..<100 { #expect(try await fixture.client.unary("/test.Test/Echo", [1]) == [1]) }
            }
            // The kernel's buffers take a few megabytes; the server itself holds its bound.
            #expect(last * Producer.messageBytes < 16 << 20)
            #expect(producer.most.load(ordering: .relaxed) <= 100_000 + Producer.messageBytes + 5)
            try await peer.close()
        }
    }

    @Test func `the connection's bound stops producers whose own queue is short`() async throws {
        var configuration = configuration()
        configuration.connectionSendBuffer = 50_000
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port, settings: [(4, 0)])
            for stream in [UInt32(1), 3] {
                try await peer.send(Frames.request("/test.Test/ParkStream", stream: stream))
            }
            let first = try #require(await fixture.parked.next())
            let second = try #require(await fixture.parked.next())
            let room = Events<Int>()
            try await first.run { $0.send([UInt8](repeating: 1, count: 60_000)) }
            let hasRoom = try await second.run { call in
                call.onRoom = { room.add(1) }
                return call.hasRoom
            }
            #expect(!hasRoom)
            try await peer.send(Frames.windowUpdate(100_000, stream: 0) + Frames.windowUpdate(100_000, stream: 1))
            #expect(await room.next() == 1)
            #expect(try await second.run { $0.hasRoom })
        }
    }

    @Test func `a queue of answers vanishes with a reset`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port, settings: [(4, 0)])
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 1))
            let parked = try #require(await fixture.parked.next())
            let queued = try await parked.run { call in
                for _ in 0..<100 { call.send([UInt8](repeating: 1, count: 60_000)) }
                return call.queuedBytes
            }
            #expect(queued == 100 * 60_005)
            try await peer.send(Frames.reset(stream: 1))
            #expect(await fixture.cancelled.next() == .reset)
            #expect(try await parked.run { $0.queuedBytes } == 0)
        }
    }

    @Test func `a response of many megabytes arrives whole`() async throws {
        let size = 30 << 20
        let big: (inout ServiceTable) -> Void = { services in
            services.unary("/test.Test/Big") { call, _ in
                call.respond((0..<size).map { UInt8(truncatingIfNeeded: $0 >> 10) })
            }
        }
        try await ServerFixture.run(more: big) { fixture in
            let response = try await fixture.client.unary("/test.Test/Big", [])
            #expect(response.count == size)
            let isRight = stride(from: 0, to: size, by: 1_021).allSatisfy {
                response[$0] == UInt8(truncatingIfNeeded: $0 >> 10)
            }
            #expect(isRight)
        }
    }

    @Test func `many large requests at once wait for each other and all arrive`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.connectionReassemblyBuffer = 1 << 20
        try await ServerFixture.run(configuration) { fixture in
            let client = fixture.client
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<16 {
                    group.addTask {
                        let request = [UInt8](repeating: UInt8(number), count: 700_000)
                        let response = try await client.unary("/test.Test/Echo", request)
                        #expect(response == request)
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test(arguments: [300_000, 70_000, 2_000_000])
    func `long messages of one stream follow each other without a gap`(size: Int) async throws {
        try await ServerFixture.run { fixture in
            let stream = await fixture.client.stream("/test.Test/EchoStream")
            let sending = Task {
                for number in 0..<10 { try await stream.send([UInt8](repeating: UInt8(number), count: size + number)) }
                stream.finishSending()
            }
            for number in 0..<10 {
                #expect(try await stream.next() == [UInt8](repeating: UInt8(number), count: size + number))
            }
            #expect(try await stream.next() == nil)
            try await sending.value
        }
    }

    @Test func `a window is a window again after a long message`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(
                Frames.request("/test.Test/ParkStream", stream: 1)
                    + Frames.data(Frames.message([], length: 1_000_000), stream: 1, endStream: false))
            let parked = try #require(await fixture.parked.next())
            var rest = 1_000_000
            // The grant, and then whatever is given while the message goes.
            var given = 65_535 - 5
            while rest > 0 {
                while given < min(rest, 16_000), let update = await peer.frame(of: NGHTTP2_WINDOW_UPDATE) {
                    if update.stream == 1 { given += update.payload.reduce(0) { $0 << 8 | Int($1) } }
                }
                let count = min(rest, 16_000)
                let bytes = [UInt8](repeating: 1, count: count)
                try await peer.send(Frames.data(bytes, stream: 1, endStream: false))
                rest -= count
                given -= count
            }
            #expect(await fixture.messages.next()?.count == 1_000_000)
            try await parked.run { $0.isReadingPaused = true }
            try await peer.send(Frames.ping())
            while let frame = await peer.frame(), !frame.isType(NGHTTP2_PING) {
                if frame.isType(NGHTTP2_WINDOW_UPDATE), frame.stream == 1 {
                    given += frame.payload.reduce(0) { $0 << 8 | Int($1) }
                }
            }
            #expect(given <= 65_535)
        }
    }

    @Test func `a large request that is given up makes room for those that wait`() async throws {
        var configuration = ServerConfiguration.patient
        configuration.connectionReassemblyBuffer = 1 << 20
        try await ServerFixture.run(configuration) { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            for stream in [UInt32(1), 3] {
                try await peer.send(
                    Frames.request("/test.Test/Echo", stream: stream)
                        + Frames.data(Frames.message([1], length: 1 << 20), stream: stream, endStream: false))
            }
            #expect(await peer.frame { $0.isType(NGHTTP2_WINDOW_UPDATE) && $0.stream != 0 }?.stream == 1)
            try await peer.send(Frames.reset(stream: 1))
            #expect(await peer.frame { $0.isType(NGHTTP2_WINDOW_UPDATE) && $0.stream != 0 }?.stream == 3)
        }
    }

    @Test func `a paused reader stops its client after one window`() async throws {
        try await ServerFixture.run { fixture in
            let peer = try await RawPeer.greeted(fixture.port)
            try await peer.send(Frames.request("/test.Test/ParkStream", stream: 1))
            let parked = try #require(await fixture.parked.next())
            try await parked.run { $0.isReadingPaused = true }
            for number in 0..<4 {
                let message = Frames.message([UInt8](repeating: UInt8(number), count: 16_000))
                try await peer.send(Frames.data(message, stream: 1, endStream: false))
            }
            try await peer.send(Frames.ping())
            let answer = await peer.frame {
                $0.isType(NGHTTP2_PING) || $0.isType(NGHTTP2_WINDOW_UPDATE) && $0.stream == 1
            }
            #expect(answer?.isType(NGHTTP2_PING) == true, "the window was given back though nobody read")
            #expect(fixture.messages.all.isEmpty)
            try await parked.run { $0.isReadingPaused = false }
            for number in 0..<4 { #expect(await fixture.messages.next()?.first == UInt8(number)) }
            #expect(await peer.frame { $0.isType(NGHTTP2_WINDOW_UPDATE) && $0.stream == 1 } != nil)
        }
    }
}
