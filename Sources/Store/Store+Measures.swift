public import Measures
import Synchronization
public import Vocabulary

// What the store tells of itself for metrics; any thread at any time.
extension Store {
    /// Times that commits of base took: the transaction's own and that of its checksums, flushes of the disk included. Of
    /// flushes, compaction, defragmentation alike.
    public var commitTimes: Histogram { core.base.commitTimes }

    /// Reads under way, copies of base included.
    public var openReads: Int { core.gate.readers + core.copies.count }

    /// Whether a defragmentation is asked for or under way.
    public var isDefragmenting: Bool { core.handover.withLock { !$0.defragmentations.isEmpty } }

    /// How long the oldest change that base does not hold has waited, to about 100 ms; zero when base holds all.
    public func flushAge(now: MonotonicInstant) -> Duration {
        let since = [core.sealedSince.load(ordering: .relaxed), core.activeSince.load(ordering: .relaxed)]
            .filter { $0 > 0 }.min()
        return since.map { max(.zero, now.sinceStart - .nanoseconds($0)) } ?? .zero
    }
}

extension MonotonicInstant {
    /// As a plain number, for what is kept in an atomic.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = sinceStart.components
        return seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
    }
}
