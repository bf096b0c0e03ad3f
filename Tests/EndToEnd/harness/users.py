"""Users, roles and tokens for tests, on any server that speaks etcd's API."""

import contextlib

import grpc

from .api import SERVICES, pb, prefix_end

READ, WRITE, READWRITE = 0, 1, 2

ROOT_PASSWORD = "root's own"


def call(client, method, request, token=None, field="token", timeout=60):
    """Calls `Service/Method` by its last two names, as whoever the token stands for."""
    service, name = method.split("/")
    full = next(known for known in SERVICES if known.endswith(service))
    attribute = {
        "etcdserverpb.KV": "kv",
        "etcdserverpb.Lease": "lease",
        "etcdserverpb.Auth": "auth",
        "etcdserverpb.Cluster": "cluster",
        "etcdserverpb.Maintenance": "maintenance",
        "v3lockpb.Lock": "lock",
        "v3electionpb.Election": "election",
        "berth.v1.Locks": "locks",
        "berth.v1.Elections": "elections",
    }[full]
    metadata = [(field, token)] if token is not None else None
    return getattr(getattr(client, attribute), name)(request, metadata=metadata, timeout=timeout)


def outcome(body):
    """What a call came to: its answer, or the code and text of its error."""
    try:
        return body()
    except grpc.RpcError as error:
        return error.code().name, error.details()


class As:
    """A client's calls as one user; nobody's without a token."""

    def __init__(self, client, token=None):
        self.client = client
        self.token = token

    def __call__(self, method, request, **options):
        return call(self.client, method, request, self.token, **options)

    def try_(self, method, request, **options):
        return outcome(lambda: self(method, request, **options))

    def put(self, key, value=b"v", **fields):
        return self("KV/Put", pb.PutRequest(key=key, value=value, **fields))

    def range(self, key, range_end=b"", **fields):
        return self("KV/Range", pb.RangeRequest(key=key, range_end=range_end, **fields))

    def delete(self, key, range_end=b"", **fields):
        return self("KV/DeleteRange", pb.DeleteRangeRequest(key=key, range_end=range_end, **fields))

    def txn(self, **fields):
        return self("KV/Txn", pb.TxnRequest(**fields))

    def add_user(self, name, password="", **options):
        return self("Auth/UserAdd", pb.AuthUserAddRequest(name=name, password=password, options=options or None))

    def add_role(self, name, *permissions):
        self("Auth/RoleAdd", pb.AuthRoleAddRequest(name=name))
        for kind, key, end in permissions:
            self.grant(name, kind, key, end)

    def grant(self, role, kind, key, end=b""):
        permission = pb.Permission(permType=kind, key=key, range_end=end)
        return self("Auth/RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name=role, perm=permission))

    def give(self, user, role):
        return self("Auth/UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=role))

    def user(self, name, password, *permissions):
        """A user with a role of the same name."""
        self.add_user(name, password)
        self.add_role(name, *permissions)
        self.give(name, name)

    def enable(self):
        return self("Auth/AuthEnable", pb.AuthEnableRequest())

    def disable(self):
        return self("Auth/AuthDisable", pb.AuthDisableRequest())

    def status(self):
        return self("Auth/AuthStatus", pb.AuthStatusRequest())

    def login(self, name, password):
        answer = call(self.client, "Auth/Authenticate", pb.AuthenticateRequest(name=name, password=password))
        return As(self.client, answer.token)


def prefix(text):
    return text, prefix_end(text)


def root_of(client):
    """Turns authentication on, with a fresh root; returns root's calls."""
    nobody = As(client)
    nobody.add_user("root", ROOT_PASSWORD)
    nobody.give("root", "root")
    nobody.enable()
    return nobody.login("root", ROOT_PASSWORD)


@contextlib.contextmanager
def refused(code, text):
    try:
        yield
    except grpc.RpcError as error:
        assert (error.code().name, error.details()) == (code, text)
    else:
        raise AssertionError(f"expected {code} {text}")


DENIED = ("PERMISSION_DENIED", "etcdserver: permission denied")
NOBODY = ("INVALID_ARGUMENT", "etcdserver: user name is empty")
BAD_TOKEN = ("UNAUTHENTICATED", "etcdserver: invalid auth token")
BAD_LOGIN = ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password")
BAD_MANAGEMENT = ("INVALID_ARGUMENT", "etcdserver: invalid auth management")
