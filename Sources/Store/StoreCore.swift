import Synchronization
import Vocabulary

/// What the log thread, readers and the flusher share: the layers, the numbers they publish, and what is handed over
/// from one to the other. Holds no thread.
///
/// Why readers miss nothing and see nothing twice. A revision moves only active → sealed → base, and it is committed
/// in base before it leaves sealed. A reader (1) notes which young layer is active, (2) notes the published revision
/// P, (3) begins its transactions active, sealed, base in this order, (4) begins again if the roles changed
/// meanwhile. So while it began, active was one and the same generation and no younger one existed: every revision
/// up to P is in that transaction, in sealed's, or had left sealed before that transaction began and is then in
/// base's, which began later. Revisions above P, from batches committed meanwhile, are passed over. A revision met
/// in sealed and in base is one and the same, and look-ups stop at the first layer that knows the key: all that is
/// in active is younger than all in sealed, and that is younger than base or the same. Emptying a layer is an
/// ordinary transaction, so a reader inside keeps its pages. Nothing has to be begun on a layer that is seen to be empty
/// after (2): had it got something since that counts, its role would have changed.
///
/// Why compaction cannot cut holes into a read: its number is published before anything is removed, and a reader
/// takes it after it began base. What it still finds above that number is complete.
final class StoreCore: Sendable {
    let configuration: StoreConfiguration
    let identity: MemberIdentity
    let base: Environment
    private let youngA: Environment
    private let youngB: Environment
    let gate = ReaderGate()
    /// Copies of base under way, which no gate keeps: they would hold back whoever waits for readers.
    let copies = CopyRegistry()

    /// Newest revision readers may see. Moved by the log thread after its commit.
    let published: Atomic<Int64>
    /// Revisions below are refused. Moved by the log thread, after `published`.
    let compacted: Atomic<Int64>
    /// Seals so far; the lowest bit says which young layer is active.
    let sealCount = Atomic<Int>(0)
    /// Bytes of keys and values in the active layer, and in the one being flushed.
    let activeBytes = Atomic<Int>(0)
    let sealedBytes = Atomic<Int>(0)
    /// Whether nothing was written to the active layer since it became that. Set back before the first write is committed, and
    /// set after the seal that makes a layer active is counted.
    let isActiveEmpty = Atomic<Bool>(true)
    /// Whether a sealed layer waits for the flusher or is being flushed; set before the seal is counted. When not, the sealed
    /// layer is empty.
    let isFlushing = Atomic<Bool>(false)
    /// When the clock first found something in the active layer, and in the one being flushed, in nanoseconds; zero for a
    /// layer that is empty or was not looked at yet.
    let activeSince = Atomic<Int64>(0)
    let sealedSince = Atomic<Int64>(0)
    let baseAllocatedBytes = Atomic<Int>(0)
    let baseInUseBytes = Atomic<Int>(0)

    /// What goes from the log thread to the flusher and back.
    let handover: Monitor<Handover>

    struct Handover {
        /// The layer to be flushed. Nil: the next seal may come.
        var sealed: SealedLayer?
        /// What base holds on disk.
        var durable: BaseState
        /// Flushes that failed, counted so that one who waits sees a new failure.
        var failures = 0
        var lastFailure: StoreError?
        /// The flusher has ended on `lastFailure`: no more flush will come.
        var hasGivenUp = false
        var stop = Stop.no
        /// Physical compaction is done up to here, and told to these when they are reached.
        var compactedPhysically: Revision
        var waiters: [(through: Revision, done: @Sendable () -> Void)] = []
        /// Told when the defragmentation they asked for is done. Not empty: one is to be done.
        var defragmentations: [DefragmentationDone] = []
    }

    enum Stop {
        case no
        /// Flush what is sealed, then stop.
        case whenFlushed
        /// Drop everything, as if the process were killed.
        case atOnce
    }

    struct SealedLayer {
        var layer: Int
        /// What base will hold once the layer is in it.
        var state: BaseState
        var revisions: Int
        var bytes: Int

        /// Sealed for its age, and far from full.
        func isSmall(_ configuration: StoreConfiguration) -> Bool {
            revisions < configuration.sealRevisions / 4 && bytes < configuration.sealBytes / 4
        }
    }

    init(
        _ configuration: StoreConfiguration, base: Environment, youngA: Environment, youngB: Environment,
        contents: BaseContents
    ) {
        self.configuration = configuration
        self.identity = contents.identity
        self.base = base
        self.youngA = youngA
        self.youngB = youngB
        published = Atomic(contents.state.currentRevision.value)
        compacted = Atomic(contents.state.compactedRevision.value)
        handover = Monitor(Handover(durable: contents.state, compactedPhysically: contents.compactedPhysically))
        base.pages?.onDamage = { [weak self] error in self?.giveUp(error) }
    }

    func young(_ number: Int) -> Environment { number & 1 == 0 ? youngA : youngB }

    /// Begins a snapshot on the newest published revision.
    func begin(_ snapshot: Snapshot) throws(StoreError) {
        while true {
            let seals = sealCount.load(ordering: .acquiring)
            let revision = Revision(published.load(ordering: .acquiring))
            // After `seals` and `revision`: what they count is found in base or in a layer that is not empty.
            try snapshot.begin(
                active: UInt8(seals & 1), isActiveEmpty: isActiveEmpty.load(ordering: .acquiring),
                isSealedEmpty: !isFlushing.load(ordering: .acquiring))
            let oldest = Revision(compacted.load(ordering: .acquiring))
            // A compaction beyond `revision` happened just now: a newer revision is published too.
            if oldest <= revision, sealCount.load(ordering: .acquiring) == seals {
                snapshot.revision = revision
                snapshot.compactedRevision = oldest
                return
            }
            snapshot.end()
        }
    }

    /// A snapshot for the gate to keep.
    func makeSnapshot() -> Snapshot {
        Snapshot(
            active: LayerReader(young(0), number: 0, ownsTransaction: true),
            sealed: LayerReader(young(1), number: 1, ownsTransaction: true),
            base: LayerReader(base, number: 2, ownsTransaction: true))
    }

    /// The numbers of `Store.size`, from what base's last transaction left.
    func measureBase() {
        // Without an answer the last numbers stand: they are for people and quotas, which look again.
        guard let free = try? base.freePages() else { return }
        let length = base.fileBytes
        let inUse = max(0, length - free * Environment.pageSize)
        baseInUseBytes.store(inUse, ordering: .relaxed)
        // A file system that compresses, or takes more than it needs, must not make the numbers contradict each other.
        baseAllocatedBytes.store(max(inUse, min(length, base.diskBytes ?? length)), ordering: .relaxed)
    }

    func tell(_ event: StoreEvent) { configuration.onEvent(event) }

    /// Ends all background work for good on an error that no further try can mend, whoever met it. Told once.
    func giveUp(_ error: StoreError) {
        let isFirst = handover.update { state in
            guard !state.hasGivenUp else { return false }
            state.failures += 1
            state.lastFailure = error
            state.hasGivenUp = true
            return true
        }
        guard isFirst else { return }
        endDefragmentations(.failure(error))
        tell(.failed(error))
    }
}
