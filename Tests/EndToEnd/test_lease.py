"""Leases: granted, renewed, revoked, expired; never early."""

import time

import grpc

from harness.api import pb
from harness.client import status

LATE = 10.0  # Seconds that what happens in time may take longer on a starved machine.
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found")


def test_grant(client):
    chosen = client.grant(100, id=7)
    assert (chosen.ID, chosen.TTL, chosen.error, chosen.header.revision) == (7, 100, "", 1)
    picked = client.grant(100)
    assert picked.ID > 0 and picked.ID != 7
    assert client.grant(100, id=-7).ID == -7
    assert sorted(client.leases()) == sorted([7, picked.ID, -7])
    taken = grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: lease already exists"
    assert status(lambda: client.grant(100, id=7)) == taken


def test_time_to_live_limits(server, client):
    minimum = client.grant(0).TTL  # etcd's follows from its election timeout: 2 s by default.
    assert minimum == (2 if server.is_berth else 1)
    assert client.grant(-5).TTL == client.grant(1).TTL == minimum
    assert client.grant(9_000_000_000).TTL == 9_000_000_000
    too_large = grpc.StatusCode.OUT_OF_RANGE, "etcdserver: too large lease TTL"
    assert status(lambda: client.grant(9_000_000_001)) == too_large


def test_time_to_live(client):
    client.grant(100, id=7)
    client.put(b"b", lease=7)
    client.put(b"a", lease=7)
    answer = client.time_to_live(7, keys=True)
    assert (answer.ID, answer.grantedTTL, sorted(answer.keys)) == (7, 100, [b"a", b"b"])
    assert 50 <= answer.TTL <= 100
    assert not client.time_to_live(7).keys
    unknown = client.time_to_live(8, keys=True)
    assert (unknown.ID, unknown.TTL, unknown.grantedTTL) == (8, -1, 0)


def test_leases_are_listed_by_remaining_time(client):
    for id, ttl in ((1, 300), (2, 100), (3, 200)):
        client.grant(ttl, id=id)
    assert client.leases() == [2, 3, 1]


def test_revoke_deletes_the_keys_in_one_revision(client):
    client.grant(100, id=7)
    for key in (b"b", b"a", b"c"):
        client.put(key, lease=7)
    with client.watch() as watch:
        watch.create(b"\0", b"\0")
        assert client.revoke(7).header.revision == 5
        answer = watch.next()
        assert [(event.type, event.kv.key) for event in answer.events] == [(1, b"a"), (1, b"b"), (1, b"c")]
    assert status(lambda: client.revoke(7)) == NOT_FOUND
    assert client.leases() == []


def test_revoke_without_keys_makes_no_revision(client):
    client.grant(100, id=7)
    assert client.revoke(7).header.revision == 1


def test_a_key_has_one_lease(client):
    client.grant(100, id=7)
    client.grant(100, id=8)
    client.put(b"key", b"value", lease=7)
    client.put(b"key", b"value", lease=8)
    assert client.time_to_live(7, keys=True).keys == []
    client.revoke(7)
    assert client.get(b"key") == b"value"
    client.put(b"key", b"value")
    client.revoke(8)
    assert client.get(b"key") == b"value"


def test_put_needs_the_lease(client):
    assert status(lambda: client.put(b"key", lease=7)) == NOT_FOUND


def test_expiry_deletes_the_keys_and_is_never_early(client):
    with client.watch() as watch:
        watch.create_prefix(b"key/")
        before = time.monotonic()
        ttl = client.grant(4, id=7).TTL  # Long enough for the puts, also on a starved machine.
        client.put(b"key/1", lease=7)
        client.put(b"key/2", lease=7)
        watch.events(2)
        events = watch.next().events
        took = time.monotonic() - before
        assert [(event.type, event.kv.key) for event in events] == [(1, b"key/1"), (1, b"key/2")]
        assert events[0].kv.mod_revision == 4
    assert ttl <= took < ttl + LATE, f"expired after {took:.2f} s instead of {ttl} s"
    assert client.time_to_live(7).TTL == -1
    assert client.leases() == []


def test_keep_alive_prolongs(client):
    ttl = client.grant(4, id=7).TTL
    client.put(b"key", b"value", lease=7)
    with client.keep_alive() as stream, client.watch() as watch:
        watch.create(b"key")
        renewed = time.monotonic()
        for _ in range(5):
            # A quarter of a time to live passes, seen as the absence of any event; the rest is for a starved machine.
            try:
                answer = watch.next(timeout=ttl / 4)
                raise AssertionError(f"expired although renewed: {answer}")
            except TimeoutError:
                pass
            renewed = time.monotonic()
            stream.send(pb.LeaseKeepAliveRequest(ID=7))
            answer = stream.next()
            assert (answer.ID, answer.TTL, answer.header.revision) == (7, ttl, 2)
        watch.next()
        took = time.monotonic() - renewed
        assert ttl <= took < ttl + LATE, f"expired {took:.2f} s after the last renewal"


def test_keep_alive_answers_in_order_and_survives_unknown_leases(client):
    client.grant(100, id=7)
    client.grant(200, id=8)
    with client.keep_alive() as stream:
        for id in (7, 99, 8, 7):
            stream.send(pb.LeaseKeepAliveRequest(ID=id))
        answers = [stream.next() for _ in range(4)]
        assert [(answer.ID, answer.TTL) for answer in answers] == [(7, 100), (99, 0), (8, 200), (7, 100)]


def test_keep_alive_of_a_lease_that_expires_meanwhile(client):
    client.grant(4, id=7)
    put = client.put(b"key", lease=7)
    with client.watch() as watch, client.keep_alive() as stream:
        watch.create(b"key", start_revision=put.header.revision + 1)
        watch.next()
        stream.send(pb.LeaseKeepAliveRequest(ID=7))
        answer = stream.next()
        assert (answer.ID, answer.TTL) == (7, 0)


def test_many_leases_expire_together_while_writes_go_on(client, second_client):
    count = 2000
    grants = [client.lease.LeaseGrant.future(pb.LeaseGrantRequest(ID=i, TTL=3)) for i in range(1, count + 1)]
    for grant in grants:
        grant.result()
    puts = [client.kv.Put.future(pb.PutRequest(key=b"key/%05d" % i, lease=i)) for i in range(1, count + 1)]
    errors = 0
    for put in puts:
        try:
            put.result()
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND  # A slow machine may have let it expire.
            errors += 1
    with client.watch() as watch:
        watch.create_prefix(b"key/", start_revision=2)
        deleted, slowest = set(), 0.0
        while len(deleted) < count - errors:
            began = time.monotonic()
            second_client.put(b"other", b"value")
            slowest = max(slowest, time.monotonic() - began)
            while not watch.nothing_waits():
                deleted.update(event.kv.key for event in watch.next().events if event.type)
    assert slowest < LATE, f"a put took {slowest:.2f} s"
    assert client.prefix(b"key/").count == 0


def test_leases_survive_a_restart_with_their_keys(server, client):
    client.grant(100, id=7)
    ttl = client.grant(6, id=8).TTL
    client.put(b"long", b"value", lease=7)
    client.put(b"short", b"value", lease=8)
    server.stop()
    server.start()
    with server.client() as client:
        began = time.monotonic()
        assert sorted(client.leases()) == [7, 8]
        answer = client.time_to_live(7, keys=True)
        assert (answer.grantedTTL, list(answer.keys)) == (100, [b"long"])
        with client.watch() as watch:
            watch.create(b"short", start_revision=client.range(b"short").kvs[0].mod_revision + 1)
            watch.next()
        assert time.monotonic() - began < ttl + LATE
        assert client.get(b"long") == b"value"
