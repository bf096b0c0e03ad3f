internal import Vocabulary

/// What happens when the disk fails while the log runs.
///
/// libraft cannot go on after a failed write: its buffers still hold the entries. So it is closed, and once its last
/// handle and disk work are gone, the log is opened anew with all checks of a start, until that succeeds: the first time
/// after 0.1 s, then twice as long each time, at most every 2 s. What was on its way failed with `.io`, as it may be in
/// the log or not; opening tells, and applies it if so. Proposals meanwhile are refused. What was acknowledged must be
/// there again, or the log fails for good.
struct Suspension {
    var ticksLeft = 1
    /// Ticks until the attempt after the next.
    var delay = 1

    static let longestDelay = 20

    mutating func postpone() {
        delay = min(2 * delay, Self.longestDelay)
        ticksLeft = delay
    }
}

extension LogLoop {
    /// libraft or the applier could not go on.
    func failed(_ error: ReplicatedLogError) {
        if case .io = error, case .running = phase { suspend(error) } else { failForGood(error) }
    }

    private func suspend(_ error: ReplicatedLogError) {
        phase = .suspended(Suspension())
        status.publishClosed()
        let reason = Self.refusal(error)
        refuse(inbox.suspend(reason), reason)
        machine.abandon(.io(error.description))
        machine.leaveOffice()
        beginClosingRaft()
        machine.abandon(.io(error.description))
        machine.applier.logSuspended(error)
    }

    private static func refusal(_ error: ReplicatedLogError) -> ProposalError {
        .refused("nothing can be written at present, \(error)")
    }

    private func failForGood(_ error: ReplicatedLogError) {
        // A log that is stopping stops: whoever waits was told already.
        if case .draining = phase {} else { phase = .failed }
        status.publishClosed()
        shutInbox(.io(error.description))
        machine.applier.failed(error)
    }

    /// A turn of a suspended log.
    func goOnSuspended(_ stopRequested: Bool) {
        if let reason = machine.applier.hasFailed { return failForGood(.applier(reason)) }
        guard case .suspended(var suspension) = phase, !stopRequested, finishClosingRaft(), suspension.ticksLeft <= 0,
            // A replay that waits for the applier's room would keep works waiting; this one fits into one slice.
            machine.applier.acceptsProposals
        else { return }
        do throws(ReplicatedLogError) {
            // As much as libraft wants at once: a segment to write to, and one in reserve.
            try LogFolder.checkRoom(configuration.directory, bytes: 2 * configuration.segmentBytes)
            try openLog(.resumption)
            phase = .running
            inbox.resume()
            if let replay = status.replay { machine.applier.logResumed(replay) }
        } catch {
            beginClosingRaft()
            switch error {
            case .io, .resources, .directory:
                suspension.postpone()
                phase = .suspended(suspension)
                let reason = Self.refusal(error)
                refuse(inbox.suspend(reason), reason)
                status.publishClosed()
                machine.leaveOffice()
            case .stopped: break
            case .configuration, .corrupt, .restore, .applier, .behindStore, .notVoter: failForGood(error)
            }
        }
    }
}
