"""The JSON gateway as one more way to call a server.

A request is written as JSON in one of the many forms a client may choose. The answer is held to etcd's form by itself:
headers, names, numbers as strings, defaults left out, the error body, the HTTP status. Then it becomes the message that
gRPC would have given, and is compared like any other.
"""

import base64
import dataclasses
import json

import grpc
from google.protobuf import json_format

from harness.api import SERVICES, message_class
from .failure import Failure
from .peers import version_of

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE",
    "access-control-allow-headers": "accept, content-type, authorization",
}
JSON_TYPE = {"content-type": "application/json"}
FROM_GRPC = "grpc-metadata-content-type"  # With every answer that is no error.
# As clients send it. Without, etcd takes the call that its gateway makes to itself for one of a client whose name is that
# in the server's certificate.
ACCEPT = {"Accept": "*/*"}
ANSWER_HEADERS = CORS | JSON_TYPE | {FROM_GRPC: "application/grpc"}
# Headers about the connection and the moment, and the trailer that 3.4 announces with an error and never sends.
UNCOMPARED = {"date", "content-length", "transfer-encoding", "connection", "keep-alive", "trailer"}

# Where the last word of the path is not the method's name in lower case after its service's.
_SERVICE_PATHS = {"KV": "kv", "Lease": "lease", "Cluster": "cluster/member", "Maintenance": "maintenance"}
_SERVICE_PATHS |= {"Auth": "auth", "Lock": "lock", "Election": "election"}
_METHOD_PATHS = {
    "KV/Compact": "kv/compaction",
    "Maintenance/MoveLeader": "maintenance/transfer-leadership",
    "Auth/AuthEnable": "auth/enable",
    "Auth/AuthDisable": "auth/disable",
    "Auth/AuthStatus": "auth/status",
    "Auth/UserChangePassword": "auth/user/changepw",
    "Auth/UserGrantRole": "auth/user/grant",
    "Auth/UserRevokeRole": "auth/user/revoke",
    "Auth/RoleGrantPermission": "auth/role/grant",
    "Auth/RoleRevokePermission": "auth/role/revoke",
}


def _paths():
    """Method as `Side.begin` names it → path and class of the answer."""
    paths = {}
    for service in SERVICES.values():
        short = service.full_name.rsplit(".", 1)[1]
        if short not in _SERVICE_PATHS or service.full_name.startswith("berth."):
            continue
        for method in service.methods:
            if method.client_streaming or method.server_streaming:
                continue
            name = method.name.lower()
            if short == "Lease":
                name = name.removeprefix("lease")
            elif short == "Cluster":
                name = name.removeprefix("member")
            elif short == "Auth" and name.startswith(("user", "role")):
                name = f"{name[:4]}/{name[4:]}"
            path = _METHOD_PATHS.get(f"{short}/{method.name}", f"{_SERVICE_PATHS[short]}/{name}")
            paths[f"{short.lower()}.{method.name}"] = (f"/v3/{path}", message_class(method.output_type))
    return paths


PATHS = _paths()


@dataclasses.dataclass(frozen=True)
class Form:
    """How a request is written: all forms mean the same."""

    camel_case: bool = False
    enum_numbers: bool = False
    plain_numbers: bool = False
    unknown_field: bool = False
    null_field: bool = False
    spaces: bool = False
    old_path: bool = False  # /v3/kv/lease/…, /v3beta/…
    content_type: str | None = "application/json"

    @classmethod
    def drawn(cls, random):
        def chance(probability):
            return random.random() < probability

        return cls(
            camel_case=chance(0.3),
            enum_numbers=chance(0.3),
            plain_numbers=chance(0.3),
            unknown_field=chance(0.1),
            null_field=chance(0.1),
            spaces=chance(0.1),
            old_path=chance(0.1),
            content_type=random.choice(["application/json", "application/json", "text/plain", None]),
        )

    def path(self, method):
        path = PATHS[method][0]
        if not self.old_path:
            return path
        if path in ("/v3/lease/revoke", "/v3/lease/timetolive", "/v3/lease/leases"):
            return path.replace("/v3/", "/v3/kv/")
        return path.replace("/v3/", "/v3beta/")

    def body(self, request):
        content = as_json(request, names=not self.camel_case, enum_numbers=self.enum_numbers)
        if self.plain_numbers:
            content = _with_numbers(content, request)
        if self.unknown_field:
            content["no_such_field"] = {"a": [1, None, "x"]}
        if self.null_field:
            unset = [f.name for f in request.DESCRIPTOR.fields if f.name not in content and f.json_name not in content]
            content |= {name: None for name in unset[:1] if request.DESCRIPTOR.fields_by_name[name].containing_oneof is None}
        if not content and not self.spaces:
            return ""
        return json.dumps(content, indent=2 if self.spaces else None, ensure_ascii=not self.camel_case)


def as_json(message, names=True, enum_numbers=False):
    """A message in proto3's JSON form with the names of the .proto files: what etcd's gateway writes."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=names, use_integers_for_enums=enum_numbers
    )


def _with_numbers(content, message):
    """The same with 64-bit numbers as numbers."""
    result = {}
    for name, value in content.items():
        field = message.DESCRIPTOR.fields_by_name.get(name) or message.DESCRIPTOR.fields_by_camelcase_name.get(name)
        if field is None or field.is_repeated:
            result[name] = value
        elif field.type == field.TYPE_MESSAGE:
            result[name] = _with_numbers(value, getattr(message, field.name))
        elif field.type in (field.TYPE_INT64, field.TYPE_UINT64):
            result[name] = int(value)
        else:
            result[name] = value
    return result


_HTTP_STATUS = {
    "CANCELLED": 408, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip
# 3.4's gateway is of an older generation, with another table of statuses.
_HTTP_STATUS_3_4 = _HTTP_STATUS | {"FAILED_PRECONDITION": 412}
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def compared_headers(response):
    """Without what etcd's gateway passes on from the call it makes to itself, which over TLS goes through the same HTTP
    handlers: then even errors have these, and twice over. An answer has one of them always, see `FROM_GRPC`."""
    found = {name.lower(): value for name, value in response.getheaders()}
    return {
        name: value
        for name, value in found.items()
        if name not in UNCOMPARED and (name == FROM_GRPC or not name.startswith("grpc-metadata-"))
    }


def without_grpc(headers):
    return {name: value for name, value in headers.items() if name != FROM_GRPC}


class Gateway:
    """One server's gateway, over one HTTP/1.1 connection that is kept."""

    def __init__(self, name, server):
        self.name = name
        self.server = server
        self.connection = server.http()
        version = version_of(server.kind)
        self.statuses = _HTTP_STATUS_3_4 if version and version < (3, 5) else _HTTP_STATUS

    def close(self):
        self.connection.close()

    def send(self, verb, path, body, headers):
        self.connection.request(verb, path, body=body, headers=ACCEPT | headers)

    def receive(self):
        """Status, compared headers and body."""
        response = self.connection.getresponse()
        return response.status, compared_headers(response), response.read()

    def begin(self, method, request, form, headers):
        if form.content_type:
            headers = headers | {"Content-Type": form.content_type}
        self.send("POST", form.path(method), form.body(request).encode(), headers)
        return method

    def finish(self, method):
        """The answer's message, or (code, text) of an error."""
        status, headers, body = self.receive()
        if status != 200:
            self.expect(without_grpc(headers), CORS | JSON_TYPE, "the headers of an error")
            return self.error(status, json.loads(body))
        self.expect(headers, ANSWER_HEADERS, "the headers of an answer")
        return self.message(json.loads(body), PATHS[method][1])

    def message(self, content, answer_class):
        message = json_format.ParseDict(content, answer_class())
        self.expect(content, as_json(message), "the JSON form of an answer")
        return message

    def error(self, status, content):
        if set(content) != {"error", "code", "message"}:
            raise Failure(f"{self.name}: an error body with {sorted(content)}")
        self.expect(content["error"], content["message"], "the two texts of an error")
        code = _CODE_NAMES[content["code"]]
        self.expect(status, self.statuses[code], f"the HTTP status of {code}")
        return code, content["message"]

    def expect(self, seen, expected, what):
        if seen != expected:
            raise Failure(f"{self.name}: {what}: {seen}, expected {expected}")


class Lines:
    """A streaming route: one request, whose body is all there will be, and answers line by line."""

    def __init__(self, gateway, path, requests, answer_class, headers):
        self.gateway = gateway
        self.answer_class = answer_class
        self.connection = gateway.server.http()
        body = b"".join(json.dumps(as_json(request)).encode() for request in requests)
        self.connection.request("POST", path, body=body, headers=ACCEPT | headers)
        self.response = None

    def open(self):
        self.response = self.connection.getresponse()
        self.gateway.expect(self.response.status, 200, "the HTTP status of a stream")
        self.gateway.expect(compared_headers(self.response), ANSWER_HEADERS, "the headers of a stream")

    def next(self):
        """The next line's message; None at the end; (code, text) of an error."""
        if self.response is None:
            self.open()
        line = self.response.readline()
        if not line:
            return None
        if not line.endswith(b"\n") and b'"error"' not in line:
            raise Failure(f"{self.gateway.name}: a line without an end: {line[:200]}")
        content = json.loads(line)
        if set(content) == {"result"}:
            return self.gateway.message(content["result"], self.answer_class)
        if set(content) != {"error"}:
            raise Failure(f"{self.gateway.name}: a line with {sorted(content)}")
        error = content["error"]
        return _CODE_NAMES[error["grpc_code"]], error["message"]

    def close(self):
        self.connection.close()


def base64_text(value):
    return base64.b64encode(value).decode()
