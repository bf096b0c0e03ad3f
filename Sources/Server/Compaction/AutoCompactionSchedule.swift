package import Vocabulary

/// Decides when the member compacts by itself, and to which revision. Reads no clock and proposes nothing: it is asked at
/// regular looks, and told what became of what it asked for.
///
/// The rules are those of etcd 3.5 (`server/etcdserver/api/v3compactor`). Periodic: the revision is noted ten times a period,
/// or ten times an hour when the period is longer; once a whole period has passed, and from then on once a period or an
/// hour, everything before the oldest noted revision goes. Revision: every five minutes, everything more than so many
/// revisions behind the newest. What failed is asked for again at the next look.
///
/// Example, a period of 10 h: looks every 6 minutes, 101 revisions noted. The first compaction comes after 10 h, to the revision
/// at the start; the next ones hourly, each to the revision of 10 h before.
package struct AutoCompactionSchedule {
    private let policy: AutoCompactionSettings.Policy
    /// Time between two looks.
    package let interval: Duration
    /// How often a compaction is due.
    private let period: Duration
    /// The next one is not due before this much has passed since the last one: at first the whole retention.
    private var patience: Duration
    /// Revisions at the last looks, the oldest first; periodic alone.
    private var samples: [Revision]
    private let mostSamples: Int
    private var lastSuccess: MonotonicInstant
    private var lastRevision = Revision.zero
    /// One is on its way.
    private var isProposed = false

    private static let longestPeriod = Duration.seconds(3_600)
    private static let samplesPerPeriod = 10
    private static let revisionInterval = Duration.seconds(300)

    package init(_ policy: AutoCompactionSettings.Policy, revision: Revision, now: MonotonicInstant) {
        self.policy = policy
        lastSuccess = now
        switch policy {
        case .periodic(let retention):
            period = min(retention, Self.longestPeriod)
            interval = period / Self.samplesPerPeriod
            patience = retention
            mostSamples = Int(retention / interval) + 1
            samples = [revision]
        case .revisions:
            period = Self.revisionInterval
            interval = Self.revisionInterval
            patience = .zero
            mostSamples = 0
            samples = []
        }
    }

    /// One look. When it answers with a revision, `ended` must follow before the next one is answered.
    package mutating func look(now: MonotonicInstant, revision: Revision, isLeader: Bool) -> Revision? {
        defer { note(revision) }
        guard isLeader, !isProposed else { return nil }
        let target: Revision
        switch policy {
        case .periodic:
            // Timers are not exact: a look that comes a little early is the one that was meant.
            guard now - lastSuccess >= patience - interval / 2, let oldest = samples.first else { return nil }
            target = oldest
        case .revisions(let kept):
            target = Revision(revision.value - kept)
        }
        guard target > .zero, target != lastRevision else { return nil }
        patience = period
        isProposed = true
        return target
    }

    /// What became of the compaction asked for. One that had been done before by somebody else counts as done.
    package mutating func ended(_ revision: Revision, isDone: Bool, now: MonotonicInstant) {
        isProposed = false
        guard isDone else { return }
        lastRevision = revision
        lastSuccess = now
    }

    private mutating func note(_ revision: Revision) {
        guard mostSamples > 0 else { return }
        samples.append(revision)
        if samples.count > mostSamples { samples.removeFirst(samples.count - mostSamples) }
    }
}
