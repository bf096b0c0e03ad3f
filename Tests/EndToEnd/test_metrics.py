"""`/metrics`: etcd's names with etcd's types and labels, and values that are true."""

import math
import os
import resource

import grpc
import pytest

from harness.api import pb
from harness.client import status
from harness.locks import begin_acquire, hold, release
from harness.metrics import get, scrape, scrape_until

# Fact sheet of etcd's metrics: name, type, label names, histogram bounds as first, factor, count.
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
DISK = (0.001, 2, 14)
ETCD = {
    "etcd_server_has_leader": (GAUGE, ()),
    "etcd_server_is_leader": (GAUGE, ()),
    "etcd_server_is_learner": (GAUGE, ()),
    "etcd_server_proposals_committed_total": (GAUGE, ()),
    "etcd_server_proposals_applied_total": (GAUGE, ()),
    "etcd_server_proposals_pending": (GAUGE, ()),
    "etcd_server_leader_changes_seen_total": (COUNTER, ()),
    "etcd_server_proposals_failed_total": (COUNTER, ()),
    "etcd_server_heartbeat_send_failures_total": (COUNTER, ()),
    "etcd_server_slow_apply_total": (COUNTER, ()),
    "etcd_server_slow_read_indexes_total": (COUNTER, ()),
    "etcd_server_read_indexes_failed_total": (COUNTER, ()),
    "etcd_server_health_success": (COUNTER, ()),
    "etcd_server_health_failures": (COUNTER, ()),
    "etcd_server_quota_backend_bytes": (GAUGE, ()),
    "etcd_server_version": (GAUGE, ("server_version",)),
    "etcd_server_id": (GAUGE, ("server_id",)),
    "etcd_cluster_version": (GAUGE, ("cluster_version",)),
    "etcd_server_client_requests_total": (COUNTER, ("client_api_version", "type")),
    "etcd_server_apply_duration_seconds": (HISTOGRAM, ("op", "success", "version"), (0.0001, 2, 20)),
    "etcd_disk_wal_fsync_duration_seconds": (HISTOGRAM, (), DISK),
    "etcd_disk_backend_commit_duration_seconds": (HISTOGRAM, (), DISK),
    "etcd_disk_wal_write_bytes_total": (GAUGE, ()),
    "etcd_disk_backend_snapshot_duration_seconds": (HISTOGRAM, (), (0.01, 2, 17)),
    "etcd_disk_backend_defrag_duration_seconds": (HISTOGRAM, (), (0.1, 2, 13)),
    "etcd_disk_defrag_inflight": (GAUGE, ()),
    "etcd_mvcc_db_total_size_in_bytes": (GAUGE, ()),
    "etcd_mvcc_db_total_size_in_use_in_bytes": (GAUGE, ()),
    "etcd_mvcc_db_open_read_transactions": (GAUGE, ()),
    "etcd_mvcc_put_total": (COUNTER, ()),
    "etcd_mvcc_delete_total": (COUNTER, ()),
    "etcd_mvcc_range_total": (COUNTER, ()),
    "etcd_mvcc_txn_total": (COUNTER, ()),
    "etcd_mvcc_hash_duration_seconds": (HISTOGRAM, (), (0.01, 2, 15)),
    "etcd_mvcc_hash_rev_duration_seconds": (HISTOGRAM, (), (0.01, 2, 15)),
    "etcd_network_client_grpc_received_bytes_total": (COUNTER, ()),
    "etcd_network_client_grpc_sent_bytes_total": (COUNTER, ()),
    "etcd_debugging_mvcc_keys_total": (GAUGE, ()),
    "etcd_debugging_mvcc_current_revision": (GAUGE, ()),
    "etcd_debugging_mvcc_compact_revision": (GAUGE, ()),
    "etcd_debugging_mvcc_db_compaction_keys_total": (COUNTER, ()),
    "etcd_debugging_mvcc_watcher_total": (GAUGE, ()),
    "etcd_debugging_mvcc_watch_stream_total": (GAUGE, ()),
    "etcd_debugging_mvcc_slow_watcher_total": (GAUGE, ()),
    "etcd_debugging_mvcc_events_total": (COUNTER, ()),
    "etcd_debugging_mvcc_pending_events_total": (GAUGE, ()),
    "etcd_debugging_lease_granted_total": (COUNTER, ()),
    "etcd_debugging_lease_revoked_total": (COUNTER, ()),
    "etcd_debugging_lease_renewed_total": (COUNTER, ()),
    "etcd_debugging_server_lease_expired_total": (COUNTER, ()),
    "etcd_debugging_auth_revision": (GAUGE, ()),
    "grpc_server_started_total": (COUNTER, ("grpc_method", "grpc_service", "grpc_type")),
    "grpc_server_handled_total": (COUNTER, ("grpc_code", "grpc_method", "grpc_service", "grpc_type")),
    "grpc_server_msg_received_total": (COUNTER, ("grpc_method", "grpc_service", "grpc_type")),
    "grpc_server_msg_sent_total": (COUNTER, ("grpc_method", "grpc_service", "grpc_type")),
    "process_resident_memory_bytes": (GAUGE, ()),
    "process_virtual_memory_bytes": (GAUGE, ()),
    "process_cpu_seconds_total": (COUNTER, ()),
    "process_open_fds": (GAUGE, ()),
    "process_max_fds": (GAUGE, ()),
    "process_start_time_seconds": (GAUGE, ()),
    "os_fd_used": (GAUGE, ()),
    "os_fd_limit": (GAUGE, ()),
}
# Names that are not there until something happens, as with etcd's libraries.
LATER = {
    "etcd_server_healthcheck": "the first check of /livez or /readyz",
    "etcd_server_healthchecks_total": "the first check of /livez or /readyz",
    "grpc_server_handling_seconds": "extensive metrics",
}
# Names that Berth leaves out, and why. docs/metrics.md says the same.
LEFT_OUT = {
    "etcd_server_go_version": "no part of Berth is written in Go",
    "etcd_server_feature_enabled": "3.6 only; there are no feature gates",
    "etcd_server_range_duration_seconds": "3.6 only; grpc_server_handling_seconds tells it",
    "etcd_disk_wal_write_duration_seconds": "writing and flushing are one system call",
    "etcd_network_known_peers": "3.6 only; there are no peers",
    "etcd_network_peer_sent_bytes_total": "there are no peers",
    "etcd_network_peer_sent_failures_total": "there are no peers",
    "etcd_network_peer_round_trip_time_seconds": "there are no peers",
    "etcd_network_peer_received_bytes_total": "there are no peers",
    "etcd_network_peer_received_failures_total": "there are no peers",
    "etcd_network_active_peers": "there are no peers",
    "etcd_network_disconnected_peers_total": "there are no peers",
}
# Read from a real etcd's answer beside the table: fewer in older versions.
OLD = {"etcd_server_health_success", "etcd_disk_defrag_inflight", "etcd_disk_wal_write_bytes_total"}

KV, WATCH, LEASE = "etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease"


def bounds(first, factor, count):
    return [first * factor**step for step in range(count)] + [math.inf]


def put_op(key, value=b""):
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def range_op(key):
    return pb.RequestOp(request_range=pb.RangeRequest(key=key))


def grew(before, after, name, **labels):
    return after.get(name, **labels) - before.get(name, **labels)


def calls(metrics, method, service=KV, code="OK"):
    return metrics.value("grpc_server_handled_total", grpc_method=method, grpc_service=service, grpc_code=code)


def test_every_name_has_etcds_type_labels_and_bounds(server, client):
    client.put(b"key")
    metrics = scrape(server)
    for name, (kind, labels, *spread) in ETCD.items():
        if not server.is_berth and name not in metrics.types:
            assert name in OLD or name.startswith("etcd_server_apply"), name
            continue
        assert metrics.types.get(name) == kind, name
        assert metrics.label_names(name) == {frozenset(labels)}, name
        if spread:
            assert metrics.bounds(name) == pytest.approx(bounds(*spread[0])), name
    if server.is_berth:
        unexpected = (LATER.keys() | LEFT_OUT.keys()) & metrics.types.keys()
        assert not unexpected, unexpected


@pytest.mark.berth_only
def test_types_and_labels_are_those_of_a_real_etcd(server, client, new_server, tmp_path):
    """Beside Debian's etcd: each name that both have is the same kind of thing."""
    client.put(b"key")
    ours = scrape(server)
    etcd = new_server(kind="etcd", data_dir=tmp_path / "etcd").start()
    with etcd.client() as other:
        other.put(b"key")
    theirs = scrape(etcd)
    both = ours.types.keys() & theirs.types.keys()
    assert len(both) > 50
    for name in both:
        assert ours.types[name] == theirs.types[name], name
        if theirs.label_names(name):
            assert ours.label_names(name) == theirs.label_names(name), name
        if ours.types[name] == HISTOGRAM:
            assert ours.bounds(name) == pytest.approx(theirs.bounds(name)), name
    missing = {name for name in theirs.types if name.startswith(("etcd_", "grpc_server_", "process_", "os_"))}
    missing -= both | LEFT_OUT.keys()
    # Parts that Berth does not have: etcd's v2 store, its proxy, its snapshot files, bbolt's inner steps; names of 3.3.
    gone = ("etcd_debugging_store_", "etcd_grpc_proxy_", "etcd_snap_", "etcd_debugging_snap_", "etcd_debugging_disk_")
    gone += ("etcd_debugging_mvcc_db_compaction_pause", "etcd_debugging_mvcc_index_compaction_pause")
    old = {f"etcd_debugging_mvcc_{what}_total" for what in ("put", "delete", "txn")}
    old |= {"etcd_debugging_mvcc_db_total_size_in_bytes"}
    assert not {name for name in missing if not name.startswith(gone)} - old


def test_puts_deletes_ranges_and_transactions_are_counted_exactly(server, client):
    before = scrape(server)
    for number in range(7):
        client.put(b"key/%d" % number, b"0123456789")
    client.delete(b"key/0")
    client.delete(b"absent")
    client.delete(b"key/1", b"key/3")
    client.range(b"key/5")
    client.prefix(b"key/")
    client.txn(success=[put_op(b"a"), put_op(b"b"), range_op(b"a")])
    client.txn(success=[put_op(b"only")])
    client.txn(success=[range_op(b"a"), range_op(b"b")])
    after = scrape(server)
    assert grew(before, after, "etcd_mvcc_put_total") == 7 + 2 + 1
    assert grew(before, after, "etcd_mvcc_delete_total") == 3
    assert grew(before, after, "etcd_mvcc_range_total") == 2 + 1 + 2
    assert grew(before, after, "etcd_mvcc_txn_total") == 2, "a transaction of one operation is none, as with etcd"
    # 7 puts, 3 of them deleted, and three by transactions.
    assert after.value("etcd_debugging_mvcc_keys_total") == 7 - 3 + 3
    assert after.value("etcd_debugging_mvcc_current_revision") == client.revision()
    assert grew(before, after, "etcd_debugging_mvcc_total_put_size_in_bytes") >= 7 * 15 + 6
    assert [calls(after, method) for method in ("Put", "DeleteRange", "Range", "Txn")] == [7, 3, 2, 3]
    for direction in ("received", "sent"):
        assert after.value(f"grpc_server_msg_{direction}_total", grpc_method="Put") == 7
    received = grew(before, after, "etcd_network_client_grpc_received_bytes_total")
    assert 7 * (5 + 10) < received < 7 * (5 + 10) + 500
    assert grew(before, after, "etcd_network_client_grpc_sent_bytes_total") > 12 * 10
    for operation, count in {"Put": 7, "DeleteRange": 3, "Txn": 2}.items():
        if "etcd_server_apply_duration_seconds" in after.types:
            name = "etcd_server_apply_duration_seconds_count"
            assert after.value(name, op=operation, success="true") >= count, operation
    assert grew(before, after, "etcd_disk_wal_fsync_duration_seconds_count") > 0


def test_previous_values_and_compares_are_reads_as_with_etcd(server, client):
    client.put(b"key", b"one")
    before = scrape(server)
    client.put(b"key", b"two", prev_kv=True)
    client.delete(b"key", prev_kv=True)
    compare = pb.Compare(key=b"key", target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)
    client.txn(compare=[compare, compare], success=[put_op(b"key")])
    after = scrape(server)
    assert grew(before, after, "etcd_mvcc_put_total") == 2
    assert grew(before, after, "etcd_mvcc_delete_total") == 1
    assert grew(before, after, "etcd_mvcc_range_total") == 4
    assert grew(before, after, "etcd_mvcc_txn_total") == 3


def test_refused_requests_are_counted_by_code(server, client):
    before = scrape(server)
    assert status(lambda: client.put(b""))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert status(lambda: client.put(b"key", lease=77))[0] == grpc.StatusCode.NOT_FOUND
    assert status(lambda: client.range(b"key", revision=1_000))[0] == grpc.StatusCode.OUT_OF_RANGE
    after = scrape(server)
    assert calls(after, "Put", code="InvalidArgument") == 1
    assert calls(after, "Put", code="NotFound") == 1
    assert calls(after, "Range", code="OutOfRange") == 1
    assert grew(before, after, "etcd_mvcc_put_total") == 0
    if server.is_berth:
        name = "etcd_server_apply_duration_seconds_count"
        assert after.value(name, op="Put", success="false") == 1


def test_all_series_of_calls_are_there_from_the_start(server):
    metrics = scrape(server)
    for service, method, kind in [
        (KV, "Put", "unary"),
        (KV, "Compact", "unary"),
        (WATCH, "Watch", "bidi_stream"),
        (LEASE, "LeaseKeepAlive", "bidi_stream"),
        ("etcdserverpb.Cluster", "MemberList", "unary"),
        ("etcdserverpb.Maintenance", "Status", "unary"),
        ("v3lockpb.Lock", "Lock", "unary"),
        ("v3electionpb.Election", "Observe", "server_stream"),
    ]:
        if not server.is_berth and service.startswith("v3"):
            continue  # etcd 3.4 has these only once they are called.
        labels = {"grpc_service": service, "grpc_method": method, "grpc_type": kind}
        for what in ("started", "msg_received", "msg_sent"):
            assert metrics.value(f"grpc_server_{what}_total", **labels) == 0, (method, what)
        for code in ("OK", "Canceled", "Unavailable", "Unauthenticated"):
            assert metrics.value("grpc_server_handled_total", grpc_code=code, **labels) == 0, (method, code)
        codes = [1 for (name, _), (_, pairs, _) in metrics.series.items()
                 if name == "grpc_server_handled_total" and labels.items() <= pairs.items()]
        assert len(codes) == 17


def test_watches_streams_and_their_events(server, client):
    before = scrape(server)
    with client.watch() as first, client.watch() as second:
        first.create(b"key")
        first.create_prefix(b"k")
        second.create(b"key")
        opened = scrape(server)
        assert grew(before, opened, "etcd_debugging_mvcc_watch_stream_total") == 2
        assert grew(before, opened, "etcd_debugging_mvcc_watcher_total") == 3
        assert grew(before, opened, "grpc_server_started_total", grpc_method="Watch", grpc_service=WATCH) == 2
        for number in range(5):
            client.put(b"key", b"%d" % number)
        for watch, count in ((first, 10), (second, 5)):
            watch.events(count)
        # etcd counts an event after it was sent.
        seen = scrape_until(server, lambda now: grew(before, now, "etcd_debugging_mvcc_events_total") >= 15)
        assert grew(before, seen, "etcd_debugging_mvcc_events_total") == 15
        assert seen.value("etcd_debugging_mvcc_slow_watcher_total") == 0
        assert seen.value("etcd_debugging_mvcc_pending_events_total") == 0
    scrape_until(server, lambda now: now.value("etcd_debugging_mvcc_watch_stream_total") == 0)
    ended = scrape_until(server, lambda now: now.value("etcd_debugging_mvcc_watcher_total") == 0)
    if server.is_berth:
        assert calls(ended, "Watch", WATCH, "Canceled") == 2
        assert ended.value("berth_streams_open") == 0


def test_leases_granted_renewed_revoked_and_expired(server, client):
    before = scrape(server)
    for number in range(1, 4):
        client.grant(100, id=number)
    client.grant(2, id=9)
    client.put(b"one", lease=1)
    client.put(b"two", lease=1)
    with client.keep_alive() as stream:
        for _ in range(5):
            stream.send(pb.LeaseKeepAliveRequest(ID=2))
        for _ in range(5):
            assert stream.next().TTL == 100
    client.revoke(1)
    after = scrape_until(server, lambda now: grew(before, now, "etcd_debugging_server_lease_expired_total") == 1)
    after = scrape_until(server, lambda now: grew(before, now, "etcd_debugging_lease_revoked_total") == 2)
    assert grew(before, after, "etcd_debugging_lease_granted_total") == 4
    assert grew(before, after, "etcd_debugging_lease_renewed_total") == 5
    # Two keys went with their lease, by one step each.
    assert grew(before, after, "etcd_mvcc_delete_total") == 2
    assert after.value("etcd_debugging_mvcc_keys_total") == 0
    if server.is_berth:
        assert after.value("berth_leases") == 2
        assert after.value("berth_leases_expired_total") == 1


def test_hashes_compaction_and_defragmentation_are_timed(server, client):
    for number in range(5):
        client.put(b"key", b"%d" % number)
    client.maintenance.Hash(pb.HashRequest(), timeout=60)
    client.maintenance.HashKV(pb.HashKVRequest(), timeout=60)
    client.compact(6, physical=True)
    client.maintenance.Defragment(pb.DefragmentRequest(), timeout=60)
    metrics = scrape_until(server, lambda now: now.value("etcd_debugging_mvcc_db_compaction_keys_total") == 4)
    assert metrics.value("etcd_mvcc_hash_duration_seconds_count") == 1
    assert metrics.value("etcd_mvcc_hash_rev_duration_seconds_count") == 1
    assert metrics.value("etcd_debugging_mvcc_compact_revision") == 6
    assert metrics.value("etcd_disk_backend_defrag_duration_seconds_count") == 1
    assert metrics.value("etcd_disk_backend_commit_duration_seconds_count") > 0
    assert metrics.value("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count") == 1


def test_numbers_about_the_server_are_its_own(server, client):
    client.put(b"key")
    metrics = scrape(server)
    state = client.maintenance.Status(pb.StatusRequest(), timeout=60)
    assert metrics.value("etcd_server_has_leader") == metrics.value("etcd_server_is_leader") == 1
    assert metrics.value("etcd_server_is_learner") == 0
    assert metrics.value("etcd_server_leader_changes_seen_total") == 1
    assert metrics.value("etcd_server_quota_backend_bytes") == 2 << 30
    assert metrics.value("etcd_server_version", server_version=state.version) == 1
    assert metrics.value("etcd_server_id", server_id=f"{state.header.member_id:x}") == 1
    assert metrics.value("etcd_cluster_version", cluster_version=".".join(state.version.split(".")[:2])) == 1
    assert abs(metrics.value("etcd_server_proposals_applied_total") - state.raftIndex) <= 2
    assert metrics.value("etcd_server_proposals_pending") == 0
    with open(f"/proc/{server.process.pid}/status") as lines:
        resident = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))
    assert metrics.value("process_resident_memory_bytes") == pytest.approx(resident, rel=0.3)
    files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    assert abs(metrics.value("process_open_fds") - files) <= 3
    assert metrics.value("process_max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    started = metrics.value("process_start_time_seconds")
    assert abs(started - os.stat(f"/proc/{server.process.pid}").st_ctime) < 60
    assert 0 < metrics.value("process_cpu_seconds_total") < 120
    if server.is_berth:
        assert metrics.value("os_fd_used") == metrics.value("process_open_fds")


def test_health_is_counted(server):
    before = scrape(server)
    if "etcd_server_health_success" not in before.types:
        pytest.skip("this etcd does not count it")
    for _ in range(3):
        assert get(server.port, "/health")[0] == 200
    after = scrape(server)
    assert grew(before, after, "etcd_server_health_success") == 3
    assert grew(before, after, "etcd_server_health_failures") == 0


def test_client_versions_are_a_bounded_set(server, client):
    """Whatever clients send: a label for each would let one client fill the memory of server and scraper."""
    for number in range(40):
        metadata = [("client-api-version", f"9.{number}" if number % 2 else "3.5")]
        client.kv.Put(pb.PutRequest(key=b"key"), metadata=metadata, timeout=60)
    client.put(b"key")
    metrics = scrape(server)
    name = "etcd_server_client_requests_total"
    if name not in metrics.types:
        pytest.skip("this etcd does not count it")
    assert metrics.value(name, type="unary", client_api_version="3.5") == 20
    assert metrics.value(name, type="unary", client_api_version="unknown") == 1
    if server.is_berth:
        assert metrics.value(name, type="unary", client_api_version="other") == 20
    assert metrics.value(name, type="unary") == 41


@pytest.mark.berth_only
def test_locks_lines_and_the_time_they_take(server, client):
    handles = [hold(client, b"lock/%d" % number) for number in range(3)]
    waiting = [begin_acquire(client, b"lock/0") for _ in range(4)]
    metrics = scrape_until(server, lambda now: now.value("berth_lock_places_waiting") == 4)
    assert metrics.value("berth_lock_lines") == 3
    assert metrics.value("berth_lock_longest_line") == 5
    assert metrics.value("berth_lock_places_holding") == 3
    assert metrics.value("berth_lock_wait_seconds_count") == 3
    assert metrics.value("berth_lock_hold_seconds_count") == 0
    assert metrics.value("berth_streams_open") == 4
    assert status(lambda: client.put(b"lock/0"))[0] == grpc.StatusCode.FAILED_PRECONDITION
    for handle in handles:
        release(client, handle)
    for call in waiting:
        release(client, call.result().handle)
    metrics = scrape(server)
    assert metrics.value("berth_lock_lines") == metrics.value("berth_lock_longest_line") == 0
    assert metrics.value("berth_lock_places_waiting") == metrics.value("berth_lock_places_holding") == 0
    assert metrics.value("berth_lock_wait_seconds_count") == 7
    assert metrics.value("berth_lock_hold_seconds_count") == 7
    assert metrics.value("berth_lock_ends_total", reason="released") == 7
    assert metrics.value("berth_lock_ends_total") == 7
    assert metrics.value("berth_lock_refused_writes_total") == 1
    assert metrics.value("berth_lock_wait_seconds_sum") > 0


@pytest.mark.berth_only
def test_what_a_restart_replays_is_not_counted_and_keys_still_are(server, client):
    for number in range(20):
        client.put(b"key/%d" % number)
    client.delete(b"key/0")
    client.close()
    server.kill()
    server.start()
    metrics = scrape_until(server, lambda now: "etcd_debugging_mvcc_keys_total" in now.types)
    assert metrics.value("etcd_mvcc_put_total") == 0
    assert metrics.value("etcd_mvcc_delete_total") == 0
    assert metrics.value("etcd_debugging_mvcc_keys_total") == 19
    with server.client() as again:
        again.put(b"new")
        again.put(b"key/1")
    metrics = scrape(server)
    assert metrics.value("etcd_mvcc_put_total") == 2
    assert metrics.value("etcd_debugging_mvcc_keys_total") == 20


@pytest.mark.berth_only
def test_batches_flush_age_and_connections(server, client):
    before = scrape(server)
    for number in range(10):
        client.put(b"key/%d" % number, b"x" * 100)
    metrics = scrape(server)
    entries = grew(before, metrics, "berth_log_batch_entries_sum")
    assert entries == 10
    assert grew(before, metrics, "berth_log_batch_entries_count") == 10
    assert grew(before, metrics, "berth_log_batch_bytes_sum") > 10 * 106
    assert grew(before, metrics, "etcd_disk_wal_write_bytes_total") == grew(
        before, metrics, "berth_log_batch_bytes_sum"
    )
    assert metrics.value("berth_connections_open") >= 2, "the client's, and the scrape's own"
    aged = scrape_until(server, lambda now: now.value("berth_flush_age_seconds") > 0)
    assert aged.value("berth_flush_age_seconds") < 60
    scrape_until(server, lambda now: now.value("berth_flush_age_seconds") == 0)


@pytest.mark.berth_only
def test_a_request_over_the_bound_is_counted_as_refused(server, client):
    before = scrape(server)
    assert status(lambda: client.put(b"key", b"x" * (3 << 20)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    after = scrape(server)
    assert grew(before, after, "berth_refused_total", bound="message_bytes") == 1
    assert calls(after, "Put", code="ResourceExhausted") == 1
