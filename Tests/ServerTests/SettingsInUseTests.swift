import EtcdAPI
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import Server
import Synchronization
import Testing

/// What is set at start, seen by a client.
@Suite(.timeLimit(.minutes(10))) struct SettingsInUseTests {
    @Test func `a member that listens on a port of the system's choice advertises that port`() async throws {
        try await RunningServer.run { server in
            let members = try await server.client().call(
                "/etcdserverpb.Cluster/MemberList", Etcdserverpb_MemberListRequest(),
                Etcdserverpb_MemberListResponse.self
            ).members
            #expect(server.port != 0)
            #expect(members.map(\.clientUrls) == [["http://127.0.0.1:\(server.port)"]])
        }
    }

    @Test func `a request limit above the default is in force in the transport and the log too`() async throws {
        try await RunningServer.run({ $0.maxRequestBytes = 8 << 20 }) { server in
            let client = await server.client()
            let value = (0..<(4 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
            try await client.put("big", value)
            let stored = try await client.range(prefix: "big").first?.value
            #expect(stored.map { Array($0) == value } == true)
            // Over the limit it is refused, whoever looks first, and the connection goes on.
            await #expect(throws: (any Error).self) {
                try await client.put("bigger", [UInt8](repeating: 1, count: 9 << 20))
            }
            try await client.put("big", [1])
        }
    }

    @Test func `a full store refuses puts, raises the alarm, lets go of keys, and raises it again after a disarm`()
        async throws
    {
        try await RunningServer.run({ $0.quotaBackendBytes = 2 << 20 }) { server in
            let client = await server.client()
            let value = [UInt8](repeating: 7, count: 100_000)
            var refusal: GRPCStatus?
            for number in 0..<100 where refusal == nil {
                refusal = await status { try await client.put("k\(number)", value) }
            }
            let full = GRPCStatus(.resourceExhausted, "etcdserver: mvcc: database space exceeded")
            #expect(refusal == full)

            // A delete goes through the log, behind the alarm that the refusal proposed.
            #expect(try await client.delete("k0").deleted == 1)
            let alarms = try await client.alarm(.get)
            #expect(alarms.map(\.alarm) == [.nospace])
            let member = try #require(alarms.first?.memberID)
            let health = try await httpGet("/health", port: server.port)
            #expect(health.contains("503") && health.contains(#"{"health":"false","reason":"ALARM NOSPACE"}"#))
            #expect(await status { try await client.put("small") } == full)
            #expect(try await client.delete("k1").deleted == 1)

            for _ in 0..<3 {
                #expect(try await client.alarm(.deactivate, member: member) == alarms)
                #expect(try await client.alarm(.get).isEmpty)
                #expect(await status { try await client.put("again", value) } == full)
                try await client.delete("none")
                #expect(try await client.alarm(.get) == alarms)
            }
        }
    }

    /// The status a call ended with; nil for success.
    private func status(_ body: () async throws -> Void) async -> GRPCStatus? {
        do {
            try await body()
            return nil
        } catch {
            return error as? GRPCStatus ?? GRPCStatus(.internal, "\(error)")
        }
    }
}
