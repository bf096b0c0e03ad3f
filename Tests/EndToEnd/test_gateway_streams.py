"""The gateway's streams over raw sockets and WebSockets: messages that arrive over time, clients that go away, do not read,
or never end; and that nobody else suffers from them."""

import json
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness.api import pb
from harness.gateway import LineStream, WebSocket, b64, call, post
from harness.wire import RawConnection


def put(server, key, value=""):
    return call(server, "kv/put", {"key": b64(key), "value": b64(value)})


def test_a_watch_answers_line_by_line(server):
    with LineStream(server, "/v3/watch", {"create_request": {"key": b64("a")}}) as watch:
        assert watch.result()["created"] is True
        assert watch.response.getheader("Transfer-Encoding") == "chunked"
        assert watch.response.getheader("Grpc-Metadata-Content-Type") == "application/grpc"
        for number in range(3):
            put(server, "a", str(number))
            assert watch.result()["events"][0]["kv"]["value"] == b64(str(number))
        call(server, "kv/deleterange", {"key": b64("a")})
        event = watch.result()["events"][0]
        assert event["type"] == "DELETE" and set(event["kv"]) == {"key", "mod_revision"}


def test_request_messages_may_come_at_any_time_and_in_pieces(server):
    create = json.dumps({"create_request": {"key": b64("a"), "watch_id": "5"}}).encode()
    with LineStream(server, "/v3/watch") as watch:
        for byte in create:
            watch.send(bytes([byte]))
        assert watch.result()["watch_id"] == "5"
        watch.send(b' \n {"create_request":{"key":"Yg=="}}{"create_request":{"key":"Yw=="}}')
        assert [watch.result()["created"] for _ in range(2)] == [True, True]
        watch.send({"cancel_request": {"watch_id": 5}})
        assert watch.result()["canceled"] is True
        watch.end()
        # The end of the requests is not the end of the answers.
        put(server, "b", "on")
        assert watch.result()["events"][0]["kv"]["value"] == b64("on")


def test_keepalives(server):
    lease = call(server, "lease/grant", {"TTL": 60})["ID"]
    with LineStream(server, "/v3/lease/keepalive", {"ID": lease}) as stream:
        assert stream.result()["TTL"] == "60"
        stream.send({"ID": "12345"})
        assert "TTL" not in stream.result()
        stream.end()
        assert stream.next() is None


def test_what_is_no_json(server):
    for body, text in [(b'{"create_request":', "unexpected EOF"), (b"x", "invalid character 'x' looking for beginning")]:
        answer = post(server, "/v3/watch", body)
        assert answer.status == 500
        assert answer.json["code"] == 2 and answer.json["message"].startswith(text)
    answer = post(server, "/v3/watch", '{"create_request":{"key":"Zm9"}}')
    assert (answer.status, answer.json["message"]) == (500, "illegal base64 data at input byte 0")
    answer = post(server, "/v3/election/observe", '{"name":5}')
    assert (answer.status, answer.json["code"]) == (400, 3)
    # Later ones end the requests; the answers go on.
    with LineStream(server, "/v3/watch", {"create_request": {"key": b64("a")}}, b" x", b"{}") as watch:
        assert watch.result()["created"] is True
        put(server, "a", "1")
        assert watch.result()["events"]


def test_a_stream_ends_with_its_deadline(server):
    with LineStream(
        server, "/v3/watch", {"create_request": {"key": b64("a")}}, headers="Grpc-Timeout: 500m\r\n"
    ) as watch:
        assert watch.result()["created"] is True
        assert watch.next() == {
            "error": {
                "grpc_code": 4,
                "http_code": 504,
                "message": "context deadline exceeded",
                "http_status": "Gateway Timeout",
            }
        }
        assert watch.next() is None


def test_a_server_stream(server):
    for path, field in [("maintenance/snapshot", "blob"), ("berth/maintenance/snapshot", "data")]:
        copy = post(server, "/v3/" + path, {})
        if copy.status in (404, 501):
            continue  # Berth's own is not etcd's, and the other way round.
        assert copy.status == 200
        lines = copy.body.splitlines()
        assert lines and all(json.loads(line)["result"][field] for line in lines)


def test_observe(server):
    lease = call(server, "lease/grant", {"TTL": 60})["ID"]
    leader = call(server, "election/campaign", {"name": b64("e"), "lease": lease, "value": b64("1")})["leader"]
    with LineStream(server, "/v3/election/observe", {"name": b64("e")}) as stream:
        stream.end()
        assert stream.result()["kv"]["value"] == b64("1")
        call(server, "election/proclaim", {"leader": leader, "value": b64("2")})
        assert stream.result()["kv"]["value"] == b64("2")


def waiters(client, name):
    """Owner keys of a lock's line."""
    return client.kv.Range(pb.RangeRequest(key=name + b"/", range_end=name + b"0"), timeout=60).count


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # What is awaited is seen from outside only: there is no event for "left the line".


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.berth_only
def test_a_killed_curl_leaves_the_line(server, client, version):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    first, second = (call(server, "lease/grant", {"TTL": 600})["ID"] for _ in range(2))
    held = call(server, "lock/lock", {"name": b64("l"), "lease": first})["key"]
    body = json.dumps({"name": b64("l"), "lease": second})
    curl = subprocess.Popen(
        ["curl", "-sS", version, server.url + "/v3/lock/lock", "-d", body], stdout=subprocess.PIPE
    )
    until(lambda: waiters(client, b"l") == 2)
    curl.kill()
    curl.wait()
    until(lambda: waiters(client, b"l") == 1)
    call(server, "lock/unlock", {"key": held})
    assert waiters(client, b"l") == 0


@pytest.mark.berth_only
def test_a_watch_lives_past_every_timeout_of_short_requests(server):
    """Eleven seconds without a byte: longer than a request that is not whole may take."""
    with LineStream(server, "/v3/watch", {"create_request": {"key": b64("a")}}) as watch:
        assert watch.result()["created"] is True
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
            slow.sendall(b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert slow.recv(1) == b""  # That request was given up; the watch was not.
        put(server, "a", "1")
        assert watch.result()["events"]
        watch.send({"create_request": {"key": b64("b")}})
        assert watch.result()["created"] is True


@pytest.mark.memory(200)
@pytest.mark.berth_only
def test_a_client_that_does_not_read_is_not_answered_further(server):
    value = "x" * 100_000
    with LineStream(server, "/v3/watch", {"create_request": {"key": b64("a")}}) as watch:
        assert watch.result()["created"] is True
        before = server.resident_bytes()
        for _ in range(400):
            put(server, "a", value)
        # 53 MB of answers are due; a few sockets' worth were made.
        assert server.resident_bytes() - before < 180 << 20
        seen = 0
        while seen < 400:
            seen += len(watch.result()["events"])


@pytest.mark.berth_only
def test_a_client_that_only_sends_is_bounded(server):
    """Keepalives without end whose answers nobody reads: reading stops with writing."""
    lease = call(server, "lease/grant", {"TTL": 600})["ID"]
    before = server.resident_bytes()
    message = json.dumps({"ID": lease}).encode() * 1_000
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST /v3/lease/keepalive HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 400 << 20:
                connection.sendall(b"%x\r\n%s\r\n" % (len(message), message))
                sent += len(message)
        except TimeoutError:
            pass
        assert sent < 400 << 20, "the server read it all"
        assert server.resident_bytes() - before < 100 << 20
        call(server, "kv/put", {"key": b64("others"), "value": b64("go on")})


@pytest.mark.berth_only
def test_streams_end_with_the_server(new_server):
    server = new_server().start()
    with LineStream(server, "/v3/watch", {"create_request": {"key": b64("a")}}) as watch:
        assert watch.result()["created"] is True
        assert server.stop() == 0
        last = watch.next()
        assert last is None or "error" in last


def test_many_at_once(server):
    """64 connections, each with a watch and puts of its own."""
    failures = []

    def run(number):
        try:
            with LineStream(server, "/v3/watch", {"create_request": {"key": b64(f"k{number}")}}) as watch:
                watch.result()
                for value in range(5):
                    put(server, f"k{number}", str(value))
                    assert watch.result()["events"][0]["kv"]["value"] == b64(str(value))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures


def test_a_websocket_watches(server):
    with WebSocket(server, "/v3/watch") as watch:
        assert watch.status == 101 and watch.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        watch.send({"create_request": {"key": b64("a")}})
        assert watch.json()["result"]["created"] is True
        put(server, "a", "1")
        assert watch.json()["result"]["events"][0]["kv"]["value"] == b64("1")
        # One message may come in several frames.
        watch.frame(WebSocket.TEXT, b'{"create_request":', final=False)
        watch.frame(0, b'{"key":"Yg=="}}')
        assert watch.json()["result"]["created"] is True
        watch.frame(WebSocket.PING, b"there?")
        assert watch.receive() == (WebSocket.PONG, b"there?")
        watch.frame(WebSocket.CLOSE, b"\x03\xe8")
        while (frame := watch.receive()) is not None:
            assert frame[0] == WebSocket.CLOSE


@pytest.mark.berth_only
def test_a_websocket_makes_single_calls_too(server):
    with WebSocket(server, "/v3/kv/put", "Sec-WebSocket-Protocol: Bearer, some-token\r\n") as socket_:
        assert socket_.headers["sec-websocket-protocol"] == "Bearer"
        socket_.send({"key": b64("a")})
        assert socket_.json()["header"]["revision"] == "2"
        assert socket_.receive()[0] == WebSocket.CLOSE
    with WebSocket(server, "/v3/nothing") as socket_:
        assert socket_.receive() == (WebSocket.TEXT, b"Not Found")


@pytest.mark.berth_only
def test_a_websocket_that_goes_away_leaves_the_line(server, client):
    first, second = (call(server, "lease/grant", {"TTL": 600})["ID"] for _ in range(2))
    call(server, "lock/lock", {"name": b64("l"), "lease": first})
    with WebSocket(server, "/v3/lock/lock") as waiting:
        waiting.send({"name": b64("l"), "lease": second})
        until(lambda: waiters(client, b"l") == 2)
    until(lambda: waiters(client, b"l") == 1)


@pytest.mark.berth_only
def test_answers_that_nobody_reads_by_http2(server):
    """Eight megabytes of base64 each, asked for a hundred times with no window to send them."""
    for number in range(6):
        put(server, f"big/{number}", "v" * 1_000_000)
    body = json.dumps({"key": b64("big/"), "range_end": b64("big0")}).encode()
    before = server.resident_bytes()
    with RawConnection(server, initial_window_size=0) as connection:
        for _ in range(100):
            connection.body(connection.begin("/v3/kv/range", content_type="application/json"), body)
        for _ in range(20):
            put(server, "others", "go on")
        grown = server.resident_bytes() - before
        assert grown < 300 << 20, f"holds {grown >> 20} MiB for one client that does not read"


@pytest.mark.berth_only
def test_bodies_without_end_by_http2_are_bounded(server):
    before = server.resident_bytes()
    with RawConnection(server) as connection:
        streams = [connection.begin("/v3/kv/put", content_type="application/json") for _ in range(500)]
        for stream in streams:
            connection.body(stream, b'{"key":"' + b"A" * 60_000, end=False)
        put(server, "others", "go on")
        assert server.resident_bytes() - before < 200 << 20


@pytest.mark.berth_only
def test_a_websocket_handshake_that_is_not_complete_holds_nothing(server):
    """Its deadline is far away, and must not keep what came with it that long."""
    request = (
        "GET /v3/watch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Grpc-Timeout: 999999H\r\nX: {'y' * 12_000}\r\n\r\n"
    ).encode()

    def refused(times):
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as file:
                    assert file.read().startswith(b"HTTP/1.1 400 ")

    refused(200)
    before = server.resident_bytes()
    refused(1_000)
    assert server.resident_bytes() - before < 8 << 20
