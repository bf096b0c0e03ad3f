"""`berth import` from a real etcd into a real Berth: what arrives, what is refused, and what happens in the middle."""

import contextlib
import hashlib
import json
import os
import random
import signal

import pytest

from harness.berthctl import Berth
from harness.etcdctl import Etcdctl
from harness.imports import DIFFER, REFUSED, arguments, fill, state

pytestmark = pytest.mark.berth_only

UNREACHABLE = 122
LOCKED = 121


@pytest.fixture
def etcd(new_server):
    return new_server(kind="etcd", heartbeat_interval=50, election_timeout=500, quota_backend_bytes=4 << 30).start()


@pytest.fixture
def source(etcd):
    with etcd.client() as client:
        yield client


@pytest.fixture
def berth(server):
    return Berth(server.url)


def digest(pairs):
    """As docs/command-line.md says it is made."""
    total = hashlib.sha256()
    for key, value, lease in pairs:
        total.update(len(key).to_bytes(8, "big") + key + len(value).to_bytes(8, "big") + value)
        total.update(lease.to_bytes(8, "big", signed=True))
    return total.hexdigest()


def odd_pairs(count, seed):
    """Keys and values of any bytes: empty values, zeros, 0xff, long keys, neighbours that differ in their last byte."""
    rng = random.Random(seed)
    pairs = {}
    while len(pairs) < count:
        shape = rng.randrange(5)
        if shape == 0:
            key = rng.randbytes(rng.randint(1, 3))
        elif shape == 1:
            key = b"\xff" * rng.randint(1, 600)
        elif shape == 2:
            key = b"app/" + rng.randbytes(rng.randint(0, 700))
        elif shape == 3:
            key = b"app/%06d" % rng.randrange(10**6)
        else:
            key = b"\0" * rng.randint(1, 20) + rng.randbytes(1)
        pairs[key] = rng.randbytes(rng.choice([0, 1, 10, 100, 1000, 5000]))
    return list(pairs.items())


@contextlib.contextmanager
def held_in_the_middle(berth, etcd, target, *more):
    """An import that is stopped as soon as the target has something of it."""
    with target.watch() as watch:
        watch.create(b"\0", b"\0")
        with berth.start(*arguments(etcd, *more)) as running:
            watch.next()
            running.signal(signal.SIGSTOP)
            yield running


def ended(running):
    running.signal(signal.SIGCONT)
    code = running.wait(120)
    return code, "\n".join(running.all_lines())


def connects_to(pid, port):
    """Whether the process has a connection to a port of this host."""
    sockets = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if int(fields[2].split(":")[1], 16) == port and f"socket:[{fields[9]}]" in sockets:
                return True
    return False


@contextlib.contextmanager
def held_at_the_start(berth, etcd, server, *more):
    """An import that knows the source's revision and has not read a key: its target is stopped. It goes on after."""
    server.signal(signal.SIGSTOP)
    try:
        with berth.start(*arguments(etcd, *more)) as running:
            # The source is asked first: whoever connects to the target has its answer. The kernel accepts for it.
            while not connects_to(running.process.pid, server.port):
                assert running.process.poll() is None, running.all_lines()
            yield running
            server.signal(signal.SIGCONT)
            running.wait(120)
    finally:
        server.signal(signal.SIGCONT)


# What arrives


def test_keys_of_odd_bytes_and_sizes_and_leases_arrive(etcd, source, berth, client):
    leases = [7, -8, 2**62 + 1]
    for lease in leases:
        source.grant(600 + lease % 10, lease)
    source.grant(77, 1234)  # Without keys.
    rng = random.Random(5)
    fill(source, [(k, v, rng.choice([0] * 9 + leases)) for k, v in odd_pairs(6000, seed=1)])
    report = berth(*arguments(etcd, "-w", "json")).json
    expected = state(source)
    assert state(client) == expected
    assert len(expected) == 6000
    assert report["verified"] and report["keys"] == report["target_keys"] == 6000 and report["differences"] == 0
    assert report["source_hash"] == report["target_hash"] == digest(expected)
    assert report["leases"] == 4 and report["left_out"] == report["left_alone"] == 0
    assert report["bytes"] == sum(len(k) + len(v) for k, v, _ in expected)
    assert sorted(client.leases()) == sorted([*leases, 1234])
    for lease in [*leases, 1234]:
        there, here = source.time_to_live(lease, keys=True), client.time_to_live(lease, keys=True)
        assert here.grantedTTL == there.grantedTTL
        assert sorted(here.keys) == sorted(there.keys)


def test_values_as_large_as_etcd_takes_them_arrive(etcd, source, berth, client):
    largest = 1_572_864 - 80
    for i in range(12):
        source.put(b"large/%d" % i, bytes([i]) * largest)
    fill(source, [(b"small/%d" % i, b"x", 0) for i in range(1000)])
    result = berth(*arguments(etcd))
    assert "imported 1,012 keys" in result.stdout and "verified" in result.stdout
    assert state(client) == state(source)


def test_an_empty_source_is_no_error(etcd, berth, client):
    report = berth(*arguments(etcd, "-w", "json")).json
    assert report["keys"] == 0 and report["verified"] and report["source_hash"] == hashlib.sha256().hexdigest()
    assert state(client) == []


def test_a_prefix_takes_its_keys_and_their_leases_alone(etcd, source, berth, client):
    for lease in (1, 2, 3):
        source.grant(600, lease)
    fill(source, [(b"app/%d" % i, b"a", 1 if i % 10 == 0 else 0) for i in range(500)])
    fill(source, [(b"ap", b"no", 0), (b"app0", b"no", 0), (b"other/1", b"no", 2)])
    client.put(b"here/before", b"mine")
    report = berth(*arguments(etcd, "--prefix", "app/", "-w", "json")).json
    assert report["keys"] == 500 and report["leases"] == 1 and report["verified"]
    assert state(client, b"app/") == state(source, b"app/")
    assert [key for key, _, _ in state(client)][-1] == b"here/before" and len(state(client)) == 501
    assert client.leases() == [1]


def test_lines_at_locks_keep_their_order_and_no_two_hold(etcd, source, berth, client):
    rng = random.Random(9)
    queued = []
    for lease in rng.sample(range(1000, 100000), 120):
        source.grant(600, lease)
        name = rng.choice([b"locks/a", b"locks/b", b"locks/a/within"])
        key = b"%s/%x" % (name, lease)
        source.put(key, b"", lease=lease)
        queued.append(key)
    berth(*arguments(etcd))
    arrived = sorted(client.prefix(b"locks/").kvs, key=lambda kv: kv.create_revision)
    for line in (b"locks/a/", b"locks/b/"):
        mine = [kv for kv in arrived if kv.key.startswith(line)]
        assert [kv.key for kv in mine] == [key for key in queued if key.startswith(line)]
        assert len({kv.create_revision for kv in mine}) == len(mine) > 20, "two at the head of one line"
    shown = berth("locks", "show", "locks/b", "-w", "json").json
    assert shown["places"][0]["key"].encode() == [key for key in queued if key.startswith(b"locks/b/")][0]
    assert [place["holds"] for place in shown["places"]].count(True) == 1


def test_keys_of_a_lease_that_ends_meanwhile_are_left_out(etcd, source, berth, server, client):
    source.grant(600, 1)
    source.grant(600, 2)
    fill(source, [(b"k/%d" % i, b"v", i % 3) for i in range(300)])
    with held_at_the_start(berth, etcd, server, "-w", "json") as running:
        source.revoke(2)
    report = json.loads(running.all_lines()[-1])
    assert running.wait() == 0 and report["left_out"] == 100 and report["keys"] == 200 and report["verified"]
    assert state(client) == state(source)


def test_a_berth_is_copied_into_an_etcd_as_well(etcd, source, server, client):
    client.grant(600, 3)
    fill(client, [(k, v, 3 if len(k) % 5 == 0 else 0) for k, v in odd_pairs(2000, seed=2)])
    report = Berth(etcd.url)("import", "--from-etcd", server.address, "-w", "json").json
    assert report["verified"] and report["keys"] == 2000
    assert state(source) == state(client) and source.leases() == [3]


# What is refused


def test_keys_in_the_way_are_refused_and_overwritten_on_demand(etcd, source, berth, client):
    fill(source, [(b"k/%03d" % i, b"new", 0) for i in range(200)])
    fill(client, [(b"k/000", b"old", 0), (b"k/0001", b"mine", 0), (b"k/999", b"mine", 0)])
    before = client.revision()
    result = berth.run(*arguments(etcd))
    assert result.code == REFUSED and result.stdout == ""
    assert "holds 3 keys already" in result.stderr and "k/000 " in result.stderr and "--overwrite" in result.stderr
    assert client.revision() == before
    report = berth(*arguments(etcd, "--overwrite", "-w", "json")).json
    assert report["verified"] and report["keys"] == 200 and report["left_alone"] == 2
    kept = {(b"k/0001", b"mine", 0), (b"k/999", b"mine", 0)}
    assert set(state(client)) == set(state(source)) | kept
    assert report["target_hash"] == digest(state(source))


def test_a_lease_with_another_time_is_refused_and_the_same_one_taken(etcd, source, berth, client):
    source.grant(600, 5)
    source.put(b"app/k", b"v", lease=5)
    client.grant(300, 5)
    before = client.revision()
    result = berth.run(*arguments(etcd))
    assert result.code == REFUSED and "lease 5 already" in result.stderr and "nothing was written" in result.stderr
    assert client.revision() == before
    # It is in nobody's way where no key hangs on it.
    assert berth(*arguments(etcd, "--prefix", "other/", "-w", "json")).json["keys"] == 0
    client.revoke(5)
    client.grant(600, 5)
    assert berth(*arguments(etcd, "-w", "json")).json["leases"] == 1
    assert state(client) == [(b"app/k", b"v", 5)]


def test_a_dry_run_counts_and_writes_nothing(etcd, source, berth, client):
    source.grant(600, 5)
    source.grant(600, 6)
    fill(source, [(b"k/%04d" % i, b"v" * 10, 5 if i < 7 else 0) for i in range(3000)])
    client.put(b"mine", b"")
    client.grant(300, 6)
    before = client.revision()
    report = berth(*arguments(etcd, "--dry-run", "-w", "json")).json
    assert report["keys"] == 3000 and report["bytes"] == 3000 * 16 and report["largest"] == 16
    assert report["leased_keys"] == 7 and report["leases"] == 2
    assert report["keys_in_the_way"] == 1 and report["leases_in_the_way"] == ["6"]
    assert "would copy 3,000 keys" in berth(*arguments(etcd, "--dry-run")).stdout
    assert client.revision() == before and client.leases() == [6]


def test_a_store_is_not_copied_into_itself(etcd, source):
    source.put(b"k", b"v")
    result = Berth(etcd.url).run(*arguments(etcd, "--overwrite"))
    assert result.code == REFUSED and "same store" in result.stderr


def test_a_guarded_key_stops_the_import_with_the_lock_s_name(etcd, source, berth, client):
    fill(source, [(b"app/guarded", b"from etcd", 0), (b"app/z", b"v", 0)])
    with berth.start("lock", "jobs", "--guard", "app/guarded") as lock:
        lock.line()
        result = berth.run(*arguments(etcd, "--prefix", "app/"))
        assert result.code == LOCKED and "app/guarded is guarded by the lock jobs" in result.stderr
        assert state(client, b"app/") == []


def test_users_of_the_source(etcd, source, berth, client):
    fill(source, [(b"k/%d" % i, b"v", 0) for i in range(100)])
    etcdctl = Etcdctl(etcd.url)
    etcdctl("user", "add", "root:secret")
    etcdctl("role", "add", "root")
    etcdctl("user", "grant-role", "root", "root")
    etcdctl("auth", "enable")
    result = berth.run(*arguments(etcd))
    assert result.code == REFUSED and "the source" in result.stderr and "user name" in result.stderr
    result = berth.run(*arguments(etcd, "--from-user", "root:wrong"))
    assert result.code == REFUSED and "password is wrong" in result.stderr
    assert berth(*arguments(etcd, "--from-user", "root:secret", "-w", "json")).json["keys"] == 100
    assert len(state(client)) == 100


# What happens in the middle

MANY = 30_000


def fill_many(source):
    fill(source, [(b"many/%08d" % i, b"%08d" % i * 100, 0) for i in range(MANY)])


def test_a_source_compacted_meanwhile_is_told(etcd, source, berth, server, client):
    fill(source, [(b"k/%d" % i, b"v", 0) for i in range(500)])
    revision = source.revision()
    with held_at_the_start(berth, etcd, server) as running:
        source.put(b"k/later", b"v")
        source.compact(source.revision())
    told = "\n".join(running.all_lines())
    assert running.wait() == REFUSED and f"compacted while its revision {revision} was read" in told, told
    assert "--auto-compaction-retention" in told and state(client) == []
    assert berth(*arguments(etcd, "-w", "json")).json["keys"] == 501


def test_a_target_killed_in_the_middle_and_the_import_run_again(etcd, source, berth, server):
    fill_many(source)
    with server.client() as client, held_in_the_middle(berth, etcd, client) as running:
        server.kill()
        code, told = ended(running)
    assert code in (REFUSED, UNREACHABLE) and "the target" in told and "known to be written" in told, told
    assert "--overwrite" in told
    server.start()
    with server.client() as client:
        found = len(state(client))
        assert 0 < found < MANY, "the import must not have been done when it was stopped"
        result = berth.run(*arguments(etcd))
        assert result.code == REFUSED and f"holds {found} keys already" in result.stderr
        assert berth(*arguments(etcd, "--overwrite", "-w", "json")).json["verified"]
        assert state(client) == state(source)


def test_a_source_killed_in_the_middle(etcd, source, berth, client):
    fill_many(source)
    with held_in_the_middle(berth, etcd, client, "--timeout", "2s") as running:
        etcd.kill()
        code, told = ended(running)
    assert code in (REFUSED, UNREACHABLE) and "the source" in told and "known to be written" in told, told


def test_somebody_who_writes_to_the_target_meanwhile_is_not_overwritten(etcd, source, berth, client):
    fill_many(source)
    last = b"many/%08d" % (MANY - 1)
    with held_in_the_middle(berth, etcd, client) as running:
        client.put(last, b"mine")
        code, told = ended(running)
    assert code == REFUSED and f"someone else wrote {last.decode()} to the target" in told, told
    assert client.get(last) == b"mine"


def test_a_key_changed_on_the_target_meanwhile_is_found(etcd, source, berth, client):
    fill_many(source)
    with held_in_the_middle(berth, etcd, client) as running:
        client.put(b"many/00000000", b"changed")
        client.delete(b"many/00000001")
        client.put(b"many/00000002+", b"more")
        code, told = ended(running)
    assert code == DIFFER and "NOT verified: 3 keys differ" in told, told
    assert "another value: many/00000000" in told and "missing on the target: many/00000001" in told
    assert "on the target alone: many/00000002+" in told


def test_a_target_that_is_full_says_so(etcd, source, new_server):
    fill_many(source)
    small = new_server(quota_backend_bytes=12 << 20).start()
    result = Berth(small.url).run(*arguments(etcd))
    assert result.code == REFUSED and "database space exceeded" in result.stderr, result
    assert "known to be written" in result.stderr and "--overwrite" in result.stderr


def test_progress_is_told_line_by_line_and_not_into_json(etcd, source, berth):
    fill(source, [(b"k", b"v", 0)])
    result = berth(*arguments(etcd, "-w", "json"))
    assert result.stderr == "" and len(result.lines) == 1
    assert berth(*arguments(etcd, "--overwrite")).lines[0].startswith("imported 1 key (2 B) and 0 leases of revision 2")
