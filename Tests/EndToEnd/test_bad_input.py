"""Clients that misbehave at the wire: each gets the right status or a closed connection, the server neither dies nor
grows, and a healthy client beside it notices nothing.
"""

import random
import socket
import struct
import threading
import time

import grpc
import pytest

from harness import wire
from harness.api import SERVICES, pb
from harness.wire import ConnectionEnded, RawConnection, frame, message

PUT, RANGE, WATCH = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", "/etcdserverpb.Watch/Watch"
GRPC_OK, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 2, 8, 12, 13


class Bystander:
    """A client on a connection of its own that puts and gets all the time."""

    LONGEST = 20.0  # Seconds a call may take on a starved machine.

    def __init__(self, server):
        self.client = server.client()
        self.calls = 0
        self.slowest = 0.0
        self.error = None
        self.stop = threading.Event()
        self.called = threading.Event()
        self.client.put(b"bystander", b"0")
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.stop.wait(0.001):
                value = b"%d" % self.calls
                began = time.monotonic()
                self.client.put(b"bystander", value, timeout=self.LONGEST)
                assert self.client.get(b"bystander", timeout=self.LONGEST) == value
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.calls += 1
                self.called.set()
        except Exception as error:  # Reported by the test's own thread.
            self.error = error

    def end(self):
        self.called.wait(self.LONGEST)
        self.stop.set()
        self.thread.join()
        self.client.close()


@pytest.fixture
def bounded(request, server):
    """Around each test: a bystander, a bound on memory, and no descriptor left behind.

    `@pytest.mark.memory(megabytes)` sets another bound, for tests whose data itself is large.
    """
    bystander = Bystander(server)
    memory, descriptors = server.resident_bytes(), server.open_descriptors()
    yield server
    bystander.end()
    assert bystander.error is None, f"the bystander noticed: {bystander.error!r}"
    assert bystander.calls > 0
    assert server.is_running()
    grown = server.resident_bytes() - memory
    bound = request.node.get_closest_marker("memory")
    bound = (bound.args[0] if bound else 64) if server.is_berth else 512  # etcd's runtime collects garbage late.
    assert grown < bound << 20, f"memory grew by {grown >> 20} MiB of {bound}"
    deadline = time.monotonic() + 30
    while server.open_descriptors() > descriptors + 20:  # Closing is the server's own affair; it has its time.
        assert time.monotonic() < deadline, f"{server.open_descriptors()} descriptors open, {descriptors} before"
        time.sleep(0.05)
    with server.client() as client:
        client.put(b"after", b"value")


def put_body(key=b"key", value=b"value"):
    return message(pb.PutRequest(key=key, value=value).SerializeToString())


def works(connection):
    """The connection still serves."""
    return connection.call(PUT, put_body()).status == GRPC_OK


# Below gRPC


def test_garbage(bounded):
    source = random.Random(1)
    for _ in range(200):
        with RawConnection(bounded, preface=False) as connection:
            connection.send(source.randbytes(source.randint(1, 5000)) + b"\r\n\r\n")
            connection.half_close()
            connection.until_ended()


def test_garbage_after_the_preface(bounded):
    source = random.Random(2)
    for _ in range(200):
        with RawConnection(bounded) as connection:
            connection.send(source.randbytes(source.randint(9, 5000)))
            connection.half_close()
            connection.until_ended()


def test_text_that_is_no_http(bounded):
    for text in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
    ):
        with RawConnection(bounded, preface=False) as connection:
            connection.send(text)
            connection.half_close()
            connection.until_ended()


def test_an_endless_http1_header(bounded):
    with RawConnection(bounded, preface=False) as connection:
        connection.send(b"GET /health HTTP/1.1\r\n")
        for i in range(5000):
            connection.send(b"x-header-%d: " % i + b"y" * 1000 + b"\r\n")
        connection.half_close()
        connection.until_ended()


def test_half_a_preface_and_half_frames(bounded):
    whole = wire.PREFACE + wire.settings() + frame(wire.HEADERS, wire.END_HEADERS, 1, b"x" * 100)
    held = []
    for end in (1, 3, 10, 23, 24, 30, 33, 36, 42, 50, 100):
        with RawConnection(bounded, preface=False) as connection:
            connection.send(whole[:end])
        connection = RawConnection(bounded, preface=False)
        connection.send(whole[:end])
        held.append(connection)  # Stays open, unfinished, while others work.
    with RawConnection(bounded) as connection:
        assert works(connection)
    for connection in held:
        connection.close()


def test_a_preface_with_no_request(bounded):
    held = [RawConnection(bounded) for _ in range(300)]
    for connection in held:
        kind, _, _, _ = connection.receive()
        assert kind == wire.SETTINGS, "the server's preface is a SETTINGS frame"
    for connection in held:
        assert works(connection), "it waited patiently"
        connection.close()


def test_ten_thousand_connections_opened_and_dropped(bounded):
    for i in range(10_000):
        connection = socket.create_connection(("127.0.0.1", bounded.port), timeout=60)
        if i % 3 == 1:
            connection.sendall(wire.PREFACE)
        elif i % 3 == 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


_BAD_FRAMES = {
    "larger than announced": frame(wire.DATA, 0, 1, b"", length=0xFFFFFF) + b"x" * 100_000,
    "headers on stream 0": frame(wire.HEADERS, wire.END_HEADERS, 0, b"\x82"),
    "data on stream 0": frame(wire.DATA, 0, 0, b"x"),
    "data on an idle stream": frame(wire.DATA, 0, 7, b"x"),
    "an even stream": frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 2, b"\x82\x86\x84"),
    "settings of a bad size": frame(wire.SETTINGS, payload=b"12345"),
    "settings on a stream": frame(wire.SETTINGS, stream=1, payload=b""),
    "a window setting too large": frame(wire.SETTINGS, payload=struct.pack(">HI", 4, 0xFFFFFFFF)),
    "a window update of nothing": frame(wire.WINDOW_UPDATE, payload=struct.pack(">I", 0)),
    "a window beyond its limit": frame(wire.WINDOW_UPDATE, payload=struct.pack(">I", 0x7FFFFFFF)),
    "a ping of a bad size": frame(wire.PING, payload=b"123"),
    "a continuation of nothing": frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x82"),
    "headers never continued": frame(wire.HEADERS, 0, 1, b"\x82") + frame(wire.PING, payload=b"12345678"),
    "a broken header block": frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, b"\xff" * 50),
    "a push promise": frame(wire.PUSH_PROMISE, wire.END_HEADERS, 1, struct.pack(">I", 2) + b"\x82"),
    "a reset of an idle stream": frame(wire.RST_STREAM, 0, 9, struct.pack(">I", 8)),
}


@pytest.mark.parametrize("bad", _BAD_FRAMES.values(), ids=_BAD_FRAMES.keys())
def test_a_frame_that_breaks_the_rules(bounded, bad):
    with RawConnection(bounded) as connection:
        connection.send(bad)
        connection.half_close()
        connection.until_ended()
    with RawConnection(bounded) as connection:
        assert works(connection)


def test_a_server_that_follows_the_rules_ends_such_a_connection(bounded):
    """Without our closing our side: the server itself ends it, with a reason."""
    for name in (
        "headers on stream 0",
        "settings of a bad size",
        "a window update of nothing",
        "a broken header block",
    ):
        with RawConnection(bounded) as connection:
            connection.send(_BAD_FRAMES[name])
            assert connection.until_ended() != 0, name


def test_headers_flood(bounded):
    with RawConnection(bounded) as connection:
        block = connection.encoder.encode(wire.request_headers(PUT))
        connection.send(frame(wire.HEADERS, 0, 1, block))
        for _ in range(2000):
            connection.send(frame(wire.CONTINUATION, 0, 1, b"\x00\x01a\x7f\x81\x7d" + b"v" * 16000))
        connection.half_close()
        connection.until_ended()


def test_rapid_reset(bounded):
    with RawConnection(bounded) as connection:
        for _ in range(200):
            burst = b""
            for _ in range(100):
                stream = connection.next_stream
                connection.next_stream += 2
                block = connection.encoder.encode(wire.request_headers(WATCH))
                burst += frame(wire.HEADERS, wire.END_HEADERS, stream, block)
                burst += frame(wire.RST_STREAM, 0, stream, struct.pack(">I", wire.CANCEL))
            connection.send(burst)
        connection.half_close()
        connection.until_ended()


def test_ping_and_settings_floods(bounded):
    """Control frames whose answers we never read."""
    for flood in (frame(wire.PING, payload=b"12345678"), wire.settings()):
        with RawConnection(bounded, timeout=5) as connection:
            try:
                for _ in range(300):
                    connection.send(flood * 1000)
            except TimeoutError:
                pass  # The server has stopped reading: a fair answer.
            connection.close(abruptly=True)


# gRPC itself


def test_malformed_protobuf_for_every_method(bounded):
    bad_messages = [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab", b"\x00", b"\x07\x07", b"\xff" * 20]
    for service in SERVICES.values():
        for method in service.methods:
            if method.input_type.full_name.startswith("etcdserverpb.") and not method.input_type.fields:
                continue
            with RawConnection(bounded) as connection:
                path = f"/{service.full_name}/{method.name}"
                for bad in bad_messages:
                    stream = connection.begin(path)
                    connection.body(stream, message(bad))
                    if method.input_type.fields:
                        assert connection.answer(stream).status in (INTERNAL, UNIMPLEMENTED), (path, bad)
                assert works(connection)


def test_malformed_protobuf_inside(bounded):
    """The damage sits in a nested message, and in a string that is not UTF-8."""
    bad_operation = b"\x12\x04\x0a\x02\x0a\x05"  # success[0].request_range.key promises five bytes.
    with RawConnection(bounded) as connection:
        assert connection.call("/etcdserverpb.KV/Txn", message(bad_operation)).status == INTERNAL
        bad_watch = b"\x0a\x02\x0a\x05"
        assert connection.call(WATCH, message(bad_watch)).status == INTERNAL
        not_utf8 = connection.call("/grpc.health.v1.Health/Check", message(b"\x0a\x01\xff"))
        assert not_utf8.status not in (None, GRPC_OK)
        assert works(connection)


def test_deeply_nested_transactions(bounded):
    """A request of a few hundred kilobytes that is nothing but nesting."""

    def nested(size):
        body = b""
        while len(body) < size:
            operation = b"\x22" + _varint(len(body)) + body  # RequestOp.request_txn
            body = b"\x12" + _varint(len(operation)) + operation  # TxnRequest.success
        return body

    with RawConnection(bounded) as connection:
        for size in (300, 3_000, 300_000):
            answer = connection.call("/etcdserverpb.KV/Txn", message(nested(size)))
            assert answer.status is not None or answer.reset is not None
        assert works(connection)


def _varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def test_a_message_over_the_limit(bounded):
    with RawConnection(bounded) as connection:
        for length in (2_097_153, 0x7FFFFFFF, 0xFFFFFFFF):
            stream = connection.begin(PUT)
            connection.body(stream, message(b"x" * 1000, length=length), end=False)
            answer = connection.answer(stream)
            assert answer.status == RESOURCE_EXHAUSTED, "refused by its length alone"
            text = answer.headers["grpc-message"]
            assert text == f"grpc: received message larger than max ({length} vs. 2097152)"
        assert works(connection)


def test_a_length_prefix_that_promises_more(bounded):
    with RawConnection(bounded) as connection:
        for data in (message(b"x", length=100), message(b"", length=5), b"\0\0\0", b"\0"):
            answer = connection.call(PUT, data)
            assert answer.status in (INTERNAL, UNKNOWN) or answer.reset is not None, data
        assert works(connection)


def test_a_length_prefix_that_promises_less(bounded):
    whole = put_body()
    with RawConnection(bounded) as connection:
        answer = connection.call(PUT, whole + b"\0\0\0")
        assert answer.status is not None or answer.reset is not None
        answer = connection.call(PUT, whole + whole)
        assert answer.status is not None or answer.reset is not None
        assert works(connection)


@pytest.mark.berth_only  # etcd 3.4 never answers.
def test_a_unary_call_without_a_message(bounded):
    with RawConnection(bounded) as connection:
        stream = connection.begin(PUT, end=True)
        assert connection.answer(stream).status not in (None, GRPC_OK)
        assert connection.call(PUT, b"").status not in (None, GRPC_OK)
        assert works(connection)


def test_compression_flags(bounded):
    with RawConnection(bounded) as connection:
        body = pb.PutRequest(key=b"key").SerializeToString()
        assert connection.call(PUT, message(body, compressed=1)).status in (INTERNAL, UNIMPLEMENTED)
        unknown = connection.call(PUT, message(body, compressed=1), extra=[("grpc-encoding", "brotli")])
        assert unknown.status == UNIMPLEMENTED
        assert connection.call(PUT, message(body, compressed=77)).status not in (None, GRPC_OK)
        assert works(connection)


def refused(answer):
    """By a status, by HTTP, or by a reset of the stream."""
    return (
        answer.status not in (None, GRPC_OK)
        or answer.headers.get(":status", "200") != "200"
        or answer.reset is not None
    )


def test_unknown_paths(bounded):
    with RawConnection(bounded) as connection:
        for path in (
            "/nothing.Nothing/Range",
            "/etcdserverpb.KV/Nothing",
            "/etcdserverpb.KV",
            "/",
            "nonsense",
            "/a/b/c",
        ):
            answer = connection.call(path, put_body())
            assert refused(answer), path
            if path.count("/") == 2 and bounded.is_berth:
                assert answer.status == UNIMPLEMENTED, path
        assert works(connection)


def test_wrong_headers(bounded):
    with RawConnection(bounded) as connection:
        answer = connection.call(PUT, put_body(), content_type="text/plain")
        assert refused(answer)
        if bounded.is_berth:  # etcd 3.4 resets the stream, and does not look at the method.
            assert answer.headers[":status"] == "415"
            assert refused(connection.call(PUT, put_body(), method="GET"))
        for timeout in ("", "5", "S", "-1S", "99999999999S", "5X"):
            assert refused(connection.call(PUT, put_body(), extra=[("grpc-timeout", timeout)])), timeout
        assert works(connection)


@pytest.mark.memory(192)  # Of 480 MB of answers begun.
def test_resets_in_the_middle_of_a_response(bounded):
    with bounded.client() as client:
        for i in range(8):
            client.put(b"big/%d" % i, b"v" * 1_000_000)
    body = message(pb.RangeRequest(key=b"big/", range_end=b"big0").SerializeToString())
    for _ in range(5):
        with RawConnection(bounded, window=1 << 30, initial_window_size=1 << 24) as connection:
            for _ in range(10):
                stream = connection.begin(RANGE)
                connection.body(stream, body)
                while not connection.answers.get(stream) or not connection.answers[stream].body:
                    connection.receive()
                connection.send(frame(wire.RST_STREAM, 0, stream, struct.pack(">I", wire.CANCEL)))
            while True:  # What was on its way is read off; then the connection serves on.
                if works(connection):
                    break
            stream = connection.begin(RANGE)
            connection.body(stream, body)
            connection.receive()
            connection.close(abruptly=True)


def test_answers_that_nobody_reads(bounded):
    """Eight megabytes each, asked for a hundred times with no window to send them: not all may be held."""
    with bounded.client() as client:
        for i in range(8):
            client.put(b"big/%d" % i, b"v" * 1_000_000)
        if not bounded.is_berth:
            return
        body = message(pb.RangeRequest(key=b"big/", range_end=b"big0").SerializeToString())
        before = bounded.resident_bytes()
        with RawConnection(bounded, initial_window_size=0) as connection:
            for _ in range(100):
                connection.body(connection.begin(RANGE), body)
            deadline = time.monotonic() + 20
            calls = 0
            while calls < 200 and time.monotonic() < deadline:
                client.put(b"key")
                calls += 1
            grown = bounded.resident_bytes() - before
            assert grown < 300 << 20, f"holds {grown >> 20} MiB for one client that does not read"


def test_watches_left_open_by_vanished_clients(bounded):
    create = message(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"bystander")).SerializeToString())
    for i in range(100):
        connection = RawConnection(bounded)
        for _ in range(10):
            connection.body(connection.begin(WATCH), create, end=False)
        connection.receive()
        connection.close(abruptly=i % 2 == 0)


def test_a_lock_waiter_that_vanishes_leaves_the_queue(bounded):
    with bounded.client() as client:
        client.grant(100, id=1)
        client.grant(100, id=2)
        client.lock.Lock(pb.LockRequest(name=b"name", lease=1), timeout=60)
        connection = RawConnection(bounded)
        stream = connection.begin("/v3lockpb.Lock/Lock")
        connection.body(stream, message(pb.LockRequest(name=b"name", lease=2).SerializeToString()))
        client.await_keys(b"name/", 2)
        connection.close(abruptly=True)
        assert client.await_keys(b"name/", 1) == [b"name/1"]


def test_a_request_that_never_ends(bounded):
    """Headers and half a message on many streams, then silence."""
    held = []
    for _ in range(50):
        connection = RawConnection(bounded)
        for _ in range(50):
            stream = connection.begin(PUT)
            connection.body(stream, message(b"x" * 10, length=1000), end=False)
        held.append(connection)
    with RawConnection(bounded) as connection:
        assert works(connection)
    for connection in held:
        connection.close()


def test_a_client_that_dies_amid_a_large_request(bounded):
    with RawConnection(bounded, timeout=5) as connection:
        stream = connection.begin(PUT)
        connection.send(frame(wire.DATA, 0, stream, message(b"x" * 10_000, length=1_000_000)))
        connection.close(abruptly=True)
    with pytest.raises((ConnectionEnded, TimeoutError, OSError)):
        connection.receive()


def test_metadata_of_every_kind(server, client):
    """Odd but legal metadata does no harm."""
    metadata = [
        ("hasleader", "true"),
        ("client-api-version", "3.5"),
        ("x-bin", bytes(range(256))),
        ("x-long", "v" * 4000),
    ]
    client.kv.Range(pb.RangeRequest(key=b"key"), metadata=metadata, timeout=60)
    try:
        client.kv.Range(pb.RangeRequest(key=b"key"), metadata=[("x-huge", "v" * 200_000)], timeout=60)
    except grpc.RpcError as error:
        assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED, "refused, and at once"
    client.put(b"key")
