"""Every route of etcd's table leads to its method, for both names of the root."""

import pytest

from harness.gateway import post

UNARY = """
kv/range kv/put kv/deleterange kv/txn kv/compaction
lease/grant lease/revoke kv/lease/revoke lease/timetolive kv/lease/timetolive lease/leases kv/lease/leases
cluster/member/add cluster/member/remove cluster/member/update cluster/member/list cluster/member/promote
maintenance/alarm maintenance/status maintenance/defragment maintenance/hash maintenance/hashkv
maintenance/transfer-leadership maintenance/downgrade
auth/enable auth/disable auth/status auth/authenticate
auth/user/add auth/user/get auth/user/list auth/user/delete auth/user/changepw auth/user/grant auth/user/revoke
auth/role/add auth/role/get auth/role/list auth/role/delete auth/role/grant auth/role/revoke
lock/lock lock/unlock election/campaign election/proclaim election/leader election/resign
""".split()
SERVER_STREAMS = ["maintenance/snapshot", "election/observe"]
BOTH_STREAMS = ["watch", "lease/keepalive"]
BERTH = """
berth/locks/acquire berth/locks/release berth/locks/renew berth/locks/inspect berth/locks/list berth/locks/observe
berth/locks/break berth/elections/campaign berth/elections/proclaim berth/elections/leader berth/elections/observe
berth/elections/resign berth/maintenance/snapshot
""".split()


def test_the_table_has_51_routes():
    assert len(UNARY + SERVER_STREAMS + BOTH_STREAMS) == 51


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from harness.server import Server

    server = Server(data_dir=tmp_path_factory.mktemp("routes") / "data").start()
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("root", ["/v3/", "/v3beta/"])
@pytest.mark.parametrize("path", UNARY + SERVER_STREAMS + BOTH_STREAMS + BERTH)
def test_a_route_is_there(shared, root, path):
    """Half a message shows that the route exists and what it is, and changes nothing."""
    if path in BERTH and not shared.is_berth:
        pytest.skip("about Berth alone")
    answer = post(shared, root + path, "{")
    if not shared.is_berth and answer.status in (404, 501):
        pytest.skip("this etcd is older than the route")
    code = 2 if path in BOTH_STREAMS else 3
    assert (answer.status, answer.json["code"], answer.json["message"]) == (
        500 if code == 2 else 400, code, "unexpected EOF",
    )  # fmt: skip
