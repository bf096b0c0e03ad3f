import EtcdAPI
import GRPCTransport
import NIOCore
import Server
import ServiceLifecycle
import SwiftProtobuf
import Testing

/// Calls of `berth.v1.Maintenance.Snapshot` by clients that do not read, go away, or outstay the server.
@Suite(.timeLimit(.minutes(10))) struct SnapshotStreamTests {
    private typealias CopyClient = StreamClient<Berth_V1_SnapshotChunk>

    /// What a client is told that took too little in a short stall.
    private static let givenUp = "took less than 64 KiB in 0.3 seconds"

    /// A copy under way that its client has ceased to read; far more than one window is to come.
    private func unread(_ server: RunningServer) async throws -> CopyClient {
        let client = await server.client { $0.streamWindow = 65_536 }
        let copy = try await CopyClient(client, "/berth.v1.Maintenance/Snapshot")
        try await copy.send(Berth_V1_SnapshotRequest())
        _ = try await copy.next()
        try await copy.setPaused(true)
        return copy
    }

    /// Settings by which no client is given up within a test.
    private func neverStalled(_ settings: inout ServerSettings) { settings.snapshotStall = .seconds(3_600) }

    private func fill(_ server: RunningServer) async throws {
        let client = await server.client()
        for number in 0..<8 { try await client.put("fill\(number)", [UInt8](repeating: 7, count: 1 << 20)) }
    }

    /// How a copy ended, and the bytes that came before.
    private func end<Chunk: Message & Sendable>(of copy: StreamClient<Chunk>) async -> (GRPCStatus, Int) {
        var bytes = 0
        do {
            while true { bytes += try await copy.next().serializedData().count }
        } catch {
            return (error as? GRPCStatus ?? GRPCStatus(.unknown, "\(error)"), bytes)
        }
    }

    /// Asks until a copy is made; each refusal must be that of a third one, or of one that a busy machine kept from reading.
    ///
    /// - Returns: the bytes of the copy.
    @discardableResult private func awaitPlace(_ server: RunningServer) async throws -> Int {
        let client = await server.client()
        while true {
            let copy = try await CopyClient(client, "/berth.v1.Maintenance/Snapshot")
            try await copy.send(Berth_V1_SnapshotRequest())
            let (status, bytes) = await end(of: copy)
            if status.code == .ok {
                #expect(bytes > 8 << 20)
                return bytes
            }
            let isThird = status.message.contains("2 copies of the store are under way already")
            try #require(isThird || status.message.contains(Self.givenUp))
        }
    }

    @Test func `a client that takes nothing loses its copy and its place`() async throws {
        try await RunningServer.run {
            $0.snapshotStall = .milliseconds(300)
        } _: { server in
            try await fill(server)
            let copies = [try await unread(server), try await unread(server)]
            let whole = try await awaitPlace(server)
            // One of the two has been given up; the other one is, or will be, or is read in time.
            var given = 0
            for copy in copies {
                try await copy.setPaused(false)
                let (status, bytes) = await end(of: copy)
                guard status.code != .ok else { continue }
                #expect(status.code == .resourceExhausted)
                #expect(status.message.contains(Self.givenUp))
                // What was under way when it was given up still arrives, but not a whole copy.
                #expect(bytes < whole)
                given += 1
            }
            #expect(given >= 1)
        }
    }

    @Test func `a client that goes away gives its place back, and one that asks for nothing has none`() async throws {
        try await RunningServer.run(neverStalled) { server in
            try await fill(server)
            let first = try await unread(server)
            let second = try await unread(server)
            first.cancel()
            try await awaitPlace(server)
            second.cancel()
            try await awaitPlace(server)
        }
    }

    /// Connections go to the server's loops, as many as there are cores, in turn; each of these has a watch.
    private func watchOnEveryLoop(_ server: RunningServer) async throws
        -> [StreamClient<Etcdserverpb_WatchResponse>]
    {
        var watches: [StreamClient<Etcdserverpb_WatchResponse>] = []
        for _ in 0..<2 * System.coreCount {
            let watch = try await StreamClient<Etcdserverpb_WatchResponse>(
                await server.client(), "/etcdserverpb.Watch/Watch")
            var request = Etcdserverpb_WatchRequest()
            request.createRequest = Etcdserverpb_WatchCreateRequest()
            try await watch.send(request)
            #expect(try await watch.next().created)
            watches.append(watch)
        }
        return watches
    }

    @Test func `copies under way do not hold back a server that stops`() async throws {
        try await RunningServer.run(neverStalled) { server in
            try await fill(server)
            let copies = [try await unread(server), try await unread(server)]
            // They are under way when a third one is refused.
            let client = await server.client()
            var refused = false
            while !refused {
                let third = try await CopyClient(client, "/berth.v1.Maintenance/Snapshot")
                try await third.send(Berth_V1_SnapshotRequest())
                refused = await end(of: third).0.code == .resourceExhausted
            }
            let watches = try await watchOnEveryLoop(server)
            await server.group.triggerGracefulShutdown()
            // A copy that is read before its loop has begun to stop may become whole.
            for watch in watches { #expect(await end(of: watch).0.message == "etcdserver: server stopped") }
            for copy in copies {
                try await copy.setPaused(false)
                #expect(await end(of: copy).0.code == .unavailable)
            }
        }
    }

    private func etcdCopy(_ server: RunningServer) async throws -> StreamClient<Etcdserverpb_SnapshotResponse> {
        let client = await server.client { $0.streamWindow = 65_536 }
        let copy = try await StreamClient<Etcdserverpb_SnapshotResponse>(client, "/etcdserverpb.Maintenance/Snapshot")
        try await copy.send(Etcdserverpb_SnapshotRequest())
        return copy
    }

    @Test func `etcd's stream has full blobs, tells what is left, and ends with its hash`() async throws {
        try await RunningServer.run(neverStalled) { server in
            try await fill(server)
            let copy = try await etcdCopy(server)
            var left: UInt64?
            var blobs = 0
            while left != 0 {
                let message = try await copy.next()
                #expect(!message.hasHeader && message.remainingBytes % 512 == 0)
                #expect(message.blob.count == 32 << 10 || message.remainingBytes == 0)
                if let left { #expect(message.remainingBytes + UInt64(message.blob.count) == left) }
                left = message.remainingBytes
                blobs += 1
            }
            #expect(blobs > 256)
            let digest = try await copy.next()
            #expect(digest.blob.count == 32 && digest.remainingBytes == 0)
        }
    }

    @Test func `etcd's stream is given up like Berth's`() async throws {
        try await RunningServer.run {
            $0.snapshotStall = .milliseconds(300)
        } _: { server in
            try await fill(server)
            let copies = [try await etcdCopy(server), try await etcdCopy(server)]
            for copy in copies {
                _ = try await copy.next()
                try await copy.setPaused(true)
            }
            // A third one fits only when one of the two was given up.
            try await awaitPlace(server)
            var given = 0
            for copy in copies {
                try await copy.setPaused(false)
                let (status, _) = await end(of: copy)
                guard status.code == .resourceExhausted else { continue }
                #expect(status.message.contains(Self.givenUp))
                given += 1
            }
            #expect(given >= 1)
        }
    }
}
