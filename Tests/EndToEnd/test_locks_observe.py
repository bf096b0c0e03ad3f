"""Observe: every event of a line exactly once, over reconnects; and Break, which says who and why."""

import collections
import threading
import time

import grpc
import pytest

from harness.api import berth
from harness.client import StreamEnded
from harness.locks import (
    EventStream,
    Type,
    acquire,
    await_places,
    begin_acquire,
    break_lock,
    error_of,
    fenced,
    hold,
    inspect,
    list_locks,
    put_op,
    refusal_of,
    release,
)

pytestmark = pytest.mark.berth_only

NAME = b"job"
# What a call may end with when the server dies under it, or is not there yet.
REPEATABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}


def name_of(event):
    return Type.Type.Name(event.type)


def told(events):
    """Events as words: ('ACQUIRED', owner)."""
    return [(name_of(event), event.owner) for event in events]


def test_a_line_s_story_is_told_as_it_happens(client):
    with EventStream(client, NAME, start_revision=1) as stream:
        first = hold(client, NAME, owner="first")
        assert told(stream.events(2)) == [("QUEUED", "first"), ("ACQUIRED", "first")]
        second = begin_acquire(client, NAME, owner="second", ttl=2)
        (event,) = stream.events(1)
        assert (name_of(event), event.owner, event.ahead, event.held) == ("QUEUED", "second", 1, False)
        third = begin_acquire(client, NAME, owner="third")
        stream.events(1)
        third.cancel()
        (event,) = stream.events(1)
        assert (name_of(event), event.owner, event.ahead, event.held) == ("GAVE_UP", "third", 2, False)
        release(client, first)
        released, acquired = stream.events(2)
        assert told([released, acquired]) == [("RELEASED", "first"), ("ACQUIRED", "second")]
        assert released.held and released.token == first.token and released.revision == acquired.revision
        handle = second.result().handle
        assert acquired.token == handle.token and acquired.key == handle.key and acquired.lease == handle.lease
        # Not renewed, it expires.
        (event,) = stream.events(1)
        assert (name_of(event), event.owner, event.held) == ("EXPIRED", "second", True)
        assert event.name == NAME and event.at > 0


def test_from_now_on_means_nothing_of_before(client):
    release(client, hold(client, NAME, owner="before"))
    revision = client.revision()
    with EventStream(client, NAME) as stream:
        # A stream from a revision shows when the other one stands: both see what comes.
        with EventStream(client, NAME, start_revision=revision + 1) as sure:
            for attempt in range(100):
                release(client, hold(client, NAME, owner=f"after {attempt}"))
                sure.events(3)
                if not stream.nothing_waits():
                    break
        assert all(owner.startswith("after") for _, owner in told(stream.batch()))


def test_a_prefix_shows_all_locks_under_it(client):
    with EventStream(client, b"jobs/", prefix=True, start_revision=1) as stream:
        release(client, hold(client, b"job", owner="another"))
        for name in (b"jobs/a", b"jobs/b"):
            release(client, hold(client, name, owner=name.decode()))
        events = stream.events(6)
    assert [event.name for event in events] == [b"jobs/a"] * 3 + [b"jobs/b"] * 3


def test_one_place_is_followed_up_the_line(client):
    first = hold(client, NAME)
    calls = []
    for i in range(4):
        calls.append(begin_acquire(client, NAME, owner=str(i), lease=i + 1))
        places = await_places(client, NAME, i + 2).places
    last = places[4]
    with EventStream(client, NAME, token=last.token, start_revision=client.revision() + 1) as stream:
        calls[1].cancel()
        (event,) = stream.events(1)
        assert (name_of(event), event.token, event.ahead) == ("MOVED", last.token, 3)
        release(client, first)
        (event,) = stream.events(1)
        assert (name_of(event), event.ahead) == ("MOVED", 2)
        release(client, calls[0].result().handle)
        assert stream.events(1)[0].ahead == 1
        release(client, calls[2].result().handle)
        events = stream.until(lambda event: event.type == Type.ACQUIRED)
        assert events[-1].token == last.token and events[-1].ahead == 0
        release(client, calls[3].result().handle)
        assert name_of(stream.events(1)[0]) == "RELEASED"


def test_every_event_of_a_busy_lock_is_seen_exactly_once_over_reconnects(server, client):
    workers, turns = 8, 40
    total = workers * turns * 3  # Each turn is queued, acquired and released.

    def work(number):
        with server.client() as own:
            for _ in range(turns):
                answer = acquire(own, NAME, owner=f"worker {number}")
                assert release(own, answer.handle).released

    with EventStream(client, NAME, start_revision=1) as stream:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        # Meanwhile another observer breaks off after every answer and resumes behind what it was told.
        resumed, revision, connections = [], 0, 0
        while len(resumed) < total:
            with server.client() as own, EventStream(own, NAME, start_revision=revision + 1) as part:
                connections += 1
                for _ in range(connections % 5 + 1):
                    if len(resumed) < total:
                        resumed += part.batch(60)
                revision = max(revision, part.revision)
        for thread in threads:
            thread.join()
        steady = stream.events(total, timeout=60)
    assert connections > 5
    check_story(steady, workers * turns)
    assert [event.SerializeToString() for event in resumed] == [event.SerializeToString() for event in steady]
    # And a third time, when all is past.
    with EventStream(client, NAME, start_revision=1) as stream:
        assert [event.SerializeToString() for event in stream.events(total)] == [
            event.SerializeToString() for event in steady
        ]


def check_story(events, places):
    """Each place is queued, acquired and released, once each; one at a time holds; grants follow tokens."""
    by_token = collections.defaultdict(list)
    holder, granted = None, []
    for event in events:
        by_token[event.token].append(name_of(event))
        if event.type == Type.ACQUIRED:
            assert holder is None, f"{event.token} acquired while {holder} held"
            holder = event.token
            granted.append(event.token)
        elif event.type == Type.RELEASED:
            assert holder == event.token
            holder = None
    assert len(by_token) == places
    assert all(story == ["QUEUED", "ACQUIRED", "RELEASED"] for story in by_token.values()), by_token
    assert granted == sorted(granted)


def test_history_is_told_after_a_killed_server(server):
    with server.client() as client:
        first = hold(client, NAME, owner="first")
        second = begin_acquire(client, NAME, owner="second", lease=2)
        await_places(client, NAME, 2)
        with EventStream(client, NAME, start_revision=1) as stream:
            before = stream.events(3)
        assert not second.done()
        server.kill()
    server.start()
    with server.client() as client:
        with EventStream(client, NAME, start_revision=1) as stream:
            after = stream.events(3)
            assert [(e.type, e.revision, e.token, e.owner, e.ahead) for e in after] == [
                (e.type, e.revision, e.token, e.owner, e.ahead) for e in before
            ]
            release(client, first)
            assert told(stream.events(2)) == [("RELEASED", "first"), ("ACQUIRED", "second")]


def test_a_busy_lock_s_story_holds_together_over_kills_of_the_server(server):
    """Workers repeat what broke, with the same lease, until it is answered: no turn is lost and none is had twice."""
    workers, turns, kills = 6, 25, 3
    places = workers * turns
    done = threading.Semaphore(0)
    faults = []

    def until_answered(attempt):
        deadline = time.monotonic() + 240
        while True:
            with server.client() as own:
                try:
                    return attempt(own)
                except grpc.RpcError as error:
                    if error.code() not in REPEATABLE or time.monotonic() > deadline:
                        raise

    def work(number):
        try:
            for turn in range(turns):
                lease = 1000 * (number + 1) + turn
                handle = until_answered(lambda own: acquire(own, NAME, lease=lease, ttl=120, timeout=60)).handle
                # A write that was repeated may have been done before: the same proof lets it through again.
                written = until_answered(lambda own: fenced(own, handle, put_op(b"log", b"%d" % handle.token)))
                ended = until_answered(lambda own: release(own, handle))
                if not written.succeeded or not (ended.released or ended.ended.type == Type.RELEASED):
                    faults.append(f"{number}.{turn}: {written}, {ended}")
                done.release()
        except Exception as error:
            faults.append(f"{number}: {error!r}")
            done.release(places)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        for _ in range(places // (kills + 1)):
            assert done.acquire(timeout=120)
        server.kill()
        server.start()
    for thread in threads:
        thread.join()
    assert not faults, faults
    with server.client() as client:
        with EventStream(client, NAME, start_revision=1) as stream:
            check_story(stream.events(places * 3), places)
        with client.watch() as watch:
            watch.create(b"log", start_revision=1)
            tokens = [int(event.kv.value) for event in watch.events(client.range(b"log").kvs[0].version)]
        assert tokens == sorted(tokens) and len(set(tokens)) == places
        assert not inspect(client, NAME).places and client.leases() == []


def test_compacted_history_is_refused_with_the_revision_that_is_left(client):
    release(client, hold(client, NAME))
    revision = client.revision()
    client.compact(revision)
    with EventStream(client, NAME, start_revision=1) as stream:
        with pytest.raises(StreamEnded) as ended:
            stream.until(lambda _: True)
    assert ended.value.code == grpc.StatusCode.OUT_OF_RANGE, ended.value
    handle = hold(client, NAME, owner="later")
    with EventStream(client, NAME, start_revision=revision + 1) as stream:
        assert told(stream.events(2)) == [("QUEUED", "later"), ("ACQUIRED", "later")]
    # What holds now began before the next compaction, and is still known.
    client.compact(client.revision())
    (place,) = inspect(client, NAME).places
    assert (place.token, place.owner) == (handle.token, "later")
    assert refusal_of(lambda: client.put(NAME)).owner == "later"


# Break


def test_a_broken_lock_passes_on_and_the_event_says_who_and_why(client):
    stuck = hold(client, NAME, owner="stuck", attributes={"host": "a"})
    waiting = begin_acquire(client, NAME, owner="next")
    await_places(client, NAME, 2)
    answer = break_lock(client, NAME, by="operator@desk", reason="host a burned down")
    assert (answer.broken.token, answer.broken.owner) == (stuck.token, "stuck")
    assert dict(answer.broken.attributes) == {"host": "a"}
    assert waiting.result().acquired
    assert not fenced(client, stuck, put_op(NAME)).succeeded
    with EventStream(client, NAME, start_revision=answer.header.revision) as stream:
        broken = stream.events(1 if answer.header.revision == stream.revision else 2)[0]
        assert (broken.type, broken.token, broken.held) == (Type.BROKEN, stuck.token, True)
        assert (broken.by, broken.reason) == ("operator@desk", "host a burned down")
    # The former holder learns it when it comes back.
    late = release(client, stuck)
    assert not late.released
    assert (late.ended.type, late.ended.by, late.ended.reason) == (Type.BROKEN, "operator@desk", "host a burned down")


def test_a_broken_waiter_is_told(client):
    first = hold(client, NAME)
    waiting = begin_acquire(client, NAME, owner="waiter")
    token = await_places(client, NAME, 2).places[1].token
    answer = break_lock(client, NAME, token=token, by="operator", reason="not now")
    assert answer.broken.token == token and not answer.broken.holds
    error = error_of(waiting.result)
    assert error.code() == grpc.StatusCode.ABORTED
    assert error.details() == "berth: the place was broken by operator: not now"
    assert [place.token for place in inspect(client, NAME).places] == [first.token]


def test_a_break_says_who_and_why(client):
    hold(client, NAME)
    for words in ({"by": ""}, {"reason": ""}):
        assert error_of(lambda: break_lock(client, NAME, **words)).code() == grpc.StatusCode.INVALID_ARGUMENT
    assert inspect(client, NAME).holders == 1


def test_breaking_what_is_not_there_is_an_error(client):
    error = error_of(lambda: break_lock(client, NAME))
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
    handle = hold(client, NAME)
    error_of(lambda: break_lock(client, NAME, token=handle.token + 1))
    assert inspect(client, NAME).holders == 1


def test_places_of_etcd_s_clients_are_shown_and_can_be_broken(etcdctl, client):
    with etcdctl.start("lock", "job") as holder:
        key = holder.line().encode()
        (place,) = inspect(client, NAME).places
        assert (place.key, place.holds, place.protected) == (key, True, False)
        (lock,) = list_locks(client).locks
        assert (lock.name, lock.holders, lock.first.key) == (NAME, 1, key)
        waiting = begin_acquire(client, NAME)
        await_places(client, NAME, 2)
        break_lock(client, NAME)
        assert waiting.result().acquired


# Inspect and List


def test_inspect_shows_the_line_in_order(client):
    hold(client, NAME, mode=berth.Mode.SHARED, owner="reader")
    waiting = []
    for i, (mode, owner) in enumerate([(berth.Mode.EXCLUSIVE, "writer"), (berth.Mode.SHARED, "late reader")]):
        waiting += [begin_acquire(client, NAME, mode=mode, owner=owner, attributes={"n": str(i)})]
        answer = await_places(client, NAME, i + 2)
    assert (answer.holders, answer.waiters) == (1, 2)
    reader, writer, late = answer.places
    assert [p.owner for p in answer.places] == ["reader", "writer", "late reader"], "no reader overtakes a writer"
    assert (reader.holds, writer.holds, late.holds) == (True, False, False)
    assert reader.acquired_at >= reader.queued_at > 0 and writer.acquired_at == 0 and writer.queued_at > 0
    assert dict(late.attributes) == {"n": "1"} and late.mode == berth.Mode.SHARED
    short = inspect(client, NAME, limit=2)
    assert len(short.places) == 2 and (short.holders, short.waiters) == (1, 2)


def test_permits_are_counted(client):
    permit = {"mode": berth.Mode.PERMIT, "permits": 3}
    held = [hold(client, NAME, **permit) for _ in range(3)]
    assert not acquire(client, NAME, wait=0, **permit).acquired
    waiting = begin_acquire(client, NAME, **permit)
    answer = await_places(client, NAME, 4)
    assert (answer.holders, answer.waiters) == (3, 1)
    release(client, held[1])
    assert waiting.result().acquired


def test_list_pages_by_prefix(client):
    for name in (b"a", b"b/1", b"b/2", b"b/3", b"c"):
        hold(client, name)
    waiting = begin_acquire(client, b"b/2")
    await_places(client, b"b/2", 2)
    assert [lock.name for lock in list_locks(client).locks] == [b"a", b"b/1", b"b/2", b"b/3", b"c"]
    page = list_locks(client, b"b/", limit=2)
    assert [(lock.name, lock.holders, lock.waiters) for lock in page.locks] == [(b"b/1", 1, 0), (b"b/2", 1, 1)]
    assert page.more
    page = list_locks(client, b"b/", limit=2, after=b"b/2")
    assert [lock.name for lock in page.locks] == [b"b/3"] and not page.more
    assert not waiting.done()
