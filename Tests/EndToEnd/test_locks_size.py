"""Many waiters at one lock, and many locks: time, memory and fairness at size."""

import itertools
import os
import queue
import time

import pytest

from harness.locks import acquire_request, hold, inspect, list_locks, release

pytestmark = pytest.mark.berth_only

WAITERS = int(os.environ.get("BERTH_TEST_WAITERS", "10000"))
LOCKS = int(os.environ.get("BERTH_TEST_LOCKS", "100000"))
CONNECTIONS = 8
RELEASES = 50
BACKSTOP = 240.0  # Of single calls; the whole takes seconds where nothing else runs.


@pytest.fixture
def connections(server):
    clients = [server.client() for _ in range(CONNECTIONS)]
    yield clients
    for client in clients:
        client.close()


def test_10000_wait_at_one_lock_and_a_release_wakes_exactly_one(server, client, connections):
    name = b"popular"
    holder = hold(client, name, ttl=600)
    before = server.resident_bytes()
    began = time.monotonic()
    granted = queue.SimpleQueue()
    calls = []
    for lease, connection in zip(range(1, WAITERS + 1), itertools.cycle(connections)):
        request = acquire_request(name, ttl=600, lease=lease)
        calls.append(connection.locks.Acquire.future(request, timeout=BACKSTOP))
        calls[-1].add_done_callback(granted.put)
    client.await_keys(name + b"/", WAITERS + 1, timeout=BACKSTOP)
    took = time.monotonic() - began
    grown = server.resident_bytes() - before
    line = inspect(client, name, limit=10_000)  # The most that it tells of.
    assert (line.holders, line.waiters) == (1, WAITERS)
    tokens = [place.token for place in line.places]
    assert tokens == sorted(set(tokens)) and tokens[0] == holder.token
    assert [place.ahead for place in line.places] == list(range(min(WAITERS + 1, 10_000)))
    assert granted.empty(), granted.get().result()

    began = time.monotonic()
    for token in tokens[1 : RELEASES + 1]:
        assert release(client, holder).released
        # Whoever else were woken would come out of order, or be done below.
        answer = granted.get(timeout=60).result()
        assert answer.acquired and answer.handle.token == token
        holder = answer.handle
    each = (time.monotonic() - began) / RELEASES
    assert granted.empty() and sum(call.done() for call in calls) == RELEASES
    line = inspect(client, name, limit=2)
    assert (line.holders, line.waiters) == (1, WAITERS - RELEASES)
    assert [place.token for place in line.places] == tokens[RELEASES : RELEASES + 2]

    # All the others give up at once.
    began = time.monotonic()
    for connection in connections:
        connection.close()
    client.await_keys(name + b"/", 1, timeout=BACKSTOP)
    left = time.monotonic() - began
    assert release(client, holder).released
    print(
        f"{WAITERS} in line after {took:.1f} s, {grown / WAITERS:.0f} bytes each; "
        f"a hand-over in {each * 1000:.1f} ms; all gone in {left:.1f} s"
    )
    assert grown / WAITERS < 32 * 1024


def test_100000_locks_are_held_at_once_and_listed_in_pages(server, client, connections):
    before = server.resident_bytes()
    began = time.monotonic()
    names = [b"invoice/%06d" % i for i in range(LOCKS)]
    tokens = {}
    window = 256  # Calls that a connection has open at once.
    for start in range(0, LOCKS, window * CONNECTIONS):
        batch = names[start : start + window * CONNECTIONS]
        calls = [
            connection.locks.Acquire.future(acquire_request(name, ttl=3600, wait=0), timeout=BACKSTOP)
            for name, connection in zip(batch, itertools.cycle(connections))
        ]
        for name, call in zip(batch, calls):
            answer = call.result()
            assert answer.acquired
            tokens[name] = answer.handle
    took = time.monotonic() - began
    grown = server.resident_bytes() - before
    assert len({handle.token for handle in tokens.values()}) == LOCKS

    began = time.monotonic()
    listed, after = [], b""
    while True:
        page = list_locks(client, b"invoice/", limit=1000, after=after, timeout=60)
        assert len(page.locks) <= 1000
        assert all((lock.holders, lock.waiters) == (1, 0) for lock in page.locks)
        assert all(lock.first.token == tokens[lock.name].token for lock in page.locks)
        listed += [lock.name for lock in page.locks]
        if not page.more:
            break
        after = listed[-1]
    assert listed == names
    paged = time.monotonic() - began
    # Among many, one is still one: found, released and free again.
    name = names[LOCKS // 2]
    assert release(client, tokens[name]).released
    assert hold(client, name).token > max(handle.token for handle in tokens.values())
    print(
        f"{LOCKS} held after {took:.1f} s ({LOCKS / took:.0f}/s), {grown / LOCKS:.0f} bytes each; "
        f"listed in {paged:.1f} s"
    )
    assert grown / LOCKS < 16 * 1024
