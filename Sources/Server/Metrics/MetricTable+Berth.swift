import GRPCTransport
import Measures
import ReplicatedLog
import StateMachine
import Store
import Vocabulary

/// Berth's own metrics of locks, the log's writing, flushes under way, watches and bounds.
extension MetricTable {
    static let berthParts: [MetricFamily] = locks + writing + clients

    private static let locks: [MetricFamily] = [
        histogram(of: "berth_lock_wait_seconds", "Time from entering a line until holding.") { $0.counts.lockWaits },
        histogram(of: "berth_lock_hold_seconds", "Time from beginning to hold until the end of the place.") {
            $0.counts.lockHolds
        },
        one("berth_lock_lines", .gauge, "Locks and elections with somebody in line.") { Double($0.counts[.lines]) },
        one("berth_lock_longest_line", .gauge, "Places of the longest line, its holders included.") {
            Double($0.counts[.longestLine])
        },
        one("berth_lock_places_holding", .gauge, "Places that hold.") { Double($0.counts[.placesHolding]) },
        one("berth_lock_places_waiting", .gauge, "Places that wait.") { Double($0.counts[.placesWaiting]) },
        MetricFamily(name: "berth_lock_ends_total", help: "Places that ended, by why.", kind: .counter) { context in
            [
                ("broken", StateMachineCounts.Number.placesBroken), ("expired", .placesExpired),
                ("gave_up", .placesGivenUp), ("released", .placesReleased),
            ].map { MetricSample(Double(context.counts[$0.1]), labels: [("reason", $0.0)]) }
        },
        count("berth_lock_refused_writes_total", "Writes refused because a lock guards the key.") {
            $0.metrics.lockRefusals.value
        },
        one("berth_leases", .gauge, "Leases there are.") { Double($0.leaseTable.count) },
        count("berth_leases_expired_total", "Leases whose time ran out, sessions of lock holders among them.") {
            $0.counts[.leasesExpired]
        },
    ]

    private static let writing: [MetricFamily] = [
        histogram(of: "berth_log_batch_entries", "Entries that one write of the log took.") {
            $0.log.measures.batchEntries
        },
        histogram(of: "berth_log_batch_bytes", "Bytes of entries that one write of the log took.") {
            $0.log.measures.batchBytes
        },
        one(
            "berth_flush_age_seconds", .gauge, "How long the oldest change that is not in the store on disk has waited."
        ) {
            $0.store.flushAge(now: LeaseKeeper.now()) / .seconds(1)
        },
    ]

    private static let clients: [MetricFamily] = [
        count("berth_watch_fallbacks_total", "Watches that fell back to reading history as their client did not read.")
        {
            $0.metrics.watches(.stalls)
        },
        one("berth_connections_open", .gauge, "Client connections.") {
            guard let meter = $0.calls?.metrics.meter else { return 0 }
            return Double(max(0, meter.connectionsOpened.value - meter.connectionsClosed.value))
        },
        count("berth_connections_accepted_total", "Client connections that were accepted.") {
            $0.calls?.metrics.meter.connectionsOpened.value ?? 0
        },
        one("berth_streams_open", .gauge, "Calls that are open; waiting for a lock is one.") {
            Double(max(0, $0.calls?.reading.openCalls ?? 0))
        },
        MetricFamily(
            name: "berth_refused_total", help: "Connections, calls and writes that ran into a bound.", kind: .counter
        ) { context in
            let ofTransport = CallMeter.Bound.allCases.map {
                ($0.rawValue, context.calls?.metrics.meter.refusals(by: $0) ?? 0)
            }
            return (ofTransport + [("log_queue", context.metrics.queueRefusals.value)]).map {
                MetricSample(Double($0.1), labels: [("bound", $0.0)])
            }
        },
        count("berth_tls_handshake_failures_total", "TLS handshakes that failed.") {
            $0.metrics.handshakes.failures.value
        },
        count("berth_authentication_failures_total", "Logins with a wrong user or password.") {
            $0.metrics.authenticationFailures.value
        },
        count("berth_password_hashes_total", "Passwords hashed or compared with a hash, each some 60 ms of a core.") {
            $0.metrics.passwordHashes.value
        },
    ]
}
