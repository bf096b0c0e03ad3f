"""etcd's own snapshots, both ways: saved from Berth and started by etcd, saved from etcd and started by Berth."""

import json
import os
import pathlib
import random
import shutil

import grpc
import pytest

from harness.api import berth as berth_api
from harness.api import pb
from harness.berthctl import Berth
from harness.client import status
from harness.etcdctl import Etcdctl
from harness.etcdfiles import etcd_from, everything, fill, hash_kv, leases, releases, same, save

pytestmark = pytest.mark.berth_only

RELEASES = [pytest.param(release, id=release.name) for release in releases()]
REFUSED = 125


@pytest.fixture(params=RELEASES)
def release(request):
    return request.param


@pytest.fixture
def etcd(new_server, release):
    return new_server(
        kind=release.server, heartbeat_interval=50, election_timeout=500, quota_backend_bytes=8 << 30
    ).start()


@pytest.fixture
def source(etcd):
    with etcd.client() as client:
        yield client


def restore(path, data_dir, *options):
    command = ["snapshot", "restore", path, "--data-dir", data_dir, "-w", "json", *options]
    return json.loads(Berth("unused")(*command, timeout=300).stdout)


def refusal(*command):
    result = Berth("unused").run(*command)
    assert result.code == REFUSED and result.stdout == "", result
    return result.stderr


def described(path, *options):
    return json.loads(Berth("unused")("snapshot", "status", path, "-w", "json", *options).stdout)


def assert_same_status(path, release):
    """Berth and etcd's tool say the same of a file."""
    theirs, ours = release.status(path), described(path)
    assert int(ours["hash"], 16) == theirs["hash"]
    assert ours["revision"] == theirs["revision"]
    assert ours["total_keys"] == theirs["totalKey"]
    assert ours["total_size"] == theirs["totalSize"]
    return ours


def started(new_server, path, data_dir, *options):
    """A Berth that was started from a snapshot, and what the restore reported."""
    report = restore(path, data_dir, *options)
    assert Berth("unused")("check", data_dir).code == 0
    return new_server(data_dir=data_dir).start(), report


# From Berth to etcd


@pytest.mark.parametrize("compacted", ["never", "in part", "to the end"])
def test_etcd_starts_from_a_snapshot_of_berth(server, client, new_server, release, tmp_path, compacted):
    fill(client, release, seed=3)
    newest, oldest = client.revision(), 1
    if compacted != "never":
        # The last write is no deletion, and neither is this one: what etcd keeps of such differs from release to release.
        oldest = newest if compacted == "to the end" else client.put(b"middle").header.revision
        if compacted == "in part":
            fill_again(client)
        client.compact(oldest, physical=compacted == "to the end")
    path = tmp_path / "berth.db"
    size = save(client, path)
    assert path.stat().st_size == size + 32
    ours = assert_same_status(path, release)
    assert ours["revision"] == client.revision()
    assert ours["compacted_revision"] == (0 if compacted == "never" else oldest)
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        same(client, other, oldest)
        if oldest > 1:
            assert status(lambda: other.range(b"x", revision=oldest - 1))[0] == grpc.StatusCode.OUT_OF_RANGE


def fill_again(client):
    rng = random.Random(8)
    for i in range(200):
        client.put(b"again/%d" % rng.randrange(50), rng.randbytes(30))
    for i in range(0, 50, 3):
        client.delete(b"again/%d" % i)
    client.put(b"again/last")


def test_etcdctl_saves_what_etcd_starts_from(server, etcdctl, client, new_server, release, tmp_path):
    path = tmp_path / "saved.db"
    etcdctl("put", "one", "1")
    etcdctl("snapshot", "save", str(path))
    assert path.stat().st_size % 512 == 32
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd:
        assert Etcdctl(etcd.url)("get", "one").lines == ["one", "1"]


def test_an_empty_store_goes_both_ways(server, client, new_server, release, tmp_path):
    path = tmp_path / "empty.db"
    save(client, path)
    assert_same_status(path, release)
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        assert other.revision() == 1 and everything(other) == []
        assert hash_kv(other) == hash_kv(client) == (1084519789, -1)
        back = tmp_path / "back.db"
        Etcdctl(etcd.url)("snapshot", "save", str(back))
        berth, report = started(new_server, back, tmp_path / "berth")
        with berth.client() as third:
            assert third.revision() == 1 and everything(third) == []
            assert third.put(b"first").header.revision == 2


def test_everything_is_deleted_and_compacted(server, client, new_server, release, tmp_path):
    for i in range(300):
        client.put(b"%d" % i, b"x" * 100)
    client.delete(b"\0", b"\0")
    newest = client.revision()
    client.put(b"mark")
    client.delete(b"mark")
    client.put(b"end")
    client.compact(newest + 1)
    path = tmp_path / "gone.db"
    save(client, path)
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        same(client, other, newest + 1)


def test_etcd_goes_on_writing_and_compacting_in_the_file(server, client, new_server, release, tmp_path):
    """bbolt splits, merges and frees the pages that Berth laid out."""
    for start in range(0, 6000, 100):
        puts = [pb.RequestOp(request_put=pb.PutRequest(key=b"%05d" % i, value=b"v" * 90)) for i in range(start, start + 100)]
        client.txn(success=puts)
    path = tmp_path / "berth.db"
    save(client, path)
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        rng = random.Random(1)
        for _ in range(300):
            first = rng.randrange(6000)
            other.delete(b"%05d" % first, b"%05d" % (first + rng.randrange(60)))
            other.put(b"%05d" % rng.randrange(6000), b"w" * rng.choice([1, 100, 9000]))
            if rng.random() < 0.1:
                other.compact(other.revision(), physical=True)
        other.compact(other.revision(), physical=True)
        expected = everything(other)
        other.maintenance.Defragment(pb.DefragmentRequest(), timeout=60)
        assert everything(other) == expected
        etcd.stop()
        etcd.start()
        with etcd.client() as again:
            assert everything(again) == expected
            # etcd's tools walk all pages and complain about any that is not as bbolt wants it.
            back = tmp_path / "back.db"
            save(again, back)
            assert_same_status(back, release)


def test_the_copy_is_of_one_revision_while_writers_go_on(server, client, new_server, release, tmp_path):
    from test_snapshot import Writers

    for i in range(40):
        client.put(b"fill/%d" % i, os.urandom(200_000))
    path = tmp_path / "busy.db"
    with Writers(server) as writers:
        while len(writers.so_far()) < 50:
            pass
        before = writers.so_far()
        save(client, path)
    revision = described(path)["revision"]
    assert revision >= before[-1][0]
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        assert other.revision() == revision
        assert everything(other) == everything(client, revision)
        assert hash_kv(other, revision)[0] == hash_kv(client, revision)[0]
        assert all(kv.value == other.get(kv.key.replace(b"left", b"right")) for kv in other.prefix(b"left/").kvs)


def test_many_keys_make_a_tree_of_several_levels(server, client, new_server, release, tmp_path):
    count = int(os.environ.get("BERTH_TEST_SNAPSHOT_KEYS", "60000"))
    for start in range(0, count, 128):
        client.txn(
            success=[
                pb.RequestOp(request_put=pb.PutRequest(key=b"%08d" % i, value=b"v" * 100))
                for i in range(start, min(count, start + 128))
            ]
        )
    path = tmp_path / "many.db"
    # etcdctl measures the way with pings while it reads, which must not be taken for a flood of them.
    Etcdctl(server.url)("snapshot", "save", str(path))
    assert_same_status(path, release)
    with etcd_from(new_server, release, path, tmp_path / "etcd") as etcd, etcd.client() as other:
        assert hash_kv(other) == hash_kv(client)
        assert other.range(b"\0", b"\0", count_only=True).count == count


# From etcd to Berth


@pytest.mark.parametrize("compacted", ["never", "in part", "to the end"])
def test_berth_starts_from_a_snapshot_of_etcd(source, etcd, new_server, release, tmp_path, compacted):
    fill(source, release, seed=4)
    oldest = 1
    if compacted != "never":
        oldest = source.revision() if compacted == "to the end" else source.put(b"middle").header.revision
        if compacted == "in part":
            fill_again(source)
        source.compact(oldest, physical=True)
    path = tmp_path / "etcd.db"
    Etcdctl(etcd.url)("snapshot", "save", str(path))
    ours = assert_same_status(path, release)
    berth, report = started(new_server, path, tmp_path / "berth")
    with berth.client() as client:
        same(source, client, oldest)
        newest = source.revision()
        assert report["hash_kv"] == hash_kv(source)[0]
        assert report["revision"] == report["source_revision"] == newest
        assert report["keys"] == len(everything(source)) and report["leases"] == 4 == ours["leases"]
        assert client.put(b"next").header.revision == newest + 1
        # And out again, with what was written since.
        back = tmp_path / "back.db"
        save(client, back)
        with etcd_from(new_server, release, back, tmp_path / "etcd") as third, third.client() as other:
            same(client, other, oldest)


def test_a_running_etcds_own_file_is_taken_when_asked_for(source, etcd, new_server, release, tmp_path):
    fill(source, release, seed=5, operations=300)
    etcd.stop()
    raw = tmp_path / "raw.db"
    shutil.copy(etcd.data_dir / "member/snap/db", raw)
    etcd.start()
    message = refusal("snapshot", "restore", raw, "--data-dir", tmp_path / "berth")
    assert "no SHA-256 at its end" in message and "--skip-hash-check" in message
    assert not (tmp_path / "berth").exists()
    assert "--skip-hash-check" in refusal("snapshot", "status", raw)
    assert described(raw, "--skip-hash-check")["has_digest"] is False
    berth, _ = started(new_server, raw, tmp_path / "berth", "--skip-hash-check")
    with berth.client() as client, etcd.client() as again:
        same(again, client, 1)


def test_a_damaged_file_is_refused_and_leaves_nothing(source, etcd, release, tmp_path):
    fill(source, release, seed=6, operations=200)
    path = tmp_path / "etcd.db"
    Etcdctl(etcd.url)("snapshot", "save", str(path))
    whole = path.read_bytes()
    target = tmp_path / "berth"
    damages = {
        "flipped": bytes([*whole[:50_000], whole[50_000] ^ 1, *whole[50_001:]]),
        "shorter": whole[:-4096],
        "cut": whole[:-100],
        "no trailer": whole[:-32],
        "longer": whole + bytes(512),
    }
    for name, content in damages.items():
        path.write_bytes(content)
        message = refusal("snapshot", "restore", path, "--data-dir", target)
        assert str(path) in message and message.count("\n") == 1, name
        assert not target.exists(), name
    # Without its SHA-256 the pages themselves tell.
    rng = random.Random(2)
    for _ in range(30):
        content = bytearray(whole[:-32])
        page = rng.randrange(2, len(content) // 4096)
        content[page * 4096 : page * 4096 + 64] = rng.randbytes(64)
        path.write_bytes(content)
        result = Berth("unused").run("snapshot", "restore", path, "--data-dir", target, "--skip-hash-check")
        if result.code == 0:  # A page that is free or of a bucket's sequence: nothing that counts.
            shutil.rmtree(target)
        else:
            assert result.code == REFUSED and not target.exists(), result


def test_locks_that_etcds_clients_held_are_in_line(source, etcd, new_server, release, tmp_path):
    """Three in line at a lock of etcd's; one proclaimed since, and that was compacted."""
    order = [13, 11, 12]  # Not the order of the keys' names.
    for lease in order:
        source.grant(600, lease)
        source.put(b"jobs/%x" % lease, lease=lease)
    for lease in [12, 13]:
        source.put(b"jobs/%x" % lease, b"proclaimed", lease=lease)
    source.compact(source.put(b"mark").header.revision, physical=True)
    path = tmp_path / "etcd.db"
    Etcdctl(etcd.url)("snapshot", "save", str(path))
    berth, _ = started(new_server, path, tmp_path / "berth")
    with berth.client() as client:
        line = client.locks.Inspect(berth_api.InspectRequest(name=b"jobs"), timeout=30)
        assert [place.lease for place in line.places] == order
        assert [place.holds for place in line.places] == [True, False, False]
        tokens = {kv.key: kv.create_revision for kv in source.prefix(b"jobs/").kvs}
        assert {place.key: place.token for place in line.places} == tokens
        # Who comes now waits behind them, and gets the lock when they are gone.
        client.grant(600, 14)
        last = client.lock.Lock.future(pb_lock("jobs", 14), timeout=60)
        client.await_keys(b"jobs/", 4)
        for lease in [11, 12, 13]:
            assert not last.done()
            client.revoke(lease)
        assert last.result().key == b"jobs/e"


def pb_lock(name, lease):
    return pb.LockRequest(name=name.encode(), lease=lease)


def test_users_and_roles_come_along_and_go_back(etcd, source, new_server, release, tmp_path):
    ctl = Etcdctl(etcd.url)
    ctl("user", "add", "root:secret")
    ctl("user", "add", "alice:geheim")
    ctl("role", "add", "reader")
    ctl("role", "add", "root")
    ctl("role", "grant-permission", "reader", "--prefix=true", "read", "app/")
    ctl("user", "grant-role", "alice", "reader")
    ctl("user", "grant-role", "root", "root")
    source.put(b"app/x", b"1")
    ctl("auth", "enable")
    path = tmp_path / "etcd.db"
    ctl("--user", "root:secret", "snapshot", "save", str(path))
    ours = assert_same_status(path, release)
    assert (ours["users"], ours["roles"]) == (2, 2)
    report = restore(path, tmp_path / "berth")
    assert (report["users"], report["roles"]) == (2, 2)
    berth = new_server(data_dir=tmp_path / "berth").start()
    back = tmp_path / "back.db"
    Etcdctl(berth.url)("--user", "root:secret", "snapshot", "save", str(back))
    with etcd_from(new_server, release, back, tmp_path / "etcd") as other:
        again = Etcdctl(other.url)
        assert again("--user", "alice:geheim", "get", "app/x").lines == ["app/x", "1"]
        assert again.run("--user", "alice:geheim", "put", "app/x", "2").code != 0
        assert again("--user", "root:secret", "role", "list").lines == ["reader", "root"]


def test_alarms_of_damage_come_along_and_those_of_space_do_not(etcd, source, new_server, release, tmp_path):
    source.put(b"x")
    for alarm in [pb.AlarmType.NOSPACE, pb.AlarmType.CORRUPT]:
        request = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=2**63 + 5, alarm=alarm)
        source.maintenance.Alarm(request, timeout=30)
    path = tmp_path / "etcd.db"
    save(source, path)
    assert restore(path, tmp_path / "berth")["cleared_alarms"] == 1
    # A server with an alarm says that it is not healthy.
    berth = new_server(data_dir=tmp_path / "berth").launch()
    with berth.client() as client:
        answer = client.maintenance.Alarm(
            pb.AlarmRequest(action=pb.AlarmRequest.GET), wait_for_ready=True, timeout=60
        )
        assert [(alarm.memberID, alarm.alarm) for alarm in answer.alarms] == [(2**63 + 5, pb.AlarmType.CORRUPT)]
        back = tmp_path / "back.db"
        save(client, back)
        assert_same_status(back, release)


def test_a_bumped_revision_is_what_the_next_write_continues(source, etcd, new_server, release, tmp_path):
    fill(source, release, seed=9, operations=100)
    path = tmp_path / "etcd.db"
    save(source, path)
    newest = source.revision()
    berth, report = started(new_server, path, tmp_path / "berth", "--bump-revision", "1000000")
    assert (report["source_revision"], report["revision"]) == (newest, newest + 1_000_000)
    with berth.client() as client:
        assert client.revision() == newest + 1_000_000
        assert everything(client) == everything(source) and leases(client) == leases(source)
        assert status(lambda: client.range(b"x", revision=newest))[0] == grpc.StatusCode.OUT_OF_RANGE
        assert client.put(b"next").header.revision == newest + 1_000_001


def test_status_tells_both_formats_apart(server, client, tmp_path):
    client.put(b"x", b"1")
    own, theirs = tmp_path / "own.snap", tmp_path / "theirs.db"
    Berth(server.url)("snapshot", "save", own)
    save(client, theirs)
    berth = Berth("unused")
    assert "whole" in berth("snapshot", "status", own).stdout
    text = berth("snapshot", "status", theirs).stdout
    assert "etcd's format" in text and "revision 2" in text
    assert "TOTAL KEYS" in berth("snapshot", "status", theirs, "-w", "table").stdout
    other = tmp_path / "other"
    other.write_bytes(b"something else" * 100)
    assert "no snapshot of Berth or etcd" in refusal("snapshot", "status", other)


