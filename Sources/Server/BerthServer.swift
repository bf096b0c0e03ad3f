import EtcdAPI
import GRPCTransport
public import Logging
import NIOCore
import NIOPosix
import ReplicatedLog
public import ServiceLifecycle
import StateMachine
import Store
import Synchronization
import Vocabulary

#if canImport(Glibc)
    import Glibc
#endif

/// One member: opens the store, replays the log, serves clients until told to stop, and closes everything in the
/// order that loses nothing.
///
/// It must never answer a client before the replay is done, nor close the store before the log.
public final class BerthServer: Service {
    private let settings: ServerSettings
    private let logger: Logger
    private let drainTime: Duration
    private let onReady: @Sendable (ReadyReport) -> Void

    /// What a server says of itself once it serves.
    public struct ReadyReport: Sendable {
        /// Addresses it listens on, with the ports the system chose filled in.
        public let addresses: [ClientURL]
        /// Folder of store and log.
        public let dataDirectory: String
        /// The store's revision.
        public let revision: Int64
    }

    /// Prepares a server; nothing is opened before `run`.
    ///
    /// - Parameters:
    ///   - drainTime: how long calls in flight may take to end when the server is told to stop.
    ///   - onReady: called once, when clients are served.
    public init(
        settings: ServerSettings, logger: Logger, drainTime: Duration = .seconds(5),
        onReady: @escaping @Sendable (ReadyReport) -> Void
    ) {
        self.settings = settings
        self.logger = logger
        self.drainTime = drainTime
        self.onReady = onReady
    }

    /// Serves until graceful shutdown is triggered or the store can no longer be written.
    ///
    /// - Throws: `ServerStartError` when it cannot start, `ServerFailure` when it cannot go on.
    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        let failure = FailureSignal()
        let member: Member
        do {
            member = try await Member.open(settings, group: group, logger: logger) { failure.raise($0) }
        } catch {
            try await group.shutdownGracefully()
            throw error
        }
        do {
            let servers = try await listen(member, group)
            onReady(
                ReadyReport(
                    addresses: member.context.boundURLs.withLock { $0 },
                    dataDirectory: settings.dataDirectory, revision: member.context.store.publishedRevision.value))
            let reason = await failure.wait()
            logger.info("stopping", metadata: reason.map { ["reason": "\($0)"] } ?? [:])
            await drain(member, servers)
            try await close(member, group)
            if let reason { throw ServerFailure(description: reason) }
        } catch let error as ServerFailure {
            throw error
        } catch {
            try await close(member, group)
            throw error
        }
    }

    // MARK: - Parts of a run

    private func listen(_ member: Member, _ group: MultiThreadedEventLoopGroup) async throws -> [GRPCServer] {
        var configuration = ServerConfiguration()
        // Whoever waits for a lock does so in an open call: a client that is cut off without a word must not stand in line
        // for as long as gRPC's two hours.
        configuration.keepaliveInterval = .seconds(30)
        configuration.maxRequestBytes = settings.maxRequestBytes + ServerSettings.messageOverhead
        let endpoints = HTTPEndpoints(context: member.context)
        var servers: [GRPCServer] = []
        // Until all are bound, MemberList would know only some; a client that is that early is told the settings.
        member.context.boundURLs.withLock { $0 = settings.listenClientURLs }
        for url in settings.listenClientURLs {
            do {
                servers.append(
                    try await GRPCServer.bind(
                        host: url.host, port: url.port, group: group, services: member.services,
                        http1: { endpoints.respond(to: $0) }, configuration: configuration, logger: logger))
            } catch {
                for server in servers { await server.shutdownGracefully(deadline: .now()) }
                let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
                throw ServerStartError(
                    description: "cannot listen on \(url): \(reason); choose another address with --listen-client-urls")
            }
        }
        let bound = zip(settings.listenClientURLs, servers).map { url, server in
            ClientURL(host: url.host, port: server.localAddress?.port ?? url.port)
        }
        member.context.boundURLs.withLock { $0 = bound }
        return servers
    }

    /// Calls without an end of their own are ended by the server; everything else may finish.
    private func drain(_ member: Member, _ servers: [GRPCServer]) async {
        let deadline = NIODeadline.now() + TimeAmount(drainTime)
        async let endedCalls: Void = member.endOpenCalls()
        await withTaskGroup(of: Void.self) { tasks in
            for server in servers { tasks.addTask { await server.shutdownGracefully(deadline: deadline) } }
        }
        await endedCalls
    }

    private func close(_ member: Member, _ group: MultiThreadedEventLoopGroup) async throws {
        await member.close()
        try await group.shutdownGracefully()
    }
}

/// The server could not start: what was wrong and what to do.
public struct ServerStartError: Error, CustomStringConvertible {
    /// One line for a person.
    public let description: String
}

/// The server had to stop: its disk or its log failed. What was acknowledged is in the log.
public struct ServerFailure: Error, CustomStringConvertible {
    /// One line for a person.
    public let description: String
}

/// Ends a run: by a failure's reason, or by graceful shutdown.
private final class FailureSignal: Sendable {
    private let stream: AsyncStream<String>
    private let continuation: AsyncStream<String>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1)) }

    func raise(_ reason: String) { continuation.yield(reason) }

    /// - Returns: the reason of a failure, or nil for graceful shutdown.
    func wait() async -> String? {
        await withGracefulShutdownHandler {
            await stream.first { _ in true }
        } onGracefulShutdown: {
            self.continuation.finish()
        }
    }
}
