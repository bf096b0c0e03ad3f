import FoundationEssentials
import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import Server
import ServiceLifecycle

#if canImport(Glibc)
    import Glibc
#endif

/// A whole server in this process, on a port of the system's choice and a folder of its own.
struct RunningServer: Sendable {
    let settings: ServerSettings
    let report: BerthServer.ReadyReport
    let group: ServiceGroup
    private let clients: Clients

    var port: Int { report.addresses.first?.port ?? 0 }

    /// Serves while `body` runs, then stops it in order and removes the folder.
    ///
    /// - Throws: what `body` throws, or what the server failed with.
    static func run(
        _ change: (inout ServerSettings) -> Void = { _ in }, _ body: (RunningServer) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "berth-server-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        var settings = try ServerSettings(
            name: "test", dataDirectory: folder.path, listenClientURLs: [ClientURL(host: "127.0.0.1", port: 0)],
            advertiseClientURLs: nil, quotaBackendBytes: 0, maxRequestBytes: ServerSettings.defaultMaxRequestBytes,
            maxTxnOps: ServerSettings.defaultMaxTxnOps)
        change(&settings)

        let (reports, continuation) = AsyncStream.makeStream(of: BerthServer.ReadyReport.self)
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        // Nothing waits for the drain time to pass: a call that did not end by itself would hang its test.
        let server = BerthServer(settings: settings, logger: logger, drainTime: .seconds(3_600)) {
            continuation.yield($0)
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)], logger: logger
            ))
        let running = Task {
            defer { continuation.finish() }
            try await group.run()
        }
        guard let report = await reports.first(where: { _ in true }) else {
            try await running.value
            throw ServerNeverReady()
        }
        let fixture = RunningServer(settings: settings, report: report, group: group, clients: Clients())
        do {
            try await body(fixture)
        } catch {
            await fixture.stop(running)
            throw error
        }
        await fixture.stop(running)
        try await running.value
    }

    private struct ServerNeverReady: Error {}

    private func stop(_ running: Task<Void, any Error>) async {
        await clients.close()
        await group.triggerGracefulShutdown()
        _ = await running.result
    }

    /// A client with a connection of its own, closed when the server stops.
    func client(_ change: (inout ClientConfiguration) -> Void = { _ in }) async -> GRPCClient {
        var configuration = ClientConfiguration()
        configuration.connectTimeout = .hours(1)
        change(&configuration)
        let client = GRPCClient(
            host: "127.0.0.1", port: port, eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            configuration: configuration)
        await clients.add(client)
        return client
    }

    private actor Clients {
        private var all: [GRPCClient] = []

        func add(_ client: GRPCClient) { all.append(client) }

        func close() async {
            for client in all { await client.close() }
        }
    }
}
