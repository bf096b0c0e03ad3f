"""Copies of a store that goes on being written, and what is restored from them."""

import fcntl
import os
import signal
import threading
import time

import grpc
import pytest

from harness import locks
from harness.api import pb
from harness.berthctl import Berth
from harness.client import StreamEnded
from harness.snapshots import describe, hashes, open_copy, restore, save

pytestmark = pytest.mark.berth_only

MEGABYTE = 1 << 20


def fill(client, megabytes):
    """More than clients and servers buffer between them."""
    value = os.urandom(MEGABYTE)
    for i in range(megabytes):
        client.put(b"fill/%03d" % i, value)


def restored_server(new_server, path, tmp_path):
    data_dir = tmp_path / f"restored-{path.stem}"
    report = restore(path, data_dir)
    return new_server(data_dir=data_dir).start(), report


def everything(client, **fields):
    return [kv.SerializeToString() for kv in client.range(b"\0", b"\0", **fields).kvs]


class Writers:
    """Threads that write pairs in one transaction each, and remember what was acknowledged with which revision."""

    def __init__(self, server, count=4):
        self.server = server
        self.acknowledged = []
        self.failure = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(count)]

    def _write(self, number):
        try:
            with self.server.client() as client:
                i = 0
                while not self._stop.is_set():
                    value = b"%d/%d" % (number, i)
                    names = [b"left/%d/%d" % (number, i % 50), b"right/%d/%d" % (number, i % 50)]
                    puts = [pb.RequestOp(request_put=pb.PutRequest(key=name, value=value)) for name in names]
                    revision = client.txn(success=puts).header.revision
                    with self._lock:
                        self.acknowledged.append((revision, names[0], value))
                    i += 1
        except grpc.RpcError as error:
            self.failure = error

    def so_far(self):
        with self._lock:
            return list(self.acknowledged)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.failure is None


def test_a_copy_taken_while_writers_go_on_is_consistent_and_has_all_that_was_acknowledged(server, new_server, tmp_path):
    with server.client() as client:
        fill(client, 8)
        with Writers(server) as writers:
            for round in range(3):
                path = tmp_path / f"{round}.snap"
                while len(writers.so_far()) < 200 * (round + 1):
                    time.sleep(0.01)
                before = writers.so_far()
                report = save(server, path)
                revision = report["revision"]
                assert revision >= max(revision for revision, _, _ in before)
        with Writers(server):
            pass
        for round in range(3):
            path = tmp_path / f"{round}.snap"
            report = describe(path)
            revision = report["revision"]
            copy, _ = restored_server(new_server, path, tmp_path)
            with copy.client() as other:
                assert other.revision() == revision
                # Every write up to the revision, and no half of a transaction.
                newest = {}
                for at, key, value in sorted(writers.acknowledged):
                    if at <= revision:
                        newest[key] = (at, value)
                found = {kv.key: (kv.mod_revision, kv.value) for kv in other.prefix(b"left/").kvs}
                assert {key: found[key] for key in newest} == newest
                right = {kv.key: (kv.mod_revision, kv.value) for kv in other.prefix(b"right/").kvs}
                assert right == {key.replace(b"left", b"right"): entry for key, entry in found.items()}
                # Byte for byte what the source has at that revision.
                assert everything(other) == everything(client, revision=revision)
                asked = pb.HashKVRequest(revision=revision)
                assert other.maintenance.HashKV(asked).hash == client.maintenance.HashKV(asked).hash
                assert hashes(other)[0] == report["hash"]
            copy.stop()


def test_a_restored_server_is_the_same_store_in_a_new_cluster(server, client, new_server, tmp_path):
    lease = client.grant(600, id=77)
    for i in range(300):
        client.put(b"key/%03d" % (i % 40), b"%d" % i, lease=lease.ID if i % 3 == 0 else 0)
    client.put(b"long/" + b"x" * 2000, b"long")
    client.grant(3, id=78)
    client.put(b"short-lived", lease=78)
    client.delete(b"key/010", b"key/020")
    client.compact(100)
    held = locks.acquire(client, b"line", owner="one", ttl=600).handle
    identity = client.range(b"x").header
    history = [kv.SerializeToString() for kv in client.prefix(b"key/", revision=150).kvs]

    path = tmp_path / "store.snap"
    saved = save(server, path)
    assert saved["cluster"] == f"{identity.cluster_id:x}" and saved["member"] == f"{identity.member_id:x}"

    copy, report = restored_server(new_server, path, tmp_path)
    with copy.client() as other:
        header = other.range(b"x").header
        assert f"{header.cluster_id:x}" == report["cluster"] != saved["cluster"]
        assert f"{header.member_id:x}" == report["member"] != saved["member"]
        assert [kv.SerializeToString() for kv in other.prefix(b"key/", revision=150).kvs] == history
        with pytest.raises(grpc.RpcError):
            other.prefix(b"key/", revision=99)
        assert lease.ID in other.leases()
        status = other.time_to_live(lease.ID, keys=True)
        assert status.grantedTTL == 600 and list(status.keys) == list(client.time_to_live(lease.ID, keys=True).keys)
        # A lease runs on, and takes its key along.
        other.await_keys(b"short-lived", 0)
        assert [place.token for place in locks.inspect(other, b"line").places] == [held.token]
        with other.watch() as watch:
            watch.create_prefix(b"key/", start_revision=150)
            assert watch.next().events[0].kv.mod_revision == 150
        assert other.put(b"new").header.revision > saved["revision"]
    # It starts again like any other, and so does a copy of the copy.
    copy.stop()
    copy.start()
    with copy.client() as other:
        last = hashes(other)
    again = tmp_path / "again.snap"
    assert save(copy, again)["hash"] == last[0]
    third, _ = restored_server(new_server, again, tmp_path)
    with third.client() as other:
        assert hashes(other) == last


def test_equal_hashes_after_the_round_trip(server, client, new_server, tmp_path):
    for i in range(500):
        client.put(b"key/%03d" % (i % 70), b"%d" % i)
    client.compact(200)
    before = hashes(client)
    path = tmp_path / "store.snap"
    report = save(server, path)
    assert (report["hash"], report["revision"], report["keys"]) == (before[0], before[3], 70)
    assert report == describe(path) | {"duration_ms": report["duration_ms"]}
    assert report["size"] == path.stat().st_size
    copy, restored = restored_server(new_server, path, tmp_path)
    assert restored["hash"] == before[0]
    with copy.client() as other:
        assert hashes(other) == before


def test_a_bumped_restore_gives_no_revision_or_token_out_twice(server, client, new_server, tmp_path):
    for i in range(20):
        client.put(b"k%d" % (i % 3), b"%d" % i)
    path = tmp_path / "store.snap"
    save(server, path)
    # What the old server did after the copy, which the new one knows nothing of.
    for i in range(10):
        client.put(b"later")
    later = locks.acquire(client, b"line", owner="old", ttl=600).handle.token
    data_dir = tmp_path / "bumped"
    assert restore(path, data_dir, "--bump-revision", 1000)["revision"] == 1021
    copy = new_server(data_dir=data_dir).start()
    with copy.client() as other:
        assert [kv.mod_revision for kv in other.prefix(b"k").kvs] == [20, 21, 19]
        with other.watch() as watch:
            watch.create_prefix(b"k", start_revision=later)
            answer = watch.next()
            assert answer.canceled and answer.compact_revision == 1021
        assert locks.acquire(other, b"line", owner="new", ttl=600).handle.token == 1022 > later


def test_alarms_about_space_stay_behind_and_those_about_damage_come_along(server, client, new_server, tmp_path):
    member = client.range(b"x").header.member_id
    client.put(b"k", b"v")
    for alarm in (pb.AlarmType.NOSPACE, pb.AlarmType.CORRUPT):
        client.maintenance.Alarm(pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member, alarm=alarm))
    path = tmp_path / "alarms.snap"
    save(server, path)
    data_dir = tmp_path / "restored"
    assert restore(path, data_dir)["cleared_alarms"] == 1
    # A server with an alarm says that it is not healthy.
    copy = new_server(data_dir=data_dir).launch()
    with copy.client() as other:
        asked = pb.AlarmRequest(action=pb.AlarmRequest.GET)
        left = other.maintenance.Alarm(asked, wait_for_ready=True, timeout=60).alarms
        assert [alarm.alarm for alarm in left] == [pb.AlarmType.CORRUPT]
        other.maintenance.Alarm(
            pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=member, alarm=pb.AlarmType.CORRUPT)
        )
        other.put(b"k", b"w")


def test_a_third_copy_is_refused_and_a_slow_reader_holds_nothing_up(server, client, tmp_path):
    fill(client, 40)
    before = server.resident_bytes()
    slow = [open_copy(client, paused=True) for _ in range(2)]
    first = [next(iter(copy.call)) for copy in slow]
    assert all(chunk.data.startswith(b"berthsnp") for chunk in first)
    with open_copy(client) as third, pytest.raises(StreamEnded) as refused:
        third.next()
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 copies of the store are under way already; try again" in refused.value.details
    refusal = Berth(server.url).run("snapshot", "save", tmp_path / "third.snap")
    assert refusal.code == 125 and "2 copies of the store" in refusal.stderr and len(refusal.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("third.snap*"))

    # Writes go on, and nothing piles up for those who do not read.
    for i in range(500):
        client.put(b"meanwhile/%d" % i, b"x" * 1000)
    assert server.resident_bytes() - before < 64 * MEGABYTE

    # One reads on: its file is whole, and of the moment it was begun.
    path = tmp_path / "slow.snap"
    with open(path, "wb") as file:
        file.write(first[0].data)
        last = (first[0].done, first[0].total)
        for chunk in slow[0].call:
            assert len(chunk.data) <= 256 << 10 and chunk.done >= last[0] and chunk.total == last[1]
            last = (chunk.done, chunk.total)
            file.write(chunk.data)
    assert last[0] == last[1]
    assert describe(path)["keys"] == 40
    # The other one goes: both places are free again.
    slow[1].cancel()
    deadline = time.monotonic() + 30
    while Berth(server.url).run("snapshot", "save", tmp_path / "free.snap").code:
        assert time.monotonic() < deadline
        (tmp_path / "free.snap").unlink(missing_ok=True)


def test_a_server_that_dies_during_a_save_leaves_no_file(server, client, tmp_path):
    fill(client, 60)
    path = tmp_path / "never.snap"
    part = tmp_path / "never.snap.part"
    saving = Berth(server.url).start("snapshot", "save", path)
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size == 0:
        assert time.monotonic() < deadline and saving.process.poll() is None
        time.sleep(0.001)
    saving.signal(signal.SIGSTOP)
    assert part.stat().st_size < 60 * MEGABYTE
    server.kill()
    saving.signal(signal.SIGCONT)
    assert saving.wait() == 122
    (line,) = saving.all_lines()
    assert "before the copy was whole" in line
    assert not path.exists() and not part.exists()


def test_a_file_that_another_process_writes_is_left_alone(server, client, tmp_path):
    client.put(b"k", b"v")
    path = tmp_path / "store.snap"
    part = tmp_path / "store.snap.part"
    part.write_bytes(b"being written")
    with open(part, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused = Berth(server.url).run("snapshot", "save", path)
        assert refused.code == 125 and "another process is writing" in refused.stderr, refused
        assert len(refused.stderr.splitlines()) == 1
        assert part.read_bytes() == b"being written" and os.path.samestat(part.stat(), os.fstat(other.fileno()))
        assert not path.exists()
    # One that was finished and given a further name is a file like any other.
    os.link(part, tmp_path / "yesterday.snap")
    refused = Berth(server.url).run("snapshot", "save", path)
    assert refused.code == 125 and "another name" in refused.stderr, refused
    assert (tmp_path / "yesterday.snap").read_bytes() == b"being written"
    (tmp_path / "yesterday.snap").unlink()
    save(server, path)
    assert not part.exists()


def test_a_file_is_not_overwritten_and_a_damaged_one_not_restored(server, client, tmp_path):
    command = Berth(server.url)
    client.put(b"k", b"v" * 5000)
    path = tmp_path / "store.snap"
    path.write_bytes(b"precious")
    refused = command.run("snapshot", "save", path)
    assert refused.code == 125 and "is not overwritten" in refused.stderr
    assert path.read_bytes() == b"precious"
    path.unlink()
    (tmp_path / "store.snap.part").write_bytes(b"left by a save that was killed" * 1000)
    save(server, path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:2000], whole[:2000] + b"!" + whole[2001:], b"other" * 100, b""):
        path.write_bytes(damaged)
        for arguments in (["status", path], ["restore", path, "--data-dir", tmp_path / "copy"]):
            refused = command.run("snapshot", *arguments)
            assert refused.code == 125 and len(refused.stderr.splitlines()) == 1, refused
        assert not (tmp_path / "copy").exists()
    path.write_bytes(whole)
    # A folder that a server uses, and one that holds something else.
    refused = command.run("snapshot", "restore", path, "--data-dir", server.data_dir)
    assert refused.code == 125
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    refused = command.run("snapshot", "restore", path, "--data-dir", tmp_path / "full")
    assert refused.code == 125 and "is not empty (file is there)" in refused.stderr
    table = command("snapshot", "status", path, "-w", "table").stdout
    assert "| HASH " in table and "TOTAL KEYS" in table
    assert "1 keys, 1 changes, 0 leases" in command("snapshot", "status", path).stdout
