import EtcdAPI
import FoundationEssentials
import GRPCTransport
import ServiceLifecycle
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(10))) struct ServerShutdownTests {
    @Test func `waiting calls of every kind are told Unavailable and do not hold the server back`() async throws {
        try await RunningServer.run { server in
            let client = await server.client()
            for lease in Int64(1)...2 { try await client.grant(lease) }
            _ = try await client.lock("lock", lease: 1)
            _ = try await client.beginCampaign("election", lease: 1, value: "v").response(
                V3electionpb_CampaignResponse.self)

            let waiter = try await client.beginLock("lock", lease: 2)
            let candidate = try await client.beginCampaign("election", lease: 2, value: "w")
            let observe = try await StreamClient<V3electionpb_LeaderResponse>(
                client, "/v3electionpb.Election/Observe")
            try await observe.send(V3electionpb_LeaderRequest.with { $0.name = Data("election".utf8) })
            _ = try await observe.next()
            let observeNobody = try await StreamClient<V3electionpb_LeaderResponse>(
                client, "/v3electionpb.Election/Observe")
            try await observeNobody.send(V3electionpb_LeaderRequest.with { $0.name = Data("nobody".utf8) })
            let keepAlive = try await StreamClient<Etcdserverpb_LeaseKeepAliveResponse>(
                client, "/etcdserverpb.Lease/LeaseKeepAlive")
            try await keepAlive.send(Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = 1 })
            _ = try await keepAlive.next()
            let watch = try await WatchClient(client)
            try await watch.create(id: 1, prefix: "w")
            _ = try await watch.next()
            let health = try await StreamClient<Grpc_Health_V1_HealthCheckResponse>(
                client, "/grpc.health.v1.Health/Watch")
            try await health.send(Grpc_Health_V1_HealthCheckRequest())
            _ = try await health.next()
            try await client.settle()

            // Each is told, and the server ends: it would drain for an hour when a call did not.
            await server.group.triggerGracefulShutdown()
            #expect(await waiter.status().code == .unavailable)
            #expect(await candidate.status().code == .unavailable)
            #expect(await end(of: observe) == .unavailable)
            #expect(await end(of: observeNobody) == .unavailable)
            #expect(await end(of: keepAlive) == .unavailable)
            #expect(await end(of: watch) == .unavailable)
            // Health may say that it stops serving before it ends.
            #expect(await end(of: health) == .unavailable)
        }
    }

    private func end<Response: Message>(of stream: StreamClient<Response>) async -> GRPCCode? {
        do {
            while true { _ = try await stream.next() }
        } catch {
            return (error as? GRPCStatus)?.code
        }
    }
}
