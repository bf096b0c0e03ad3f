"""Users over the gateway: tokens in every place they may be sent, and what needs none. Holds for etcd as well."""

import pytest

from harness.gateway import WebSocket, b64, call, post


@pytest.fixture
def guarded(server):
    """A server with authentication on, and root's token."""
    call(server, "auth/user/add", {"name": "root", "password": "secret"})
    call(server, "auth/role/add", {"name": "root"})
    call(server, "auth/user/grant", {"user": "root", "role": "root"})
    call(server, "auth/user/add", {"name": "reader", "password": "secret"})
    call(server, "auth/enable")
    yield server, call(server, "auth/authenticate", {"name": "root", "password": "secret"})["token"]


def asked(server, headers, path="kv/range"):
    answer = post(server, "/v3/" + path, {"key": b64("a")}, headers)
    return answer.status, answer.json.get("code"), answer.json.get("message")


def test_where_a_token_may_be(guarded):
    server, token = guarded
    assert asked(server, {"Authorization": token})[0] == 200
    assert asked(server, {"authorization": token}, "kv/put")[0] == 200
    assert asked(server, {"Grpc-Metadata-Token": token})[0] == 200
    if server.is_berth:  # etcd since late 3.5.
        assert asked(server, {"Authorization": f"Bearer {token}"})[0] == 200


def test_without_one(guarded):
    server, _ = guarded
    assert asked(server, {}) == (400, 3, "etcdserver: user name is empty")
    assert asked(server, {"Authorization": "nonsense"}) == (401, 16, "etcdserver: invalid auth token")
    reader = call(server, "auth/authenticate", {"name": "reader", "password": "secret"})["token"]
    assert asked(server, {"Authorization": reader}) == (403, 7, "etcdserver: permission denied")
    wrong = post(server, "/v3/auth/authenticate", {"name": "root", "password": "wrong"})
    assert (wrong.status, wrong.json["code"]) == (400, 3)
    # Probes have no user.
    for page in ["/health", "/version"] + (["/livez", "/readyz"] if server.is_berth else []):
        assert post(server, page, method="GET").status == 200


@pytest.mark.berth_only
def test_over_a_websocket(guarded):
    server, token = guarded
    with WebSocket(server, "/v3/watch", f"Sec-WebSocket-Protocol: Bearer, {token}\r\n") as watch:
        watch.send({"create_request": {"key": b64("a")}})
        created = watch.json()["result"]
        assert created["created"] is True and "cancel_reason" not in created
