import CLMDB
import Glibc
import Synchronization
import Vocabulary

/// The thread that makes sealed layers durable and old revisions vanish. Writes base, and nobody else does.
///
/// Never touches the active layer, and never holds anything a reader or the log thread waits for, except while base's
/// map grows.
final class Flusher: @unchecked Sendable {
    // Unchecked: `thread` belongs to who starts and joins it, the rest to the thread itself.
    let core: StoreCore
    private var thread: pthread_t?
    /// A layer that base has already, but that could not be emptied yet: it must not be copied again.
    private var copiedSeal: Int?
    /// After a failed step of compaction, when the next one may be tried.
    private var compactionMayBegin: ContinuousClock.Instant?
    /// From when on base's pages may be given back again, and the heap's.
    private var basePagesMayGo = ContinuousClock.now
    private var heapMayBeTrimmed = ContinuousClock.now
    /// Free bytes that the heap had left when it was last trimmed: in pieces smaller than a page, or given back.
    private var freeAfterTrimming: UInt = 0
    /// The compaction in progress.
    var compaction: CompactionProgress?
    /// Revisions removed since base's trees were last repacked.
    var removedSinceRepacking = 0
    /// The defragmentation in progress.
    var defragmentation: Defragmentation?

    init(_ core: StoreCore) { self.core = core }

    private enum Work {
        case flush(StoreCore.SealedLayer)
        case compact(Revision)
        case defragment
        case verify
        case stop
    }

    func start() throws(StoreError) {
        let fault = core.configuration.flusherStartFault
        guard fault == 0 else { throw .from(fault, "pthread_create (flusher)") }
        let box = Unmanaged.passRetained(self)
        var started = pthread_t()
        let code = pthread_create(
            &started, nil,
            { argument in
                guard let argument else { return nil }
                let flusher = Unmanaged<Flusher>.fromOpaque(argument).takeRetainedValue()
                flusher.run()
                return nil
            }, box.toOpaque())
        guard code == 0 else {
            box.release()
            throw .from(code, "pthread_create (flusher)")
        }
        thread = started
    }

    /// Waits for the thread's end, which `Handover.stop` asks for.
    func join() {
        if let thread { pthread_join(thread, nil) }
        thread = nil
    }

    private static let trimPause = Duration.seconds(60)
    /// Free bytes, beyond those that the last look left, that are worth looking for whole pages among them.
    private static let freeWorthTrimming: UInt = 16 << 20

    private func run() {
        var flushBackOff = BackOff()
        var compactionBackOff = BackOff()
        while true {
            switch nextWork() {
            case .stop: return
            case .flush(let sealed):
                do throws(StoreError) {
                    try flush(sealed)
                    flushBackOff.reset()
                } catch {
                    guard report(error, flushBackOff.next()) else { return }
                    // On a full disk, what gives space back must not wait for a flush.
                    if core.handover.withLock({ !$0.defragmentations.isEmpty }) { defragment(ahead: true) }
                }
            case .verify:
                do throws(StoreError) {
                    try core.base.pages?.sweep()
                    // Who waits for the last page is woken.
                    if core.base.pages?.isChecking == false { core.handover.update { _ in } }
                } catch {
                    return core.giveUp(error)
                }
            case .compact(let target):
                do throws(StoreError) {
                    try compact(through: target)
                    compactionBackOff.reset()
                } catch {
                    guard error.isWorthRetrying else { return core.giveUp(error) }
                    let delay = compactionBackOff.next()
                    // Not a pause: a flush that falls due meanwhile comes first.
                    compactionMayBegin = .now + delay
                    core.tell(.compactionFailed(error, retryIn: delay))
                }
            case .defragment: defragment()
            }
        }
    }

    private func nextWork() -> Work {
        while true {
            if let pages = core.base.pages, pages.isChecking {
                // A pause between slices leaves processor and disk to others. Removing entries touches pages that no
                // search led to, so compaction comes after the last slice.
                let isSweeping = core.configuration.verifiesInBackground
                let pause = isSweeping ? Self.verificationPause : .seconds(3_600)
                let work = core.handover.wait(timeout: pause) {
                    Self.due(&$0, mayCompact: false, mayDefragment: false)
                }
                if let work { return work }
                if isSweeping { return .verify }
                continue
            }
            let delay = compactionMayBegin.map { $0 - .now } ?? .zero
            guard delay > .zero else {
                compactionMayBegin = nil
                return core.handover.wait { Self.due(&$0, mayCompact: true) }
            }
            if let work = core.handover.wait(timeout: delay, until: { Self.due(&$0, mayCompact: false) }) {
                return work
            }
        }
    }

    private static func due(
        _ state: inout StoreCore.Handover, mayCompact: Bool, mayDefragment: Bool = true
    ) -> Work? {
        if state.stop == .atOnce || state.hasGivenUp { return .stop }
        if let sealed = state.sealed { return .flush(sealed) }
        if state.stop == .whenFlushed { return .stop }
        if mayCompact, state.compactedPhysically < state.durable.compactedRevision {
            return .compact(state.durable.compactedRevision)
        }
        if mayDefragment, !state.defragmentations.isEmpty { return .defragment }
        return nil
    }

    /// Tells of a failed flush and waits before the next try. False when there is to be none.
    private func report(_ error: StoreError, _ delay: Duration) -> Bool {
        // The copy was cut short by a store that is being dropped.
        if error == .closed { return false }
        guard error.isWorthRetrying else {
            core.giveUp(error)
            return false
        }
        let isStopping = core.handover.update { state in
            state.failures += 1
            state.lastFailure = error
            return state.stop != .no
        }
        core.tell(.flushFailed(error, retryIn: isStopping ? nil : delay))
        if !isStopping {
            _ = core.handover.wait(timeout: delay) { $0.stop == .no && $0.defragmentations.isEmpty ? nil : () }
        }
        return !isStopping
    }

    /// Between two slices of the pass over all pages: a quarter of a core, and 250 MiB/s, at most.
    private static let verificationPause = Duration.milliseconds(3)

    private struct BackOff {
        private var delay = Duration.milliseconds(100)
        mutating func next() -> Duration {
            defer { delay = min(delay * 2, .seconds(5)) }
            return delay
        }
        mutating func reset() { self = BackOff() }
    }
}

// Flushing.
extension Flusher {
    private func flush(_ sealed: StoreCore.SealedLayer) throws(StoreError) {
        let clock = ContinuousClock()
        let start = clock.now
        let young = core.young(sealed.layer)
        let seal = core.sealCount.load(ordering: .acquiring)
        if copiedSeal != seal {
            try growing(core.base) { () throws(StoreError) in try copy(young, sealed.state) }
            copiedSeal = seal
        }
        try growing(young) { () throws(StoreError) in try young.empty() }
        core.measureBase()
        // Young layers are written, and each page would have to be made writable anew: only in quiet times. And before the
        // log thread has the layer again, which may map it anew.
        let isQuiet = sealed.isSmall(core.configuration)
        if isQuiet { young.forgetPages() }
        core.handover.update { state in
            state.sealed = nil
            state.durable = sealed.state
            core.sealedBytes.store(0, ordering: .relaxed)
            core.sealedSince.store(0, ordering: .relaxed)
            core.isFlushing.store(false, ordering: .releasing)
        }
        let duration = clock.now - start
        giveBackMemory(isQuiet: isQuiet)
        core.tell(
            .flushed(
                appliedIndex: sealed.state.appliedIndex, revisions: sealed.revisions, bytes: sealed.bytes,
                duration: duration))
    }

    /// Gives back what base's map took in, and in quiet times what the heap has free.
    private func giveBackMemory(isQuiet: Bool) {
        let clock = ContinuousClock()
        if clock.now >= basePagesMayGo {
            let taken = clock.measure { core.base.forgetPages() }
            // The more pages there were the longer it took, and takes readers to have them back.
            basePagesMayGo = clock.now + taken * 1_000
        }
        guard isQuiet, clock.now >= heapMayBeTrimmed else { return }
        heapMayBeTrimmed = clock.now + Self.trimPause
        let left = berth_trim_heap(freeAfterTrimming + Self.freeWorthTrimming)
        if left > 0 { freeAfterTrimming = left }
    }

    /// Does `body` again with a larger map as long as it finds the map full. It must have left nothing behind then.
    func growing(_ environment: Environment, _ body: () throws(StoreError) -> Void) throws(StoreError) {
        while true {
            do throws(StoreError) {
                return try body()
            } catch {
                guard error.isMapFull else { throw error }
            }
            let size = environment.mapSize * 2
            if environment === core.base { core.copies.shut("the store's address space has to grow") }
            defer { if environment === core.base { core.copies.open() } }
            try core.gate.whileShut(exceptWriter: false) { () throws(StoreError) in try environment.grow(to: size) }
            core.tell(.mapGrown(layer: environment.name, bytes: size))
        }
    }

    /// Copies a layer and the state it leads to into base: all of it or nothing.
    private func copy(_ young: Environment, _ state: BaseState) throws(StoreError) {
        let source = try young.beginRead()
        defer { mdb_txn_abort(source) }
        if core.configuration.appliedIndexCommit == .beforeData { try commitAppliedIndex(of: state) }
        try core.base.write(commit: "mdb_txn_commit (base)") { target throws(StoreError) in
            let copier = LayerCopier(
                from: young, source, to: core.base, target,
                isCancelled: { [core] in core.handover.withLock { $0.stop == .atOnce } })
            try copier.copyRevisions()
            try copier.copyKeys()
            try copier.copyRecords()
            let meta = MetaTable(transaction: target, database: core.base.databases.meta)
            try meta.set(self.state(withData: state, meta))
            if let fault = core.configuration.flushFault() { throw fault }
        }
        if core.configuration.appliedIndexCommit == .afterData { try commitAppliedIndex(of: state) }
    }
}
