import DequeModule
import EtcdAPI
import GRPCTransport
import Measures
import NIOCore
import NIOPosix
import ReplicatedLog
import StateMachine
import Store
import Synchronization
import Vocabulary

/// One event loop's share of the server: its watches, and the place where answers from the log arrive.
///
/// Everything but `eventLoop` and `number` belongs to the event loop; `@unchecked Sendable` rests on that: the log
/// thread only captures the reference to hop with it.
final class ServerLoop: @unchecked Sendable {
    let eventLoop: any EventLoop
    /// Place among the server's loops, from 0.
    let number: Int
    let hub: WatchHub
    let lines: LineHub
    let gate = AnswerGate()
    private let metrics: ServerMetrics

    /// The loop that runs the current thread.
    private static let current = ThreadSpecificVariable<ServerLoop>()

    init(
        eventLoop: any EventLoop, number: Int, store: Store, interest: LoopInterest, lineInterest: LoopInterest,
        metrics: ServerMetrics
    ) {
        self.metrics = metrics
        self.eventLoop = eventLoop
        self.number = number
        lines = LineHub(number: number, interest: lineInterest)
        hub = WatchHub(eventLoop: eventLoop, number: number, store: store, interest: interest)
    }

    /// Makes `ServerLoop.here` answer on this loop's thread. Must be called on it.
    func adoptThread() {
        eventLoop.preconditionInEventLoop()
        Self.current.currentValue = self
    }

    /// The loop of the calling thread, which must be one of the server's.
    static var here: ServerLoop {
        guard let loop = current.currentValue else {
            preconditionFailure("called off the server's event loops")
        }
        return loop
    }

    /// Counts a proposal that got no answer. Any thread.
    func count(_ error: ProposalError) {
        switch error {
        case .queueFull: metrics.queueRefusals.add()
        case .tooLarge, .stopped: break
        case .notLeader, .io, .refused: metrics.proposalFailures.add()
        }
    }

    // MARK: - Calls without an end of their own

    /// Streams and waits that would keep the server from draining, until they end.
    private var openEnded: [ObjectIdentifier: any OpenEndedCall] = [:]
    /// Set at shutdown: what opens now ends at once.
    private var endingStatus: GRPCStatus?

    /// Remembers a call to be ended at shutdown.
    func track(_ call: any OpenEndedCall) {
        eventLoop.preconditionInEventLoop()
        openEnded[ObjectIdentifier(call)] = call
        guard let endingStatus else { return }
        // Not within the call's own start.
        eventLoop.assumeIsolated().execute { call.end(endingStatus) }
    }

    /// Forgets a call that ended. Harmless when repeated.
    func untrack(_ call: any OpenEndedCall) {
        eventLoop.preconditionInEventLoop()
        openEnded[ObjectIdentifier(call)] = nil
    }

    /// Ends every such call.
    func endOpenCalls(_ status: GRPCStatus) {
        eventLoop.preconditionInEventLoop()
        endingStatus = status
        for call in Array(openEnded.values) { call.end(status) }
    }

    // MARK: - Whether the member serves

    /// etcd cuts streams that require a leader after three election timeouts without one.
    private static let patienceWithoutLeader = TimeAmount.seconds(3)

    /// As this loop was told last.
    private(set) var condition = MemberCondition.withoutLeader
    private var conditionFollowers: [ObjectIdentifier: (MemberCondition) -> Void] = [:]
    private var leaderLoss: Scheduled<Void>?

    /// Calls `body` with each later condition, until `stopFollowing`.
    func followCondition(_ follower: AnyObject, _ body: @escaping (MemberCondition) -> Void) {
        eventLoop.preconditionInEventLoop()
        conditionFollowers[ObjectIdentifier(follower)] = body
    }

    /// Harmless when repeated.
    func stopFollowing(_ follower: AnyObject) {
        eventLoop.preconditionInEventLoop()
        conditionFollowers[ObjectIdentifier(follower)] = nil
    }

    /// The log thread's news.
    func conditionChanged(_ condition: MemberCondition) {
        eventLoop.preconditionInEventLoop()
        self.condition = condition
        for body in Array(conditionFollowers.values) { body(condition) }
        guard condition == .withoutLeader else {
            leaderLoss?.cancel()
            leaderLoss = nil
            return
        }
        guard leaderLoss == nil else { return }
        leaderLoss = eventLoop.assumeIsolated().scheduleTask(in: Self.patienceWithoutLeader) {
            self.leaderLoss = nil
            for call in Array(self.openEnded.values) where call.endsWithoutLeader { call.end(GRPCStatus(.noLeader)) }
        }
    }

    // MARK: - Answers

    /// Takes what one turn of the log brought: answers to proposals made here, then what happened in lines to places
    /// that wait here, then the turn's events.
    func deliver(_ answers: [ProposalAnswer], _ batch: CommittedBatch?, _ lineEvents: [LineEvent]) {
        eventLoop.preconditionInEventLoop()
        for answer in answers { answer.proposal.complete(answer.result) }
        if !lineEvents.isEmpty { lines.deliver(lineEvents) }
        if let batch { hub.deliver(batch) }
    }
}

/// A call that ends only when its client, or the server's shutdown, ends it.
///
/// Isolation: the event loop of its call.
protocol OpenEndedCall: AnyObject {
    /// Tells the client and lets go of everything held for it.
    func end(_ status: GRPCStatus)
    /// Whether it is a stream whose client wants it ended when there is no leader.
    var endsWithoutLeader: Bool { get }
}

extension OpenEndedCall {
    /// Not a stream.
    var endsWithoutLeader: Bool { false }
}

/// What became of one proposal.
struct ProposalAnswer: Sendable {
    let proposal: PendingProposal
    let result: ApplyResult
}

/// Which loops have watches, one bit a loop, so that the log thread wakes no other loop for events and records none
/// when nobody watches.
///
/// A loop sets its bit, then reads the published revision and starts its watches there; the log thread publishes a
/// revision, then reads the bits. Sequentially consistent, so a revision above the one read finds the bit set.
final class LoopInterest: Sendable {
    private let bits = Atomic<UInt64>(0)

    /// Loops beyond the bits share the last one.
    private static func bit(_ loop: Int) -> UInt64 { 1 << UInt64(min(loop, 63)) }

    func set(_ loop: Int) { bits.bitwiseOr(Self.bit(loop), ordering: .sequentiallyConsistent) }

    func clear(_ loop: Int) {
        // A shared bit stays: waking a loop for nothing is harmless.
        guard loop < 63 else { return }
        bits.bitwiseAnd(~Self.bit(loop), ordering: .sequentiallyConsistent)
    }

    var isAny: Bool { bits.load(ordering: .sequentiallyConsistent) != 0 }

    func wants(_ loop: Int) -> Bool { bits.load(ordering: .sequentiallyConsistent) & Self.bit(loop) != 0 }
}
