"""What nobody does on purpose, and everybody does once: malformed places, several changes in one entry, calls made twice."""

import grpc
import pytest

from harness.api import berth, pb
from harness.locks import (
    acquire,
    acquire_request,
    await_places,
    begin_acquire,
    break_lock,
    error_of,
    hold,
    inspect,
    list_locks,
    observe_leaders,
    put_op,
    release,
)

pytestmark = pytest.mark.berth_only

TIMEOUT = 60


@pytest.mark.parametrize(
    "attribute", [b"\xff", b"\x0a\x02ab\x12\x01\xff", b"\x08\x01", b"\x1a\x01x"], ids=["cut", "utf8", "number", "field"]
)
def test_attributes_that_are_no_texts_are_refused_and_hurt_nobody(server, client, attribute):
    hold(client, b"job")
    send = client.channel.unary_unary(
        "/berth.v1.Locks/Acquire",
        request_serializer=lambda bytes: bytes,
        response_deserializer=berth.AcquireResponse.FromString,
    )
    request = acquire_request(b"job").SerializeToString() + b"\x52" + bytes([len(attribute)]) + attribute
    assert error_of(lambda: send(request, timeout=TIMEOUT)).code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(inspect(client, b"job").places) == 1
    assert len(list_locks(client).locks) == 1


def test_one_delete_of_a_whole_line_tells_no_waiter_that_it_holds(client, second_client):
    leases = [client.grant(60).ID for _ in range(3)]
    calls = []
    for count, lease in enumerate(leases, start=1):
        request = pb.LockRequest(name=b"x", lease=lease)
        calls.append(client.lock.Lock.future(request, timeout=TIMEOUT))
        await_places(second_client, b"x", count)
    assert calls[0].result().key
    second_client.delete(b"x/", b"x0")
    for call in calls[1:]:
        error = error_of(call.result)
        assert error.code() == grpc.StatusCode.UNKNOWN and "session is expired" in error.details()


def test_two_places_made_in_one_transaction_are_told_apart(client, second_client):
    holder = hold(client, b"a", unguarded=True)
    other = hold(client, b"b", unguarded=True)
    lease = client.grant(60).ID
    keys = [b"%b/%x" % (name, lease) for name in (b"a", b"b")]
    client.txn(success=[put_op(key, lease=lease) for key in keys])
    waiting = client.lock.Lock.future(pb.LockRequest(name=b"a", lease=lease), timeout=TIMEOUT)
    await_places(second_client, b"a", 2)
    # The place in b has its turn; the call waits for the one in a, which has the same token.
    assert release(second_client, other).released
    assert inspect(second_client, b"b").holders == 1
    assert len(await_places(second_client, b"a", 2).places) == 2
    assert not waiting.done()
    assert release(second_client, holder).released
    assert waiting.result().key == keys[0]


def test_a_place_broken_while_its_lease_holds_another_does_not_keep_that_one_for_ever(client, second_client):
    first = acquire(client, b"one", ttl=2, lease=77, wait=0)
    assert first.acquired
    blocker = hold(second_client, b"two")
    waiting = begin_acquire(client, b"two", ttl=2, lease=77)
    await_places(second_client, b"two", 2)
    token = inspect(second_client, b"two").places[1].token
    break_lock(second_client, b"two", token=token)
    assert error_of(waiting.result).code() == grpc.StatusCode.ABORTED
    # Nobody renews: the lock that was held ends with its lease, and the next one has it.
    assert acquire(second_client, b"one", ttl=60, timeout=TIMEOUT).acquired
    release(second_client, blocker)


def test_a_call_that_is_repeated_takes_the_place_over_from_the_one_before(client, second_client, server):
    holder = hold(client, b"job")
    first = begin_acquire(client, b"job", ttl=60, lease=5)
    before = await_places(second_client, b"job", 2).places[1]
    with server.client() as third:
        again = begin_acquire(third, b"job", ttl=60, lease=5)
        observed = acquire(second_client, b"probe", wait=0)  # Behind the repeated call in the log.
        assert observed.acquired
        first.cancel()
        assert acquire(second_client, b"probe2", wait=0).acquired  # Behind the first call's give-up.
        places = inspect(second_client, b"job").places
        assert [place.token for place in places] == [holder.token, before.token]
        assert release(second_client, holder).released
        answer = again.result()
        assert answer.acquired and answer.handle.token == before.token


def test_an_acquire_repeated_when_its_time_is_up_is_answered(client, server):
    handle = acquire(client, b"job", ttl=2, lease=5, wait=0).handle
    client.await_keys(b"job/", 0)
    with server.client() as again:
        answer = acquire(again, b"job", ttl=2, lease=5, timeout=TIMEOUT)
        assert answer.acquired and answer.handle.token > handle.token


def test_leaders_are_observed_while_the_log_is_busy(client, second_client):
    puts = [second_client.kv.Put.future(pb.PutRequest(key=b"k%d" % n), timeout=TIMEOUT) for n in range(500)]
    for _ in range(20):
        with observe_leaders(client, b"nobody") as stream:
            assert not stream.next(TIMEOUT).HasField("leader")
    for put in puts:
        put.result()
