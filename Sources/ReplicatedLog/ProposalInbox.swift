internal import Glibc
internal import Synchronization

/// A proposal whose bytes are built: it waits for the log thread.
package struct WaitingProposal: @unchecked Sendable {
    // @unchecked: the memory has one owner, and moves with the value.
    let stored: UnsafeMutableRawBufferPointer
    let context: any ProposalContext

    package init(_ entry: consuming ProposalBuffer, context: any ProposalContext) {
        stored = entry.release()
        self.context = context
    }
}

/// The one place where other threads leave something for the log thread. It bounds what waits and knows whether the
/// log thread must be woken; it never calls anybody.
final class ProposalInbox: Sendable {
    enum Admission {
        /// Taken; when `mustWake`, no turn of the loop is due and the caller has to cause one.
        case accepted(mustWake: Bool)
        case refused(ProposalError)
    }

    private struct State {
        var waiting: [WaitingProposal] = []
        var work: [@Sendable () -> Void] = []
        /// What counts against the bounds: here or taken by the log thread but not yet in the log.
        var heldCount = 0
        var heldBytes = 0
        /// Invariant: true only while a turn is certain to come without a wake-up, which makes wake-ups rare under load.
        var turnIsDue = false
        /// Why nothing is taken; for good when `isClosed`.
        var refusal: ProposalError?
        var isClosed = false
        var stopRequested = false
    }

    private let state = Mutex(State())
    private let entryLimit: Int
    private let countLimit: Int
    private let byteLimit: Int

    init(_ configuration: ReplicatedLogConfiguration) {
        entryLimit = configuration.entryBytes
        countLimit = configuration.queueEntries
        byteLimit = configuration.queueBytes
    }

    // MARK: any thread

    func add(_ entry: consuming ProposalBuffer, context: any ProposalContext) -> Admission {
        guard entry.count <= entryLimit else { return .refused(.tooLarge) }
        let proposal = WaitingProposal(entry, context: context)
        let size = proposal.stored.count
        let admission = state.withLock { state -> Admission in
            if let refusal = state.refusal { return .refused(refusal) }
            guard state.heldCount < countLimit, state.heldBytes + size <= byteLimit || state.heldCount == 0 else {
                return .refused(.queueFull)
            }
            state.heldCount += 1
            state.heldBytes += size
            state.waiting.append(proposal)
            defer { state.turnIsDue = true }
            return .accepted(mustWake: !state.turnIsDue)
        }
        if case .refused = admission { free(proposal.stored.baseAddress) }
        return admission
    }

    /// - Returns: false after `close`: the work was dropped.
    func add(work: @escaping @Sendable () -> Void) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            state.work.append(work)
            return true
        }
    }

    /// Proposals here, or taken by the log thread and not yet in the log.
    var heldProposals: Int { state.withLock { $0.heldCount } }

    func requestStop() {
        state.withLock { $0.stopRequested = true }
    }

    var stopRequested: Bool { state.withLock { $0.stopRequested } }

    // MARK: log thread

    /// What one look at the inbox found, beside proposals.
    struct Intake {
        var work: [@Sendable () -> Void]
        var stopRequested: Bool
    }

    /// Takes everything that waits, once the log thread has dealt with what it took before.
    ///
    /// - Parameters:
    ///   - staged: filled when it is empty; its storage is traded so that neither side allocates.
    ///   - releasedCount, releasedBytes: taken earlier and in the log by now, hence no longer bounded here.
    ///   - turnIsDue: whether a turn comes in any case, even if nothing is staged.
    func collect(
        into staged: inout [WaitingProposal], releasedCount: Int, releasedBytes: Int, turnIsDue: Bool
    ) -> Intake {
        state.withLock { state in
            state.heldCount -= releasedCount
            state.heldBytes -= releasedBytes
            if staged.isEmpty { swap(&staged, &state.waiting) }
            state.turnIsDue = turnIsDue || !staged.isEmpty
            guard !state.work.isEmpty else { return Intake(work: [], stopRequested: state.stopRequested) }
            defer { state.work.removeAll() }
            return Intake(work: state.work, stopRequested: state.stopRequested)
        }
    }

    /// Refuses everything from now on, and hands out what still waits. Repeatable; the first reason stays.
    func close(_ reason: ProposalError) -> [WaitingProposal] {
        state.withLock { state in
            if !state.isClosed { state.refusal = reason }
            state.isClosed = true
            return Self.takeWaiting(&state)
        }
    }

    /// Refuses proposals, not works, until `resume`, and hands out what still waits. A newer reason replaces the older.
    func suspend(_ reason: ProposalError) -> [WaitingProposal] {
        state.withLock { state in
            if !state.isClosed { state.refusal = reason }
            return Self.takeWaiting(&state)
        }
    }

    /// Takes proposals again, unless closed.
    func resume() {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.refusal = nil
            state.turnIsDue = false
        }
    }

    private static func takeWaiting(_ state: inout State) -> [WaitingProposal] {
        state.heldCount -= state.waiting.count
        for proposal in state.waiting { state.heldBytes -= proposal.stored.count }
        defer { state.waiting.removeAll() }
        return state.waiting
    }
}
