"""`berth export` from a real Berth into a real etcd: what arrives, what is refused, and what happens in the middle."""

import random
import signal

import pytest

from harness import locks
from harness.berthctl import Berth
from harness.etcdctl import Etcdctl
from harness.imports import DIFFER, REFUSED, fill, state
from test_import import digest, odd_pairs

pytestmark = pytest.mark.berth_only

UNREACHABLE = 122


@pytest.fixture
def new_etcd(new_server):
    def make(**options):
        options = {"heartbeat_interval": 50, "election_timeout": 500, "quota_backend_bytes": 4 << 30} | options
        return new_server(kind="etcd", **options).start()

    return make


@pytest.fixture
def etcd(new_etcd):
    return new_etcd()


@pytest.fixture
def target(etcd):
    with etcd.client() as client:
        yield client


@pytest.fixture
def berth(server):
    return Berth(server.url)


def arguments(etcd, *more):
    return ("export", "--to-etcd", etcd.address, "--timeout", "60s", *more)


# What arrives


def test_keys_of_odd_bytes_and_sizes_and_leases_arrive(berth, client, etcd, target):
    leases = [7, -8, 2**62 + 1]
    for lease in leases:
        client.grant(600 + lease % 10, lease)
    client.grant(77, 1234)  # Without keys.
    rng = random.Random(5)
    fill(client, [(k, v, rng.choice([0] * 9 + leases)) for k, v in odd_pairs(3000, seed=1)])
    report = berth(*arguments(etcd, "-w", "json")).json
    expected = state(client)
    assert state(target) == expected and len(expected) == 3000
    assert report["verified"] and report["keys"] == report["target_keys"] == 3000 and report["differences"] == 0
    assert report["source_hash"] == report["target_hash"] == digest(expected)
    assert report["leases"] == 4
    assert sorted(target.leases()) == sorted([*leases, 1234])
    for lease in [*leases, 1234]:
        there, here = client.time_to_live(lease, keys=True), target.time_to_live(lease, keys=True)
        assert here.grantedTTL == there.grantedTTL
        assert sorted(here.keys) == sorted(there.keys)


def test_a_target_with_small_limits_gets_what_fits(berth, client, new_etcd):
    etcd = new_etcd(max_txn_ops=16, max_request_bytes=50_000)
    fill(client, [(b"%04d" % i, b"x" * 2000, 0) for i in range(1000)])
    with etcd.client() as target:
        assert berth(*arguments(etcd, "-w", "json")).json["verified"]
        assert state(target) == state(client)
        client.put(b"0999", b"x" * 200_000)
        result = berth.run(*arguments(etcd, "--overwrite"))
        assert result.code == REFUSED and "more than the target takes at once" in result.stderr, result


def test_lines_at_locks_keep_their_order(berth, client, etcd, target):
    """Places of etcd's clients and of Berth's own, whom etcd's clients find in the same order."""
    rng = random.Random(9)
    queued = []
    for lease in rng.sample(range(1000, 100_000), 40):
        client.grant(600, lease)
        key = b"locks/a/%x" % lease
        client.put(key, b"", lease=lease)
        queued.append(key)
    waiting = locks.begin_acquire(client, b"locks/a", owner="mine", ttl=600)
    client.await_keys(b"locks/a/", 41)
    queued += [kv.key for kv in client.prefix(b"locks/a/").kvs if kv.key not in queued]
    assert berth(*arguments(etcd, "-w", "json")).json["verified"]
    arrived = sorted(target.prefix(b"locks/a/").kvs, key=lambda kv: kv.create_revision)
    assert [kv.key for kv in arrived] == queued
    assert len({kv.create_revision for kv in arrived}) == len(queued)
    waiting.cancel()


def test_a_prefix_takes_its_keys_and_their_leases_alone(berth, client, etcd, target):
    for lease in (1, 2, 3):
        client.grant(600, lease)
    fill(client, [(b"app/%d" % i, b"a", 1 if i % 10 == 0 else 0) for i in range(300)])
    fill(client, [(b"ap", b"no", 0), (b"app0", b"no", 0), (b"other/1", b"no", 2)])
    target.put(b"here/before", b"mine")
    report = berth(*arguments(etcd, "--prefix", "app/", "-w", "json")).json
    assert report["keys"] == 300 and report["leases"] == 1 and report["verified"]
    assert state(target, b"app/") == state(client, b"app/")
    assert len(state(target)) == 301 and target.leases() == [1]


def test_there_and_back_again_is_the_same(berth, client, new_server, etcd):
    client.grant(600, 9)
    fill(client, [(k, v, 9 if len(k) % 3 == 0 else 0) for k, v in odd_pairs(1000, seed=3)])
    assert "exported 1,000 keys" in berth(*arguments(etcd)).stdout
    again = new_server().start()
    with again.client() as other:
        assert Berth(again.url)("import", "--from-etcd", etcd.address, "-w", "json").json["verified"]
        assert state(other) == state(client)


# What is refused


def test_keys_in_the_way_are_refused_and_overwritten_on_demand(berth, client, etcd, target):
    fill(client, [(b"k/%03d" % i, b"new", 0) for i in range(200)])
    fill(target, [(b"k/000", b"old", 0), (b"k/999", b"mine", 0)])
    before = target.revision()
    result = berth.run(*arguments(etcd))
    assert result.code == REFUSED and "holds 2 keys already" in result.stderr and "--overwrite" in result.stderr
    assert target.revision() == before
    report = berth(*arguments(etcd, "--overwrite", "-w", "json")).json
    assert report["verified"] and report["keys"] == 200 and report["left_alone"] == 1
    assert set(state(target)) == set(state(client)) | {(b"k/999", b"mine", 0)}


def test_a_dry_run_counts_and_writes_nothing(berth, client, etcd, target):
    client.grant(600, 5)
    fill(client, [(b"k/%04d" % i, b"v" * 10, 5 if i < 7 else 0) for i in range(500)])
    target.put(b"mine")
    before = target.revision()
    report = berth(*arguments(etcd, "--dry-run", "-w", "json")).json
    assert (report["keys"], report["leased_keys"], report["leases"], report["keys_in_the_way"]) == (500, 7, 1, 1)
    assert target.revision() == before and target.leases() == []


def test_users_of_the_target(berth, client, etcd, target):
    fill(client, [(b"k/%d" % i, b"v", 0) for i in range(100)])
    ctl = Etcdctl(etcd.url)
    ctl("user", "add", "root:secret")
    ctl("role", "add", "root")
    ctl("user", "grant-role", "root", "root")
    ctl("auth", "enable")
    result = berth.run(*arguments(etcd))
    assert result.code == REFUSED and "the target" in result.stderr and "user name" in result.stderr
    result = berth.run(*arguments(etcd, "--to-user", "root:wrong"))
    assert result.code == REFUSED and "password is wrong" in result.stderr
    assert berth(*arguments(etcd, "--to-user", "root:secret", "-w", "json")).json["verified"]
    ctl("--user", "root:secret", "auth", "disable")
    assert len(state(target)) == 100


def test_wrong_usage_is_told_in_a_line(berth, etcd):
    result = berth.run("export")
    assert result.code != 0 and "--to-etcd" in result.stderr
    result = berth.run(*arguments(etcd, "--to-cert", "x.pem"))
    assert result.code == REFUSED and "belong together" in result.stderr


# What happens in the middle


def test_a_target_killed_in_the_middle_and_the_export_run_again(berth, client, etcd):
    fill(client, [(b"many/%08d" % i, b"%08d" % i * 100, 0) for i in range(20_000)])
    with etcd.client() as target, target.watch() as watch:
        watch.create(b"\0", b"\0")
        with berth.start(*arguments(etcd)) as running:
            watch.next()
            running.signal(signal.SIGSTOP)
            etcd.kill()
            running.signal(signal.SIGCONT)
            code = running.wait(120)
            told = "\n".join(running.all_lines())
    assert code in (REFUSED, UNREACHABLE) and "the target" in told and "--overwrite" in told, told
    etcd.start()
    with etcd.client() as target:
        assert 0 < len(state(target)) < 20_000
        assert berth(*arguments(etcd, "--overwrite", "-w", "json")).json["verified"]
        assert state(target) == state(client)


def test_a_key_changed_on_the_target_meanwhile_is_found(berth, client, etcd, target):
    """Somebody who writes to the target while it is filled: the comparison says so."""
    fill(client, [(b"many/%08d" % i, b"%08d" % i * 100, 0) for i in range(20_000)])
    with target.watch() as watch:
        watch.create(b"\0", b"\0")
        with berth.start(*arguments(etcd)) as running:
            watch.next()
            running.signal(signal.SIGSTOP)
            changed = state(target)[0][0]
            target.put(changed, b"changed")
            running.signal(signal.SIGCONT)
            code = running.wait(120)
            told = "\n".join(running.all_lines())
    assert code == DIFFER and "NOT verified: 1 key differ" in told and changed.decode() in told, told
