"""Users, roles and permissions: who is known, what is refused, and in which words."""

import concurrent.futures
import http.client
import re
import ssl
import threading

import grpc
import pytest

from harness.api import berth, pb
from harness.certificates import Authority
from harness.client import Stream, StreamEnded
from harness.users import (
    BAD_LOGIN,
    BAD_MANAGEMENT,
    BAD_TOKEN,
    DENIED,
    NOBODY,
    READ,
    READWRITE,
    ROOT_PASSWORD,
    WRITE,
    As,
    call,
    outcome,
    prefix,
    refused,
    root_of,
)

pytestmark = pytest.mark.berth_only  # What etcd does alike is compared in test_auth_beside_etcd.py.


@pytest.fixture
def root(client):
    return root_of(client)


@pytest.fixture
def nobody(client):
    return As(client)


def test_enabling_needs_root_with_its_role(nobody):
    assert nobody.try_("Auth/AuthEnable", pb.AuthEnableRequest()) == (
        "FAILED_PRECONDITION",
        "etcdserver: root user does not exist",
    )
    nobody.add_user("root", "secret")
    assert nobody.try_("Auth/AuthEnable", pb.AuthEnableRequest()) == (
        "FAILED_PRECONDITION",
        "etcdserver: root user does not have root role",
    )
    nobody.give("root", "root")
    nobody.enable()
    root = nobody.login("root", "secret")
    assert re.fullmatch(r"[a-zA-Z]{16}\.[0-9]+", root.token)
    assert root.status().enabled
    root.enable()  # Twice is fine.
    assert nobody.try_("Auth/AuthStatus", pb.AuthStatusRequest()) == NOBODY


def test_the_auth_revision_counts_changes(nobody):
    assert nobody.status().authRevision == 1
    nobody.add_user("root", "p")
    nobody.give("root", "root")
    nobody.give("root", "root")  # Held already: no change.
    assert nobody.status().authRevision == 3
    nobody.enable()
    root = nobody.login("root", "p")
    assert root.status().authRevision == 3
    root.disable()
    assert (nobody.status().enabled, nobody.status().authRevision) == (False, 4)
    nobody.disable()
    assert nobody.status().authRevision == 4


def test_nobody_may_do_anything(root, nobody):
    key = pb.RangeRequest(key=b"k")
    assert nobody.try_("KV/Range", key) == NOBODY
    assert nobody.try_("KV/Put", pb.PutRequest(key=b"k")) == NOBODY
    assert nobody.try_("KV/DeleteRange", pb.DeleteRangeRequest(key=b"k")) == NOBODY
    assert nobody.try_("KV/Txn", pb.TxnRequest()) == NOBODY
    assert nobody.try_("KV/Compact", pb.CompactionRequest(revision=1)) == NOBODY
    assert nobody.try_("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=60)) == NOBODY
    assert nobody.try_("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=1)) == NOBODY
    assert nobody.try_("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1)) == NOBODY
    assert nobody.try_("Lease/LeaseLeases", pb.LeaseLeasesRequest()) == NOBODY
    assert nobody.try_("Cluster/MemberList", pb.MemberListRequest()) == NOBODY
    assert nobody.try_("Maintenance/Status", pb.StatusRequest()) == NOBODY
    assert nobody.try_("Maintenance/Alarm", pb.AlarmRequest()) == NOBODY
    raw = ("UNKNOWN", "auth: user name is empty")
    assert nobody.try_("Maintenance/Defragment", pb.DefragmentRequest()) == raw
    assert nobody.try_("Maintenance/Hash", pb.HashRequest()) == raw
    assert nobody.try_("Maintenance/HashKV", pb.HashKVRequest()) == raw
    unknown = ("UNKNOWN", NOBODY[1])
    assert nobody.try_("v3lockpb.Lock/Lock", pb.LockRequest(name=b"l")) == unknown
    assert nobody.try_("v3lockpb.Lock/Unlock", pb.UnlockRequest(key=b"l/1")) == unknown
    assert nobody.try_("v3electionpb.Election/Campaign", pb.CampaignRequest(name=b"l")) == unknown
    assert nobody.try_("v3electionpb.Election/Leader", pb.LeaderRequest(name=b"l")) == unknown
    assert nobody.try_("berth.v1.Locks/Acquire", berth.AcquireRequest(name=b"l", ttl=5)) == NOBODY
    assert nobody.try_("berth.v1.Locks/Inspect", berth.InspectRequest(name=b"l")) == NOBODY
    assert nobody.try_("berth.v1.Locks/List", berth.ListRequest()) == NOBODY
    assert nobody.try_("berth.v1.Locks/Break", berth.BreakRequest(name=b"l", by="me", reason="r")) == NOBODY
    assert nobody.try_("berth.v1.Elections/Leader", berth.LeaderRequest(name=b"l")) == NOBODY
    wrong = As(nobody.client, "abcdefghijklmnop.4")
    assert wrong.try_("KV/Range", key) == BAD_TOKEN
    assert As(nobody.client, "").try_("KV/Range", key) == BAD_TOKEN


def test_tokens_are_taken_where_clients_put_them(root, nobody):
    get = pb.RangeRequest(key=b"k")
    root.put(b"k")
    for field, text in (
        ("token", root.token),
        ("authorization", root.token),
        ("authorization", f"Bearer {root.token}"),
        ("token", f"Bearer {root.token}"),
    ):
        assert call(nobody.client, "KV/Range", get, text, field=field).count == 1
    metadata = [("token", "nonsense"), ("authorization", root.token)]
    assert outcome(lambda: nobody.client.kv.Range(get, metadata=metadata)) == BAD_TOKEN  # `token` counts.
    root.disable()
    assert As(nobody.client, "nonsense").range(b"k").count == 1  # Tokens are not looked at any more.


def test_a_token_ends_with_its_users_password_and_with_authentication(root):
    root.user("ann", "one", (READ, b"k", b""))
    ann = root.login("ann", "one")
    assert ann.range(b"k").count == 0
    root("Auth/UserChangePassword", pb.AuthUserChangePasswordRequest(name="ann", password="two"))
    get = pb.RangeRequest(key=b"k")
    assert ann.try_("KV/Range", get) == BAD_TOKEN
    ann = root.login("ann", "two")
    root.grant("ann", READ, b"l")  # A change of rights does not end it.
    assert ann.range(b"l").count == 0
    root("Auth/UserDelete", pb.AuthUserDeleteRequest(name="ann"))
    assert ann.try_("KV/Range", get) == BAD_TOKEN
    root.disable()
    As(root.client).enable()
    assert root.try_("KV/Range", get) == BAD_TOKEN


def test_users_and_rights_live_through_a_restart_and_tokens_do_not(server, root):
    root.user("ann", "one", (READWRITE, *prefix(b"a/")))
    ann = root.login("ann", "one")
    ann.put(b"a/1")
    revision = root.status().authRevision
    for stop in (server.stop, server.kill):
        stop()
        server.start()
        assert ann.try_("KV/Range", pb.RangeRequest(key=b"a/1")) == BAD_TOKEN
        ann = root.login("ann", "one")
        assert ann.range(b"a/1").count == 1
        assert ann.try_("KV/Range", pb.RangeRequest(key=b"b")) == DENIED
        root = root.login("root", ROOT_PASSWORD)
        assert root.status().authRevision == revision


def test_wrong_password_and_unknown_user_are_told_alike(root):
    root.add_user("ann", "right")
    assert outcome(lambda: root.login("ann", "wrong")) == BAD_LOGIN
    assert outcome(lambda: root.login("nobody", "wrong")) == BAD_LOGIN
    assert outcome(lambda: root.login("", "")) == BAD_LOGIN
    assert outcome(lambda: root.login("ann", "x" * 100)) == BAD_LOGIN
    assert outcome(lambda: root.login("ann", "right\0")) == BAD_LOGIN
    root.add_user("cert", no_password=True)
    assert outcome(lambda: root.login("cert", "")) == (
        "UNKNOWN",
        "auth: authentication failed, password was given for no password user",
    )
    root.disable()
    assert outcome(lambda: root.login("ann", "right")) == (
        "FAILED_PRECONDITION",
        "etcdserver: authentication is not enabled",
    )


def test_wrong_passwords_are_bounded_for_each_name(root):
    root.add_user("ann", "right")
    busy = ("UNKNOWN", "etcdserver: too many requests")
    for name in ("ann", "a name nobody has"):
        # All at once, so that they count together however slow the machine is.
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            guesses = list(pool.map(lambda i: outcome(lambda: root.login(name, f"guess {i}")), range(30)))
        assert guesses.count(BAD_LOGIN) >= 10 and set(guesses) <= {BAD_LOGIN, busy}
        assert outcome(lambda: root.login(name, "right")) == busy
    root.login("root", ROOT_PASSWORD)  # Other names are not touched.


def test_passwords_that_bcrypt_would_cut_are_refused(root):
    too_long = root.try_("Auth/UserAdd", pb.AuthUserAddRequest(name="ann", password="x" * 73))
    assert too_long[0] == "INVALID_ARGUMENT" and "73 bytes" in too_long[1]
    zero = root.try_("Auth/UserAdd", pb.AuthUserAddRequest(name="ann", password="a\0b"))
    assert zero[0] == "INVALID_ARGUMENT" and "zero byte" in zero[1]
    root.add_user("ann", "x" * 72)
    root.login("ann", "x" * 72)
    root.add_user("empty", "")
    root.login("empty", "")


def test_no_secret_is_in_the_log_or_the_store(new_server):
    server = new_server(log_level="trace").start()
    with server.client() as client:
        root = root_of(client)
        root.add_user("ann", "hunter2hunter2")
        ann = root.login("ann", "hunter2hunter2")
        ann.try_("KV/Put", pb.PutRequest(key=b"k"))
        outcome(lambda: root.login("ann", "wrongwrongwrong"))
    server.stop()
    text = server.log_path.read_text(errors="replace")
    files = b"".join(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
    for secret in ("hunter2hunter2", "wrongwrongwrong", ROOT_PASSWORD, ann.token.split(".")[0], root.token.split(".")[0]):
        assert secret not in text and secret.encode() not in files
    assert "$2a$" not in text and b"$2a$10$" in files


def test_grants_join_and_a_range_must_be_covered(root):
    root.user("ann", "p", (READ, b"a", b"c"), (READ, b"x", b""))
    root.add_role("more", (READ, b"c", b"f"), (WRITE, b"a", b"z"))
    root.give("ann", "more")
    ann = root.login("ann", "p")

    def may(key, end=b""):
        return not isinstance(ann.try_("KV/Range", pb.RangeRequest(key=key, range_end=end)), tuple)

    assert may(b"a") and may(b"b") and may(b"a", b"f") and may(b"bb", b"e") and may(b"x") and may(b"x", b"x\0")
    assert not may(b"f") and not may(b"a", b"f\0") and not may(b"\0", b"f") and not may(b"x", b"x\1")
    assert not may(b"a", b"\0") and not may(b"\0", b"\0") and not may(b"w", b"y")
    ann.put(b"m")
    assert ann.try_("KV/Put", pb.PutRequest(key=b"m", prev_kv=True)) == DENIED
    assert ann.try_("KV/DeleteRange", pb.DeleteRangeRequest(key=b"a", range_end=b"z", prev_kv=True)) == DENIED
    assert ann.delete(b"a", b"z").deleted == 1
    root.grant("ann", READ, b"f", b"\0")
    assert may(b"a", b"\0") and not may(b"\0", b"\0")


def test_every_part_of_a_transaction_is_judged(root):
    root.user("ann", "p", (READWRITE, b"a", b""), (READ, b"r", b""))
    ann = root.login("ann", "p")
    get = lambda key: pb.RequestOp(request_range=pb.RangeRequest(key=key))
    put = lambda key: pb.RequestOp(request_put=pb.PutRequest(key=key))
    delete = lambda key: pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
    nested = lambda **fields: pb.RequestOp(request_txn=pb.TxnRequest(**fields))
    compare = lambda key: pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)
    allowed = [
        pb.TxnRequest(compare=[compare(b"a"), compare(b"r")], success=[put(b"a")], failure=[get(b"r"), delete(b"a")]),
        pb.TxnRequest(success=[nested(success=[nested(failure=[put(b"a")])])]),
        pb.TxnRequest(success=[get(b"a"), get(b"r")]),
    ]
    for request in allowed:
        ann("KV/Txn", request)
    refusals = [
        pb.TxnRequest(compare=[compare(b"b")]),
        pb.TxnRequest(success=[put(b"r")]),
        pb.TxnRequest(success=[put(b"a")], failure=[put(b"r")]),
        pb.TxnRequest(success=[put(b"a")], failure=[get(b"b")]),
        pb.TxnRequest(success=[put(b"a")], failure=[delete(b"r")]),
        pb.TxnRequest(success=[nested(success=[put(b"a")], failure=[nested(success=[get(b"b")])])]),
        pb.TxnRequest(success=[nested(compare=[compare(b"b")])]),
        pb.TxnRequest(success=[get(b"a")], failure=[get(b"b")]),
    ]
    for request in refusals:
        assert ann.try_("KV/Txn", request) == DENIED, request


def test_leases_are_judged_by_their_keys(root):
    root.user("ann", "p", (READWRITE, *prefix(b"a/")), (READ, *prefix(b"b/")))
    ann = root.login("ann", "p")
    ann("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=600, ID=1))
    ann("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=600, ID=2))
    ann.put(b"a/1", lease=1)
    assert ann("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1, keys=True)).keys == [b"a/1"]
    assert len(ann("Lease/LeaseLeases", pb.LeaseLeasesRequest()).leases) == 2
    root.put(b"b/1", lease=1)
    # With a key it may not write the lease is not its to use or to end.
    assert ann.try_("KV/Put", pb.PutRequest(key=b"a/2", lease=1)) == DENIED
    assert ann.try_("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=1)) == DENIED
    metadata = [("token", ann.token)]
    with Stream(ann.client.lease.LeaseKeepAlive, metadata=metadata) as stream:
        stream.send(pb.LeaseKeepAliveRequest(ID=2))
        assert stream.next().TTL == 600
        stream.send(pb.LeaseKeepAliveRequest(ID=1))
        with pytest.raises(StreamEnded) as ended:
            stream.next()
        assert (ended.value.code.name, ended.value.details) == DENIED
    assert sorted(ann("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1, keys=True)).keys) == [b"a/1", b"b/1"]
    root.put(b"c/1", lease=1)
    assert ann.try_("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1, keys=True)) == DENIED
    assert ann("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=1)).grantedTTL == 600
    assert ann.try_("Lease/LeaseLeases", pb.LeaseLeasesRequest()) == DENIED
    ann("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=2))
    root("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=1))


def test_watches_are_refused_with_the_words_clients_look_for(root, client):
    root.user("ann", "p", (READ, b"a", b"c"), (READ, b"\0", b""))
    ann = root.login("ann", "p")

    def refusal(token, key, end=b""):
        metadata = [("token", token)] if token else None
        with client.watch(metadata=metadata) as watch:
            answer = watch.create(key, end)
            if not answer.canceled:
                return None
            assert answer.watch_id == -1
            return answer.cancel_reason

    denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    assert refusal(ann.token, b"a", b"c") is None
    assert refusal(ann.token, b"b") is None
    assert refusal(ann.token, b"") is None  # The single key of one zero byte.
    assert refusal(ann.token, b"a", b"d") == denied
    assert refusal(ann.token, b"a", b"\0") == denied
    assert refusal(ann.token, b"", b"\0") == denied
    assert refusal(None, b"a") == "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
    bad = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    assert refusal("abcdefghijklmnop.4", b"a") == bad
    with client.watch(metadata=[("token", ann.token)]) as watch:
        watch.create(b"a")
        root.put(b"a", b"1")
        assert watch.events(1)[0].kv.value == b"1"
        root("Auth/UserDelete", pb.AuthUserDeleteRequest(name="ann"))
        root.put(b"a", b"2")  # Judged once, when it is made.
        assert watch.events(1)[0].kv.value == b"2"
        watch.send_create(b"b")
        assert watch.next().cancel_reason == bad


def test_what_is_for_root_alone(root):
    root.user("ann", "p", (READWRITE, b"\0", b"\0"))
    ann = root.login("ann", "p")
    for method, request in (
        ("KV/Compact", pb.CompactionRequest(revision=1)),
        ("Maintenance/Alarm", pb.AlarmRequest(action=1, alarm=1)),
        ("Auth/AuthStatus", pb.AuthStatusRequest()),
        ("Auth/AuthDisable", pb.AuthDisableRequest()),
        ("Auth/AuthEnable", pb.AuthEnableRequest()),
        ("Auth/UserAdd", pb.AuthUserAddRequest(name="x", password="y")),
        ("Auth/UserDelete", pb.AuthUserDeleteRequest(name="root")),
        ("Auth/UserList", pb.AuthUserListRequest()),
        ("Auth/UserGet", pb.AuthUserGetRequest(name="root")),
        ("Auth/UserChangePassword", pb.AuthUserChangePasswordRequest(name="ann", password="z")),
        ("Auth/UserGrantRole", pb.AuthUserGrantRoleRequest(user="ann", role="root")),
        ("Auth/UserRevokeRole", pb.AuthUserRevokeRoleRequest(name="ann", role="ann")),
        ("Auth/RoleAdd", pb.AuthRoleAddRequest(name="x")),
        ("Auth/RoleDelete", pb.AuthRoleDeleteRequest(role="ann")),
        ("Auth/RoleList", pb.AuthRoleListRequest()),
        ("Auth/RoleGet", pb.AuthRoleGetRequest(role="root")),
        ("Auth/RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name="ann", perm=pb.Permission(key=b"k"))),
        ("Auth/RoleRevokePermission", pb.AuthRoleRevokePermissionRequest(role="ann", key=b"k")),
    ):
        assert ann.try_(method, request) == DENIED, method
    raw = ("UNKNOWN", "auth: permission denied")
    assert ann.try_("Maintenance/Defragment", pb.DefragmentRequest()) == raw
    assert ann.try_("Maintenance/HashKV", pb.HashKVRequest()) == raw
    copy = Stream(ann.client.maintenance_berth.Snapshot, berth.SnapshotRequest(), metadata=[("token", ann.token)])
    with pytest.raises(StreamEnded) as ended:
        copy.next()
    assert (ended.value.code.name, ended.value.details) == DENIED
    # What is one's own, and what everybody who is known may do.
    assert ann("Auth/UserGet", pb.AuthUserGetRequest(name="ann")).roles == ["ann"]
    assert len(ann("Auth/RoleGet", pb.AuthRoleGetRequest(role="ann")).perm) == 1
    assert ann("Maintenance/Status", pb.StatusRequest()).version
    assert not ann("Maintenance/Alarm", pb.AlarmRequest()).alarms
    assert len(ann("Cluster/MemberList", pb.MemberListRequest()).members) == 1


def test_root_cannot_be_taken_away_while_it_is_needed(root):
    root.add_role("root")
    assert root.try_("Auth/UserDelete", pb.AuthUserDeleteRequest(name="root")) == BAD_MANAGEMENT
    assert root.try_("Auth/RoleDelete", pb.AuthRoleDeleteRequest(role="root")) == BAD_MANAGEMENT
    revoke = pb.AuthUserRevokeRoleRequest(name="root", role="root")
    assert root.try_("Auth/UserRevokeRole", revoke) == BAD_MANAGEMENT
    root.add_role("r")
    for key, end in ((b"", b""), (b"", b"\0"), (b"b", b"a"), (b"b", b"b")):
        with refused(*BAD_MANAGEMENT):
            root.grant("r", READ, key, end)
    grant = pb.AuthRoleGrantPermissionRequest(name="r")
    assert root.try_("Auth/RoleGrantPermission", grant) == (
        "INVALID_ARGUMENT",
        "etcdserver: permission not given",
    )


def test_berths_own_locks(root):
    root.user("ann", "p", (READWRITE, *prefix(b"locks/a/")), (READWRITE, b"data", b""), (READWRITE, b"locks/a", b""))
    root.user("bob", "p", (READ, *prefix(b"locks/a/")))
    ann, bob = root.login("ann", "p"), root.login("bob", "p")
    acquire = lambda **fields: berth.AcquireRequest(name=b"locks/a", ttl=60, **fields)
    # Without a guard in the request the key named like the lock is guarded: that needs WRITE too.
    held = ann("berth.v1.Locks/Acquire", acquire())
    assert held.acquired
    guarding = lambda key: acquire(guards=[berth.Guard(key=key)], lease=held.handle.lease)
    assert ann.try_("berth.v1.Locks/Acquire", guarding(b"other")) == DENIED
    assert bob.try_("berth.v1.Locks/Acquire", acquire()) == DENIED
    handle = dict(key=held.handle.key, token=held.handle.token)
    assert bob.try_("berth.v1.Locks/Release", berth.ReleaseRequest(**handle)) == DENIED
    assert bob.try_("berth.v1.Locks/Renew", berth.RenewRequest(**handle)) == DENIED
    breaking = berth.BreakRequest(name=b"locks/a", by="me", reason="r")
    assert bob.try_("berth.v1.Locks/Break", breaking) == DENIED
    assert bob("berth.v1.Locks/Inspect", berth.InspectRequest(name=b"locks/a")).holders == 1
    assert len(bob("berth.v1.Locks/List", berth.ListRequest(prefix=b"locks/a/")).locks) == 0
    assert bob.try_("berth.v1.Locks/List", berth.ListRequest()) == DENIED
    assert bob.try_("berth.v1.Locks/Inspect", berth.InspectRequest(name=b"locks/b")) == DENIED
    assert ann("berth.v1.Locks/Renew", berth.RenewRequest(**handle)).ttl == 60
    assert ann("berth.v1.Locks/Break", breaking).broken.token == held.handle.token
    assert ann.try_("berth.v1.Locks/Break", breaking)[0] == "NOT_FOUND"
    held = ann("berth.v1.Locks/Acquire", acquire(unguarded=True))
    release = berth.ReleaseRequest(key=held.handle.key, token=held.handle.token)
    assert ann("berth.v1.Locks/Release", release).released


def test_a_waiter_that_gives_up_leaves_the_line(root):
    root.user("ann", "p", (READWRITE, *prefix(b"l/")), (READWRITE, b"l", b""))
    ann = root.login("ann", "p")
    held = ann("berth.v1.Locks/Acquire", berth.AcquireRequest(name=b"l", ttl=60))
    late = ann("berth.v1.Locks/Acquire", berth.AcquireRequest(name=b"l", ttl=60, wait_milliseconds=50))
    assert not late.acquired and late.holder.token == held.handle.token
    assert ann("berth.v1.Locks/Inspect", berth.InspectRequest(name=b"l")).waiters == 0


def test_etcds_lock_and_election_services(root):
    root.user("ann", "p", (READWRITE, *prefix(b"l/")))
    root.user("bob", "p", (READ, *prefix(b"l/")))
    ann, bob = root.login("ann", "p"), root.login("bob", "p")
    denied = ("UNKNOWN", DENIED[1])
    key = ann("v3lockpb.Lock/Lock", pb.LockRequest(name=b"l")).key
    assert bob.try_("v3lockpb.Lock/Lock", pb.LockRequest(name=b"l")) == denied
    assert bob.try_("v3lockpb.Lock/Unlock", pb.UnlockRequest(key=key)) == denied
    ann("v3lockpb.Lock/Unlock", pb.UnlockRequest(key=key))
    leader = ann("v3electionpb.Election/Campaign", pb.CampaignRequest(name=b"l", value=b"1")).leader
    assert bob("v3electionpb.Election/Leader", pb.LeaderRequest(name=b"l")).kv.value == b"1"
    assert bob.try_("v3electionpb.Election/Leader", pb.LeaderRequest(name=b"m")) == denied
    proclaim = pb.ProclaimRequest(leader=leader, value=b"2")
    assert bob.try_("v3electionpb.Election/Proclaim", proclaim) == denied
    ann("v3electionpb.Election/Proclaim", proclaim)
    assert bob.try_("v3electionpb.Election/Resign", pb.ResignRequest(leader=leader)) == denied
    observed = Stream(bob.client.election.Observe, pb.LeaderRequest(name=b"l"), metadata=[("token", bob.token)])
    assert observed.next().kv.value == b"2"
    observed.cancel()
    ann("v3electionpb.Election/Resign", pb.ResignRequest(leader=leader))


def test_rights_that_change_under_load_are_never_overtaken(server, root):
    """A reader whose right is taken away before a secret is written never sees the secret."""
    root.user("ann", "p", (READ, b"k", b""))
    ann = root.login("ann", "p")
    done = threading.Event()
    leaked, answers = [], 0

    def read():
        nonlocal answers
        with server.client() as client:
            reader = As(client, ann.token)
            while not done.is_set():
                answer = reader.try_("KV/Range", pb.RangeRequest(key=b"k"))
                answers += 1
                if not isinstance(answer, tuple) and any(kv.value == b"secret" for kv in answer.kvs):
                    leaked.append(answer)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        root("Auth/UserRevokeRole", pb.AuthUserRevokeRoleRequest(name="ann", role="ann"))
        root.put(b"k", b"secret")
        root.put(b"k", b"open")
        root.give("ann", "ann")
    done.set()
    for thread in threads:
        thread.join()
    assert answers > 100 and not leaked


def test_the_server_expires_leases_and_raises_alarms_as_itself(new_server):
    server = new_server().start()
    with server.client() as client:
        root = root_of(client)
        root("Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=2, ID=1))
        root.put(b"k", lease=1)
        with client.watch(metadata=[("token", root.token)]) as watch:
            watch.create(b"k")
            assert watch.events(1)[0].type == 1


def test_a_certificates_common_name_is_the_user_where_there_is_no_token(new_server, tmp_path):
    authority = Authority(tmp_path / "certificates")
    server = new_server(security=authority.security("ann")).start()
    other = authority.certificate("stranger", "/CN=nobody")
    with server.client() as ann:
        As(ann).user("ann", "p", (READ, b"k", b""))
        root = root_of(ann)  # A token counts before the certificate.
        get = pb.RangeRequest(key=b"k")
        assert As(ann)("KV/Range", get).count == 0
        assert As(ann).try_("KV/Put", pb.PutRequest(key=b"k")) == DENIED
        assert As(ann)("Auth/UserGet", pb.AuthUserGetRequest(name="ann")).roles == ["ann"]
        root.put(b"k")
        assert As(ann, "abcdefghijklmnop.4").try_("KV/Range", get) == BAD_TOKEN
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(), other.key.read_bytes(), other.file.read_bytes()
        )
        with server.client(credentials=credentials) as stranger:
            assert As(stranger).try_("KV/Range", get) == DENIED
            assert As(stranger).try_("KV/Compact", pb.CompactionRequest(revision=1)) == (
                "FAILED_PRECONDITION",
                "etcdserver: user name not found",
            )
        # What comes through the gateway without a token is nobody's.
        context = ssl.create_default_context(cafile=authority.file)
        context.load_cert_chain(authority.folder / "client.pem", authority.folder / "client.key")

        def through_gateway(**headers):
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=60)
            try:
                connection.request("POST", "/v3/kv/range", '{"key":"aw=="}', headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        code, body = through_gateway()
        assert code == 400 and b"common name" in body
