import GRPCTransport
import Measures
import ReplicatedLog
import Store
import Synchronization
import Vocabulary

/// What the server counts while it runs, for `/metrics`. What other parts know anyhow is read from them instead.
///
/// Any thread. Of all here a put touches `applies` and `calls` alone.
final class ServerMetrics: Sendable {
    let flushes = Histogram.seconds([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    let flushFailures = Counter()
    let flushedRevisions = Counter()
    let flushedBytes = Counter()
    let compactions = Histogram.seconds([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300])
    /// The same with etcd's bounds, in milliseconds.
    let compactionMilliseconds = Histogram(bounds: Histogram.doubling(100, count: 14), scale: 1e6)
    let compactionFailures = Counter()
    let removedRevisions = Counter()
    let autoCompactionFailures = Counter()
    let defragmentations = Histogram.seconds([0.01, 0.1, 0.5, 1, 5, 10, 60, 300])
    /// The same with etcd's bounds.
    let backendDefragmentations = Histogram.seconds(Histogram.doubling(0.1, count: 13))
    /// Copies of the store that were sent whole.
    let snapshots = Histogram.seconds(Histogram.doubling(0.01, count: 17))
    /// Hashes of the store, and of its history up to a revision.
    let hashes = Histogram.seconds(Histogram.doubling(0.01, count: 15))
    let revisionHashes = Histogram.seconds(Histogram.doubling(0.01, count: 15))
    let defragmentedBytes = Counter()
    let proposals = ProposalHold()
    let logSuspensions = Counter()
    let applies = ApplyTimes()
    let keyCensus = KeyCensus()
    let health = HealthCounts()
    /// Proposals that got no answer from the state machine, but for those that found the log's queue full.
    let proposalFailures = Counter()
    /// Proposals that found the log's queue full.
    let queueRefusals = Counter()
    let leaderChanges = Counter()
    /// Writes refused because a lock guards a key.
    let lockRefusals = Counter()
    let leaseRenewals = Counter()
    /// TLS handshakes of all listeners.
    let handshakes = HandshakeCount()
    /// Logins with a wrong user or password.
    let authenticationFailures = Counter()
    /// Passwords hashed, or compared with a hash.
    let passwordHashes = Counter()
    private let callMeter = Mutex<CallMetrics?>(nil)
    private let watchTallies = Mutex<[WatchTallies]>([])

    /// Calls and connections; nil before the services are known.
    var calls: CallMetrics? {
        get { callMeter.withLock { $0 } }
        set { callMeter.withLock { $0 = newValue } }
    }

    /// The event loops' watches.
    var watches: [WatchTallies] {
        get { watchTallies.withLock { $0 } }
        set { watchTallies.withLock { $0 = newValue } }
    }

    /// One number of all loops' watches.
    func watches(_ number: WatchTallies.Number) -> Int { watches.reduce(0) { $0 + $1[number] } }

    /// Seconds since 1970, zero for never.
    struct Moments: Sendable {
        var lastFlush = 0.0
        var lastFlushFailure = 0.0
        var lastCompactionFailure = 0.0
        var lastCompaction = 0.0
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
            compactionMilliseconds.observe(duration)
            removedRevisions.add(removed)
            times.withLock { times in
                times.isCompactionFailing = false
                times.lastCompaction = now
            }
        case .compactionFailed:
            compactionFailures.add()
            times.withLock { times in
                times.lastCompactionFailure = now
                times.isCompactionFailing = true
            }
        case .defragmented(let report):
            defragmentations.observe(report.duration)
            backendDefragmentations.observe(report.duration)
            defragmentedBytes.add(max(0, report.bytesBefore - report.bytesAfter))
        case .failed, .mapGrown: break
        }
    }
}
