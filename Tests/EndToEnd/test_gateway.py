"""The HTTP/JSON gateway: routes, JSON, errors, headers, and the pages beside it. Holds for etcd as well, where not marked."""

import http.client
import json
import shutil
import socket
import subprocess

import pytest

from harness.gateway import b64, call, post


def test_keys_go_round(server):
    put = call(server, "kv/put", {"key": b64("foo"), "value": b64("bar")})
    assert set(put) == {"header"} and isinstance(put["header"]["revision"], str)
    got = call(server, "kv/range", {"key": b64("foo")})
    assert got["count"] == "1"
    assert got["kvs"] == [
        {
            "key": b64("foo"),
            "create_revision": put["header"]["revision"],
            "mod_revision": put["header"]["revision"],
            "version": "1",
            "value": b64("bar"),
        }
    ]
    assert call(server, "kv/deleterange", {"key": b64("foo"), "prevKv": True})["deleted"] == "1"
    assert "kvs" not in call(server, "kv/range", {"key": b64("foo")})


def test_txn(server):
    answer = call(
        server,
        "kv/txn",
        {
            "compare": [{"key": b64("a"), "target": "VERSION", "version": "0"}],
            "success": [
                {"request_put": {"key": b64("a"), "value": b64("1")}},
                {"requestRange": {"key": b64("a")}},
                {"request_txn": {}},
            ],
        },
    )
    assert answer["succeeded"] is True
    put, got, nested = answer["responses"]
    assert put["response_put"] == {"header": {"revision": answer["header"]["revision"]}}
    assert got["response_range"]["count"] == "1"
    assert nested["response_txn"]["header"] == {}


def test_leases_locks_and_elections(server):
    lease = call(server, "lease/grant", {"TTL": 60})
    assert lease["TTL"] == "60"
    assert call(server, "kv/lease/timetolive", {"ID": lease["ID"], "keys": True})["grantedTTL"] == "60"
    assert call(server, "lease/leases")["leases"] == [{"ID": lease["ID"]}]
    lock = call(server, "lock/lock", {"name": b64("l"), "lease": lease["ID"]})
    assert call(server, "lock/unlock", {"key": lock["key"]})["header"]
    leader = call(server, "election/campaign", {"name": b64("e"), "lease": lease["ID"], "value": b64("me")})["leader"]
    assert leader["name"] == b64("e")
    assert call(server, "election/leader", {"name": b64("e")})["kv"]["value"] == b64("me")
    assert call(server, "election/proclaim", {"leader": leader, "value": b64("still me")})
    assert call(server, "election/resign", {"leader": leader})
    assert call(server, "kv/lease/revoke", {"ID": lease["ID"]})["header"]


def test_maintenance_and_cluster(server):
    assert call(server, "maintenance/status")["version"]
    assert isinstance(call(server, "maintenance/hash")["hash"], int)
    assert call(server, "maintenance/alarm", {"action": "GET"})["header"]
    assert call(server, "maintenance/defragment") == {}
    assert len(call(server, "cluster/member/list")["members"]) == 1


@pytest.mark.parametrize(
    "body, status",
    [
        ('{"key":5}', 400), ('{"key":"Zm9"}', 400), ('{"key":"Zm9_"}', 400), ("{", 400), ("[]", 400), ("x", 400),
        ('{"key":"Zm9v","lease":1.5}', 400), ('{"key":"Zm9v","prev_kv":"true"}', 400), ('{"key":null}', 400),
        ("", 400), ("null", 400), ('{"key":"Zm9v","lease":"99"}', 404), ('{"key":"Zm9v","ignore_value":true}', 400),
        ('{"key":"Zm9v"} what follows', 200), ('{"key":"Zm9v","what":{"is":["this"]}}', 200),
    ],
)  # fmt: skip
def test_what_a_body_may_be(server, body, status):
    answer = post(server, "/v3/kv/put", body)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    if status == 200:
        assert answer.headers["Grpc-Metadata-Content-Type"] == "application/grpc"
    else:
        error = answer.json
        assert set(error) == {"error", "code", "message"} and error["error"] == error["message"] != ""
        assert error["code"] == (5 if status == 404 else 3)


def test_statuses(server):
    def refused(path, body):
        answer = post(server, "/v3/" + path, body)
        return answer.status, answer.json["code"], answer.json["message"]

    assert refused("kv/put", {}) == (400, 3, "etcdserver: key is not provided")
    assert refused("kv/put", '{"key":"Zm9"}') == (400, 3, "illegal base64 data at input byte 0")
    assert refused("kv/range", {"key": b64("a"), "revision": 99}) == (
        400, 11, "etcdserver: mvcc: required revision is a future revision",
    )  # fmt: skip
    assert refused("lease/revoke", {"ID": 99}) == (404, 5, "etcdserver: requested lease not found")
    assert refused("election/leader", {"name": b64("none")}) == (500, 2, "election: no leader")
    call(server, "lease/grant", {"TTL": 60, "ID": 7})
    assert refused("lease/grant", {"TTL": 60, "ID": 7}) == (400, 9, "etcdserver: lease already exists")


def test_paths_and_verbs(server):
    def asked(path, method="POST"):
        answer = post(server, path, method=method)
        return answer.status, answer.body

    assert asked("/v3/kv/range", "GET") == (405, b"Method Not Allowed\n")
    assert asked("/v3/kv/range", "PUT") == (405, b"Method Not Allowed\n")
    assert asked("/v3/kv/range/") == (404, b"Not Found\n")
    assert asked("/v3/kv/nothing") == (404, b"Not Found\n")
    assert asked("/v3/") == (404, b"Not Found\n")
    assert asked("/v3alpha/kv/range") == (404, b"404 page not found\n")
    assert asked("/v3beta/kv/range")[0] == 400
    assert asked("/v3/kv/range?key=YQ==")[0] == 400
    assert asked("/", "GET") == (404, b"404 page not found\n")
    assert asked("/v2/keys", "GET") == (404, b"404 page not found\n")
    refusal = post(server, "/version", method="POST")
    assert refusal.status == 405 and refusal.headers["Allow"] == "GET"


def test_cors(server):
    for answer in [
        post(server, "/v3/kv/range", {"key": b64("a")}),
        post(server, "/v3/kv/range", "{"),
        post(server, "/nothing", method="GET"),
        post(server, "/v3/kv/range", method="OPTIONS"),
        post(server, "/nothing", method="OPTIONS"),
    ]:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST, GET, OPTIONS, PUT, DELETE"
        assert answer.headers["Access-Control-Allow-Headers"] == "accept, content-type, authorization"
    assert answer.status == 200 and answer.body == b""


def test_timeouts(server):
    def asked(value, path="kv/range"):
        return post(server, "/v3/" + path, {"key": b64("a")}, {"Grpc-Timeout": value})

    assert asked("5S").status == 200
    assert asked("1000000000S").status == 200
    late = asked("1n")
    assert late.status == 504 and late.json["message"] == "context deadline exceeded"
    bad = asked("1x")
    assert bad.status == 400 and bad.json["message"] == "invalid grpc-timeout: 1x"


def test_a_connection_is_kept(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    socket_ = connection.sock
    for path, status in [
        ("kv/put", 200), ("kv/range", 200), ("kv/nothing", 404), ("lease/keepalive", 200), ("lease/leases", 200),
        ("kv/txn", 200), ("kv/put", 200),
    ]:  # fmt: skip
        for _ in range(2):
            connection.request("POST", "/v3/" + path, '{"key":"Zm9v","ID":7}')
            response = connection.getresponse()
            assert response.status == status and response.read()
    assert connection.sock is socket_, "the connection was closed on the way"
    connection.close()


def test_requests_may_be_pipelined(server):
    body = b'{"key":"Zm9v","value":"YmFy"}'
    request = b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request * 50)
        file = connection.makefile("rb")
        revisions = []
        for _ in range(50):
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = http.client.parse_headers(file)
            revisions.append(int(json.loads(file.read(int(headers["Content-Length"])))["header"]["revision"]))
    assert revisions == list(range(revisions[0], revisions[0] + 50))


def test_long_values(server):
    value = "x" * 1_500_000
    call(server, "kv/put", {"key": b64("long"), "value": b64(value)})
    assert call(server, "kv/range", {"key": b64("long")})["kvs"][0]["value"] == b64(value)
    refused = post(server, "/v3/kv/put", {"key": b64("long"), "value": b64("x" * 1_600_000)})
    assert (refused.status, refused.json["message"]) == (400, "etcdserver: request is too large")
    refused = post(server, "/v3/kv/put", {"key": b64("long"), "value": b64("x" * 2_200_000)})
    assert (refused.status, refused.json["code"]) == (429, 8)
    assert refused.json["message"].startswith("grpc: received message larger than max (22000")


@pytest.mark.berth_only
def test_a_body_past_its_bound_is_not_kept(server):
    before = server.resident_bytes()
    answer = post(server, "/v3/kv/put", b'{"key":"' + b"A" * 7_000_000 + b'"}')
    assert answer.status == 429 and "longer than" in answer.json["message"]
    with pytest.raises(OSError):
        # The rest is read and dropped for a while, so that the answer arrives; then the connection ends.
        post(server, "/v3/kv/put", b"{" + b" " * 64_000_000)
        raise ConnectionResetError  # An answer that came before the cut is as good.
    assert server.resident_bytes() - before < 100 << 20


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"])
@pytest.mark.parametrize("length", [10, 1_200_000])
@pytest.mark.berth_only
def test_curl(server, version, length, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    body = tmp_path / "body"
    body.write_text(json.dumps({"key": b64("foo"), "value": b64("x" * length)}))

    def curl(*arguments):
        return json.loads(
            subprocess.run(
                ["curl", "-sS", "-m", "60", version, *arguments], check=True, capture_output=True, timeout=90
            ).stdout
        )

    assert curl(server.url + "/v3/kv/put", "-d", f"@{body}")["header"]
    got = curl(server.url + "/v3/kv/range", "-d", '{"key":"Zm9v"}')
    assert got["kvs"][0]["value"] == b64("x" * length)
    assert curl(server.url + "/health")["health"] == "true"


@pytest.mark.berth_only
def test_headers_past_their_bound(server):
    answer = post(server, "/v3/kv/range", {"key": b64("a")}, {"X": "y" * 20_000})
    assert answer.status == 431


@pytest.mark.berth_only
def test_health_pages(server):
    def page(path):
        answer = post(server, path, method="GET")
        return answer.status, answer.body.decode()

    assert page("/health") == (200, '{"health":"true","reason":""}')
    assert page("/health?serializable=true") == (200, '{"health":"true","reason":""}')
    assert page("/livez") == (200, "ok\n")
    assert page("/livez?verbose") == (200, "[+]serializable_read ok\nok\n")
    assert page("/livez?verbose&exclude=serializable_read") == (200, "ok\n")
    only = "/livez/serializable_read?verbose&exclude=serializable_read"
    assert page(only) == (200, "[+]serializable_read ok\nok\n")
    checks = ["data_corruption", "serializable_read", "linearizable_read", "non_learner"]
    assert page("/readyz?verbose") == (200, "".join(f"[+]{check} ok\n" for check in checks) + "ok\n")
    assert page("/readyz?verbose&exclude=non_learner&exclude=nothing") == (
        200, "".join(f"[+]{check} ok\n" for check in checks[:-1]) + "ok\n",
    )  # fmt: skip
    assert page("/readyz/linearizable_read?verbose") == (200, "[+]linearizable_read ok\nok\n")
    assert page("/readyz/nothing")[0] == 404

    call(server, "maintenance/alarm", {"action": "ACTIVATE", "alarm": "NOSPACE"})
    assert page("/health") == (503, '{"health":"false","reason":"ALARM NOSPACE"}\n')
    assert page("/health?exclude=NOSPACE")[0] == 200
    assert page("/readyz")[0] == 200
    call(server, "maintenance/alarm", {"action": "DEACTIVATE", "alarm": "NOSPACE"})
    call(server, "maintenance/alarm", {"action": "ACTIVATE", "alarm": "CORRUPT"})
    status, text = page("/readyz")
    assert status == 503 and "[-]data_corruption failed: alarm activated: CORRUPT\n" in text
    assert page("/readyz?exclude=data_corruption")[0] == 200
    assert page("/livez")[0] == 200


@pytest.mark.berth_only
def test_berths_own_services(server):
    place = call(server, "berth/locks/acquire", {"name": b64("l"), "ttl": 60, "wait_milliseconds": "0"})
    assert place["acquired"] is True and int(place["handle"]["token"]) > 0
    assert call(server, "berth/locks/list")["locks"][0]["name"] == b64("l")
    assert call(server, "berth/locks/inspect", {"name": b64("l")})["holders"] == "1"
    handle = place["handle"]
    assert call(server, "berth/locks/release", {"key": handle["key"], "token": handle["token"]})
