import Berth
import FoundationEssentials
import Logging
import Server
import ServiceLifecycle

/// The servers this library works with.
enum TestServer: String, CaseIterable, Sendable {
    case berth
    case etcd

    /// Serves while `body` runs, with a store of its own.
    func run(_ body: (_ port: Int) async throws -> Void) async throws {
        switch self {
        case .berth: try await Self.runBerth(body)
        case .etcd: try await EtcdProcess.run { try await body($0) }
        }
    }

    /// The same, with a client.
    func client(
        _ change: (inout BerthConfiguration) -> Void = { _ in }, _ body: (BerthClient) async throws -> Void
    ) async throws {
        var configuration = BerthConfiguration.patient([])
        change(&configuration)
        try await run { port in
            configuration.endpoints = ["http://127.0.0.1:\(port)"]
            try await BerthClient.with(configuration) { try await body($0) }
        }
    }

    private struct NeverReady: Error {}

    private static func runBerth(_ body: (_ port: Int) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "berth-client-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let settings = try ServerSettings(
            name: "test", dataDirectory: folder.path, listenClientURLs: [ClientURL(host: "127.0.0.1", port: 0)],
            advertiseClientURLs: nil, quotaBackendBytes: 0, maxRequestBytes: ServerSettings.defaultMaxRequestBytes,
            maxTxnOps: ServerSettings.defaultMaxTxnOps)
        let (reports, ready) = AsyncStream.makeStream(of: BerthServer.ReadyReport.self)
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let server = BerthServer(settings: settings, logger: logger) { ready.yield($0) }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)], logger: logger
            ))
        let running = Task {
            defer { ready.finish() }
            try await group.run()
        }
        let result: Result<Void, any Error>
        do {
            guard let port = await reports.first(where: { _ in true })?.addresses.first?.port else {
                throw NeverReady()
            }
            try await body(port)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await group.triggerGracefulShutdown()
        let end = await running.result
        try result.get()
        try end.get()
    }
}

extension BerthConfiguration {
    /// Waits longer than the most starved machine takes: what a test is about should decide it, and not the clock.
    static func patient(_ endpoints: [String]) -> BerthConfiguration {
        var configuration = BerthConfiguration(endpoints: endpoints)
        configuration.requestTimeout = .seconds(60)
        configuration.connectTimeout = .seconds(60)
        configuration.keepaliveTimeout = .seconds(60)
        configuration.pace.reasonTimeout = .seconds(60)
        configuration.pace.abandonTimeout = .seconds(60)
        return configuration
    }
}

extension BerthClient {
    /// Returns when a lease of so long, which nobody renews, was granted and has run out, by the server's word: at least
    /// that long passed at the server since the call. Writes `key`.
    func oneLifetime(of timeToLive: Duration, key: Bytes = "clock") async throws {
        let lease = try await leases.grant(timeToLive)
        let revision: Int64
        do {
            revision = try await kv.put(key, "", lease: lease.id).revision
        } catch BerthError.leaseNotFound {
            return  // It was over before the key stood.
        }
        lease.stopRenewing()
        for try await batch in watch(KeyRange.key(key), from: revision + 1) where !batch.events.isEmpty { break }
    }
}

/// Returns when the calling task is cancelled; the suite's time limit bounds it.
func untilCancelled() async {
    let (nothing, source) = AsyncStream.makeStream(of: Never.self)
    for await _ in nothing {}
    source.finish()
}
