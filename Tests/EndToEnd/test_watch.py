"""Watches over gRPC: what they deliver, in which order, and how they end."""

import threading

import grpc
import pytest

from harness.api import pb
from harness.client import StreamEnded

PUT, DELETE = 0, 1


def short(events):
    return [(event.type, event.kv.key, event.kv.value, event.kv.mod_revision) for event in events]


def put_op(key, value=b""):
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def delete_op(key, end=b""):
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end))


def test_events_come_in_order_with_full_key_values(client):
    with client.watch() as watch:
        created = watch.create(b"key")
        assert (created.watch_id, created.canceled, created.header.revision) == (0, False, 1)
        client.put(b"key", b"one")
        client.put(b"other", b"unseen")
        client.put(b"key", b"two")
        client.delete(b"key")
        events = watch.events(3)
        assert short(events) == [(PUT, b"key", b"one", 2), (PUT, b"key", b"two", 4), (DELETE, b"key", b"", 5)]
        assert (events[1].kv.create_revision, events[1].kv.version) == (2, 2)
        assert (events[2].kv.create_revision, events[2].kv.version, events[2].kv.lease) == (0, 0, 0)
        assert not events[1].HasField("prev_kv")


def test_previous_key_values(client):
    with client.watch() as watch:
        watch.create(b"key", prev_kv=True)
        client.put(b"key", b"one")
        client.put(b"key", b"two")
        client.delete(b"key")
        created, updated, deleted = watch.events(3)
        assert not created.HasField("prev_kv")
        assert (updated.prev_kv.value, updated.prev_kv.mod_revision) == (b"one", 2)
        assert (deleted.prev_kv.value, deleted.prev_kv.version) == (b"two", 2)


def test_one_revision_comes_in_one_response(client):
    with client.watch() as watch:
        watch.create_prefix(b"key/")
        client.txn(success=[put_op(b"key/%d" % i) for i in (3, 1, 2)] + [delete_op(b"absent")])
        answer = watch.next()
        assert [event.kv.key for event in answer.events] == [b"key/3", b"key/1", b"key/2"]
        assert {event.kv.mod_revision for event in answer.events} == {2}
        assert answer.header.revision == 2


def test_history_is_replayed_then_continued_without_a_gap(client):
    for i in range(50):
        client.put(b"key", b"%d" % i)
    with client.watch() as watch:
        assert watch.create(b"key", start_revision=10).header.revision == 51
        client.put(b"key", b"live")
        values = [event.kv.value for event in watch.events(43)]
        assert values == [b"%d" % i for i in range(8, 50)] + [b"live"]


def test_a_long_replay_meets_writers(client, second_client):
    """A watch that starts in the middle of heavy writing sees every revision once."""
    client.put(b"key", b"first")
    stop = threading.Event()

    def write():
        while not stop.is_set():
            second_client.put(b"key", b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with client.watch() as watch:
            watch.create(b"key", start_revision=2)
            revisions = []
            while len(revisions) < 1500:
                revisions += [event.kv.mod_revision for event in watch.next().events]
    finally:
        stop.set()
        writer.join()
    assert revisions == list(range(2, 2 + len(revisions)))


def test_a_future_start_waits_for_its_revision(client):
    with client.watch() as watch:
        watch.create(b"key", start_revision=5)
        for i in range(2, 7):
            client.put(b"key", b"%d" % i)
        assert short(watch.events(2)) == [(PUT, b"key", b"5", 5), (PUT, b"key", b"6", 6)]


def test_filters(client):
    with client.watch() as puts, client.watch() as deletes:
        puts.create(b"key", filters=[pb.WatchCreateRequest.NODELETE])
        deletes.create(b"key", filters=[pb.WatchCreateRequest.NOPUT])
        client.put(b"key", b"one")
        client.delete(b"key")
        client.put(b"key", b"two")
        client.delete(b"key")
        assert [event.kv.mod_revision for event in puts.events(2)] == [2, 4]
        assert [event.kv.mod_revision for event in deletes.events(2)] == [3, 5]


def test_ranges(client):
    with client.watch() as watch:
        everything = watch.create(b"\0", b"\0").watch_id
        from_b = watch.create(b"b", b"\0").watch_id
        b_to_d = watch.create(b"b", b"d").watch_id
        for key in (b"a", b"b", b"c", b"d"):
            client.put(key)
        seen = {everything: [], from_b: [], b_to_d: []}
        while sum(map(len, seen.values())) < 9:
            answer = watch.next()
            seen[answer.watch_id] += [event.kv.key for event in answer.events]
        assert seen == {everything: [b"a", b"b", b"c", b"d"], from_b: [b"b", b"c", b"d"], b_to_d: [b"b", b"c"]}


def test_watch_ids(client):
    with client.watch() as watch:
        assert [watch.create(b"key").watch_id for _ in range(3)] == [0, 1, 2]
        assert watch.create(b"key", watch_id=4).watch_id == 4
        assert watch.create(b"key").watch_id == 3
        assert watch.create(b"key").watch_id == 5, "an id in use is skipped"
        twice = watch.create(b"key", watch_id=4)
        assert (twice.canceled, twice.watch_id) == (True, -1)
        assert twice.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"


def test_an_empty_range_is_refused(client):
    with client.watch() as watch:
        answer = watch.create(b"b", b"a")
        assert (answer.canceled, answer.watch_id) == (True, -1)
        assert answer.cancel_reason == "mvcc: watcher range is empty"
        assert watch.create(b"key").canceled is False, "the stream goes on"


@pytest.mark.berth_only  # etcd refuses since 3.5.24.
def test_a_negative_start_is_refused(client):
    with client.watch() as watch:
        answer = watch.create(b"key", start_revision=-1)
        assert (answer.canceled, answer.watch_id) == (True, -1)
        assert answer.cancel_reason == "etcdserver: mvcc: required revision has been compacted"


def test_a_compacted_start_is_cancelled_with_the_compact_revision(client):
    for _ in range(5):
        client.put(b"key")
    client.compact(4)
    with client.watch() as watch:
        watch.create(b"key", start_revision=3)
        answer = watch.next()
        assert (answer.canceled, answer.compact_revision) == (True, 4)
        assert answer.header.revision == 0 and answer.header.member_id
        watch.create(b"key", start_revision=4)
        assert [event.kv.mod_revision for event in watch.events(3)] == [4, 5, 6]


@pytest.mark.berth_only  # etcd delivers it since 3.5.18.
def test_a_deletion_at_the_compact_revision_is_delivered(client):
    client.put(b"key", b"value")
    client.delete(b"key")
    client.compact(3, physical=True)
    with client.watch() as watch:
        watch.create(b"key", start_revision=3)
        assert short(watch.events(1)) == [(DELETE, b"key", b"", 3)]


def test_cancel_stops_one_watch(client):
    with client.watch() as watch:
        first = watch.create(b"key").watch_id
        second = watch.create(b"key").watch_id
        watch.send_cancel(first)
        answer = watch.next()
        assert (answer.watch_id, answer.canceled, answer.cancel_reason, answer.compact_revision) == (first, True, "", 0)
        client.put(b"key")
        answer = watch.next()
        assert (answer.watch_id, len(answer.events)) == (second, 1)
        watch.send_cancel(first)  # Unknown by now: no answer.
        watch.send_cancel(second)
        assert watch.next().watch_id == second


def test_progress_tells_how_far_all_watches_are(client):
    with client.watch() as watch:
        watch.create(b"key")
        client.put(b"key")
        client.put(b"other")
        watch.events(1)
        revision = 0
        while revision < 3:  # Asked early it may be behind, and stays silent or says so; it never claims too much.
            watch.send_progress()
            try:
                answer = watch.next(timeout=0.5)
            except TimeoutError:
                continue
            assert answer.watch_id == -1 and not answer.events
            revision = answer.header.revision
        assert revision == 3


def test_half_close_leaves_the_watches_alive(client):
    with client.watch() as watch:
        watch.create(b"key")
        watch.half_close()
        client.put(b"key")
        assert len(watch.events(1)) == 1


def test_an_empty_request_is_ignored(client):
    with client.watch() as watch:
        watch.send(pb.WatchRequest())
        watch.create(b"key")


def test_many_watches_on_one_stream(client):
    count = 2000
    with client.watch() as watch:
        for i in range(count):
            watch.send_create(b"key/%d" % i)
        ids = [watch.next().watch_id for _ in range(count)]
        assert sorted(ids) == list(range(count))
        client.put(b"key/77", b"value")
        client.txn(success=[put_op(b"key/%d" % i) for i in range(0, 100)])
        assert len(watch.events(101)) == 101


def test_many_streams_on_one_connection(client):
    streams = [client.watch() for _ in range(200)]
    for stream in streams:
        stream.create(b"key")
    client.put(b"key", b"value")
    for stream in streams:
        assert short(stream.events(1)) == [(PUT, b"key", b"value", 2)]
        stream.cancel()


def test_a_large_revision_is_fragmented_only_when_asked(client):
    value = b"v" * 100_000
    client.txn(success=[put_op(b"key/%02d" % i, value) for i in range(14)])
    # Two changes in one revision, over the message limit together with their previous values.
    with client.watch() as watch:
        whole = watch.create_prefix(b"key/", prev_kv=True).watch_id
        in_parts = watch.create_prefix(b"key/", prev_kv=True, fragment=True).watch_id
        client.txn(success=[put_op(b"key/%02d" % i, value) for i in range(14)])
        answers = {whole: [], in_parts: []}
        while not all(some and not some[-1].fragment for some in answers.values()):
            answer = watch.next()
            answers[answer.watch_id].append(answer)
        assert len(answers[whole]) == 1 and not answers[whole][0].fragment
        parts = answers[in_parts]
        assert len(parts) > 1 and [part.fragment for part in parts] == [True] * (len(parts) - 1) + [False]
        assert all(part.header.revision == 3 for part in parts)
        for answer in answers.values():
            keys = [event.kv.key for part in answer for event in part.events]
            assert keys == [b"key/%02d" % i for i in range(14)]


def test_a_slow_consumer_loses_nothing_and_holds_nobody_up(server, client):
    """One client stops reading; writes and other watches go on, memory stays bounded, and it gets everything later."""
    writes, size = 3000, 20_000
    with server.client() as slow_client, client.watch() as quick:
        slow = slow_client.watch(paused=True)
        slow.send_create(b"key")
        quick.create(b"key")
        before = server.resident_bytes()
        for i in range(writes):
            client.put(b"key", b"%06d" % i + b"x" * size)
        assert len(quick.events(writes)) == writes
        grown = server.resident_bytes() - before
        slow.resume()
        assert slow.next().created
        values = [int(event.kv.value[:6]) for event in slow.events(writes, timeout=60)]
        assert values == list(range(writes))
        slow.cancel()
    if server.is_berth:
        # The 60 MB are in the store's cache and log; a queue for the slow client would come on top of that.
        assert grown < 400 << 20, f"grew by {grown >> 20} MiB"


def test_a_cancelled_stream_ends_and_a_new_one_resumes(client):
    with client.watch() as watch:
        watch.create(b"key")
        client.put(b"key", b"one")
        (event,) = watch.events(1)
    for value in (b"two", b"three"):
        client.put(b"key", value)
    with client.watch() as watch:
        watch.create(b"key", start_revision=event.kv.mod_revision + 1)
        assert [event.kv.value for event in watch.events(2)] == [b"two", b"three"]


def test_a_watch_needs_no_leader_lost(client):
    """The metadata that etcdctl sends, asking for a leader, is understood."""
    with client.watch(metadata=[("hasleader", "true")]) as watch:
        watch.create(b"key")
        client.put(b"key")
        watch.events(1)


def test_the_stream_ends_with_the_server(server, client):
    with client.watch() as watch:
        watch.create(b"key")
        server.stop()
        with pytest.raises(StreamEnded) as ended:
            watch.next()
        assert ended.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
