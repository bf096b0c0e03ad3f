"""The Election service: campaign, proclaim, leader, observe, resign."""

import grpc

from harness.api import pb
from harness.client import DEADLINE_EXCEEDED, status

NOT_LEADER = (grpc.StatusCode.UNKNOWN, "election: not leader")
NO_LEADER = (grpc.StatusCode.UNKNOWN, "election: no leader")
NO_FIELD = (grpc.StatusCode.UNKNOWN, '"leader" field must be provided')


def begin_campaign(client, lease, value, timeout=60.0):
    request = pb.CampaignRequest(name=b"name", lease=lease, value=value)
    return client.election.Campaign.future(request, timeout=timeout)


def campaign(client, lease, value, timeout=60.0):
    return begin_campaign(client, lease, value, timeout).result()


def leader(client):
    return client.election.Leader(pb.LeaderRequest(name=b"name"), timeout=60.0)


def proclaim(client, leader, value):
    return client.election.Proclaim(pb.ProclaimRequest(leader=leader, value=value), timeout=60.0)


def resign(client, leader):
    return client.election.Resign(pb.ResignRequest(leader=leader), timeout=60.0)


def two_candidates(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    first = campaign(client, 1, b"first")
    second = begin_campaign(client, 2, b"second")
    client.await_keys(b"name/", 2)
    return first, second


def test_the_only_candidate_wins_at_once(client):
    client.grant(100, id=0xABC)
    answer = campaign(client, 0xABC, b"value")
    won = answer.leader
    assert (won.name, won.key, won.rev, won.lease) == (b"name", b"name/abc", 2, 0xABC)
    assert answer.header.revision == 2
    kv = leader(client).kv
    assert (kv.key, kv.value, kv.lease) == (b"name/abc", b"value", 0xABC)


def test_without_a_lease_one_of_60_seconds_is_granted(client):
    answer = campaign(client, 0, b"value")
    (lease,) = client.leases()
    assert answer.leader.lease == lease
    assert client.time_to_live(lease).grantedTTL == 60


def test_an_unknown_lease_is_refused(client):
    refused = grpc.StatusCode.UNKNOWN, "etcdserver: requested lease not found"
    assert status(lambda: campaign(client, 99, b"value")) == refused


def test_campaigning_again_changes_the_value(client):
    client.grant(100, id=1)
    first = campaign(client, 1, b"one").leader
    again = campaign(client, 1, b"two").leader
    assert again == first
    assert leader(client).kv.value == b"two"
    assert client.revision() == 3
    campaign(client, 1, b"two")
    assert client.revision() == 3, "the same value is not written again"


def test_candidates_win_in_the_order_they_came(client):
    campaigns = []
    for i in range(1, 6):
        client.grant(100, id=i)
        campaigns.append(begin_campaign(client, i, b"%d" % i))
        client.await_keys(b"name/", i)
    for i, call in enumerate(campaigns, 1):
        won = call.result().leader
        assert won.key == b"name/%x" % i
        assert leader(client).kv.value == b"%d" % i
        assert not any(later.done() for later in campaigns[i:])
        resign(client, won)
    assert status(lambda: leader(client)) == NO_LEADER


def test_the_answer_of_a_waiter_names_its_own_revision(client):
    first, second = two_candidates(client)
    resign(client, first.leader)
    won = second.result()
    assert (won.leader.key, won.leader.rev) == (b"name/2", 3)
    assert won.header.revision == 3, "the header is that of its first transaction"


def test_proclaim(client):
    client.grant(100, id=1)
    won = campaign(client, 1, b"one").leader
    assert proclaim(client, won, b"two").header.revision == 3
    kv = leader(client).kv
    assert (kv.value, kv.lease, kv.create_revision) == (b"two", 1, 2)
    resign(client, won)
    assert status(lambda: proclaim(client, won, b"three")) == NOT_LEADER
    assert status(lambda: client.election.Proclaim(pb.ProclaimRequest(value=b"x"), timeout=60)) == NO_FIELD


def test_resign(client):
    client.grant(100, id=1)
    won = campaign(client, 1, b"value").leader
    other = pb.LeaderKey(name=b"name", key=won.key, rev=won.rev + 1, lease=1)
    resign(client, other)  # Not the leader: not an error, and nothing happens.
    assert leader(client).kv.value == b"value"
    resign(client, won)
    assert status(lambda: leader(client)) == NO_LEADER
    resign(client, won)
    assert status(lambda: client.election.Resign(pb.ResignRequest(), timeout=60)) == NO_FIELD


def test_a_cancelled_campaign_leaves_the_queue(client):
    _, second = two_candidates(client)
    second.cancel()
    assert client.await_keys(b"name/", 1) == [b"name/1"]


def test_a_campaign_past_its_deadline_leaves_the_queue(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    campaign(client, 1, b"first")
    code, _ = status(lambda: campaign(client, 2, b"second", timeout=0.5))
    assert code in DEADLINE_EXCEEDED
    assert client.await_keys(b"name/", 1) == [b"name/1"]


def test_leadership_passes_on_with_the_lease(client):
    _, second = two_candidates(client)
    client.revoke(1)
    assert second.result().leader.key == b"name/2"


def test_observe_follows_values_and_leaders(client):
    client.grant(100, id=1)
    client.grant(100, id=2)
    with client.observe(b"name") as observer:
        first = campaign(client, 1, b"one").leader
        assert observer.next().kv.value == b"one"
        proclaim(client, first, b"two")
        assert observer.next().kv.value == b"two"
        second = begin_campaign(client, 2, b"three")
        client.await_keys(b"name/", 2)
        resign(client, first)
        won = second.result().leader
        answer = observer.next()
        assert (answer.kv.key, answer.kv.value) == (b"name/2", b"three")
        resign(client, won)
        client.grant(100, id=3)
        campaign(client, 3, b"four")
        assert observer.next().kv.value == b"four", "a time without a leader is waited out"


def test_observe_starts_with_the_leader_there_is(client):
    client.grant(100, id=1)
    campaign(client, 1, b"value")
    with client.observe(b"name") as observer:
        answer = observer.next()
        assert answer.kv.value == b"value" and answer.header.revision == 2


def test_leader_of_another_election(client):
    client.grant(100, id=1)
    campaign(client, 1, b"value")
    with_prefix = client.election.Leader.future(pb.LeaderRequest(name=b"nam"), timeout=60.0)
    assert status(with_prefix.result) == NO_LEADER
