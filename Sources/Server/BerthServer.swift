import EtcdAPI
import GRPCTransport
import Gateway
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
        /// Addresses it answers gRPC at, with the ports the system chose filled in.
        public let addresses: [ClientURL]
        /// Addresses for HTTP alone.
        public let httpAddresses: [ClientURL]
        /// Addresses for metrics and health alone.
        public let metricsAddresses: [ClientURL]
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
    /// - Throws: `SettingsError` or `ServerStartError` when it cannot start, `ServerFailure` when it cannot go on.
    public func run() async throws {
        // Before the store is opened: a replay may take long, and what is wrong here stays wrong.
        let listeners = try Listeners(settings, logger: logger)
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
            let bound = try await listen(member, listeners, group)
            onReady(report(member, bound))
            let reason = await failure.wait()
            logger.info("stopping", metadata: reason.map { ["reason": "\($0)"] } ?? [:])
            listeners.credentials?.stop()
            await drain(member, bound.map(\.server))
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

    private func listen(
        _ member: Member, _ listeners: Listeners, _ group: MultiThreadedEventLoopGroup
    ) async throws -> [Listeners.Bound] {
        let endpoints = HTTPEndpoints(
            context: member.context,
            gateway: settings.http.hasGateway
                ? Gateway(
                    services: member.services,
                    maxMessageBytes: settings.maxRequestBytes + ServerSettings.messageOverhead)
                : nil)
        // Until all are bound, MemberList would know only some; a client that is that early is told the settings.
        member.context.boundURLs.withLock { $0 = settings.listenClientURLs }
        let bound = try await listeners.open(
            group, services: member.services, handshakes: member.context.metrics.handshakes
        ) { endpoints.respond(to: $0, $1) }
        member.context.boundURLs.withLock { $0 = bound.filter(\.service.answersGRPC).map(\.url) }
        return bound
    }

    private func report(_ member: Member, _ bound: [Listeners.Bound]) -> ReadyReport {
        func urls(_ isWanted: (ListenPlan.Service) -> Bool) -> [ClientURL] {
            bound.filter { isWanted($0.service) }.map(\.url)
        }
        return ReadyReport(
            addresses: urls(\.answersGRPC), httpAddresses: urls { $0 == .http },
            metricsAddresses: urls { $0 == .metrics }, dataDirectory: settings.dataDirectory,
            revision: member.context.store.publishedRevision.value)
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
