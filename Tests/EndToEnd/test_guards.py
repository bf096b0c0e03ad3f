"""Guarded keys: what etcd's own clients are refused while a lock is held, and what they must be allowed."""

import grpc
import pytest

from harness.api import berth, pb
from harness.locks import (
    acquire,
    await_places,
    begin_acquire,
    break_lock,
    delete_op,
    error_of,
    fenced,
    guard,
    hold,
    inspect,
    proof,
    put_op,
    range_op,
    refusal_of,
    release,
)

pytestmark = pytest.mark.berth_only

NAME = b"job"


def everything(client):
    return [kv.SerializeToString() for kv in client.range(b"\0", b"\0").kvs]


@pytest.fixture
def untouched(client):
    """Checks that what runs under it leaves no trace in the store."""

    class Untouched:
        def __enter__(self):
            self.before = client.revision(), everything(client)

        def __exit__(self, kind, *_):
            if kind is None:
                assert (client.revision(), everything(client)) == self.before

    return Untouched


@pytest.fixture
def handle(client):
    client.put(NAME, b"value")
    return hold(client, NAME, owner="holder")


def test_every_way_to_write_a_guarded_key_is_refused_without_the_proof(client, handle, untouched):
    client.put(b"other")
    nested = pb.RequestOp(request_txn=pb.TxnRequest(success=[put_op(NAME)]))
    deep = pb.RequestOp(request_txn=pb.TxnRequest(success=[nested]))
    writes = {
        "put": lambda: client.put(NAME, b"x"),
        "put that keeps the value": lambda: client.put(NAME, ignore_value=True),
        "put with a lease": lambda: client.put(NAME, b"x", lease=handle.lease),
        "delete": lambda: client.delete(NAME),
        "delete of a range": lambda: client.delete(b"j", b"k"),
        "delete of everything": lambda: client.delete(b"\0", b"\0"),
        "transaction": lambda: client.txn(success=[put_op(NAME, b"x")]),
        "with another key": lambda: client.txn(success=[put_op(b"other", b"x"), put_op(NAME, b"x")]),
        "delete in a transaction": lambda: client.txn(success=[delete_op(b"a", b"z")]),
        "nested": lambda: client.txn(success=[nested]),
        "nested deeper": lambda: client.txn(success=[put_op(b"other"), deep]),
        "failure branch": lambda: client.txn(
            compare=[pb.Compare(target=pb.Compare.VERSION, key=b"absent", version=9)], failure=[put_op(NAME, b"x")]
        ),
    }
    for name, write in writes.items():
        with untouched():
            locked = refusal_of(write)
        assert (locked.key, locked.lock) == (NAME, NAME), name
        assert (locked.holder, locked.token, locked.owner) == (handle.key, handle.token, "holder"), name
        assert 0 < locked.remaining_milliseconds <= handle.ttl * 1000, name


def test_what_looks_like_a_proof_and_is_none(client, handle, untouched):
    compare = pb.Compare
    wrong = {
        "an older token": [compare(target=compare.CREATE, key=handle.key, create_revision=handle.token - 1)],
        "greater, not equal": [
            compare(target=compare.CREATE, result=compare.GREATER, key=handle.key, create_revision=0)
        ],
        "the modification's revision": [compare(target=compare.MOD, key=handle.key, mod_revision=handle.token)],
        "the version": [compare(target=compare.VERSION, key=handle.key, version=1)],
        "the lease": [compare(target=compare.LEASE, key=handle.key, lease=handle.lease)],
        "another key": [
            compare(target=compare.CREATE, key=NAME, create_revision=client.range(NAME).kvs[0].create_revision)
        ],
        "a range": [
            compare(target=compare.CREATE, key=handle.key, range_end=handle.key + b"\0", create_revision=handle.token)
        ],
    }
    for name, compares in wrong.items():
        answer = None
        with untouched():
            try:
                answer = client.txn(compare=compares, success=[put_op(NAME, b"x")])
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, (name, error)
        assert answer is None or not answer.succeeded, name
    # The proof lets its own branch write, not the other one: there the compare has failed.
    answer = None
    with untouched():
        stale = compare(target=compare.CREATE, key=handle.key, create_revision=handle.token - 1)
        refusal_of(lambda: client.txn(compare=[stale], success=[put_op(b"other")], failure=[put_op(NAME, b"x")]))


def test_the_proof_lets_the_holder_write(client, handle):
    inner = pb.RequestOp(request_txn=pb.TxnRequest(success=[put_op(NAME, b"2"), put_op(b"other", b"2")]))
    proven_inside = pb.RequestOp(request_txn=pb.TxnRequest(compare=[proof(handle)], success=[put_op(NAME, b"3")]))
    assert fenced(client, handle, put_op(NAME, b"1")).succeeded
    assert fenced(client, handle, inner).succeeded, "the enclosing transaction's proof counts"
    assert client.get(NAME) == b"2"
    assert client.txn(success=[proven_inside]).succeeded
    assert client.get(NAME) == b"3"
    answer = fenced(client, handle, delete_op(b"j", b"k"))
    assert answer.succeeded, "the owner key is j…k too: its own token proves its deletion"


def test_deleting_ranges_that_hold_no_guarded_key_is_not_refused(client, handle):
    client.put(b"a")
    client.put(b"z")
    assert client.delete(b"a", b"j").deleted == 1
    assert client.delete(b"k", b"\0").deleted == 1
    assert client.delete(b"absent").deleted == 0


def test_a_guarded_key_that_is_absent_cannot_be_made(client):
    handle = hold(client, NAME)
    assert refusal_of(lambda: client.put(NAME)).key == NAME
    assert client.delete(NAME).deleted == 0, "nothing is removed, so nothing is refused"
    assert fenced(client, handle, put_op(NAME)).succeeded


def test_reads_and_compares_of_a_guarded_key_are_free(client, handle):
    assert client.get(NAME) == b"value"
    assert client.txn(success=[range_op(NAME)]).succeeded
    value = pb.Compare(target=pb.Compare.VALUE, key=NAME, value=b"value")
    assert client.txn(compare=[value], success=[put_op(b"other", b"seen")]).succeeded
    with client.watch() as watch:
        watch.create(NAME, start_revision=1)
        assert watch.events(1)[0].kv.value == b"value"


def test_a_read_with_a_handle_fails_when_the_lock_is_lost(client, handle):
    assert fenced(client, handle, range_op(NAME)).succeeded
    release(client, handle)
    assert not fenced(client, handle, range_op(NAME)).succeeded


def test_etcdctl_is_refused_and_gets_through_with_the_proof(etcdctl, client, handle):
    for arguments in (["put", "job", "x"], ["del", "job"], ["del", "--prefix", "j"]):
        refused = etcdctl.run(*arguments)
        assert refused.code != 0 and "berth: key is locked" in refused.stderr, refused
    unproven = etcdctl.run("txn", input="\nput job x\n\n\n")
    assert unproven.code != 0 and "berth: key is locked" in unproven.stderr, unproven
    assert client.get(NAME) == b"value"
    key = handle.key.decode()
    proven = etcdctl("txn", input=f'create("{key}") = "{handle.token}"\n\nput job "by etcdctl"\n\n\n')
    assert proven.lines[0] == "SUCCESS" and client.get(NAME) == b"by etcdctl"
    late = etcdctl("txn", input=f'create("{key}") = "{handle.token - 1}"\n\nput job late\n\n\n')
    assert late.lines[0] == "FAILURE" and client.get(NAME) == b"by etcdctl"


def test_guards_on_keys_and_ranges_of_ones_own_choice(client):
    for key in (b"a", b"b/1", b"b/2", b"c", b"job", b"x", b"z"):
        client.put(key)
    guards = [guard(b"a"), guard(b"b/", b"b0"), guard(b"x", b"\0")]
    handle = hold(client, NAME, guards=guards)
    (place,) = inspect(client, NAME).places
    assert list(place.guards) == guards
    for key in (b"a", b"b/", b"b/1", b"b/new", b"x", b"zz"):
        assert refusal_of(lambda: client.put(key)).key == key
    for key in (b"a0", b"b", b"b0", b"c", b"w"):
        client.put(key)
    client.put(NAME), "guards of one's own replace the default"
    assert refusal_of(lambda: client.delete(b"b", b"c")).key in (b"b/1", b"b/2")
    assert refusal_of(lambda: client.delete(b"c", b"\0")).lock == NAME
    assert fenced(client, handle, put_op(b"a"), put_op(b"b/9"), delete_op(b"y", b"\0")).succeeded
    release(client, handle)
    assert client.delete(b"b/", b"b0").deleted == 3


def test_a_lock_that_guards_nothing(client):
    handle = hold(client, NAME, unguarded=True)
    (place,) = inspect(client, NAME).places
    assert not place.guards
    client.put(NAME)
    assert client.delete(NAME).deleted == 1
    # Its own key is still nobody's to take.
    refusal_of(lambda: client.delete(handle.key))


def test_a_key_guarded_by_two_locks_needs_both_proofs(client):
    shared = [guard(b"shared")]
    one, two = hold(client, b"one", guards=shared), hold(client, b"two", guards=shared)
    refusal_of(lambda: client.put(b"shared"))
    assert refusal_of(lambda: fenced(client, one, put_op(b"shared"))).lock == b"two"
    assert refusal_of(lambda: fenced(client, two, put_op(b"shared"))).lock == b"one"
    both = client.txn(compare=[proof(one), proof(two)], success=[put_op(b"shared")])
    assert both.succeeded
    release(client, one)
    assert fenced(client, two, put_op(b"shared")).succeeded
    assert refusal_of(lambda: client.put(b"shared")).lock == b"two"
    release(client, two)
    client.put(b"shared")


def test_any_of_several_holders_may_write_and_nobody_else(client):
    held = [hold(client, NAME, mode=berth.Mode.SHARED) for _ in range(3)]
    refusal_of(lambda: client.put(NAME))
    for i, handle in enumerate(held):
        assert fenced(client, handle, put_op(NAME, b"%d" % i)).succeeded
    for handle in held:
        refusal_of(lambda: client.put(NAME))
        release(client, handle)
    client.put(NAME)


def test_a_waiter_s_token_proves_nothing_yet(client, handle, untouched):
    waiting = begin_acquire(client, NAME)
    places = await_places(client, NAME, 2).places
    early = berth.Handle(key=places[1].key, token=places[1].token)
    with untouched():
        assert refusal_of(lambda: fenced(client, early, put_op(NAME))).token == handle.token
    release(client, handle)
    assert waiting.result().handle.token == early.token
    assert fenced(client, early, put_op(NAME)).succeeded


def test_no_guard_is_left_when_the_lock_is_free(client):
    """Released, expired, revoked or broken: the key is everyone's again."""

    def expire():
        hold(client, NAME, ttl=2)
        answer = acquire(client, NAME)  # Waits for the end of the first one's time.
        release(client, answer.handle)

    def revoke():
        client.revoke(hold(client, NAME).lease)

    def break_it():
        break_lock(client, NAME, token=hold(client, NAME).token)

    for end in (lambda: release(client, hold(client, NAME)), expire, revoke, break_it):
        end()
        client.put(NAME, b"free")
        assert client.delete(NAME).deleted == 1
        assert not inspect(client, NAME).places


def test_the_end_of_a_lease_removes_even_guarded_keys(client):
    """The store itself is no client: what expires goes, though a lock guards it."""
    client.grant(2, id=5)
    client.put(b"session", lease=5)
    handle = hold(client, NAME, guards=[guard(b"session")])
    refusal_of(lambda: client.delete(b"session"))
    with client.watch() as watch:
        watch.create(b"session")
        (event,) = watch.events(1)
    assert event.type == 1
    client.grant(100, id=6)
    assert fenced(client, handle, put_op(b"session", lease=6)).succeeded
    client.revoke(6)
    assert client.get(b"session") is None


def test_compaction_is_no_write(client, handle):
    client.compact(client.revision(), physical=True)
    refusal_of(lambda: client.put(NAME))
    assert fenced(client, handle, put_op(NAME)).succeeded


# The keys of the line themselves


def test_nobody_jumps_or_empties_the_line_with_plain_writes(client, handle, untouched):
    waiting = begin_acquire(client, NAME)
    places = await_places(client, NAME, 2).places
    for place in places:
        for write in (
            lambda: client.put(place.key, b"x"),
            lambda: client.put(place.key, b"x", lease=place.lease),
            lambda: client.put(place.key, ignore_value=True),
            lambda: client.delete(place.key),
            lambda: client.delete(NAME + b"/", NAME + b"0"),
            lambda: client.txn(success=[delete_op(place.key)]),
            lambda: client.lock.Unlock(pb.UnlockRequest(key=place.key), timeout=20),
        ):
            with untouched():
                error = error_of(write)
                assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN), error
                assert "berth: key is locked" in error.details()
    assert not waiting.done()
    # A waiter's proof is for its own key alone.
    waiter = berth.Handle(key=places[1].key, token=places[1].token)
    with untouched():
        refusal_of(lambda: fenced(client, waiter, delete_op(handle.key)))


def test_a_place_may_be_given_up_with_its_own_token(client, handle):
    waiting = begin_acquire(client, NAME)
    await_places(client, NAME, 2)
    assert fenced(client, handle, delete_op(handle.key)).succeeded
    assert waiting.result().acquired
    assert not release(client, handle).released


def test_a_holder_cannot_leave_the_line_with_its_key_left_behind(client, handle, untouched):
    """Else its proof would go on succeeding after the next one holds."""
    client.grant(60, id=5)
    for write in (put_op(handle.key, b"x"), put_op(handle.key, b"x", lease=5)):
        with untouched():
            error = error_of(lambda: fenced(client, handle, write))
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    # Its value is its own to change.
    assert fenced(client, handle, put_op(handle.key, b"new", lease=handle.lease)).succeeded
    assert fenced(client, handle, put_op(handle.key, b"newer", ignore_lease=True)).succeeded
    (place,) = inspect(client, NAME).places
    assert (place.value, place.token, place.holds) == (b"newer", handle.token, True)


def test_etcd_s_places_keep_etcd_s_rules(client):
    """Taken through etcd's API, a lock guards nothing and its key may be deleted by anyone, as in etcd."""
    client.grant(60, id=1)
    key = client.lock.Lock(pb.LockRequest(name=NAME, lease=1), timeout=20).key
    (place,) = inspect(client, NAME).places
    assert (place.key, place.holds, place.protected, list(place.guards)) == (key, True, False, [])
    client.put(NAME)
    waiting = begin_acquire(client, NAME)
    await_places(client, NAME, 2)
    client.put(NAME), "a waiter's guard is not in force yet"
    assert client.delete(key).deleted == 1
    assert waiting.result().acquired
    refusal_of(lambda: client.put(NAME))


def test_keys_that_only_look_like_places_are_not_in_the_line(client):
    """A place hangs on the very lease that its name tells."""
    client.put(NAME + b"/1", b"no lease")
    client.grant(60, id=2)
    client.put(NAME + b"/3", b"another lease", lease=2)
    client.put(NAME + b"/deeper/2", lease=2)
    client.put(NAME + b"/02", lease=2)
    handle = hold(client, NAME)
    assert [place.token for place in inspect(client, NAME).places] == [handle.token]
    # They are plain keys, and nobody minds.
    assert client.delete(NAME + b"/1").deleted == 1


def test_a_guard_costs_other_keys_nothing_they_could_notice(client):
    """Many guards in force: a put elsewhere goes through, one inside any of them does not."""
    handles = [hold(client, b"lock/%03d" % i, guards=[guard(b"data/%03d/" % i, b"data/%03d0" % i)]) for i in range(200)]
    for i in range(0, 200, 7):
        assert refusal_of(lambda: client.put(b"data/%03d/key" % i)).lock == b"lock/%03d" % i
        client.put(b"data/%03d" % i)
        client.put(b"data/%03d0" % i)
        assert fenced(client, handles[i], put_op(b"data/%03d/key" % i)).succeeded
