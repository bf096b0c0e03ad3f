"""What a single member says where etcd speaks of several: members, leadership, downgrades; and what it says while it has
no leader, which with one member is while its log cannot be written.
"""

import os
import subprocess

import grpc
import pytest

from harness.api import pb
from harness.client import Stream, StreamEnded, status

Code = grpc.StatusCode
HAS_LEADER = (("hasleader", "true"),)
NO_LEADER = (Code.UNAVAILABLE, "etcdserver: no leader")
BAD_URLS = (Code.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
NO_MEMBER = (Code.NOT_FOUND, "etcdserver: member not found")


def own_id(client):
    return client.cluster.MemberList(pb.MemberListRequest(), timeout=60).header.member_id


# Members


@pytest.mark.parametrize(
    "urls",
    [
        [],
        [""],
        ["127.0.0.1:2380"],
        ["localhost:2380"],
        ["http://127.0.0.1"],
        ["http://127.0.0.1:2380/"],
        ["http://127.0.0.1:2380/path"],
        ["http://127.0.0.1:port"],
        ["http://::1:2380"],
        ["http://[::1]"],
        ["ftp://127.0.0.1:2380"],
        ["http://a b:2380"],
        ["http://127.0.0.1:2380", "nothing"],
    ],
)
def test_a_new_member_needs_peer_urls(client, urls):
    assert status(lambda: client.cluster.MemberAdd(pb.MemberAddRequest(peerURLs=urls), timeout=60)) == BAD_URLS


@pytest.mark.berth_only  # etcd takes the member in, and then has no quorum.
@pytest.mark.parametrize(
    "urls", [["http://10.1.2.3:2380"], ["https://[::1]:2380", "http://host:1"], [" http://host:2380 "], ["unix://x"]]
)
def test_a_new_member_cannot_join(client, urls):
    for is_learner in (False, True):
        code, text = status(
            lambda: client.cluster.MemberAdd(pb.MemberAddRequest(peerURLs=urls, isLearner=is_learner), timeout=60)
        )
        assert code == Code.FAILED_PRECONDITION and "single member" in text and "berth export --to-etcd" in text
    assert len(client.cluster.MemberList(pb.MemberListRequest(), timeout=60).members) == 1


def test_the_only_member_cannot_leave(client):
    last = Code.UNKNOWN, "etcdserver: re-configuration failed due to not enough started members"
    own = own_id(client)
    assert status(lambda: client.cluster.MemberRemove(pb.MemberRemoveRequest(ID=own), timeout=60)) == last


@pytest.mark.parametrize(
    "method, request_",
    [
        ("MemberRemove", pb.MemberRemoveRequest(ID=7)),
        ("MemberUpdate", pb.MemberUpdateRequest(ID=7, peerURLs=["http://127.0.0.1:2380"])),
        ("MemberPromote", pb.MemberPromoteRequest(ID=7)),
    ],
)
def test_an_unknown_member(client, method, request_):
    assert status(lambda: getattr(client.cluster, method)(request_, timeout=60)) == NO_MEMBER


def test_a_voter_is_not_promoted(client):
    voter = Code.FAILED_PRECONDITION, "etcdserver: can only promote a learner member"
    own = own_id(client)
    assert status(lambda: client.cluster.MemberPromote(pb.MemberPromoteRequest(ID=own), timeout=60)) == voter


@pytest.mark.berth_only  # etcd has peer URLs to change.
def test_peer_urls_of_a_single_member_are_not_kept(client):
    update = pb.MemberUpdateRequest(ID=own_id(client), peerURLs=["http://127.0.0.1:2380"])
    code, text = status(lambda: client.cluster.MemberUpdate(update, timeout=60))
    assert code == Code.FAILED_PRECONDITION and "peer URLs" in text


# Leadership and versions


def test_leadership_moves_to_the_leader_only(client):
    moved = client.maintenance.MoveLeader(pb.MoveLeaderRequest(targetID=own_id(client)), timeout=60)
    assert not moved.HasField("header")
    bad = Code.FAILED_PRECONDITION, "etcdserver: bad leader transferee"
    for target in (0, 7):
        assert status(lambda: client.maintenance.MoveLeader(pb.MoveLeaderRequest(targetID=target), timeout=60)) == bad


def downgrade(client, action, version=""):
    return client.maintenance.Downgrade(pb.DowngradeRequest(action=action, version=version), timeout=60)


def test_downgrade(client):
    validate, enable, cancel = 0, 1, 2
    if client.maintenance.Status(pb.StatusRequest(), timeout=60).version.startswith("3.4"):
        pytest.skip("etcd 3.4 has no downgrade")
    for version in ("3.4", "3.4.0", "3.4.7", "3.4.1-rc.1+build"):
        answer = downgrade(client, validate, version)
        assert answer.version == "3.5.0" and answer.header.revision == 1 and answer.header.member_id
    malformed = Code.INVALID_ARGUMENT, "etcdserver: wrong downgrade target version format"
    for version in ("", "3", "3.4.", "3.4.0.0", "three.four", "v3.4"):
        assert status(lambda: downgrade(client, validate, version)) == malformed, version
        assert status(lambda: downgrade(client, enable, version)) == malformed, version
    invalid = Code.INVALID_ARGUMENT, "etcdserver: invalid downgrade target version"
    for version in ("3.5", "3.3", "3.6.0", "2.4"):
        assert status(lambda: downgrade(client, validate, version)) == invalid, version
        assert status(lambda: downgrade(client, enable, version)) == invalid, version
    none = Code.FAILED_PRECONDITION, "etcdserver: no inflight downgrade job"
    assert status(lambda: downgrade(client, cancel)) == none
    assert status(lambda: downgrade(client, 9)) == (Code.UNKNOWN, "etcdserver: unknown method")


@pytest.mark.berth_only  # etcd begins.
def test_a_downgrade_does_not_begin(client):
    code, text = status(lambda: downgrade(client, 1, "3.4"))
    assert code == Code.FAILED_PRECONDITION and "berth export --to-etcd" in text


# Upkeep


def test_hashkv_of_a_store_compacted_to_revision_zero(server, client):
    def compacted():
        return client.maintenance.HashKV(pb.HashKVRequest(), timeout=60).compact_revision

    client.put(b"key")
    assert compacted() == -1
    client.compact(0)
    assert compacted() == 0
    client.compact(2)
    assert compacted() == 2


@pytest.mark.berth_only  # Early 3.5 accepts it.
def test_a_read_only_txn_knows_a_compaction_to_revision_zero(client):
    past = pb.RequestOp(request_range=pb.RangeRequest(key=b"key", revision=-1))
    client.txn(success=[past])
    client.compact(0)
    compacted = Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
    assert status(lambda: client.txn(success=[past])) == compacted


def test_answers_without_a_header(client):
    assert not client.maintenance.Defragment(pb.DefragmentRequest(), timeout=60).HasField("header")


# A leader is required


def test_calls_that_require_a_leader_are_served_by_one(client):
    put = pb.PutRequest(key=b"key", value=b"value")
    assert client.kv.Put(put, metadata=HAS_LEADER, timeout=60).header.revision == 2
    with client.watch(metadata=HAS_LEADER) as watch:
        watch.create(b"key", start_revision=2)
        assert len(watch.events(1)) == 1
    # Only the exact value asks for it.
    assert client.kv.Put(put, metadata=(("hasleader", "TRUE"),), timeout=60).header.revision == 3


@pytest.mark.berth_only
def test_health_by_the_name_of_each_service(client):
    for name in ("", "etcdserverpb.KV", "v3lockpb.Lock", "berth.v1.Locks", "grpc.health.v1.Health"):
        answer = client.health.Check(pb.HealthCheckRequest(service=name), timeout=60)
        assert answer.status == pb.HealthCheckResponse.SERVING
    with Stream(client.health.Watch, pb.HealthCheckRequest(service="x")) as stream:
        assert stream.next().status == pb.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def small_disk(tmp_path):
    """A folder of 320 MiB that a test can fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, timeout=60).returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)


def fill(folder):
    with open(folder / "ballast", "ab", buffering=0) as ballast:
        block = b"\1" * (1 << 20)
        while block:
            try:
                ballast.write(block)
            except OSError:
                block = block[: len(block) // 2]


@pytest.mark.berth_only  # With etcd this takes a second member.
def test_a_log_that_cannot_be_written_is_a_missing_leader(new_server, small_disk):
    server = new_server(data_dir=small_disk / "data").start()
    with server.client() as client:
        health = Stream(client.health.Watch, pb.HealthCheckRequest())
        of_service = Stream(client.health.Watch, pb.HealthCheckRequest(service="etcdserverpb.KV"))
        for stream in (health, of_service):
            assert stream.next().status == pb.HealthCheckResponse.SERVING
        requiring = [
            (watch := client.watch(metadata=HAS_LEADER)),
            Stream(client.lease.LeaseKeepAlive, metadata=HAS_LEADER),
            Stream(client.election.Observe, pb.LeaderRequest(name=b"none"), metadata=HAS_LEADER),
        ]
        watch.create(b"key")
        patient = client.watch()
        patient.create(b"key")

        fill(small_disk)
        with pytest.raises(grpc.RpcError):
            for number in range(2_000):  # What the log has reserved is used up first.
                client.put(b"filler", os.urandom(1 << 20) + b"%d" % number, timeout=60)
        for stream in (health, of_service):
            assert stream.next().status == pb.HealthCheckResponse.NOT_SERVING
        put = pb.PutRequest(key=b"other")
        assert status(lambda: client.kv.Put(put, metadata=HAS_LEADER, timeout=60)) == NO_LEADER
        read = pb.RangeRequest(key=b"key")
        assert status(lambda: client.kv.Range(read, metadata=HAS_LEADER, timeout=60)) == NO_LEADER
        assert status(lambda: client.maintenance.Alarm(pb.AlarmRequest(), timeout=60)) == NO_LEADER
        listing = pb.MemberListRequest(linearizable=True)
        assert status(lambda: client.cluster.MemberList(listing, timeout=60)) == NO_LEADER
        assert list(client.maintenance.Status(pb.StatusRequest(), timeout=60).errors) == ["etcdserver: no leader"]
        client.kv.Range(read, timeout=60)  # Reads that ask for no leader go on.
        for stream in requiring:
            with pytest.raises(StreamEnded) as ended:
                stream.next()
            assert (ended.value.code, ended.value.details) == NO_LEADER

        (small_disk / "ballast").unlink()
        for stream in (health, of_service):
            assert stream.next().status == pb.HealthCheckResponse.SERVING
        client.kv.Put(pb.PutRequest(key=b"key", value=b"back"), metadata=HAS_LEADER, timeout=60)
        assert [event.kv.value for event in patient.events(1)] == [b"back"]
        for stream in (health, of_service, patient):
            stream.cancel()
