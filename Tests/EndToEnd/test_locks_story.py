"""What Berth is for, told as it was first told: three workers and one invoice."""

import pytest

from harness.locks import (
    acquire,
    await_places,
    begin_acquire,
    error_of,
    fenced,
    hold,
    inspect,
    put_op,
    range_op,
    refusal_of,
    release,
)

pytestmark = pytest.mark.berth_only

NAME = KEY = b"order:123"
SECONDS = 10


@pytest.fixture
def workers(server):
    """Workers A, B and C, each with a connection of its own."""
    with server.client() as a, server.client() as b, server.client() as c:
        yield a, b, c


def test_the_seed_s_story(workers):
    a, b, c = workers
    a.put(KEY, b"unpaid")

    # All three see the invoice. A gets a handle; B and C, who only try, do not.
    handle = hold(a, NAME, ttl=SECONDS, owner="A")
    assert handle.ttl == SECONDS
    for worker in (b, c):
        answer = acquire(worker, NAME, ttl=SECONDS, wait=0)
        assert not answer.acquired and not answer.HasField("handle")
        assert (answer.holder.owner, answer.holder.token) == ("A", handle.token)
    assert len(inspect(a, NAME).places) == 1, "who only tries leaves nothing behind"

    # Then they ask to wait, and stand in line as they came.
    waiting = begin_acquire(b, NAME, ttl=SECONDS, owner="B")
    await_places(b, NAME, 2)
    waiting_longer = begin_acquire(c, NAME, ttl=SECONDS, owner="C")
    places = await_places(c, NAME, 3).places
    assert [(place.owner, place.holds, place.ahead) for place in places] == [
        ("A", True, 0), ("B", False, 1), ("C", False, 2),
    ]

    # A writes and reads with the handle.
    assert fenced(a, handle, put_op(KEY, b"paid by A")).succeeded
    answer = fenced(a, handle, range_op(KEY))
    assert answer.succeeded and answer.responses[0].response_range.kvs[0].value == b"paid by A"

    # B's put without it is refused as locked, and changes nothing.
    before = b.revision()
    locked = refusal_of(lambda: b.put(KEY, b"paid by B"))
    assert (locked.key, locked.lock, locked.holder, locked.token) == (KEY, NAME, handle.key, handle.token)
    assert locked.owner == "A" and 0 < locked.remaining_milliseconds <= SECONDS * 1000
    assert b.get(KEY) == b"paid by A" and b.revision() == before

    # A releases; B, first in line, has it, and C waits on.
    assert release(a, handle).released
    second = waiting.result()
    assert second.acquired and second.ahead == 1 and second.handle.token > handle.token
    assert not waiting_longer.done()
    assert fenced(b, second.handle, put_op(KEY, b"paid by B")).succeeded

    # A comes back with the handle it has given away: both its write and its read are refused.
    assert not fenced(a, handle, put_op(KEY, b"paid twice")).succeeded
    assert not fenced(a, handle, range_op(KEY)).succeeded

    # B crashes and renews no more: its time runs out, and C has the lock.
    third = waiting_longer.result()
    assert third.acquired and third.handle.token > second.handle.token
    # B was not dead, only late. Its write is refused with its handle and without.
    assert not fenced(b, second.handle, put_op(KEY, b"paid late")).succeeded
    assert refusal_of(lambda: b.put(KEY, b"paid late")).owner == "C"
    assert c.get(KEY) == b"paid by B"
    late = release(b, second.handle)
    assert not late.released and late.ended.type == late.ended.EXPIRED and late.ended.held

    assert fenced(c, third.handle, put_op(KEY, b"paid by C")).succeeded
    assert release(c, third.handle).released
    # Nobody holds it: the key is everyone's again.
    a.put(KEY, b"archived")
    assert a.get(KEY) == b"archived"
    assert not inspect(a, NAME).places and a.leases() == []


def test_a_worker_that_is_cut_off_loses_the_lock_when_its_time_is_up(workers):
    a, b, c = workers
    a.put(KEY, b"unpaid")
    handle = hold(a, NAME, ttl=2, owner="A")
    a.close()
    # The lock outlives the connection, as a worker may connect again, but not its time to live.
    refusal_of(lambda: b.put(KEY, b"too early"))
    second = acquire(b, NAME, ttl=SECONDS)
    assert second.acquired and second.handle.token > handle.token
    late = fenced(c, handle, put_op(KEY, b"too late"))
    assert not late.succeeded
    assert b.get(KEY) == b"unpaid"


def test_a_lock_of_a_nonsense_request_is_refused(client):
    """Whatever is refused leaves no place and no lease behind."""
    permits = {"mode": 2, "permits": 0}, {"mode": 2, "permits": -1}
    for fields in ({"ttl": -1}, *permits, {"ttl": 0}, {"ttl": 0, "lease": 99}):
        error_of(lambda: acquire(client, NAME, wait=0, **fields))
    assert client.prefix(NAME).count == 0 and client.leases() == []
