import EtcdAPI
import GRPCTransport
import Server
import ServiceLifecycle
import Testing

/// Calls of `berth.v1.Maintenance.Snapshot` by clients that do not read, go away, or outstay the server.
@Suite(.timeLimit(.minutes(10))) struct SnapshotStreamTests {
    private typealias CopyClient = StreamClient<Berth_V1_SnapshotChunk>

    /// A copy under way that its client has ceased to read; far more than one window is to come.
    private func unread(_ server: RunningServer) async throws -> CopyClient {
        let client = await server.client { $0.streamWindow = 65_536 }
        let copy = try await CopyClient(client, "/berth.v1.Maintenance/Snapshot")
        try await copy.send(Berth_V1_SnapshotRequest())
        _ = try await copy.next()
        try await copy.setPaused(true)
        return copy
    }

    private func fill(_ server: RunningServer) async throws {
        let client = await server.client()
        for number in 0..<8 { try await client.put("fill\(number)", [UInt8](repeating: 7, count: 1 << 20)) }
    }

    /// How a copy ended, and the bytes that came before.
    private func end(of copy: CopyClient) async -> (GRPCStatus, Int) {
        var bytes = 0
        do {
            while true { bytes += try await copy.next().data.count }
        } catch {
            return (error as? GRPCStatus ?? GRPCStatus(.unknown, "\(error)"), bytes)
        }
    }

    /// Asks until a copy is made; each refusal must be that of a third one.
    private func awaitPlace(_ server: RunningServer) async throws {
        let client = await server.client()
        while true {
            let copy = try await CopyClient(client, "/berth.v1.Maintenance/Snapshot")
            try await copy.send(Berth_V1_SnapshotRequest())
            let (status, bytes) = await end(of: copy)
            if status.code == .ok {
                #expect(bytes > 8 << 20)
                return
            }
            try #require(status.message.contains("2 copies of the store are under way already"))
        }
    }

    @Test func `a client that takes nothing loses its copy and its place`() async throws {
        try await RunningServer.run {
            $0.snapshotStall = .milliseconds(300)
        } _: { server in
            try await fill(server)
            let copies = [try await unread(server), try await unread(server)]
            try await awaitPlace(server)
            // One of the two has been given up; the other one is, or will be, or is read in time.
            var given = 0
            for copy in copies {
                try await copy.setPaused(false)
                let (status, bytes) = await end(of: copy)
                guard status.code != .ok else { continue }
                #expect(status.code == .resourceExhausted)
                #expect(status.message.contains("took less than 64 KiB in 0.3 seconds"))
                // What was under way when it was given up still arrives, but not a whole copy.
                #expect(bytes < 8 << 20)
                given += 1
            }
            #expect(given >= 1)
        }
    }

    @Test func `a client that goes away gives its place back, and one that asks for nothing has none`() async throws {
        try await RunningServer.run { server in
            try await fill(server)
            let first = try await unread(server)
            let second = try await unread(server)
            first.cancel()
            try await awaitPlace(server)
            second.cancel()
            try await awaitPlace(server)
        }
    }

    @Test func `copies under way do not hold back a server that stops`() async throws {
        try await RunningServer.run { server in
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
            await server.group.triggerGracefulShutdown()
            for copy in copies {
                try await copy.setPaused(false)
                #expect(await end(of: copy).0.code == .unavailable)
            }
        }
    }

    @Test func `etcd's stream has full blobs, tells what is left, ends with its hash, and is given up like Berth's`()
        async throws
    {
        try await RunningServer.run {
            $0.snapshotStall = .milliseconds(300)
        } _: { server in
            try await fill(server)
            let client = await server.client { $0.streamWindow = 65_536 }
            let path = "/etcdserverpb.Maintenance/Snapshot"
            let copy = try await StreamClient<Etcdserverpb_SnapshotResponse>(client, path)
            try await copy.send(Etcdserverpb_SnapshotRequest())
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
            let second = try await StreamClient<Etcdserverpb_SnapshotResponse>(client, path)
            try await second.send(Etcdserverpb_SnapshotRequest())
            _ = try await second.next()
            try await second.setPaused(true)
            // Its place comes back to it alone by the stall rule: two more fit only then.
            let third = try await unread(server)
            try await awaitPlace(server)
            third.cancel()
        }
    }
}
