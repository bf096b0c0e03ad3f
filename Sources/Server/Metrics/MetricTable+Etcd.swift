import GRPCTransport
import Measures
import ReplicatedLog
import StateMachine
import Store
import Vocabulary

/// Metrics under the names, types, labels and buckets that etcd 3.5 has, so that its dashboards and alerts work. What
/// they mean here is in docs/metrics.md, with the names that are left out and why.
extension MetricTable {
    static let etcd: [MetricFamily] = server + proposalsAndReads + health + network + grpc + etcdStore

    private static let server: [MetricFamily] = [
        one("etcd_server_has_leader", .gauge, "Whether there is a leader: 1 for yes.") {
            $0.log.status.isLeader ? 1 : 0
        },
        one("etcd_server_is_leader", .gauge, "Whether this member leads: 1 for yes.") {
            $0.log.status.isLeader ? 1 : 0
        },
        one("etcd_server_is_learner", .gauge, "Whether this member is a learner: 1 for yes.") { _ in 0 },
        count("etcd_server_leader_changes_seen_total", "Times that this member began to lead.") {
            $0.metrics.leaderChanges.value
        },
        count(
            "etcd_server_heartbeat_send_failures_total", "Heartbeats that could not be sent; a lone voter sends none."
        ) {
            _ in 0
        },
        count("etcd_server_learner_promote_successes", "Learners that were promoted.") { _ in 0 },
        one("etcd_server_snapshot_apply_in_progress_total", .gauge, "1 while another member's snapshot is taken over.")
        {
            _ in 0
        },
        one("etcd_server_quota_backend_bytes", .gauge, "Bytes in use from which writes are refused.") {
            Double($0.settings.quotaBackendBytes)
        },
        labelled("etcd_server_version", "The version of etcd whose rules are followed.", "server_version") { _ in
            MaintenanceService.etcdVersion
        },
        labelled("etcd_server_id", "The member's id in hexadecimal.", "server_id") {
            String($0.identity.memberID, radix: 16)
        },
        labelled("etcd_cluster_version", "The version of etcd that the cluster agrees on.", "cluster_version") { _ in
            MaintenanceService.etcdVersion.split(separator: ".").prefix(2).joined(separator: ".")
        },
        MetricFamily(
            name: "etcd_debugging_server_alarms", help: "1 while an alarm is raised.", kind: .gauge
        ) { context in
            AlarmSet.Kind.allCases.map { kind in
                MetricSample(
                    context.alarms.contains(kind) ? 1 : 0,
                    labels: [
                        ("alarm_type", kind.etcdName), ("server_id", String(context.identity.memberID, radix: 16)),
                    ])
            }
        },
        MetricFamily(
            name: "etcd_server_apply_duration_seconds", help: "Time that applying an entry of the log took.",
            kind: .histogram
        ) { context in
            context.metrics.applies.readings.flatMap { operation, isSuccess, reading in
                MetricSample.histogram(
                    reading,
                    labels: [("op", operation), ("success", isSuccess ? "true" : "false"), ("version", "v3")])
            }
        },
        count("etcd_server_slow_apply_total", "Entries that took longer than 100 ms to apply.") {
            $0.metrics.applies.slow.value
        },
    ]

    private static let proposalsAndReads: [MetricFamily] = [
        one("etcd_server_proposals_committed_total", .gauge, "The last log entry known to be committed.") {
            Double($0.log.status.commitIndex.value)
        },
        one("etcd_server_proposals_applied_total", .gauge, "The last log entry that was applied.") {
            Double($0.log.status.appliedIndex.value)
        },
        one(
            "etcd_server_proposals_pending", .gauge,
            "Writes that wait to enter the log, or are on their way through it."
        ) {
            let status = $0.log.status
            let under = Int64(clamping: status.lastIndex.value) - Int64(clamping: status.appliedIndex.value)
            return Double($0.log.waitingProposals) + Double(max(0, under))
        },
        count("etcd_server_proposals_failed_total", "Writes that the log did not take, or whose end is not known.") {
            $0.metrics.proposalFailures.value
        },
        count("etcd_server_slow_read_indexes_total", "Reads that waited for a leader; a lone voter's never do.") { _ in
            0
        },
        count("etcd_server_read_indexes_failed_total", "Reads that found no leader; a lone voter needs none.") { _ in 0
        },
        MetricFamily(
            name: "etcd_server_client_requests_total", help: "Calls, by what the client says of its API version.",
            kind: .counter
        ) { $0.calls.map { $0.metrics.requestSamples($0.reading) } ?? [] },
    ]

    private static let health: [MetricFamily] = [
        count("etcd_server_health_success", "Times that /health said healthy.") { $0.metrics.health.answers.healthy },
        count("etcd_server_health_failures", "Times that /health said not healthy.") {
            $0.metrics.health.answers.unhealthy
        },
        MetricFamily(
            name: "etcd_server_healthcheck", help: "How each check of /livez and /readyz went last: 1 for well.",
            kind: .gauge
        ) { context in
            context.metrics.health.checks.map { check, outcome in
                MetricSample(
                    outcome.wasSuccess ? 1 : 0, labels: [("name", check.name), ("type", check.type)])
            }
        },
        MetricFamily(
            name: "etcd_server_healthchecks_total", help: "Checks of /livez and /readyz that were made.", kind: .counter
        ) { context in
            context.metrics.health.checks.flatMap { check, outcome in
                [("error", outcome.failures), ("success", outcome.successes)].filter { $0.1 > 0 }.map {
                    MetricSample(
                        Double($0.1), labels: [("name", check.name), ("status", $0.0), ("type", check.type)])
                }
            }
        },
    ]

    private static let network: [MetricFamily] = [
        count("etcd_network_client_grpc_received_bytes_total", "Bytes of messages that clients sent.") {
            $0.calls?.reading.receivedBytes ?? 0
        },
        count("etcd_network_client_grpc_sent_bytes_total", "Bytes of messages sent to clients.") {
            $0.calls?.reading.sentBytes ?? 0
        },
    ]

    private static let grpc: [MetricFamily] = [
        MetricFamily(name: "grpc_server_started_total", help: "Calls that began.", kind: .counter) {
            $0.calls.map { $0.metrics.samples($0.reading, CallReading.started) } ?? []
        },
        MetricFamily(name: "grpc_server_handled_total", help: "Calls that ended, by status.", kind: .counter) {
            $0.calls.map { $0.metrics.endSamples($0.reading) } ?? []
        },
        MetricFamily(name: "grpc_server_msg_received_total", help: "Request messages.", kind: .counter) {
            $0.calls.map { $0.metrics.samples($0.reading, CallReading.received) } ?? []
        },
        MetricFamily(name: "grpc_server_msg_sent_total", help: "Response messages.", kind: .counter) {
            $0.calls.map { $0.metrics.samples($0.reading, CallReading.sent) } ?? []
        },
        MetricFamily(
            name: "grpc_server_handling_seconds", help: "Time from a call's headers to its end.", kind: .histogram
        ) { $0.calls.map { $0.metrics.timeSamples($0.reading) } ?? [] },
    ]
}
