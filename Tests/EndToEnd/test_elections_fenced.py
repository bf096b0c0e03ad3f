"""Elections by berth.v1, and leadership that is checked at every write."""

import random
import signal
import threading

import grpc
import pytest

from harness.api import berth, pb
from harness.locks import (
    await_places,
    begin_campaign,
    campaign,
    error_of,
    fenced,
    inspect,
    leader_of,
    observe_leaders,
    proclaim,
    put_op,
    resign,
)
from harness.workers import worker

pytestmark = pytest.mark.berth_only

NAME = b"reports"


def test_campaign_proclaim_resign(client):
    assert leader_of(client, NAME) is None
    won = campaign(client, NAME, b"one", owner="first")
    assert won.elected and won.ahead == 0
    place = leader_of(client, NAME)
    assert (place.token, place.value, place.owner, place.holds) == (won.leader.token, b"one", "first", True)
    assert (place.guards, place.mode) == ([], berth.Mode.EXCLUSIVE)
    proclaim(client, won.leader, b"two")
    assert leader_of(client, NAME).value == b"two"
    tried = campaign(client, NAME, b"x", wait=0)
    assert not tried.elected and tried.holder.token == won.leader.token
    waiting = begin_campaign(client, NAME, b"three")
    await_places(client, NAME, 2)
    assert resign(client, won.leader).resigned
    second = waiting.result()
    assert second.elected and second.leader.token > won.leader.token and second.ahead == 1
    assert leader_of(client, NAME).value == b"three"
    assert not resign(client, won.leader).resigned, "harmless when repeated"
    assert error_of(lambda: proclaim(client, won.leader, b"late")).code() == grpc.StatusCode.FAILED_PRECONDITION
    assert leader_of(client, NAME).value == b"three"


def test_etcd_s_candidates_stand_in_the_same_line(etcdctl, client):
    first = campaign(client, NAME, b"berth").leader
    with etcdctl.start("elect", NAME.decode(), "etcdctl") as candidate:
        await_places(client, NAME, 2)
        client.grant(60, id=3)
        request = pb.CampaignRequest(name=NAME, value=b"v3election", lease=3)
        third = client.election.Campaign.future(request, timeout=60)
        await_places(client, NAME, 3)
        last = begin_campaign(client, NAME, b"last")
        await_places(client, NAME, 4)
        assert client.election.Leader(pb.LeaderRequest(name=NAME), timeout=20).kv.key == first.key
        resign(client, first)
        key, value = candidate.lines(2)
        assert value == "etcdctl" and leader_of(client, NAME).key == key.encode()
        candidate.signal(signal.SIGINT)
        won = third.result().leader
        assert leader_of(client, NAME).value == b"v3election"
        client.election.Resign(pb.ResignRequest(leader=won), timeout=20)
        assert last.result().elected


def without_ttl(answer):
    """What history can tell: how long a lease was to live is not known when it is gone."""
    answer.leader.ttl = 0
    return answer.header.revision, answer.leader, answer.value, answer.owner, answer.revision


def test_observe_misses_no_leader_and_no_value(server, client):
    """Told as it happens, and again from the start: the same story."""
    expected = []
    with observe_leaders(client, NAME, start_revision=1) as stream:
        for i in range(30):
            won = campaign(client, NAME, b"%d" % i, owner=f"candidate {i}").leader
            expected.append((won.token, b"%d" % i))
            for word in (b"a", b"b"):
                proclaim(client, won, word)
                expected.append((won.token, word))
            resign(client, won)
            expected.append((0, b""))
        told = [stream.next() for _ in expected]
    with observe_leaders(client, NAME, start_revision=1) as stream:
        again = [stream.next() for _ in expected]
    for answers in (told, again):
        assert [(a.leader.token if a.HasField("leader") else 0, a.value) for a in answers] == expected
        revisions = [a.revision for a in answers]
        assert revisions == sorted(set(revisions))
    # From any of them on, what follows.
    start = told[40].revision + 1
    with server.client() as other, observe_leaders(other, NAME, start_revision=start) as stream:
        rest = [stream.next() for _ in expected[41:]]
    assert list(map(without_ttl, rest)) == list(map(without_ttl, told[41:]))


def test_observe_starts_with_the_leader_there_is(client):
    won = campaign(client, NAME, b"value").leader
    with observe_leaders(client, NAME) as stream:
        first = stream.next()
        assert (first.leader.token, first.value) == (won.token, b"value")
        resign(client, won)
        assert not stream.next().HasField("leader")


def test_a_paused_leader_is_refused_after_its_successor_began(server, client):
    with worker(server, "campaign", NAME.decode(), "--ttl", "3") as paused:
        _, key, token, _ = paused.line(60).split()
        paused.write("put report first\n")
        assert paused.line().startswith("succeeded")
        waiting = begin_campaign(client, NAME)
        await_places(client, NAME, 2)
        paused.signal(signal.SIGSTOP)
        leader = waiting.result().leader
        assert leader.token > int(token)
        paused.signal(signal.SIGCONT)
        paused.write("put report late\n")
        assert paused.line(60) == "lost"
        assert fenced(client, leader, put_op(b"report", b"second")).succeeded
        assert client.get(b"report") == b"second"
        assert [place.token for place in inspect(client, NAME).places] == [leader.token]


def test_leadership_intervals_never_overlap_by_the_tokens_seen_at_a_fenced_store(server, client):
    """Candidates by both APIs come, lead, write and go, or vanish; late ones keep trying to write with what they had.

    The store's history is the judge: each fenced write carries its token. Were two leaders at once, or a late write let
    through, a token would come back after another one.
    """
    candidates, turns = 12, 6
    written = []  # Tokens of leaders that wrote something.
    late_writes = []

    def by_etcd(own, lease):
        request = pb.CampaignRequest(name=NAME, value=b"etcd", lease=lease)
        won = own.election.Campaign(request, timeout=240).leader
        return berth.Handle(name=won.name, key=won.key, token=won.rev, lease=won.lease)

    def by_berth(own, lease):
        return campaign(own, NAME, b"berth", ttl=0, lease=lease).leader

    def stand(number):
        rng = random.Random(number)
        past = []
        with server.client() as own:
            for turn in range(turns):
                lease = own.grant(240, id=1000 * (number + 1) + turn).ID
                handle = (by_etcd if (number + turn) % 2 else by_berth)(own, lease)
                for _ in range(rng.randrange(1, 4)):
                    assert fenced(own, handle, put_op(b"log", b"%d" % handle.token)).succeeded
                written.append(handle.token)
                # Some resign, some lose their lease under their feet.
                if rng.random() < 0.5:
                    assert resign(own, handle).resigned
                else:
                    own.revoke(lease)
                past.append(handle)
                for lost in past:
                    late_writes.append(fenced(own, lost, put_op(b"log", b"late %d" % lost.token)).succeeded)

    threads = [threading.Thread(target=stand, args=(number,)) for number in range(candidates)]
    with client.watch() as watch:
        watch.create(b"log")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        count = client.range(b"log").kvs[0].version
        seen = [event.kv.value for event in watch.events(count, timeout=60)]
    assert len(written) == candidates * turns and not any(late_writes)
    tokens = list(map(int, seen))
    assert tokens == sorted(tokens), "a token came back after a later one"
    assert sorted(set(tokens)) == sorted(written)
