internal import CRaft
internal import Glibc
internal import Synchronization
internal import Vocabulary

/// Checkpoints: libraft's snapshot of Berth is a reference to state that the store holds durably. libraft asks in this
/// order, and truncates its log only when the last step succeeded:
///
/// 1. `snapshot` on the log thread, after a burst of applies: the applier seals. `RAFT_BUSY` puts it off to the next burst.
/// 2. `snapshot_async` on a worker: the applier flushes. An error ends it here.
/// 3. libraft writes the reference to its folder, closes the segment, removes old segments, drops entries from memory.
/// 4. `snapshot_finalize` on the log thread, in success and in failure alike, without telling which.
struct SnapshotState {
    /// Bytes of entries applied since the last checkpoint, or since the one in progress began.
    var appliedBytes = 0
    /// Bytes that the checkpoint in progress covers: counted again should it fail.
    var sealedBytes = 0
    /// The checkpoint in progress.
    var pendingIndex: UInt64?
    var ticksToWait = 0
    var restoreError: String?
}

/// The reference as libraft stores it: a checksum and what Berth needs to check it, then the applier's bytes.
struct SnapshotEnvelope {
    static let magic = UInt64(littleEndian: 0x3250_4b43_5452_4542)  // "BERTCKP2" in memory
    static let headerCount = 32

    var index: UInt64
    var term: UInt64
    var reference: [UInt8]

    init(index: UInt64, term: UInt64, reference: [UInt8]) {
        self.index = index
        self.term = term
        self.reference = reference
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.headerCount, bytes.word(0) == Self.magic,
            bytes.word(8) == UInt64(RaftCRC32.checksum(bytes[span: 16..<bytes.count]))
        else { return nil }
        self.init(
            index: bytes.word(16), term: bytes.word(24), reference: Array(bytes.dropFirst(Self.headerCount)))
    }

    var count: Int { Self.headerCount + reference.count }

    func write(into bytes: UnsafeMutableRawBufferPointer) {
        func put(_ value: UInt64, at offset: Int) {
            bytes.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
        }
        put(Self.magic, at: 0)
        put(index, at: 16)
        put(term, at: 24)
        UnsafeMutableRawBufferPointer(rebasing: bytes[Self.headerCount...]).copyBytes(from: reference)
        put(UInt64(RaftCRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[16...]))), at: 8)
    }
}

extension RaftMachine {
    func installSnapshotCallbacks() {
        fsm.pointee.snapshot = { fsm, buffers, count in
            guard let machine = RaftMachine.of(fsm), let buffers, let count else { return RAFT_INVALID }
            return machine.beginSnapshot(buffers, count)
        }
        fsm.pointee.snapshot_async = { fsm, _, _ in
            // On a worker thread: nothing of the machine may be touched but its constants.
            guard let machine = RaftMachine.of(fsm) else { return RAFT_INVALID }
            do {
                try machine.applier.snapshotFlush()
                return 0
            } catch {
                machine.flushError.withLock { $0 = "\(error)" }
                return RAFT_IOERR
            }
        }
        fsm.pointee.snapshot_finalize = { fsm, buffers, count in
            guard let machine = RaftMachine.of(fsm), let buffers, let count else { return RAFT_INVALID }
            machine.endSnapshot(buffers, count)
            return 0
        }
        fsm.pointee.restore = { fsm, buffer in
            guard let machine = RaftMachine.of(fsm), let buffer else { return RAFT_INVALID }
            return machine.restore(buffer)
        }
    }

    /// Counts towards the byte bound, which libraft does not have: it counts entries. Over the bound its threshold is
    /// lowered, so that the burst in progress already ends with a checkpoint.
    func noteApplied(bytes: Int) {
        // What libraft spends on an entry beside its bytes: its slot in the ring and its reference count.
        snapshots.appliedBytes += bytes + 96
        if snapshots.appliedBytes >= limits.snapshotBytes, snapshots.pendingIndex == nil { setThreshold(1) }
    }

    private func setThreshold(_ entries: Int) {
        guard let raft else { return }
        raft_set_snapshot_threshold(raft, UInt32(clamping: entries))
    }

    func snapshotTick() {
        if snapshots.ticksToWait > 0 { snapshots.ticksToWait -= 1 }
    }

    private func beginSnapshot(
        _ buffers: UnsafeMutablePointer<UnsafeMutablePointer<raft_buffer>?>, _ count: UnsafeMutablePointer<UInt32>
    ) -> Int32 {
        preconditionOnLogThread()
        guard let raft, failure == nil, snapshots.ticksToWait == 0 else { return RAFT_BUSY }
        closeBatch()
        let index = raft.pointee.snapshot.pending.index
        precondition(index == raft.pointee.last_applied, "a checkpoint covers exactly what was applied")
        guard applier.snapshotSeal(at: RaftIndex(index)) else { return RAFT_BUSY }
        let envelope = SnapshotEnvelope(
            index: index, term: raft.pointee.snapshot.pending.term, reference: applier.snapshotReference())
        guard let list = raft_malloc(MemoryLayout<raft_buffer>.size), let bytes = raft_malloc(envelope.count) else {
            return RAFT_NOMEM
        }
        envelope.write(into: UnsafeMutableRawBufferPointer(start: bytes, count: envelope.count))
        let buffer = list.bindMemory(to: raft_buffer.self, capacity: 1)
        buffer.initialize(to: raft_buffer(base: bytes, len: envelope.count))
        buffers.pointee = buffer
        count.pointee = 1
        snapshots.pendingIndex = index
        snapshots.sealedBytes = snapshots.appliedBytes
        snapshots.appliedBytes = 0
        return 0
    }

    private func endSnapshot(
        _ buffers: UnsafeMutablePointer<UnsafeMutablePointer<raft_buffer>?>, _ count: UnsafeMutablePointer<UInt32>
    ) {
        preconditionOnLogThread()
        if let buffer = buffers.pointee {
            raft_free(buffer.pointee.base)
            raft_free(buffer)
            buffers.pointee = nil
            count.pointee = 0
        }
        guard let index = snapshots.pendingIndex, let raft else { return }
        snapshots.pendingIndex = nil
        // libraft moves its log's start before it calls this, and only after every step succeeded.
        if raft.pointee.log.snapshot.last_index != index {
            snapshots.appliedBytes += snapshots.sealedBytes
            snapshots.ticksToWait = limits.ticksBetweenSnapshotAttempts
        }
        snapshots.sealedBytes = 0
        setThreshold(snapshots.appliedBytes >= limits.snapshotBytes ? 1 : limits.snapshotEntries)
    }

    /// On success the buffer is the machine's to free; on failure libraft frees it.
    private func restore(_ buffer: UnsafeMutablePointer<raft_buffer>) -> Int32 {
        preconditionOnLogThread()
        let bytes = UnsafeRawBufferPointer(start: buffer.pointee.base, count: buffer.pointee.len)
        guard let envelope = SnapshotEnvelope(bytes) else {
            snapshots.restoreError = "the checkpoint's reference was not written by Berth"
            return RAFT_CORRUPT
        }
        if envelope.index != acceptedCheckpoint {
            do {
                try applier.restore(reference: envelope.reference)
            } catch {
                snapshots.restoreError = "\(error)"
                return RAFT_CORRUPT
            }
        }
        raft_free(buffer.pointee.base)
        return 0
    }
}
