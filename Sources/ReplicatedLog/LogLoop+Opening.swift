internal import CRaft
internal import Vocabulary

/// libraft's part of the loop: opened at start and again after each suspension, closed before the loop ends.
extension LogLoop {
    enum RaftLife {
        case none
        case open
        /// Asked to close; its handles and disk work are still under way.
        case closing
        /// Has said that it is closed.
        case closed
    }

    enum Occasion {
        case start
        /// After the disk failed: the folder must be there, and hold all that was applied.
        case resumption
    }

    /// Looks the folder over, puts right what a crash may leave, lets libraft load it, and applies what the applier does not hold.
    /// On an error libraft may be left open.
    func openLog(_ occasion: Occasion) throws(ReplicatedLogError) {
        let began = MonotonicInstant.now
        let directory = configuration.directory
        let applied = RaftIndex(machine.appliedThrough)
        if occasion == .start, !LogFolder.exists(directory) {
            guard applied == .zero else { throw .behindStore(last: .zero, applied: applied) }
            try LogFolder.make(directory)
        } else if occasion == .start {
            try LogFolder.make(directory)
        }
        let walk = try LogWalk(directory)
        if let damage = walk.damage { throw .corrupt(damage) }
        guard RaftIndex(walk.lastIndex) >= applied else {
            throw .behindStore(last: RaftIndex(walk.lastIndex), applied: applied)
        }
        if let checkpoint = walk.checkpoint {
            do {
                try machine.applier.restore(reference: checkpoint.reference)
            } catch {
                throw .restore("\(error)")
            }
        }
        if let voters = walk.voters, !voters.contains(configuration.serverID) {
            throw .notVoter(serverID: configuration.serverID)
        }
        machine.acceptedCheckpoint = walk.checkpoint?.index
        try LogFolder.apply(walk.repairs, in: directory)
        try openRaft()
        if walk.lastIndex == 0 { try bootstrap(isFolderNew: !walk.hasMetadata) }
        let replayed = try replay()
        status.replay = ReplayReport(
            storeIndex: applied,
            firstIndex: replayed.entries > 0 ? RaftIndex(replayed.firstIndex) : RaftIndex(applied.value + 1),
            lastIndex: RaftIndex(machine.status?.lastIndex.value ?? 0), entries: replayed.entries,
            bytes: replayed.bytes, duration: MonotonicInstant.now.sinceStart - began.sinceStart,
            tornBytes: walk.tornBytes)
    }

    private func openRaft() throws(ReplicatedLogError) {
        // libraft counts on memory of zeros.
        raft.pointee = CRaft.raft()
        io.pointee = raft_io()
        var code = raft_uv_init(io, loop, configuration.directory, transport.pointer)
        guard code == 0 else { throw LogFolder.error(configuration.directory, code, io) }
        // 0.15 offers asynchronous work but still announces version 1, with which `raft_init` refuses a `raft_fsm` of
        // version 3.
        if io.pointee.async_work != nil { io.pointee.version = 2 }
        raft_uv_set_segment_size(io, configuration.segmentBytes)
        _ = raft_uv_set_snapshot_compression(io, false)  // a reference is a few dozen bytes
        raft_uv_set_auto_recovery(io, false)  // it would rename damaged segments and go on without their entries
        code = raft_init(raft, io, machine.fsm, configuration.serverID, "\(configuration.serverID)")
        guard code == 0 else {
            let error = LogFolder.error(configuration.directory, code, io)
            raft_uv_close(io)
            throw error
        }
        raftLife = .open
        raft.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        machine.attach(raft)
        raft_set_snapshot_trailing(raft, UInt32(clamping: configuration.trailingEntries))
        // A lone voter elects itself at start and has nobody to send heartbeats to: this is libraft's timer, kept slow.
        raft_set_election_timeout(raft, 5_000)
        raft_set_heartbeat_timeout(raft, 1_000)
    }

    /// Writes what a new log begins with: the term, then a segment with the configuration.
    /// - Parameter isFolderNew: false when a first start died between the two, and the segment alone is missing.
    private func bootstrap(isFolderNew: Bool) throws(ReplicatedLogError) {
        var members = raft_configuration()
        raft_configuration_init(&members)
        defer { raft_configuration_close(&members) }
        guard
            raft_configuration_add(&members, configuration.serverID, "\(configuration.serverID)", Int32(RAFT_VOTER))
                == 0
        else { throw .resources("no memory for the cluster's configuration") }
        let code = isFolderNew ? raft_bootstrap(raft, &members) : raft_recover(raft, &members)
        guard code == 0 else { throw LogFolder.error(configuration.directory, code, io) }
    }

    /// A lone voter becomes leader inside `raft_start`, which also applies every entry it finds.
    private func replay() throws(ReplicatedLogError) -> (entries: Int, bytes: Int, firstIndex: UInt64) {
        let inbox = inbox
        let replay = Replay(gate: replayGate, isCancelled: { inbox.stopRequested })
        machine.replay = replay
        let code = raft_start(raft)
        machine.replay = nil
        // The last slice: what its commit brings to light must not wait for the first turn.
        machine.closeBatch()
        machine.noticeApplierFailure()
        if let failure = machine.failure { throw failure }
        if inbox.stopRequested { throw .stopped }
        guard code == 0 else {
            if let refusal = machine.snapshots.restoreError { throw .restore(refusal) }
            throw LogFolder.error(configuration.directory, code, io)
        }
        guard let reached = machine.status else { throw .stopped }
        guard reached.lastIndex.value >= machine.appliedThrough else {
            throw .behindStore(last: reached.lastIndex, applied: RaftIndex(machine.appliedThrough))
        }
        guard reached.isLeader, reached.appliedIndex == reached.lastIndex else {
            throw .notVoter(serverID: configuration.serverID)
        }
        machine.noticeChanges()
        machine.finishTurn()
        status.publish(reached)
        return replay.total
    }

    // MARK: closing

    /// Asks libraft to close. Disk work under way, a checkpoint's flush included, is waited for by the turning loop.
    func beginClosingRaft() {
        guard raftLife == .open else { return }
        raftLife = .closing
        raft_close(raft) { raft in
            guard let loop = LogLoop.of(raft?.pointee.data) else { return }
            loop.raftLife = .closed
            loop.waker.wake()
        }
    }

    /// Frees libraft once it has closed. True when no instance is left, nor any handle of it.
    @discardableResult
    func finishClosingRaft() -> Bool {
        if raftLife == .closed, !hasForeignHandles {
            raft_uv_close(io)
            machine.detach()
            raftLife = .none
        }
        return raftLife == .none
    }

    /// libraft says that it is closed without waiting for each of its writers' handles.
    private var hasForeignHandles: Bool {
        final class Census {
            let own: [UnsafeRawPointer]
            var hasForeign = false
            init(_ own: [UnsafeRawPointer]) { self.own = own }
        }
        let census = Census(ownHandles)
        uv_walk(
            loop,
            { handle, argument in
                guard let handle, let argument else { return }
                let census = Unmanaged<Census>.fromOpaque(argument).takeUnretainedValue()
                if !census.own.contains(UnsafeRawPointer(handle)) { census.hasForeign = true }
            }, Unmanaged.passUnretained(census).toOpaque())
        return census.hasForeign
    }
}
