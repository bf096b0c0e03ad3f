import EtcdAPI
import GRPCTransport
import Logging
import NIOCore
import NIOPosix
import ReplicatedLog
import StateMachine
import Store
import Synchronization
import Vocabulary

/// The parts of a running member, wired: store, state machine, log, event loops, services.
struct Member: Sendable {
    let context: ServerContext
    let services: ServiceTable
    private let loops: [ServerLoop]
    private let logger: Logger

    /// Opens the store, replays the log and starts the timers. Clients are not served yet.
    static func open(
        _ settings: ServerSettings, group: MultiThreadedEventLoopGroup, logger: Logger,
        onFailure: @escaping @Sendable (String) -> Void
    ) async throws -> Member {
        // Opening and replaying block; they get a thread of their own so that no task pool stands still.
        let tokens: TokenKeeper
        do {
            tokens = try await settings.auth.makeTokens()
        } catch {
            throw ServerStartError(description: "\(error)")
        }
        let opener = NIOThreadPool(numberOfThreads: 1)
        opener.start()
        let result: Result<Member, any Error>
        do {
            result = .success(
                try await opener.runIfActive { try openBlocking(settings, tokens, group, logger, onFailure) })
        } catch {
            result = .failure(error)
        }
        try await opener.shutdownGracefully()
        let member = try result.get()
        for loop in member.loops { try await loop.eventLoop.submit { loop.adoptThread() }.get() }
        member.startTimers()
        return member
    }

    private static func openBlocking(
        _ settings: ServerSettings, _ tokens: TokenKeeper, _ group: MultiThreadedEventLoopGroup, _ logger: Logger,
        _ onFailure: @escaping @Sendable (String) -> Void
    ) throws -> Member {
        let log = LateBound<ReplicatedLog>()
        let metrics = ServerMetrics()
        let store: Store
        do {
            var configuration = StoreConfiguration(directory: settings.dataDirectory)
            configuration.appliedIndexCommit = settings.faults.appliedIndexCommit
            let batch = logConfiguration(settings)
            settings.flush.apply(
                to: &configuration, batchEntries: batch.batchEntries,
                batchBytes: max(batch.batchBytes, settings.maxRequestBytes), maxTxnOps: settings.maxTxnOps)
            settings.changeStore(&configuration)
            configuration.onEvent = { event in
                metrics.record(event)
                logger.log(event)
                switch event {
                case .flushed: log.value?.wake()
                case .failed(let error): onFailure("the store's background work cannot go on: \(error)")
                case .flushFailed, .compacted, .compactionFailed, .defragmented, .mapGrown: break
                }
            }
            store = try Store.open(configuration)
        } catch {
            throw ServerStartError(description: "cannot open the store: \(error)")
        }
        do {
            return try start(store, settings, tokens, group, logger, log, metrics, onFailure)
        } catch {
            store.close()
            throw error
        }
    }

    /// The log's settings, but for what the store says.
    private static func logConfiguration(_ settings: ServerSettings) -> ReplicatedLogConfiguration {
        var configuration = ReplicatedLogConfiguration(directory: settings.dataDirectory + "/log", serverID: 1)
        // The kind byte beside the request, and whom it is made for.
        configuration.fit(entryBytes: settings.maxRequestBytes + 1 + AuthoredEntry.maximumPrefix)
        configuration.snapshotEntries = settings.snapshotCount
        // A checkpoint of the log seals the store too: by bytes it must not come before the store's own bound.
        configuration.snapshotBytes = max(configuration.snapshotBytes, settings.flush.bytes)
        return configuration
    }

    private static func start(
        _ store: Store, _ settings: ServerSettings, _ tokens: TokenKeeper, _ group: MultiThreadedEventLoopGroup,
        _ logger: Logger, _ boundLog: LateBound<ReplicatedLog>, _ metrics: ServerMetrics,
        _ onFailure: @escaping @Sendable (String) -> Void
    ) throws -> Member {
        let machine = try StateMachine(store: store, limits: settings.limits)
        let interest = LoopInterest()
        let lineInterest = LoopInterest()
        let keeper = LeaseKeeper()
        let loops = group.makeIterator().enumerated().map { number, eventLoop in
            ServerLoop(
                eventLoop: eventLoop, number: number, store: store, interest: interest, lineInterest: lineInterest,
                metrics: metrics)
        }
        metrics.watches = loops.map(\.hub.tallies)
        let driver = LogDriver(
            store: store, machine: machine, loops: loops, interest: interest, lineInterest: lineInterest,
            leases: keeper, tokens: tokens, metrics: metrics, logger: logger, onFailure: onFailure)
        driver.truncatesBeforeFlush = settings.faults.truncatesBeforeFlush
        let storeIndex = store.writer.appliedIndex
        var configuration = logConfiguration(settings)
        configuration.serverID = store.identity.memberID
        configuration.appliedIndex = storeIndex
        let log = ReplicatedLog(configuration, applier: driver)
        boundLog.set(log)
        do {
            try log.start()
        } catch {
            throw ServerStartError(description: "cannot open the log in \(configuration.directory): \(error)")
        }
        // The first entry of a log names its cluster, so that a log never replays into another one's store.
        if storeIndex == .zero, let loop = loops.first { proposeIdentity(of: store, to: log, on: loop) }
        // What waited was the replay.
        metrics.proposals.reset()
        machine.counts.forgetReplay()
        metrics.replay = log.replay
        logger.info("log replayed", metadata: log.replay.map { Logger.metadata(of: $0) })
        // A restart gives every lease its full time again; replayed grants are on the clock already.
        keeper.follow(
            machine.leases.all().map { .granted($0.id, timeToLiveSeconds: $0.timeToLiveSeconds) })
        tokens.forgetAll()
        let access = AccessControl(
            table: machine.authTable, tokens: tokens,
            passwords: PasswordDesk(cost: settings.auth.bcryptCost, counting: metrics.passwordHashes),
            takesCommonName: settings.tls?.requiresClientCertificate ?? false)
        let context = ServerContext(
            store: store, log: log, machine: machine, keeper: keeper, settings: settings,
            rangePool: RangePool(threads: max(2, System.coreCount / 2)), metrics: metrics, access: access)
        metrics.keyCensus.start(context)
        var services = services(context, settings)
        let meter = CallMeter(services, timesCalls: settings.hasExtensiveMetrics)
        services.meter = meter
        metrics.calls = CallMetrics(meter)
        return Member(context: context, services: services, loops: loops, logger: logger)
    }

    /// Again and again while the disk refuses it.
    private static func proposeIdentity(of store: Store, to log: ReplicatedLog, on loop: ServerLoop) {
        let context = PendingProposal(on: loop) { result in
            guard case .failure(let error) = result, error.isPassing else { return }
            _ = loop.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(100)) {
                proposeIdentity(of: store, to: log, on: loop)
            }
        }
        log.propose(identityEntry(store), context: context)
    }

    private static func identityEntry(_ store: Store) -> ProposalBuffer {
        let message = store.identity.encoded()
        return ProposalBuffer(kind: CommandKind.identity.rawValue, payloadCount: message.count) {
            $0.copyBytes(from: message)
        }
    }

    private static func services(_ context: ServerContext, _ settings: ServerSettings) -> ServiceTable {
        var table = ServiceTable()
        KVService(context: context).register(in: &table)
        LeaseService(context: context).register(in: &table)
        LockService(context: context).register(in: &table)
        ElectionService(context: context).register(in: &table)
        BerthLocks(context: context).register(in: &table)
        BerthElections(context: context).register(in: &table)
        AuthService(context: context).register(in: &table)
        ClusterService(context: context).register(in: &table)
        MaintenanceService(context: context).register(in: &table)
        BerthMaintenance(context: context).register(in: &table)
        let watch = WatchSettings(
            fragmentBytes: settings.maxRequestBytes + ServerSettings.messageOverhead,
            header: { context.headerTemplate.header(revision: $0, term: context.term) },
            authorize: { call, range throws(EtcdError) in _ = try context.access.permit(call, .read, range) })
        table.streaming("/etcdserverpb.Watch/Watch", type: .bidirectional) { call in
            WatchStream(call: call, settings: watch).start()
        }
        // These two tell what there is, so they come last.
        HealthService(services: table.serviceNames).register(in: &table)
        ReflectionService(served: table.serviceNames).register(in: &table)
        let log = context.log
        table.leaderCheck = { log.status.isLeader ? nil : GRPCStatus(.noLeader) }
        AccessRule.apply(context.access, to: &table)
        return table
    }

    private func startTimers() {
        // The tasks end with their loops.
        let interval = TimeAmount(max(context.settings.watchProgressInterval, ServerSettings.minWatchProgressInterval))
        for loop in loops {
            loop.eventLoop.execute {
                // A tenth is added at most, so that the watches of many servers do not tick together.
                _ = loop.eventLoop.scheduleRepeatedTask(
                    initialDelay: interval, delay: interval,
                    maximumAllowableJitter: .nanoseconds(interval.nanoseconds / 10)
                ) { _ in loop.hub.progressTick() }
            }
        }
        guard let first = loops.first else { return }
        _ = LeaseExpiry(context: context).start(on: first)
        first.eventLoop.execute { AutoCompactor.start(on: first, context, logger) }
    }

    /// Ends the streams and waits that would otherwise keep the server from draining.
    func endOpenCalls() async {
        for loop in loops {
            do {
                try await loop.eventLoop.submit { loop.endOpenCalls(GRPCStatus(.stopped)) }.get()
            } catch {
                logger.warning("a loop's open calls could not be ended", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Stops the log first: what it holds is in the store or will be replayed.
    func close() async {
        let log = context.log
        let store = context.store
        let closer = NIOThreadPool(numberOfThreads: 1)
        closer.start()
        await logging("the range pool did not end") { try await context.rangePool.shutdown() }
        await logging("the passwords' threads did not end") { try await context.access.passwords.shutdown() }
        await logging("the copies' threads did not end") { try await context.copies.shutdown() }
        await logging("log and store did not close") {
            try await closer.runIfActive {
                log.stop()
                store.close()
            }
        }
        await logging("the closing thread did not end") { try await closer.shutdownGracefully() }
    }

    /// Each step of closing is taken, whatever became of the one before.
    private func logging(_ what: String, _ step: () async throws -> Void) async {
        do {
            try await step()
        } catch {
            logger.error("\(what)", metadata: ["error": "\(error)"])
        }
    }
}

/// A reference set once, after those who will use it were made.
final class LateBound<Value: AnyObject & Sendable>: Sendable {
    private let box = Mutex<Value?>(nil)

    var value: Value? { box.withLock { $0 } }

    func set(_ value: Value) { box.withLock { $0 = value } }
}

extension Logger {
    /// The store speaks through events; this is where they become log lines.
    fileprivate func log(_ event: StoreEvent) {
        switch event {
        case .flushed(let appliedIndex, let revisions, let bytes, let duration):
            debug(
                "flushed",
                metadata: [
                    "applied-index": "\(appliedIndex)", "revisions": "\(revisions)", "bytes": "\(bytes)",
                    "seconds": "\(duration / .seconds(1))",
                ])
        case .flushFailed(let error, let retryIn):
            self.error(
                "flush failed; nothing is lost, the log holds it",
                metadata: ["error": "\(error)", "retry-in": "\(retryIn.map { "\($0)" } ?? "never")"])
        case .compacted(let through, let removed, let duration):
            info(
                "compacted",
                metadata: [
                    "revision": "\(through)", "removed": "\(removed)", "seconds": "\(duration / .seconds(1))",
                ])
        case .compactionFailed(let error, let retryIn):
            self.error("compaction failed", metadata: ["error": "\(error)", "retry-in": "\(retryIn)"])
        case .failed(let error):
            critical(
                "the store's background work stopped; the log holds what is not in base",
                metadata: ["error": "\(error)"])
        case .defragmented(let report):
            let released = max(0, report.bytesBefore - report.bytesAfter)
            info(
                report.isSupported
                    ? "defragmented"
                    : "nothing was defragmented: the file system cannot take blocks out of a file; free pages are used again",
                metadata: [
                    "released-bytes": "\(released)", "bytes-on-disk": "\(report.bytesAfter)",
                    "seconds": "\(report.duration / .seconds(1))",
                ])
        case .mapGrown(let layer, let bytes):
            info("map grown", metadata: ["layer": "\(layer)", "bytes": "\(bytes)"])
        }
    }
}
