"""The quota: a full store refuses what grows it and nothing else, and compaction alone brings it back."""

import random

import grpc
import pytest

from harness.api import pb
from harness.etcdctl import Etcdctl

QUOTA = 12 << 20
FULL = "etcdserver: mvcc: database space exceeded"
berth_only = pytest.mark.berth_only


@pytest.fixture
def small_server(new_server):
    """A server with a small quota, that flushes soon."""
    return new_server(quota_backend_bytes=QUOTA, flush_interval="100ms", flush_bytes=4 << 20).start()


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    return caught.value.details()


def fill(client, key_of, size, seed=1):
    """Puts until the store is full, and returns how many puts it took."""
    randomness = random.Random(seed)
    for number in range(1_000_000):
        try:
            client.put(key_of(number), randomness.randbytes(size))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
            assert error.details() == FULL
            return number
    raise AssertionError("the store never got full")


def in_use(client):
    return client.maintenance.Status(pb.StatusRequest()).dbSizeInUse


@berth_only
@pytest.mark.parametrize("size", [2_000, 20_000, 500_000])
def test_a_history_of_few_keys_fills_the_store_and_compaction_empties_it(small_server, size):
    etcdctl = Etcdctl(small_server.url)
    with small_server.client() as client:
        lease = client.grant(600).ID
        client.put(b"leased", b"x", lease=lease)
        written = fill(client, lambda number: b"key%d" % (number % 10), size)
        assert written > 0.5 * QUOTA / (size + 300)
        client.delete(b"no such key")  # Goes through the log, behind the alarm that the refusal proposed.
        (alarm,) = etcdctl("alarm", "list").lines
        assert alarm.strip().endswith("alarm:NOSPACE")
        assert "NOSPACE" in etcdctl("endpoint", "status").stdout

        # What grows the store is refused, however small.
        put = pb.RequestOp(request_put=pb.PutRequest(key=b"k", value=b"v"))
        assert refusal(lambda: client.put(b"k", b"v")) == FULL
        assert refusal(lambda: client.txn(success=[put])) == FULL
        assert refusal(lambda: client.grant(60)) == FULL
        assert etcdctl.run("put", "k", "v").stderr.strip().endswith(FULL)

        # The rest goes on.
        assert client.get(b"key3") is not None
        assert client.delete(b"key3").deleted == 1
        assert client.txn(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"key4"))]).succeeded
        client.revoke(lease)
        assert client.get(b"leased") is None
        with client.watch() as watch:
            watch.create(b"key4")
            deleted = client.delete(b"key4").header.revision
            assert watch.events(1)[0].kv.mod_revision == deleted

        # Disarmed too early it rises again, at once or after the few puts that a flush meanwhile may have made room for.
        etcdctl("alarm", "disarm")
        assert fill(client, lambda number: b"key5", size) < 0.1 * written
        client.delete(b"no such key")
        assert len(etcdctl("alarm", "list").lines) == 1
        revision = client.revision()

    # The alarm is part of the store.
    small_server.kill()
    small_server.launch()
    with small_server.client() as client:
        wait_for(client)
        assert len(etcdctl("alarm", "list").lines) == 1
        assert refusal(lambda: client.put(b"k", b"v")) == FULL
        client.compact(revision, physical=True)
        assert in_use(client) < QUOTA / 2
        # Space alone does not lift the alarm: an operator does.
        assert refusal(lambda: client.put(b"k", b"v")) == FULL
        assert "alarm:NOSPACE" in etcdctl("alarm", "disarm").stdout
        assert etcdctl("alarm", "list").stdout == ""
        again = fill(client, lambda number: b"key%d" % (number % 10), size)
        assert again > 0.5 * written


def wait_for(client, timeout=60):
    """Until the server answers; its health says 503 while an alarm is raised, so that cannot be asked."""
    client.maintenance.Status(pb.StatusRequest(), wait_for_ready=True, timeout=timeout)


@berth_only
# What is left of the pages: a few records to a page are packed less tightly than many.
@pytest.mark.parametrize("size, left", [(100, 0.75), (1_000, 0.92), (20_000, 0.65)])
def test_half_of_many_keys_deleted_at_random_make_room(small_server, size, left):
    with small_server.client() as client:
        count = 0
        full = 0.85 * QUOTA
        randomness = random.Random(size)
        while in_use(client) < full:
            puts = [
                pb.RequestOp(request_put=pb.PutRequest(key=b"key/%08d" % (count + i), value=randomness.randbytes(size)))
                for i in range(max(1, min(100, 200_000 // size)))
            ]
            client.txn(success=puts)
            count += len(puts)
        client.compact(client.revision(), physical=True)
        before = in_use(client)
        gone = randomness.sample(range(count), count // 2)
        for start in range(0, len(gone), 100):
            client.txn(
                success=[
                    pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"key/%08d" % number))
                    for number in gone[start : start + 100]
                ]
            )
        client.compact(client.revision(), physical=True)
        client.put(b"one more")
        client.compact(client.revision(), physical=True)
        after = in_use(client)
        print(f"{count} keys of {size} bytes: {before} bytes in use, with half of them gone {after}")
        assert after < left * before
