import EtcdAPI
import NIOCore
import ReplicatedLog
import StateMachine
import Vocabulary

/// Proposes to revoke leases whose time is up. Runs on one event loop.
struct LeaseExpiry {
    /// How often the clock is looked at. A lease ends at most this much, and the log's delay, after its time.
    static let interval = TimeAmount.milliseconds(100)
    /// Revokes proposed in one look: ten thousand leases that end together take about a second, with writes of
    /// clients in between.
    static let revokesPerLook = 1_000

    let context: ServerContext

    /// Starts looking; the task ends with the loop.
    func start(on loop: ServerLoop) -> RepeatedTask {
        loop.eventLoop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) { _ in
            guard context.log.status.isLeader else { return }
            for id in context.keeper.collectDue(limit: Self.revokesPerLook) {
                // Lost proposals are made again by the clock; a lease revoked meanwhile answers "not found".
                context.propose(.leaseExpire, LeaseExpiryView.encoded(id: id, at: ServerContext.wallClock())) { _ in }
            }
        }
    }
}
