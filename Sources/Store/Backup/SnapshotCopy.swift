import Synchronization
public import Vocabulary

/// Makes the pieces of a copy, one after the other. Used by one thread at a time, not always the same.
public protocol CopyWalk: AnyObject {
    /// The next piece, without bytes when there is nothing to tell yet; nil at the end. Takes some milliseconds.
    func nextPiece() throws(StoreError) -> SnapshotCopy.Piece?
}

/// A copy of base under way: the bytes of a snapshot file, made piece by piece as they are asked for.
///
/// Holds one read transaction on base, so pages that flushes and compaction free meanwhile are not reused before it ends:
/// it must be ended, and not be let stand. Any thread; one piece at a time.
public final class SnapshotCopy: Sendable {
    /// A part of the file.
    public struct Piece: Sendable {
        /// The bytes that come next; none when only something was counted.
        public var bytes: [UInt8]
        /// Entries read so far, and entries there are.
        public var done: UInt64
        /// See `done`.
        public var total: UInt64

        /// Puts a piece together.
        public init(bytes: [UInt8], done: UInt64, total: UInt64) {
            self.bytes = bytes
            self.done = done
            self.total = total
        }
    }

    private enum Phase {
        /// With what lets go of base.
        case open(any CopyWalk, () -> Void)
        case ended(StoreError)
    }

    /// Everything up to here is in it.
    public let appliedIndex: RaftIndex
    /// The newest revision in it.
    public let revision: Revision
    private let registry: CopyRegistry
    private let phase: Monitor<Phase>

    fileprivate init(
        _ walk: any CopyWalk, _ header: SnapshotHeader, _ registry: CopyRegistry, _ close: @escaping () -> Void
    ) {
        appliedIndex = header.appliedIndex
        revision = header.currentRevision
        self.registry = registry
        phase = Monitor(.open(walk, close))
    }

    /// Makes the next piece; nil at the end of the file. Takes some milliseconds, and waits for the disk where pages are
    /// not in memory.
    ///
    /// - Throws: `copyEnded` when the store had to end the copy, or what reading base failed with. The copy is over then.
    public func next() throws(StoreError) -> Piece? {
        let result = phase.withLock { phase -> Result<Piece?, StoreError> in
            switch phase {
            case .ended(let error): return .failure(error)
            case .open(let walk, let close):
                do throws(StoreError) {
                    return .success(try walk.nextPiece())
                } catch {
                    close()
                    phase = .ended(error)
                    return .failure(error)
                }
            }
        }
        return try result.get()
    }

    /// Lets go of base. Waits for a piece that is being made. Harmless when repeated.
    public func end() {
        end(.closed)
        registry.remove(self)
    }

    /// For the registry: `next` throws `error` from now on.
    func end(_ error: StoreError) {
        phase.withLock { phase in
            guard case .open(_, let close) = phase else { return }
            close()
            phase = .ended(error)
        }
    }
}

// How a copy begins, in steps: the log thread seals, then another thread waits for the flush, until base has everything.
extension Store {
    /// What the log thread found when it was asked to seal.
    public enum SealAttempt: Sendable {
        /// Everything applied is sealed.
        case sealed
        /// The other layer is still being flushed: wait for it, then try again.
        case mustWait
        /// Nothing will be sealed any more: a write has failed.
        case failed
    }

    /// Seals what is applied. Log thread, between batches.
    public func sealForCopy() -> SealAttempt {
        // In this order: a flush that ends in between is waited for in vain, and at once.
        let isFlushing = core.isFlushing.load(ordering: .acquiring)
        if writer.seal() { return .sealed }
        return isFlushing ? .mustWait : .failed
    }

    /// Waits until every log entry up to `raftIndex` is in base, or the flusher has nothing more to flush, or has failed.
    /// Any thread but the log thread.
    ///
    /// - Throws: what the flush failed with.
    public func awaitFlush(upTo raftIndex: RaftIndex) throws(StoreError) {
        let failures = core.handover.withLock { $0.failures }
        let result = core.handover.wait { state -> Result<Void, StoreError>? in
            guard state.sealed != nil, state.durable.appliedIndex < raftIndex else { return .success(()) }
            if state.stop == .atOnce { return .failure(.closed) }
            if state.hasGivenUp || state.failures > failures, let failure = state.lastFailure {
                return .failure(failure)
            }
            return nil
        }
        try result.get()
    }

    /// Begins a copy of base as it is now. It must be ended.
    ///
    /// - Parameter takenAtMilliseconds: the time of day, since 1970, for people to read.
    public func beginCopy(takenAtMilliseconds: Int64) throws(StoreError) -> SnapshotCopy {
        try core.copies.begin { () throws(StoreError) in
            let walk = try BaseWalk(core.base, takenAtMilliseconds: takenAtMilliseconds)
            return SnapshotCopy(walk, walk.header, core.copies) { walk.close() }
        }
    }

    /// Begins a copy of base as it is now, in another format than Berth's own. It must be ended.
    ///
    /// - Parameter make: gives the walk that makes the pieces from what it reads.
    public func beginCopy(
        takenAtMilliseconds: Int64, _ make: (BaseReader) -> any CopyWalk
    ) throws(StoreError) -> SnapshotCopy {
        try core.copies.begin { () throws(StoreError) in
            let reader = try BaseReader(core.base, takenAtMilliseconds: takenAtMilliseconds)
            return SnapshotCopy(make(reader), reader.header, core.copies) { reader.close() }
        }
    }
}
