"""HTTP/2 by hand, for clients that misbehave: frames are built and taken apart here, and nothing stops a bad one."""

import dataclasses
import socket
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4

INITIAL_WINDOW_SIZE = 0x4
CANCEL = 0x8


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame; `length` may lie."""
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values):
    names = {"initial_window_size": INITIAL_WINDOW_SIZE}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", names[name], value) for name, value in values.items()))


def message(body, length=None, compressed=0):
    """A length-prefixed gRPC message; `length` may lie."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def request_headers(path, method="POST", content_type="application/grpc", authority="127.0.0.1", extra=()):
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("content-type", content_type),
        ("te", "trailers"),
        *extra,
    ]


@dataclasses.dataclass
class Answer:
    """What came on one stream."""

    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None  # The error code of an RST_STREAM.
    ended: bool = False

    @property
    def status(self):
        """gRPC's status number, or None."""
        value = self.headers.get("grpc-status")
        return None if value is None else int(value)


class ConnectionEnded(Exception):
    """The server closed the connection; `goaway` is the error code of its GOAWAY, if one came."""

    def __init__(self, goaway):
        super().__init__(f"connection ended, GOAWAY code {goaway}")
        self.goaway = goaway


class RawConnection:
    """A connection that can send anything. It acknowledges settings and pings, and gives back no flow control window
    unless `window` says so."""

    def __init__(self, server, timeout=20, preface=True, window=0, **initial_settings):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.decoder = hpack.Decoder()
        self.encoder = hpack.Encoder()
        self.answers = {}
        self.goaway = None
        self.next_stream = 1
        if preface:
            self.send(PREFACE + settings(**initial_settings))
        if window:
            self.send(frame(WINDOW_UPDATE, payload=struct.pack(">I", window)))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server closed first, as it may; reading tells.

    def half_close(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self, abruptly=False):
        if abruptly:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Requests

    def begin(self, path, end=False, **options):
        """Sends the headers of a request; returns its stream."""
        stream = self.next_stream
        self.next_stream += 2
        block = self.encoder.encode(request_headers(path, **options))
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))
        return stream

    def body(self, stream, data, end=True):
        """Sends DATA in frames of the default size."""
        chunks = [data[i : i + 16384] for i in range(0, len(data), 16384)] or [b""]
        for i, chunk in enumerate(chunks):
            last = end and i == len(chunks) - 1
            self.send(frame(DATA, END_STREAM if last else 0, stream, chunk))

    def call(self, path, data, **options):
        """A whole unary call with `data` as its body."""
        stream = self.begin(path, **options)
        self.body(stream, data)
        return self.answer(stream)

    # Answers

    def receive(self):
        """Reads one frame, and returns it as (kind, flags, stream, payload)."""
        head = self._exactly(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags = head[3], head[4]
        stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
        payload = self._exactly(length)
        self._note(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def _exactly(self, count):
        while len(self.buffer) < count:
            try:
                chunk = self.socket.recv(1 << 16)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise ConnectionEnded(self.goaway)
            self.buffer += chunk
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _note(self, kind, flags, stream, payload):
        answer = self.answers.setdefault(stream, Answer())
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, payload=payload))
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == HEADERS:
            answer.headers |= dict(self.decoder.decode(payload))
        elif kind == DATA:
            answer.body += payload
        elif kind == RST_STREAM:
            answer.reset = int.from_bytes(payload, "big")
            answer.ended = True
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.ended = True

    def answer(self, stream):
        """Reads until the stream has ended."""
        while not self.answers.setdefault(stream, Answer()).ended:
            self.receive()
        return self.answers[stream]

    def until_ended(self):
        """Reads until the server closes; returns the GOAWAY's code, or None."""
        try:
            while True:
                self.receive()
        except ConnectionEnded as end:
            return end.goaway
