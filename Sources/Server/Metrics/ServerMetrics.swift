import ReplicatedLog
import Store
import Synchronization
import Vocabulary

/// What the server counts while it runs, for `/metrics`. What other parts know anyhow is read from them instead.
///
/// Any thread; nothing here is touched by a put.
final class ServerMetrics: Sendable {
    let flushes = DurationHistogram(bounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    let flushFailures = Counter()
    let flushedRevisions = Counter()
    let flushedBytes = Counter()
    let compactions = DurationHistogram(bounds: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300])
    let compactionFailures = Counter()
    let removedRevisions = Counter()
    let autoCompactionFailures = Counter()
    let defragmentations = DurationHistogram(bounds: [0.01, 0.1, 0.5, 1, 5, 10, 60, 300])
    let defragmentedBytes = Counter()
    let proposals = ProposalHold()
    let logSuspensions = Counter()

    /// Seconds since 1970, zero for never.
    struct Moments: Sendable {
        var lastFlush = 0.0
        var lastFlushFailure = 0.0
        var lastCompactionFailure = 0.0
        /// What the last attempt at a flush failed with; nil after one that succeeded.
        var flushFailure: StoreError?
        var isCompactionFailing = false
    }

    private let times = Mutex(Moments())
    private let lastReplay = Mutex<ReplayReport?>(nil)

    var moments: Moments { times.withLock { $0 } }

    /// How the log was opened last.
    var replay: ReplayReport? {
        get { lastReplay.withLock { $0 } }
        set { lastReplay.withLock { $0 = newValue } }
    }

    /// Follows the store's background work.
    func record(_ event: StoreEvent) {
        let now = Double(ServerContext.wallClock()) / 1_000
        switch event {
        case .flushed(_, let revisions, let bytes, let duration):
            flushes.observe(duration)
            flushedRevisions.add(revisions)
            flushedBytes.add(bytes)
            times.withLock { times in
                times.lastFlush = now
                times.flushFailure = nil
            }
        case .flushFailed(let error, _):
            flushFailures.add()
            times.withLock { times in
                times.lastFlushFailure = now
                times.flushFailure = error
            }
        case .compacted(_, let removed, let duration):
            compactions.observe(duration)
            removedRevisions.add(removed)
            times.withLock { $0.isCompactionFailing = false }
        case .compactionFailed:
            compactionFailures.add()
            times.withLock { times in
                times.lastCompactionFailure = now
                times.isCompactionFailing = true
            }
        case .defragmented(let report):
            defragmentations.observe(report.duration)
            defragmentedBytes.add(max(0, report.bytesBefore - report.bytesAfter))
        case .failed, .mapGrown: break
        }
    }
}
