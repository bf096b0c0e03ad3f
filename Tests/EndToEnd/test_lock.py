"""The Lock service: order, leases, cancellation, deadlines."""

import grpc
import pytest

from harness.api import pb
from harness.client import DEADLINE_EXCEEDED, status

SESSION_EXPIRED = (grpc.StatusCode.UNKNOWN, "mutex: session is expired")


def lock(client, name, lease=0, timeout=60.0):
    return client.lock.Lock(pb.LockRequest(name=name, lease=lease), timeout=timeout)


def begin_lock(client, name, lease, timeout=60.0):
    return client.lock.Lock.future(pb.LockRequest(name=name, lease=lease), timeout=timeout)


def unlock(client, key):
    return client.lock.Unlock(pb.UnlockRequest(key=key), timeout=60.0)


def test_a_free_lock_is_taken_at_once(client):
    client.grant(100, id=0xABC)
    answer = lock(client, b"name", 0xABC)
    assert answer.key == b"name/abc"
    assert answer.header.revision == 2
    (kv,) = client.prefix(b"name/").kvs
    assert (kv.key, kv.value, kv.lease) == (b"name/abc", b"", 0xABC)
    assert unlock(client, answer.key).header.revision == 3
    assert client.prefix(b"name/").count == 0


def test_without_a_lease_one_of_60_seconds_is_granted(client):
    answer = lock(client, b"name")
    (lease,) = client.leases()
    assert answer.key == b"name/%x" % lease
    assert client.time_to_live(lease).grantedTTL == 60


def test_the_same_lease_locks_again_at_once(client):
    client.grant(100, id=1)
    assert lock(client, b"name", 1).key == lock(client, b"name", 1).key == b"name/1"
    assert client.revision() == 2


def test_an_unknown_lease_is_refused(client):
    refused = grpc.StatusCode.UNKNOWN, "etcdserver: requested lease not found"
    assert status(lambda: lock(client, b"name", 99)) == refused


def test_an_empty_name_is_allowed(client):
    client.grant(100, id=1)
    assert lock(client, b"", 1).key == b"/1"


def test_unlock_asks_no_questions(client):
    unlock(client, b"absent")
    client.put(b"key")
    unlock(client, b"key")
    assert client.get(b"key") is None
    empty = grpc.StatusCode.UNKNOWN, "etcdserver: key is not provided"
    assert status(lambda: unlock(client, b"")) == empty


def test_waiters_get_the_lock_in_the_order_they_came(client):
    count = 10
    waiting = []
    for i in range(1, count + 1):
        client.grant(100, id=i)
        waiting.append(begin_lock(client, b"name", i))
        client.await_keys(b"name/", i)
    for i, call in enumerate(waiting, 1):
        answer = call.result()
        assert answer.key == b"name/%x" % i
        assert not any(later.done() for later in waiting[i:])
        unlock(client, answer.key)
    assert client.prefix(b"name/").count == 0


def test_a_waiter_answers_with_the_header_of_its_last_read(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    first = lock(client, b"name", 1)
    second = begin_lock(client, b"name", 2)
    client.await_keys(b"name/", 2)
    assert unlock(client, first.key).header.revision == 4
    assert second.result().header.revision == 4


def test_the_lock_passes_on_when_the_holder_s_lease_is_revoked(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    lock(client, b"name", 1)
    second = begin_lock(client, b"name", 2)
    client.await_keys(b"name/", 2)
    client.revoke(1)
    assert second.result().key == b"name/2"


def test_the_lock_passes_on_when_the_holder_s_lease_expires(client):
    client.grant(2, id=1)
    client.grant(100, id=2)
    lock(client, b"name", 1)
    assert lock(client, b"name", 2).key == b"name/2"
    assert client.leases() == [2]


def test_a_cancelled_waiter_leaves_the_queue(client):
    for i in (1, 2, 3):
        client.grant(100, id=i)
    first = lock(client, b"name", 1)
    second = begin_lock(client, b"name", 2)
    client.await_keys(b"name/", 2)
    third = begin_lock(client, b"name", 3)
    client.await_keys(b"name/", 3)
    second.cancel()
    assert client.await_keys(b"name/", 2) == [b"name/1", b"name/3"]
    unlock(client, first.key)
    assert third.result().key == b"name/3"


def test_a_waiter_whose_connection_breaks_leaves_the_queue(server, client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    lock(client, b"name", 1)
    with server.client() as other:
        waiting = begin_lock(other, b"name", 2)
        client.await_keys(b"name/", 2)
    assert waiting.done()
    assert client.await_keys(b"name/", 1) == [b"name/1"]


def test_a_waiter_past_its_deadline_leaves_the_queue(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    lock(client, b"name", 1)
    code, _ = status(lambda: lock(client, b"name", 2, timeout=0.5))
    assert code in DEADLINE_EXCEEDED
    assert client.await_keys(b"name/", 1) == [b"name/1"]


@pytest.mark.berth_only  # etcd 3.4 does not look; 3.5 does, but only when the turn would come.
def test_a_waiter_whose_lease_ends_is_told_at_once(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    first = lock(client, b"name", 1)
    second = begin_lock(client, b"name", 2)
    client.await_keys(b"name/", 2)
    client.revoke(2)
    assert status(second.result) == SESSION_EXPIRED
    assert client.await_keys(b"name/", 1) == [first.key]


def test_locks_of_different_names_do_not_meet(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    assert lock(client, b"a", 1).key == b"a/1"
    assert lock(client, b"a/b", 2).key == b"a/b/2"
    assert lock(client, b"b", 2).key == b"b/2"
