import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import SwiftProtobuf

/// A streaming call of a client whose reading the test holds back and lets go.
struct StreamClient<Response: Message>: Sendable {
    private let call: ClientCall
    private let responses: AsyncThrowingStream<Response, any Error>

    init(_ client: GRPCClient, _ path: String, isPaused: Bool = false) async throws {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Response.self)
        responses = stream
        call = try await client.eventLoop.submit {
            client.start(path) { call in
                call.isReadingPaused = isPaused
                call.onMessage = {
                    do {
                        continuation.yield(try Response(serializedBytes: $0))
                    } catch {
                        continuation.finish(throwing: error)
                    }
                }
                call.onEnd = { continuation.finish(throwing: $0) }
            }
        }.get()
    }

    /// While paused, the server is stopped by flow control after one window.
    func setPaused(_ isPaused: Bool) async throws {
        let call = call
        try await call.eventLoop.submit { call.isReadingPaused = isPaused }.get()
    }

    /// Queues a request; how much is queued does not matter.
    func send(_ request: some Message) async throws {
        let bytes: [UInt8] = try request.serializedBytes()
        let call = call
        try await call.eventLoop.submit { call.send(bytes) }.get()
    }

    /// Queues requests until `count` are, the transport is full, or the call ended.
    ///
    /// - Returns: how many were queued.
    func sendWhileRoom(_ requests: [[UInt8]], atMost count: Int) async throws -> Int {
        let call = call
        return try await call.eventLoop.submit {
            var sent = 0
            while sent < count, call.hasRoom {
                call.send(requests[sent % requests.count])
                sent += 1
            }
            return sent
        }.get()
    }

    /// The next response.
    ///
    /// - Throws: the call's status once it ended, be it success.
    func next() async throws -> Response {
        var iterator = responses.makeAsyncIterator()
        guard let response = try await iterator.next() else { throw CancellationError() }
        return response
    }

    func cancel() { call.cancel() }
}

typealias WatchClient = StreamClient<Etcdserverpb_WatchResponse>

extension StreamClient where Response == Etcdserverpb_WatchResponse {
    init(_ client: GRPCClient, isPaused: Bool = false) async throws {
        try await self.init(client, "/etcdserverpb.Watch/Watch", isPaused: isPaused)
    }

    /// Asks for a watch of the keys that begin with `prefix`, or of one key.
    func create(
        id: Int64, key: String = "", prefix: String = "", from revision: Int64 = 0,
        _ change: (inout Etcdserverpb_WatchCreateRequest) -> Void = { _ in }
    ) async throws {
        var request = Etcdserverpb_WatchCreateRequest()
        request.watchID = id
        request.key = Data((prefix.isEmpty ? key : prefix).utf8)
        if !prefix.isEmpty { request.rangeEnd = Data(prefixEnd(prefix)) }
        request.startRevision = revision
        change(&request)
        try await send(Etcdserverpb_WatchRequest.with { $0.createRequest = request })
    }

    func cancelWatch(_ id: Int64) async throws {
        try await send(Etcdserverpb_WatchRequest.with { $0.cancelRequest.watchID = id })
    }

    func requestProgress() async throws {
        try await send(Etcdserverpb_WatchRequest.with { $0.progressRequest = .init() })
    }
}
