"""`berth import` when a server's answers are not what the rest of them says."""

import json

import pytest

from harness.berthctl import Berth
from harness.imports import DIFFER, REFUSED, arguments, fill, state
from harness.middle import changed

pytestmark = pytest.mark.berth_only


@pytest.fixture
def etcd(new_server):
    return new_server(kind="etcd", heartbeat_interval=50, election_timeout=500).start()


@pytest.fixture
def source(etcd):
    with etcd.client() as client:
        yield client


@pytest.fixture
def berth(server):
    return Berth(server.url)


def test_a_key_that_no_page_brings_is_missed(etcd, source, berth, client):
    source.grant(600, 5)
    fill(source, [(b"k/%d" % i, b"v", 5 if i % 2 else 0) for i in range(300)])

    def without_one(request, answer):
        if not request.count_only and not request.keys_only:
            kept = [kv for kv in answer.kvs if kv.key != b"k/77"]
            del answer.kvs[:]
            answer.kvs.extend(kept)

    with changed(etcd, Range=without_one) as address:
        result = berth.run("import", "--from-etcd", address)
        assert result.code == DIFFER and "NOT verified" in result.stderr, result
        assert "the source counts 300 at revision" in result.stderr and "299 were written" in result.stderr, result
        assert "left out:" not in result.stdout and client.get(b"k/77") is None
        report = json.loads(berth.run("import", "--from-etcd", address, "--overwrite", "-w", "json").stdout)
    assert not report["verified"] and report["differences"] == 0 and report["left_out"] == 0
    assert report["source_count"] == 300 and report["written"] == report["keys"] == report["target_keys"] == 299


def test_a_lease_that_the_target_grants_otherwise_is_refused(etcd, source, server, client):
    source.grant(600, 5)
    source.put(b"k", b"v", lease=5)

    def longer(request, answer):
        answer.TTL += 1

    with changed(server, LeaseGrant=longer) as address:
        result = Berth(f"http://{address}").run(*arguments(etcd))
    assert result.code == REFUSED and "granted lease 5 a time to live of 601 s instead of 600 s" in result.stderr, result
    assert state(client) == []


def test_a_lease_that_the_target_lost_is_told(etcd, source, server):
    for lease in (5, 6):
        source.grant(600, lease)
    source.put(b"k", b"v")

    def without_five(request, answer):
        kept = [lease for lease in answer.leases if lease.ID != 5]
        del answer.leases[:]
        answer.leases.extend(kept)

    with changed(server, LeaseLeases=without_five) as address:
        result = Berth(f"http://{address}").run(*arguments(etcd))
        assert result.code == DIFFER and "the target lost 1 lease meanwhile: 5" in result.stderr, result
        again = Berth(f"http://{address}").run(*arguments(etcd, "--overwrite", "-w", "json"))
        report = json.loads(again.stdout)
    assert report["lost_leases"] == ["5"] and not report["verified"] and report["differences"] == 0


def test_one_store_is_known_while_it_is_written_and_so_are_two_members_of_one_cluster(etcd, source):
    source.put(b"k", b"v")

    # Written before the target answers.
    def written(request, answer):
        source.put(b"k", b"v")

    with changed(etcd, Status=written) as address:
        result = Berth(f"http://{address}").run(*arguments(etcd, "--overwrite"))
        assert result.code == REFUSED and "same store" in result.stderr

    def other_member(request, answer):
        answer.header.member_id += 1

    with changed(etcd, Status=other_member) as address:
        result = Berth(f"http://{address}").run(*arguments(etcd, "--overwrite"))
        assert result.code == REFUSED and "two members of one cluster" in result.stderr
