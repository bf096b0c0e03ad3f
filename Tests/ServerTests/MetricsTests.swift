import EtcdAPI
import Foundation
import GRPCTransport
import NIOCore
import Server
import Store
import SwiftProtobuf
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// What `/metrics` says, seen by a scraper, while the store does what it tells about.
@Suite(.timeLimit(.minutes(10))) struct MetricsTests {
    private func scrape(_ server: RunningServer) async throws -> ParsedMetrics {
        let response = try await httpGet("/metrics", port: server.port)
        let head = try #require(response.range(of: "\r\n\r\n"))
        #expect(response.hasPrefix("HTTP/1.1 200"))
        #expect(response[..<head.lowerBound].lowercased().contains("content-type: text/plain; version=0.0.4"))
        return try ParsedMetrics(String(response[head.upperBound...]))
    }

    /// Those of etcd may come with what they count.
    private static func ofBerth(_ metrics: ParsedMetrics) -> Set<String> {
        Set(metrics.families.keys.filter { $0.hasPrefix("berth_") })
    }

    @Test func `calls are timed only when that is asked for`() async throws {
        try await RunningServer.run { server in
            try await server.client().put("key")
            #expect(try await scrape(server).families["grpc_server_handling_seconds"] == nil)
        }
        try await RunningServer.run({ $0.hasExtensiveMetrics = true }) { server in
            try await server.client().put("key")
            let labels = "{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}"
            let metrics = try await scrape(server)
            #expect(metrics["grpc_server_handling_seconds_count" + labels] == 1)
            #expect(metrics["grpc_server_handling_seconds_sum" + labels] ?? 0 > 0)
            #expect(metrics["grpc_server_started_total" + labels] == 1)
        }
    }

    @Test func `keys are counted after a start, whatever was compacted meanwhile`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            for number in 0..<5 { try await client.put("k\(number)") }
            try await client.delete("k0")
            let request = Etcdserverpb_CompactionRequest.with { $0.revision = 7 }
            _ = try await client.call("/etcdserverpb.KV/Compact", request, Etcdserverpb_CompactionResponse.self)
            var keys: Double?
            while keys == nil { keys = try await scrape(server)["etcd_debugging_mvcc_keys_total"] }
            #expect(keys == 4)
        }
    }

    @Test func `values are written as a scraper reads them`() throws {
        var text = ""
        let samples = [
            MetricSample(1.5, labels: [(name: "a", value: "quote \" slash \\ line \n end"), (name: "b", value: "")]),
            MetricSample(-3), MetricSample(1e-7, labels: [(name: "a", value: "small")]),
            MetricSample(.infinity, labels: [(name: "a", value: "large")]),
        ]
        MetricText.append("m", .gauge, help: "line\nslash \\", samples, to: &text)
        #expect(
            text == """
                # HELP m line\\nslash \\\\
                # TYPE m gauge
                m{a="quote \\" slash \\\\ line \\n end",b=""} 1.5
                m -3
                m{a="small"} 1e-07
                m{a="large"} +Inf

                """)
        #expect(try ParsedMetrics(text).families["m"]?.samples.count == 4)
    }

    @Test func `every number is there at start, and moves with what it counts`() async throws {
        let flushes = Signal()
        try await RunningServer.run({ settings in
            settings.flush = (try? FlushSettings(revisions: 10)) ?? .standard
            settings.quotaBackendBytes = 1 << 30
            settings.changeStore = { store in
                store.flushFault = {
                    flushes.send()
                    return nil
                }
            }
        }) { server in
            let client = await server.client()
            let before = try await scrape(server)
            #expect(before["berth_flushes_total"] == 0)
            #expect(before["berth_quota_bytes"] == Double(1 << 30))
            #expect(before["berth_alarm{type=\"NOSPACE\"}"] == 0)
            #expect(before["berth_proposals_held"] == 0)
            #expect(before["berth_log_is_leader"] == 1)
            #expect(before["berth_log_replayed_entries"] == 0)
            #expect(before["berth_log_suspended"] == 0)
            for number in 0..<10 { try await client.put("k\(number % 2)", [UInt8](repeating: 1, count: 100)) }
            await flushes.wait(for: 1)
            // The compaction is sealed and flushed too, and answered when it is done.
            let request = Etcdserverpb_CompactionRequest.with {
                $0.revision = 9
                $0.physical = true
            }
            _ = try await client.call("/etcdserverpb.KV/Compact", request, Etcdserverpb_CompactionResponse.self)
            _ = try await client.call(
                "/etcdserverpb.Maintenance/Defragment", Etcdserverpb_DefragmentRequest(),
                Etcdserverpb_DefragmentResponse.self)
            let after = try await scrape(server)
            #expect(Self.ofBerth(after) == Self.ofBerth(before))
            #expect(after["berth_flushes_total"] ?? 0 >= 1)
            #expect(after["berth_flush_duration_seconds_count"] == after["berth_flushes_total"])
            #expect(after["berth_flush_revisions_total"] ?? 0 >= 10)
            #expect(after["berth_flush_last_success_timestamp_seconds"] ?? 0 > 1e9)
            #expect(after["berth_compaction_duration_seconds_count"] == 1)
            #expect(after["berth_compaction_removed_revisions_total"] == 6)
            #expect(after["berth_compacted_revision"] == 9)
            #expect(after["berth_current_revision"] == 11)
            #expect(after["berth_defragmentation_duration_seconds_count"] == 1)
            #expect(after["berth_log_applied_index"] ?? 0 >= 11)
            #expect(after["berth_proposals_waiting"] == 0)
        }
    }

    @Test func `a flush that fails is told and tried again; writes are refused while both layers are full`()
        async throws
    {
        let isBroken = Atomic<Bool>(true)
        let tries = Signal()
        try await RunningServer.run({ settings in
            settings.flush = (try? FlushSettings(revisions: 4)) ?? .standard
            settings.changeStore = { store in
                store.flushFault = {
                    tries.send()
                    let isFull = isBroken.load(ordering: .acquiring)
                    return isFull ? .lmdb(code: ENOSPC, operation: "mdb_txn_commit (base)") : nil
                }
            }
        }) { server in
            let client = await server.client()
            for number in 0..<8 { try await client.put("k\(number)") }
            await tries.wait(for: 3)
            // Both layers are full, and the flush that would make room has failed: nothing to wait for.
            let error = await #expect(throws: GRPCStatus.self) { try await client.put("refused") }
            #expect(error?.code == .unavailable)
            #expect(error?.message.contains("the store cannot be flushed to disk") == true)
            var seen = try await scrape(server)
            while seen["berth_proposals_held"] == 0 || seen["berth_flush_failures_total"] ?? 0 < 2 {
                await tries.wait(for: 1)
                seen = try await scrape(server)
            }
            #expect(seen["berth_flush_failing"] == 1)
            #expect(seen["berth_flushes_total"] == 0)
            #expect(seen["berth_flush_last_failure_timestamp_seconds"] ?? 0 > 1e9)
            #expect(seen["berth_proposals_wait_seconds_total"] ?? 0 > 0)
            #expect(seen["berth_proposals_waiting"] == 0)
            isBroken.store(false, ordering: .releasing)
            while try await scrape(server)["berth_flush_failing"] == 1 { await tries.wait(for: 1) }
            try await client.put("taken")
            let after = try await scrape(server)
            #expect(after["berth_flush_failing"] == 0)
            #expect(after["berth_proposals_held"] == 0)
            #expect(after["berth_proposals_waiting"] == 0)
            #expect(after["berth_flushes_total"] ?? 0 >= 1)
            let waited = after["berth_proposals_wait_seconds_total"] ?? 0
            #expect(waited >= seen["berth_proposals_wait_seconds_total"] ?? 0)
            #expect(try await scrape(server)["berth_proposals_wait_seconds_total"] == waited)
        }
    }
}

/// Counts what happens on threads, awaited by tasks.
final class Signal: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }

    func send() { continuation.yield(()) }

    /// Waits until it has happened so many more times.
    func wait(for count: Int) async {
        var iterator = stream.makeAsyncIterator()
        for _ in 0..<count { _ = await iterator.next() }
    }
}
