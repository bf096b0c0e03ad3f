"""Locks at their edges: odd names, leases that serve two, grants that cross a change of mind, orderly restarts."""

import random
import threading

import grpc
import pytest

from harness.api import berth, pb
from harness.locks import (
    EventStream,
    acquire,
    await_places,
    begin_acquire,
    error_of,
    fenced,
    guard,
    hold,
    inspect,
    list_locks,
    put_op,
    refusal_of,
    release,
    renew,
)

pytestmark = pytest.mark.berth_only

NAME = b"job"
PERMIT = berth.Mode.PERMIT
SHARED = berth.Mode.SHARED


@pytest.mark.parametrize(
    "name",
    [b"a/b/c", b"/", b"trailing/", b"\x00", b"\xff\xfe", "Straße".encode(), b"n" * 600, b"deep/" * 200],
    ids=["nested", "slash", "trailing", "zero", "binary", "unicode", "long", "deep"],
)
def test_any_name_will_do(server, client, name):
    handle = hold(client, name, owner="first")
    waiting = begin_acquire(client, name)
    await_places(client, name, 2)
    assert refusal_of(lambda: client.put(name)).lock == name
    refusal_of(lambda: client.delete(handle.key))
    assert fenced(client, handle, put_op(name, b"value")).succeeded
    (lock,) = list_locks(client).locks
    assert (lock.name, lock.holders, lock.waiters, lock.first.key) == (name, 1, 1, handle.key)
    assert release(client, handle).released
    second = waiting.result().handle
    with EventStream(client, name, start_revision=1) as stream:
        tokens = [event.token for event in stream.events(5)]
    assert tokens == [handle.token, handle.token, second.token, handle.token, second.token]


def test_nested_names_are_locks_of_their_own(client):
    outer, inner = hold(client, b"a"), hold(client, b"a/b")
    assert [place.token for place in inspect(client, b"a").places] == [outer.token]
    assert [place.token for place in inspect(client, b"a/b").places] == [inner.token]
    assert release(client, outer).released
    assert inspect(client, b"a/b").holders == 1


def test_a_lease_may_own_places_in_several_lines(client):
    one, two = hold(client, b"one", lease=7), hold(client, b"two", lease=7)
    assert release(client, one).released
    # The other lock was not what was given back.
    assert inspect(client, b"two").holders == 1
    assert fenced(client, two, put_op(b"two")).succeeded
    assert release(client, two).released
    assert client.leases() == []


def test_a_lease_that_was_brought_outlives_the_lock(client):
    client.grant(60, id=5)
    client.put(b"mine", lease=5)
    handle = hold(client, NAME, ttl=0, lease=5)
    assert handle.ttl == 60
    assert release(client, handle).released
    assert client.leases() == [5] and client.get(b"mine") is not None
    assert error_of(lambda: hold(client, NAME, ttl=0, lease=6)).code() in (
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    )


def test_a_lease_named_with_a_ttl_that_exists_is_taken_as_it_is(client):
    client.grant(60, id=5)
    client.put(b"mine", lease=5)
    handle = hold(client, NAME, ttl=30, lease=5)
    assert release(client, handle).released
    assert client.get(b"mine") is not None, "Acquire did not grant that lease, so release must not end it"


def test_a_very_short_time_to_live_is_raised_and_the_handle_says_so(client):
    handle = hold(client, NAME, ttl=1)
    assert handle.ttl == 2 == client.time_to_live(handle.lease).grantedTTL


def test_asking_again_with_the_same_lease_for_something_else_is_refused(client):
    """A caller must not believe that it got the mode or the guard that it asked for."""
    handle = hold(client, NAME, lease=7)
    for other in ({"mode": SHARED}, {"mode": PERMIT, "permits": 2}, {"guards": [guard(b"else")]}, {"unguarded": True}):
        error = error_of(lambda: acquire(client, NAME, lease=7, wait=0, **other))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, (other, error)
    assert hold(client, NAME, lease=7) == handle
    # Nor over a place of the same lease that etcd's service made, which guards nothing.
    client.grant(60, id=8)
    client.lock.Lock(pb.LockRequest(name=b"etcd's", lease=8), timeout=20)
    error = error_of(lambda: acquire(client, b"etcd's", ttl=0, lease=8, wait=0))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert not inspect(client, b"etcd's").places[0].protected


def test_a_waiting_place_may_be_released_by_its_token(client):
    first = hold(client, NAME)
    waiting = begin_acquire(client, NAME)
    place = await_places(client, NAME, 2).places[1]
    assert release(client, berth.Handle(key=place.key, token=place.token)).released
    assert error_of(waiting.result).code() != grpc.StatusCode.DEADLINE_EXCEEDED, "the waiter was told at once"
    assert [place.token for place in inspect(client, NAME).places] == [first.token]
    assert client.leases() == [first.lease]


def test_a_waiting_place_may_be_renewed_too(client):
    hold(client, NAME)
    client.grant(60, id=5)
    waiting = begin_acquire(client, NAME, ttl=0, lease=5)
    place = await_places(client, NAME, 2).places[1]
    assert renew(client, place).ttl == 60
    assert not waiting.done()


def test_guards_that_make_no_sense_are_refused(client):
    for bad in (guard(b""), guard(b"b", b"a"), guard(b"b", b"b")):
        error = error_of(lambda: hold(client, NAME, guards=[bad]))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, bad
    assert not inspect(client, NAME).places and client.leases() == []


def test_the_whole_store_can_be_guarded(client):
    client.put(b"any")
    handle = hold(client, NAME, guards=[guard(b"\0", b"\0")])
    for write in (
        lambda: client.put(b"\0"),
        lambda: client.put(b"any"),
        lambda: client.put(b"\xff" * 40),
        lambda: client.delete(b"\0", b"\0"),
    ):
        refusal_of(write)
    # Locks go on: their lines are the store's own business.
    assert release(client, hold(client, b"another", unguarded=True)).released
    waiting = begin_acquire(client, NAME)
    await_places(client, NAME, 2)
    assert release(client, handle).released
    assert release(client, waiting.result().handle).released
    client.put(b"any")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_places_modes_and_guards_survive_a_restart(server, end):
    """An orderly stop leaves everything to the base layer, a kill to the log."""
    guards = [guard(b"data/", b"data0"), guard(b"single")]
    with server.client() as client:
        handles = [
            hold(client, NAME, ttl=300, mode=PERMIT, permits=2, owner=f"holder {i}", guards=guards) for i in range(2)
        ]
        waiting = [begin_acquire(client, NAME, ttl=300, mode=SHARED, owner="waiter", lease=9, attributes={"a": "b"})]
        await_places(client, NAME, 3)
        client.compact(client.revision())
        before = inspect(client, NAME).places
        getattr(server, end)()
        assert error_of(waiting[0].result).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    server.start()
    with server.client() as client:
        places = inspect(client, NAME).places

        def shown(p):
            return p.key, p.token, p.owner, p.mode, p.permits, list(p.guards), dict(p.attributes), p.holds

        assert list(map(shown, places)) == list(map(shown, before))
        refusal_of(lambda: client.put(b"data/x"))
        for handle in handles:
            assert fenced(client, handle, put_op(b"data/x"), put_op(b"single")).succeeded
            assert release(client, handle).released
        assert acquire(client, NAME, ttl=300, mode=SHARED, lease=9).handle.token == places[2].token


def test_a_storm_of_changed_minds_leaves_nothing_behind(server, client):
    """Short waits, tries, cancelled calls and deadlines race with grants. Whoever is told that it holds, holds alone;
    whoever is told that it does not has left nothing; and in the end nobody stands in line."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    workers, turns, ttl = 12, 60, 3
    inside = threading.Lock()
    faults, outcomes = [], []

    def work(number):
        rng = random.Random(seed + number)
        with server.client() as own:
            for turn in range(turns):
                kind = rng.choice(["try", "wait", "wait", "cancel", "deadline", "patient"])
                wait = {"try": 0, "wait": rng.random() / 50}.get(kind)
                timeout = rng.random() / 50 if kind == "deadline" else 120
                call = begin_acquire(own, NAME, ttl=ttl, wait=wait, timeout=timeout, owner=f"{number}.{turn}")
                if kind == "cancel":
                    threading.Event().wait(rng.random() / 50)
                    call.cancel()
                try:
                    answer = call.result()
                except (grpc.RpcError, grpc.FutureCancelledError):
                    # A grant that crossed the change of mind runs out by itself; it cannot be given back.
                    outcomes.append("gone")
                    continue
                if not answer.acquired:
                    outcomes.append("not acquired")
                    continue
                outcomes.append("acquired")
                if not inside.acquire(blocking=False):
                    faults.append(f"two hold: {number}.{turn}")
                    continue
                if not fenced(own, answer.handle, put_op(NAME, b"%d" % answer.handle.token)).succeeded:
                    faults.append(f"refused while holding: {number}.{turn}")
                inside.release()
                if not release(own, answer.handle).released:
                    faults.append(f"lost while holding: {number}.{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    with client.watch() as watch:
        watch.create(NAME)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        written = [int(event.kv.value) for event in watch.events(client.range(NAME).kvs[0].version, timeout=60)]
    assert not faults, faults[:5]
    assert outcomes.count("acquired") == len(written) > 0
    assert written == sorted(set(written)), "grants in the order of tokens"
    client.await_keys(NAME + b"/", 0, timeout=60)
    assert client.leases() == [] and not list_locks(client).locks


def test_no_reader_overtakes_a_writer_and_readers_share(client):
    readers = [hold(client, NAME, mode=SHARED) for _ in range(2)]
    writer = begin_acquire(client, NAME)
    await_places(client, NAME, 3)
    late = [begin_acquire(client, NAME, mode=SHARED, lease=lease) for lease in (91, 92)]
    await_places(client, NAME, 5)
    assert not acquire(client, NAME, mode=SHARED, wait=0).acquired
    release(client, readers[0])
    assert not writer.done()
    release(client, readers[1])
    handle = writer.result().handle
    assert not any(call.done() for call in late)
    release(client, handle)
    for call in late:
        assert call.result().acquired
    assert inspect(client, NAME).holders == 2


def test_each_place_counts_with_its_own_number_of_permits(client):
    wide = {"mode": PERMIT, "permits": 3}
    held = [hold(client, NAME, **wide) for _ in range(2)]
    # Fewer for the newcomer: two are too many for it already, and nobody behind it overtakes.
    narrow = begin_acquire(client, NAME, mode=PERMIT, permits=2)
    await_places(client, NAME, 3)
    assert not acquire(client, NAME, wait=0, **wide).acquired
    assert inspect(client, NAME).holders == 2, "no holder loses anything"
    release(client, held[0])
    assert narrow.result().acquired
    more = begin_acquire(client, NAME, **wide)
    assert more.result().acquired
    assert inspect(client, NAME).holders == 3


def test_locks_of_etcd_s_api_are_exclusive_among_all_modes(client):
    shared = hold(client, NAME, mode=SHARED)
    client.grant(60, id=5)
    etcd = client.lock.Lock.future(pb.LockRequest(name=NAME, lease=5), timeout=60)
    await_places(client, NAME, 2)
    late = begin_acquire(client, NAME, mode=SHARED)
    await_places(client, NAME, 3)
    assert not etcd.done() and not late.done()
    release(client, shared)
    key = etcd.result().key
    assert not late.done()
    client.lock.Unlock(pb.UnlockRequest(key=key), timeout=20)
    assert late.result().acquired
