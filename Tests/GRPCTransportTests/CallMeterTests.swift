import GRPCTransport
import Measures
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(10))) struct CallMeterTests {
    /// The paths of the fixture's methods that are counted.
    private static func meter(timesCalls: Bool = false) -> CallMeter {
        var table = ServiceTable()
        for name in ["Echo", "Fail", "Park"] { table.unary("/test.Test/\(name)") { _, _ in } }
        table.streaming("/test.Test/EchoStream", type: .bidirectional) { _ in }
        table.streaming("/test.Test/ParkStream") { _ in }
        return CallMeter(table, timesCalls: timesCalls)
    }

    private func place(_ name: String, _ meter: CallMeter) throws -> Int {
        try #require(meter.methods.firstIndex { $0.name == name })
    }

    @Test func `methods are listed by name, with their types`() {
        let meter = Self.meter()
        #expect(meter.methods.map(\.name) == ["Echo", "EchoStream", "Fail", "Park", "ParkStream"])
        #expect(meter.methods.map(\.type) == [.unary, .bidirectional, .unary, .unary, .serverStream])
        #expect(meter.methods.allSatisfy { $0.service == "test.Test" })
    }

    @Test func `calls, messages, bytes and statuses are counted once each`() async throws {
        let meter = Self.meter(timesCalls: true)
        try await ServerFixture.run(more: { $0.meter = meter }) { fixture in
            for size in [0, 10, 70_000] {
                _ = try await fixture.client.unary("/test.Test/Echo", [UInt8](repeating: 1, count: size))
            }
            await #expect(throws: GRPCStatus.self) { _ = try await fixture.client.unary("/test.Test/Fail", [1]) }
            await #expect(throws: GRPCStatus.self) { _ = try await fixture.client.unary("/test.Test/Unknown", [1]) }
            let reading = meter.reading
            let echo = try place("Echo", meter)
            #expect(reading.started(echo) == 3)
            #expect(reading.received(echo) == 3)
            #expect(reading.sent(echo) == 3)
            #expect(reading.ended(echo, .ok) == 3)
            #expect(reading.times(echo).count == 3)
            #expect(reading.times(echo).sum > 0)
            let fail = try place("Fail", meter)
            #expect(reading.ended(fail, .aborted) == 1)
            #expect(reading.ended(fail, .ok) == 0)
            #expect(reading.sent(fail) == 0)
            // The fixture's healthy client has a stream open, and sent a byte that came back.
            let stream = try place("EchoStream", meter)
            #expect((reading.started(stream), reading.received(stream), reading.sent(stream)) == (1, 1, 1))
            #expect(reading.openCalls == 1)
            #expect(reading.receivedBytes == 70_010 + 1 + 1)
            #expect(reading.sentBytes == 70_010 + 1)
            #expect(reading.versions(ofUnary: true).map(\.version) == ["unknown"])
            #expect(meter.connectionsOpened.value == 1)
        }
        // Held until the end, then finished; one more echo makes sure that the client is well.
        let reading = meter.reading
        let ended = reading.ended(try place("EchoStream", meter), .ok)
        #expect(ended == 1)
        #expect(reading.openCalls == 0)
    }

    @Test func `a call that its client gives up is counted as cancelled`() async throws {
        let meter = Self.meter()
        try await ServerFixture.run(more: { $0.meter = meter }) { fixture in
            let stream = await fixture.client.stream("/test.Test/ParkStream")
            _ = await fixture.parked.next()
            stream.cancel()
            #expect(await fixture.cancelled.next() == .reset)
            let ended = meter.reading.ended(try place("ParkStream", meter), .cancelled)
            #expect(ended == 1)
        }
    }

    @Test func `a message over the bound is counted as refused`() async throws {
        let meter = Self.meter()
        var configuration = ServerConfiguration.patient
        configuration.maxRequestBytes = 1_000
        try await ServerFixture.run(configuration, more: { $0.meter = meter }) { fixture in
            await #expect(throws: GRPCStatus.self) {
                _ = try await fixture.client.unary("/test.Test/Echo", [UInt8](repeating: 1, count: 1_001))
            }
            #expect(meter.refusals(by: .messageBytes) == 1)
            #expect(meter.refusals(by: .connections) == 0)
            let ended = meter.reading.ended(try place("Echo", meter), .resourceExhausted)
            #expect(ended == 1)
        }
    }

    @Test func `two listeners of one meter are one count`() async throws {
        let meter = Self.meter()
        for _ in 0..<2 {
            try await ServerFixture.run(more: { $0.meter = meter }) { fixture in
                _ = try await fixture.client.unary("/test.Test/Echo", [1])
            }
        }
        // One call of each test's body, one of each fixture's own.
        let ended = meter.reading.ended(try place("Echo", meter), .ok)
        #expect(ended == 4)
    }
}
