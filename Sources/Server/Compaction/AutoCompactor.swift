import EtcdAPI
import Logging
import Measures
import NIOCore
import ReplicatedLog
import StateMachine
import Store
import SwiftProtobuf
import Vocabulary

/// Proposes the compactions that `AutoCompactionSchedule` decides on, while this member leads.
///
/// Isolation: one event loop, which it also ends with.
final class AutoCompactor {
    private let context: ServerContext
    private let logger: Logger
    private var schedule: AutoCompactionSchedule

    /// Starts looking when compaction is asked for. On the event loop.
    static func start(on loop: ServerLoop, _ context: ServerContext, _ logger: Logger) {
        loop.eventLoop.preconditionInEventLoop()
        guard let policy = context.settings.autoCompaction.policy else { return }
        let compactor = AutoCompactor(policy, context, logger)
        let interval = TimeAmount(compactor.schedule.interval)
        let here = NIOLoopBound(compactor, eventLoop: loop.eventLoop)
        _ = loop.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in here.value.look() }
    }

    private init(_ policy: AutoCompactionSettings.Policy, _ context: ServerContext, _ logger: Logger) {
        self.context = context
        self.logger = logger
        schedule = AutoCompactionSchedule(
            policy, revision: context.store.publishedRevision, now: LeaseKeeper.now())
    }

    private func look() {
        let now = LeaseKeeper.now()
        let revision = context.store.publishedRevision
        guard let target = schedule.look(now: now, revision: revision, isLeader: context.log.status.isLeader) else {
            return
        }
        logger.info("automatic compaction", metadata: ["revision": "\(target)"])
        let request = Etcdserverpb_CompactionRequest.with { $0.revision = target.value }
        context.propose(.compaction, request, expecting: Etcdserverpb_CompactionResponse.self, for: nil) {
            [self] result in
            switch result {
            case .success: schedule.ended(target, isDone: true, now: now)
            case .failure(let error) where error == .compacted: schedule.ended(target, isDone: true, now: now)
            case .failure(let error):
                context.metrics.autoCompactionFailures.add()
                logger.warning(
                    "automatic compaction failed; it is tried again",
                    metadata: [
                        "revision": "\(target)", "error": "\(error.message)",
                        "retry-in": "\(schedule.interval / .seconds(1)) s",
                    ])
                schedule.ended(target, isDone: false, now: now)
            }
        }
    }
}
