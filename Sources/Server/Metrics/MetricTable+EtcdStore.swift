import GRPCTransport
import Measures
import ReplicatedLog
import StateMachine
import Store
import Synchronization
import Vocabulary

/// etcd's metrics of disk, store, watches, leases and the process.
extension MetricTable {
    static let etcdStore: [MetricFamily] = disk + mvcc + debugging + watches + leases + process

    private static let disk: [MetricFamily] = [
        histogram(
            of: "etcd_disk_wal_fsync_duration_seconds", "Time from handing a batch to the log until it was on disk."
        ) { $0.log.measures.appends },
        one("etcd_disk_wal_write_bytes_total", .gauge, "Bytes of entries handed to the log.") {
            Double($0.log.measures.writtenBytes.value)
        },
        histogram(of: "etcd_disk_backend_commit_duration_seconds", "Time that commits of the store on disk took.") {
            $0.store.commitTimes
        },
        histogram("etcd_disk_backend_snapshot_duration_seconds", "Time that sending a copy of the store took.") {
            $0.snapshots
        },
        histogram("etcd_disk_backend_defrag_duration_seconds", "Time that defragmentations took.") {
            $0.backendDefragmentations
        },
        one("etcd_disk_defrag_inflight", .gauge, "1 while a defragmentation is asked for or under way.") {
            $0.store.isDefragmenting ? 1 : 0
        },
    ]

    private static let mvcc: [MetricFamily] = [
        one("etcd_mvcc_db_total_size_in_bytes", .gauge, "Disk space that the store takes.") {
            Double($0.store.size().allocatedBytes)
        },
        one("etcd_mvcc_db_total_size_in_use_in_bytes", .gauge, "The part of it that holds data.") {
            Double($0.store.size().inUseBytes)
        },
        one("etcd_mvcc_db_open_read_transactions", .gauge, "Reads of the store under way.") {
            Double($0.store.openReads)
        },
        count("etcd_mvcc_put_total", "Puts, those in transactions included.") { $0.counts[.puts] },
        count("etcd_mvcc_delete_total", "Range deletions, and keys deleted with their lease.") { $0.counts[.deletes] },
        count("etcd_mvcc_range_total", "Ranges, those in transactions, compares and previous values included.") {
            ranges($0)
        },
        count("etcd_mvcc_txn_total", "Requests of more than one of these.") {
            $0.counts[.txns] + $0.counts.readTxns.value
        },
        histogram("etcd_mvcc_hash_duration_seconds", "Time that hashing the store took.") { $0.hashes },
        histogram("etcd_mvcc_hash_rev_duration_seconds", "Time that hashing the history took.") { $0.revisionHashes },
    ]

    private static func ranges(_ scrape: Scrape) -> Int {
        scrape.counts[.ranges] + scrape.counts.readTxnRanges.value
            + (scrape.calls.map { $0.metrics.ranges($0.reading) } ?? 0)
    }

    private static let debugging: [MetricFamily] = [
        MetricFamily(name: "etcd_debugging_mvcc_keys_total", help: "Keys there are.", kind: .gauge) { context in
            context.metrics.keyCensus.keys(context.context).map { [MetricSample(Double($0))] } ?? []
        },
        one("etcd_debugging_mvcc_current_revision", .gauge, "The newest revision.") {
            Double($0.store.publishedRevision.value)
        },
        one("etcd_debugging_mvcc_compact_revision", .gauge, "The last revision compacted to; -1 for none.") {
            let revision = $0.store.compactedRevision
            return revision == .zero ? -1 : Double(revision.value)
        },
        count("etcd_debugging_mvcc_range_total", "As etcd_mvcc_range_total.") { ranges($0) },
        one("etcd_debugging_mvcc_total_put_size_in_bytes", .gauge, "Bytes of keys and values put.") {
            Double($0.counts[.putBytes])
        },
        count("etcd_debugging_mvcc_db_compaction_keys_total", "Changes removed by compactions.") {
            $0.metrics.removedRevisions.value
        },
        one("etcd_debugging_mvcc_db_compaction_last", .gauge, "When the last compaction was done, 0 for never.") {
            $0.metrics.moments.lastCompaction
        },
        histogram(
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Time that compactions took."
        ) { $0.compactionMilliseconds },
        one("etcd_debugging_auth_revision", .gauge, "The revision of users and roles.") {
            Double($0.access.table.state.revision)
        },
    ]

    private static let watches: [MetricFamily] = [
        one("etcd_debugging_mvcc_watch_stream_total", .gauge, "Open watch streams.") {
            Double($0.metrics.watches(.streams))
        },
        one("etcd_debugging_mvcc_watcher_total", .gauge, "Watches.") { Double($0.metrics.watches(.watches)) },
        one("etcd_debugging_mvcc_slow_watcher_total", .gauge, "Watches that read history to catch up.") {
            Double($0.metrics.watches(.behind))
        },
        count("etcd_debugging_mvcc_events_total", "Events sent to clients.") { $0.metrics.watches(.events) },
        one("etcd_debugging_mvcc_pending_events_total", .gauge, "Events kept for slow clients; none ever are.") { _ in 0
        },
    ]

    private static let leases: [MetricFamily] = [
        count("etcd_debugging_lease_granted_total", "Leases granted.") { $0.counts[.leasesGranted] },
        count("etcd_debugging_lease_revoked_total", "Leases ended, for whatever reason.") { $0.counts[.leasesRevoked] },
        count("etcd_debugging_lease_renewed_total", "Keep-alives of leases.") { $0.metrics.leaseRenewals.value },
        histogram(of: "etcd_debugging_lease_ttl_total", "Times to live of granted leases, in seconds.") {
            $0.counts.leaseTimes
        },
        count("etcd_debugging_server_lease_expired_total", "Leases whose time ran out.") { $0.counts[.leasesExpired] },
    ]

    private static let process: [MetricFamily] = [
        ofProcess("process_resident_memory_bytes", .gauge, "Memory in use.") { $0.residentBytes },
        ofProcess("process_virtual_memory_bytes", .gauge, "Address space.") { $0.virtualBytes },
        ofProcess("process_virtual_memory_max_bytes", .gauge, "The bound on address space.") { $0.virtualBytesLimit },
        ofProcess("process_cpu_seconds_total", .counter, "Processor time used.") { $0.cpuSeconds },
        ofProcess("process_open_fds", .gauge, "Open files and sockets.") { $0.openFiles },
        ofProcess("process_max_fds", .gauge, "The bound on open files and sockets.") { $0.fileLimit },
        one("process_start_time_seconds", .gauge, "When the process began, in seconds since 1970.") { _ in
            ProcessNumbers.startTime
        },
        ofProcess("os_fd_used", .gauge, "Open files and sockets.") { $0.openFiles },
        ofProcess("os_fd_limit", .gauge, "The bound on open files and sockets.") { $0.fileLimit },
    ]

    private static func ofProcess(
        _ name: String, _ kind: MetricKind, _ help: String, _ read: @escaping @Sendable (ProcessNumbers) -> Double
    ) -> MetricFamily {
        one(name, kind, help) { read($0.process) }
    }
}
