import Measures
import ReplicatedLog
import StateMachine
import Store
import Vocabulary

/// Berth's own metrics, by name. docs/operations.md tells what to do about them.
enum MetricTable {
    static let berth: [MetricFamily] = flushes + proposals + compactions + storage + log + berthParts

    /// Everything `/metrics` shows: etcd's names, then Berth's own.
    static let all: [MetricFamily] = etcd + berth

    static func one(
        _ name: String, _ kind: MetricKind, _ help: String, _ read: @escaping @Sendable (Scrape) -> Double
    ) -> MetricFamily {
        MetricFamily(name: name, help: help, kind: kind) { [MetricSample(read($0))] }
    }

    /// Of a number that only grows.
    static func count(
        _ name: String, _ help: String, _ read: @escaping @Sendable (Scrape) -> Int
    ) -> MetricFamily {
        one(name, .counter, help) { Double(read($0)) }
    }

    /// A 1 whose label tells something.
    static func labelled(
        _ name: String, _ help: String, _ label: String, _ read: @escaping @Sendable (Scrape) -> String
    ) -> MetricFamily {
        MetricFamily(name: name, help: help, kind: .gauge) { [MetricSample(1, labels: [(label, read($0))])] }
    }

    static func histogram(
        of name: String, _ help: String, _ read: @escaping @Sendable (Scrape) -> Histogram
    ) -> MetricFamily {
        MetricFamily(name: name, help: help, kind: .histogram) { MetricSample.histogram(read($0).reading) }
    }

    static func histogram(
        _ name: String, _ help: String, _ read: @escaping @Sendable (ServerMetrics) -> Histogram
    ) -> MetricFamily {
        MetricFamily(name: name, help: help, kind: .histogram) {
            MetricSample.histogram(read($0.metrics).reading)
        }
    }

    private static let flushes: [MetricFamily] = [
        histogram("berth_flush_duration_seconds", "Time that successful flushes took.") { $0.flushes },
        one("berth_flushes_total", .counter, "Flushes that succeeded.") { Double($0.metrics.flushes.count) },
        one("berth_flush_failures_total", .counter, "Flushes that failed; each was tried again.") {
            Double($0.metrics.flushFailures.value)
        },
        one("berth_flush_failing", .gauge, "1 while the last attempt at a flush failed.") {
            $0.metrics.moments.flushFailure == nil ? 0 : 1
        },
        one("berth_flush_last_success_timestamp_seconds", .gauge, "When the last flush succeeded, 0 for never.") {
            $0.metrics.moments.lastFlush
        },
        one("berth_flush_last_failure_timestamp_seconds", .gauge, "When the last flush failed, 0 for never.") {
            $0.metrics.moments.lastFlushFailure
        },
        one("berth_flush_revisions_total", .counter, "Changes that flushes made durable in the store.") {
            Double($0.metrics.flushedRevisions.value)
        },
        one("berth_flush_bytes_total", .counter, "Bytes of keys and values that flushes made durable in the store.") {
            Double($0.metrics.flushedBytes.value)
        },
    ]

    private static let proposals: [MetricFamily] = [
        one(
            "berth_proposals_wait_seconds_total", .counter,
            "Time that writes were held back because the store had no layer with room."
        ) { $0.metrics.proposals.reading(now: LeaseKeeper.now()).total / .seconds(1) },
        one("berth_proposals_held", .gauge, "1 while writes are held back because the store has no layer with room.") {
            $0.metrics.proposals.reading(now: LeaseKeeper.now()).isHeld ? 1 : 0
        },
        one("berth_proposals_waiting", .gauge, "Writes that wait to enter the log.") {
            Double($0.log.waitingProposals)
        },
    ]

    private static let compactions: [MetricFamily] = [
        histogram(
            "berth_compaction_duration_seconds", "Time that removing old revisions took, flushes between included."
        ) {
            $0.compactions
        },
        one("berth_compaction_removed_revisions_total", .counter, "Changes removed by compactions.") {
            Double($0.metrics.removedRevisions.value)
        },
        one("berth_compaction_failures_total", .counter, "Steps of compactions that failed; each was tried again.") {
            Double($0.metrics.compactionFailures.value)
        },
        one("berth_compaction_failing", .gauge, "1 while the last step of a compaction failed.") {
            $0.metrics.moments.isCompactionFailing ? 1 : 0
        },
        one(
            "berth_compaction_last_failure_timestamp_seconds", .gauge,
            "When a step of a compaction last failed, 0 for never."
        ) { $0.metrics.moments.lastCompactionFailure },
        one("berth_compacted_revision", .gauge, "Revisions below this one cannot be read.") {
            Double($0.store.compactedRevision.value)
        },
        one("berth_current_revision", .gauge, "The newest revision.") { Double($0.store.publishedRevision.value) },
        one(
            "berth_auto_compaction_failures_total", .counter,
            "Automatic compactions that were not taken; each is asked for again."
        ) { Double($0.metrics.autoCompactionFailures.value) },
        histogram(
            "berth_defragmentation_duration_seconds", "Time that defragmentations took, other work between included."
        ) {
            $0.defragmentations
        },
        one(
            "berth_defragmentation_released_bytes_total", .counter,
            "Disk space that defragmentations gave back to the file system."
        ) { Double($0.metrics.defragmentedBytes.value) },
    ]

    private static let storage: [MetricFamily] = [
        MetricFamily(name: "berth_store_bytes", help: "Bytes of the store, by kind.", kind: .gauge) { context in
            let size = context.store.size()
            return [
                ("allocated", size.allocatedBytes), ("in_use", size.inUseBytes),
                ("preallocated", size.preallocatedBytes),
            ].map { MetricSample(Double($0.1), labels: [("kind", $0.0)]) }
        },
        one("berth_quota_bytes", .gauge, "Bytes in use from which writes are refused, 0 for no limit.") {
            Double(max(0, $0.settings.quotaBackendBytes))
        },
        MetricFamily(name: "berth_alarm", help: "1 while an alarm is raised.", kind: .gauge) { context in
            AlarmSet.Kind.allCases.map { kind in
                MetricSample(context.alarms.contains(kind) ? 1 : 0, labels: [("type", kind.etcdName)])
            }
        },
    ]

    private static let log: [MetricFamily] = [
        one("berth_log_applied_index", .gauge, "The last log entry that was applied.") {
            Double($0.log.status.appliedIndex.value)
        },
        one("berth_log_commit_index", .gauge, "The last log entry known to be committed.") {
            Double($0.log.status.commitIndex.value)
        },
        one("berth_log_last_index", .gauge, "The last log entry, written or on its way.") {
            Double($0.log.status.lastIndex.value)
        },
        one("berth_log_snapshot_index", .gauge, "The last log entry covered by a checkpoint.") {
            Double($0.log.status.snapshotIndex.value)
        },
        one("berth_log_term", .gauge, "The present term.") { Double($0.log.status.term.value) },
        one("berth_log_is_leader", .gauge, "1 while this member leads.") { $0.log.status.isLeader ? 1 : 0 },
        one("berth_log_replayed_entries", .gauge, "Log entries replayed when the log was last opened.") {
            Double($0.metrics.replay?.entries ?? 0)
        },
        one("berth_log_replay_seconds", .gauge, "Time it took to open the log, the last time.") {
            ($0.metrics.replay?.duration ?? .zero) / .seconds(1)
        },
        one("berth_log_suspended", .gauge, "1 while the log's disk fails and nothing can be written.") {
            $0.log.status.isWritable ? 0 : 1
        },
        one("berth_log_suspensions_total", .counter, "Times that the log's disk failed.") {
            Double($0.metrics.logSuspensions.value)
        },
        one("berth_store_durable_index", .gauge, "The last log entry whose effects the store has on disk.") {
            Double($0.store.durableIndex.value)
        },
    ]
}
