"""Holders and waiters that are paused or killed, and a server that is."""

import random
import signal

import grpc
import pytest

from harness.locks import (
    FOREVER,
    acquire,
    await_places,
    begin_acquire,
    error_of,
    fenced,
    hold,
    inspect,
    list_locks,
    put_op,
    refusal_of,
    release,
    renew,
)
from harness.workers import worker

pytestmark = pytest.mark.berth_only

NAME = b"job"


def holds(process, timeout=60):
    """Waits until a worker says that it holds; returns its key and token."""
    word, key, token, _ = process.line(timeout).split()
    assert word == "holds"
    return key.encode(), int(token)


def test_a_holder_paused_past_its_time_to_live_is_refused_when_it_wakes(server, client):
    with worker(server, "acquire", "job", "--ttl", "3", "--owner", "paused") as paused:
        key, token = holds(paused)
        paused.write("put job before\n")
        assert paused.line().startswith("succeeded")
        waiting = begin_acquire(client, NAME, owner="next")
        await_places(client, NAME, 2)
        paused.signal(signal.SIGSTOP)
        second = waiting.result()
        assert second.acquired and second.handle.token > token
        assert fenced(client, second.handle, put_op(NAME, b"by the next")).succeeded
        # It wakes and knows of nothing; what it was about to write does not get through.
        paused.signal(signal.SIGCONT)
        paused.write("put job after\n")
        assert paused.line(60) == "lost"
        refusal_of(lambda: client.put(NAME, b"without a proof"))
        assert client.get(NAME) == b"by the next"
        paused.write("release\n")
        assert paused.line(60) == "lost"
        places = inspect(client, NAME).places
        assert [place.token for place in places] == [second.handle.token], "it released nobody else"
        assert paused.wait(30) == 0


def test_a_paused_holder_that_wakes_in_time_still_holds(server, client):
    with worker(server, "acquire", "job", "--ttl", "60") as paused:
        holds(paused)
        paused.signal(signal.SIGSTOP)
        refusal_of(lambda: client.put(NAME, b"while it sleeps"))
        paused.signal(signal.SIGCONT)
        paused.write("put job awake\nrelease\n")
        assert paused.line(60).startswith("succeeded") and paused.line(60) == "released"
        assert client.get(NAME) == b"awake"


def test_a_killed_holder_s_lock_passes_on_when_its_time_is_up(server, client):
    with worker(server, "acquire", "job", "--ttl", "3") as holder:
        key, token = holds(holder)
        waiting = begin_acquire(client, NAME)
        await_places(client, NAME, 2)
        holder.signal(signal.SIGKILL)
        holder.wait()
        answer = waiting.result()
        assert answer.acquired and answer.ahead == 1
        # The holder may have renewed at most a third of its time before it was killed.
        assert answer.waited_milliseconds >= 1800, answer
        assert client.range(key).count == 0


def test_a_waiter_killed_in_the_middle_leaves_the_line_and_no_gap(server, client):
    first = hold(client, NAME, owner="first")
    with (
        worker(server, "acquire", "job", "--owner", "second") as second,
        worker(server, "acquire", "job", "--owner", "third") as third,
    ):
        await_places(client, NAME, 3)
        middle, last = inspect(client, NAME).places[1:]
        victim, other = (second, third) if middle.owner == "second" else (third, second)
        victim.signal(signal.SIGKILL)
        victim.wait()
        # At once: its lease would have lasted a minute, and Acquire's leases do not even run down while it waits.
        places = await_places(client, NAME, 2).places
        assert [place.token for place in places] == [first.token, last.token] and places[1].ahead == 1
        assert victim.all_lines() == [], "it never held"
        assert len(client.leases()) == 2, "the lease went with the place"
        assert release(client, first).released
        assert holds(other) == (last.key, last.token)


def test_50_waiters_keep_their_places_when_the_server_is_killed(server):
    """The queue's order survives: every waiter asks again with its own lease and finds its own place."""
    count = 50
    with server.client() as client:
        first = hold(client, NAME, lease=1000, ttl=120)
        calls = {}
        for lease in range(1, count + 1):
            calls[lease] = begin_acquire(client, NAME, lease=lease, ttl=120, owner=f"waiter {lease}")
            await_places(client, NAME, lease + 1)
        before = inspect(client, NAME).places
        server.kill()
        for call in calls.values():
            assert error_of(call.result).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    server.start()
    with server.client() as client:
        after = inspect(client, NAME).places
        for was, now in zip(before, after, strict=True):
            assert (now.key, now.token, now.owner, now.holds) == (was.key, was.token, was.owner, was.holds)
        assert [p.ahead for p in after] == list(range(count + 1))
        # The holder's lock was held all the time.
        refusal_of(lambda: client.put(NAME, b"refused"))
        assert fenced(client, first, put_op(NAME, b"still mine")).succeeded
        assert renew(client, first).ttl == 120
        # They come back in any order.
        again = list(calls)
        random.Random(50).shuffle(again)
        calls = {lease: begin_acquire(client, NAME, lease=lease, ttl=120, owner=f"waiter {lease}") for lease in again}
        assert release(client, first).released
        tokens = []
        for lease in range(1, count + 1):
            answer = calls[lease].result()
            assert answer.acquired and answer.handle.lease == lease
            assert not any(calls[later].done() for later in range(lease + 1, count + 1))
            tokens.append(answer.handle.token)
            assert fenced(client, answer.handle, put_op(NAME, b"%d" % lease)).succeeded
            assert release(client, answer.handle).released
        assert tokens == [place.token for place in before[1:]]
        assert not inspect(client, NAME).places and client.leases() == []


def test_a_handle_and_its_guards_survive_a_killed_server(server):
    with server.client() as client:
        handle = hold(client, NAME, ttl=120, owner="before", attributes={"host": "a"})
    server.kill()
    server.start()
    with server.client() as client:
        (place,) = inspect(client, NAME).places
        assert (place.token, place.owner, dict(place.attributes)) == (handle.token, "before", {"host": "a"})
        assert place.holds and place.protected and place.ttl == 120
        assert refusal_of(lambda: client.put(NAME)).owner == "before"
        assert fenced(client, handle, put_op(NAME, b"value")).succeeded
        assert release(client, handle).released
        client.put(NAME, b"free")


def test_a_waiter_that_does_not_come_back_after_a_restart_lets_the_next_one_through(server):
    with server.client() as client:
        first = hold(client, NAME, ttl=120)
        calls = [begin_acquire(client, NAME, ttl=2, lease=5)]
        await_places(client, NAME, 2)
        calls += [begin_acquire(client, NAME, ttl=120, lease=6)]
        await_places(client, NAME, 3)
        server.kill()
    server.start()
    with server.client() as client:
        release(client, first)
        answer = acquire(client, NAME, ttl=120, lease=6)
        assert answer.acquired and answer.handle.lease == 6
        assert client.leases() == [6]


def test_the_same_request_again_finds_the_same_place(server, client):
    """A caller that does not know whether its request arrived asks again, holding or waiting."""
    first = hold(client, NAME, lease=7)
    with server.client() as other:
        assert hold(other, NAME, lease=7) == first
        waiting = begin_acquire(client, NAME, lease=8)
        await_places(client, NAME, 2)
        again = begin_acquire(other, NAME, lease=8)
        # Both are answered; neither took the place of the other.
        assert release(client, first).released
        assert waiting.result().handle == again.result().handle
        assert len(inspect(client, NAME).places) == 1


def test_a_waiter_gives_up_when_it_is_cancelled_times_out_or_has_waited_long_enough(server, client):
    first = hold(client, NAME, owner="first")
    with server.client() as other:
        cancelled = begin_acquire(other, NAME)
        await_places(client, NAME, 2)
        cancelled.cancel()
        client.await_keys(NAME + b"/", 1)
        late = error_of(lambda: acquire(other, NAME, timeout=0.5))
        assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        client.await_keys(NAME + b"/", 1)
        answer = acquire(other, NAME, wait=0.3)
        assert not answer.acquired and answer.holder.token == first.token and answer.waited_milliseconds >= 300
        assert answer.ahead == 1
        client.await_keys(NAME + b"/", 1)
        cut_off = begin_acquire(other, NAME)
        await_places(client, NAME, 2)
        assert not cut_off.done()
    # Its connection is closed.
    client.await_keys(NAME + b"/", 1)
    assert client.leases() == [first.lease]


def test_a_waiter_whose_lease_ends_is_told_so(client):
    first = hold(client, NAME)
    client.grant(60, id=9)
    waiting = begin_acquire(client, NAME, ttl=0, lease=9)
    await_places(client, NAME, 2)
    client.revoke(9)
    error = error_of(waiting.result)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.details().startswith("berth: the lease ended while "), error.details()
    assert [place.token for place in inspect(client, NAME).places] == [first.token]


def test_a_lease_that_was_brought_runs_down_while_waiting(client):
    hold(client, NAME)
    client.grant(2, id=9)
    error = error_of(lambda: acquire(client, NAME, ttl=0, lease=9))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert client.await_keys(NAME + b"/", 1)


def test_a_lease_that_acquire_granted_does_not_run_down_while_waiting(client):
    first = hold(client, NAME, ttl=60)
    waiting = begin_acquire(client, NAME, ttl=2)
    await_places(client, NAME, 2)
    # Another lease of twice its length passes meanwhile.
    client.grant(4, id=77)
    error_of(lambda: acquire(client, NAME, ttl=0, lease=77))
    assert not waiting.done()
    release(client, first)
    answer = waiting.result()
    assert answer.acquired and answer.handle.ttl == 2
    (place,) = inspect(client, NAME).places
    assert 0 < place.remaining_milliseconds <= 2000
    # From the grant on it runs down like any other.
    assert acquire(client, NAME, timeout=FOREVER).acquired


def test_release_is_harmless_when_repeated(client):
    handle = hold(client, NAME)
    assert release(client, handle).released
    again = release(client, handle)
    assert not again.released and again.ended.type == again.ended.RELEASED
    assert again.ended.token == handle.token
    # Another's place under the same key is not taken for its own.
    other = hold(client, NAME, lease=handle.lease)
    assert not release(client, handle).released
    assert [place.token for place in inspect(client, NAME).places] == [other.token]
    assert list_locks(client).locks[0].holders == 1


def test_renewing_keeps_the_lock_and_a_lost_one_is_not_renewed(client):
    handle = hold(client, NAME, ttl=100)
    assert renew(client, handle).ttl == 100
    release(client, handle)
    assert error_of(lambda: renew(client, handle)).code() in (
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    )
