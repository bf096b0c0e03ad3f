import GRPCTransport
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(10))) struct AsyncFaceTests {
    private let ended = Events<String>()

    private func addMethods(_ services: inout ServiceTable) {
        services.asyncUnary("/async.Async/Reverse") { stream, request in
            guard stream.metadata("refuse") == nil else { throw GRPCStatus(.permissionDenied, "refused") }
            return request.reversed()
        }
        services.asyncStreaming("/async.Async/Double") { stream in
            while let message = try await stream.next() {
                try await stream.send(message)
                try await stream.send(message)
            }
        }
        services.asyncStreaming("/async.Async/Forever") { [ended] stream in
            do {
                while true { try await stream.send([UInt8](repeating: 1, count: 10_000)) }
            } catch {
                ended.add("\(error)")
                throw error
            }
        }
        services.asyncStreaming("/async.Async/Listen") { [ended] stream in
            do {
                _ = try await stream.next()
                ended.add("end")
            } catch {
                ended.add("\(error)")
                throw error
            }
        }
    }

    @Test func `an async unary handler answers, and its error is the status`() async throws {
        try await ServerFixture.run(more: addMethods) { fixture in
            let response = try await fixture.client.unary("/async.Async/Reverse", [1, 2, 3])
            #expect(response == [3, 2, 1])
            var options = ClientCall.Options()
            options.metadata = [("refuse", "1")]
            let refused = options
            await #expect(throws: GRPCStatus(.permissionDenied, "refused")) {
                _ = try await fixture.client.unary("/async.Async/Reverse", [], options: refused)
            }
        }
    }

    @Test func `an async stream keeps order when more is sent than either side holds`() async throws {
        try await ServerFixture.run(more: addMethods) { fixture in
            let stream = await fixture.client.stream("/async.Async/Double")
            let sending = Task {
                for number in 0..<300 { try await stream.send([UInt8](repeating: UInt8(number % 256), count: 5_000)) }
                stream.finishSending()
            }
            var count = 0
            for try await message in stream {
                #expect(message == [UInt8](repeating: UInt8(count / 2 % 256), count: 5_000))
                count += 1
            }
            #expect(count == 600)
            try await sending.value
        }
    }

    @Test func `a handler that sends for ever stops with its call`() async throws {
        try await ServerFixture.run(more: addMethods) { fixture in
            let stream = await fixture.client.stream("/async.Async/Forever")
            for _ in 0..<10 { _ = try await stream.next() }
            stream.cancel()
            #expect(await ended.next() == "cancelled: the call is over")
        }
    }

    @Test func `a handler that waits for a message hears of the cancellation`() async throws {
        try await ServerFixture.run(more: addMethods) { fixture in
            let stream = await fixture.client.stream("/async.Async/Listen")
            stream.cancel()
            // The reset may overtake the request, which then never reached a handler.
            let second = await fixture.client.stream("/async.Async/Listen")
            try await second.send([])
            var seen = await ended.next()
            while let event = seen, event != "end" {
                #expect(event.hasPrefix("cancelled"))
                seen = await ended.next()
            }
            #expect(seen == "end")
        }
    }

    @Test func `a name with several addresses is tried until one answers`() async throws {
        try await ServerFixture.run { fixture in
            let client = GRPCClient(host: "localhost", patientlyTo: fixture.port)
            let echo = try await client.unary("/test.Test/Echo", [7])
            #expect(echo == [7])
            await client.close()
        }
    }

    @Test func `a call cancelled while it is prepared is never sent`() async throws {
        try await ServerFixture.run { fixture in
            let client = fixture.client
            let ended = Events<GRPCStatus>()
            try await client.eventLoop.submit {
                _ = client.start("/test.Test/ParkStream") { call in
                    call.onEnd = { ended.add($0) }
                    call.cancel()
                }
            }.get()
            #expect(await ended.next()?.code == .cancelled)
            #expect(try await client.unary("/test.Test/Echo", [7]) == [7])
            #expect(fixture.parked.all.isEmpty)
        }
    }

    @Test func `a call to nobody fails as unavailable, and at once while the client backs off`() async throws {
        let client = GRPCClient(patientlyTo: 1)
        for _ in 0..<2 {
            let error = await #expect(throws: GRPCStatus.self) { _ = try await client.unary("/a.B/C", []) }
            #expect(error?.code == .unavailable)
        }
        await client.close()
        let error = await #expect(throws: GRPCStatus.self) { _ = try await client.unary("/a.B/C", []) }
        #expect(error?.code == .cancelled)
    }
}
