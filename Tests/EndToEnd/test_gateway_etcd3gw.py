"""PyPI's `etcd3gw`, a client of etcd's gateway that nobody here wrote, doing what its users do."""

import threading
import uuid

import pytest

etcd3gw = pytest.importorskip("etcd3gw")


@pytest.fixture
def gateway(server):
    return etcd3gw.client(host="127.0.0.1", port=server.port, api_path="/v3/")


def test_version_and_status(gateway):
    assert gateway.status()["version"]
    assert len(gateway.members()) == 1


def test_keys(gateway):
    assert gateway.put("a", "1")
    assert gateway.get("a") == [b"1"]
    assert gateway.create("a", "2") is False and gateway.create("b", "2") is True
    assert gateway.replace("a", "1", "3") is True and gateway.replace("a", "1", "4") is False
    assert [value for value, _ in gateway.get_prefix("a")] == [b"3"] and gateway.get("none") == []
    values = gateway.get_all(sort_order="ascend", sort_target="key")
    assert [value for value, _ in values] == [b"3", b"2"]
    assert gateway.delete("a") is True and gateway.delete("a") is False
    assert gateway.delete_prefix("b") is True


def test_leases(gateway):
    lease = gateway.lease(ttl=100)
    gateway.put("held", "1", lease)
    assert 90 <= lease.ttl() <= 100
    assert lease.refresh() == 100
    assert lease.keys() == [b"held"]
    assert lease.revoke() is True
    assert gateway.get("held") == []


def test_txn(gateway):
    from etcd3gw.utils import _encode

    answer = gateway.transaction(
        {
            "compare": [{"key": _encode("t"), "result": "EQUAL", "target": "VERSION", "version": 0}],
            "success": [{"request_put": {"key": _encode("t"), "value": _encode("1")}}],
            "failure": [],
        }
    )
    assert answer["succeeded"] is True


def test_locks(gateway):
    name = uuid.uuid4().hex
    with gateway.lock(name, ttl=60) as first:
        assert first.is_acquired()
        second = gateway.lock(name, ttl=60)
        assert second.acquire() is False
    assert second.acquire() is True
    assert second.release() is True


def test_watches(gateway):
    events, cancel = gateway.watch_prefix("w/")
    for number in range(5):
        gateway.put(f"w/{number}", str(number))
    for number in range(5):
        event = next(events)
        assert event["kv"]["key"] == f"w/{number}".encode() and event["kv"]["value"] == str(number).encode()
    cancel()

    writer = threading.Timer(0.3, lambda: gateway.put("once", "now"))
    writer.start()
    assert gateway.watch_once("once", timeout=60)["kv"]["value"] == b"now"
    writer.join()


def test_watch_timeout(gateway):
    from etcd3gw.exceptions import WatchTimedOut

    with pytest.raises(WatchTimedOut):
        gateway.watch_once("never", timeout=0.3)
