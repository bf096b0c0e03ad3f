"""What gRPC itself promises: deadlines, unknown methods, health, limits, members; and HTTP/1.1 on the same port."""

import concurrent.futures
import http.client
import json

import grpc
import pytest

from harness.api import pb
from harness.client import DEADLINE_EXCEEDED, Stream, status
from harness.wire import RawConnection, message


def get(server, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(), response
    finally:
        connection.close()


def test_health_over_http(server):
    code, body, _ = get(server, "/health")
    assert code == 200
    answer = json.loads(body)
    assert answer["health"] == "true"
    if server.is_berth:
        assert body == b'{"health":"true","reason":""}'


def test_version_over_http(server):
    code, body, response = get(server, "/version")
    assert code == 200 and response.getheader("content-type").startswith("application/json")
    answer = json.loads(body)
    assert set(answer) == {"etcdserver", "etcdcluster"}
    assert all(part.isdigit() for part in answer["etcdserver"].split("."))


def test_other_paths_over_http(server):
    assert get(server, "/nothing")[0] == 404
    assert get(server, "/health", "POST")[0] == 405


def test_http_keeps_the_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    connection.close()


def test_health_service(client):
    serving = client.health.Check(pb.HealthCheckRequest(), timeout=60)
    assert serving.status == pb.HealthCheckResponse.SERVING
    unknown = grpc.StatusCode.NOT_FOUND, "unknown service"
    assert status(lambda: client.health.Check(pb.HealthCheckRequest(service="x"), timeout=60)) == unknown
    with Stream(client.health.Watch, pb.HealthCheckRequest()) as stream:
        assert stream.next().status == pb.HealthCheckResponse.SERVING


def test_unknown_methods_and_services(client):
    def call(path):
        return status(lambda: client.channel.unary_unary(path)(b"", timeout=60))

    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    assert call("/etcdserverpb.KV/Nothing") == (unimplemented, "unknown method Nothing for service etcdserverpb.KV")
    assert call("/nothing.Nothing/Range") == (unimplemented, "unknown service nothing.Nothing")


@pytest.mark.parametrize(
    "authority", ["127.0.0.1:2379", "localhost", "http://127.0.0.1:2379", "etcd-endpoints://0x1/a", ""]
)
def test_clients_name_the_authority_as_they_like(server, authority):
    """etcd's Go client puts the endpoint there as the user wrote it, scheme and all."""
    with RawConnection(server) as connection:
        body = message(pb.PutRequest(key=b"key").SerializeToString())
        assert connection.call("/etcdserverpb.KV/Put", body, authority=authority).status == 0


def test_a_deadline_already_passed(client):
    # A second ago: gRPC rounds what is left up to a millisecond, in which a put can be answered.
    code, _ = status(lambda: client.put(b"key", timeout=-1))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_deadline_ends_a_stream(client):
    call = client.watch_service.Watch(iter([pb.WatchRequest()]), timeout=0.3)
    code, _ = status(lambda: list(call))
    assert code in DEADLINE_EXCEEDED


def test_compression_is_not_required(client):
    """A client that compresses is told what is supported, or is understood; the server lives on."""
    try:
        client.kv.Put(pb.PutRequest(key=b"key"), timeout=60, compression=grpc.Compression.Gzip)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    client.put(b"other")


def test_request_limits(client):
    client.put(b"key", b"v" * (1_572_864 - 100))
    too_large = grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large"
    assert status(lambda: client.put(b"key", b"v" * 1_572_864)) == too_large
    code, text = status(lambda: client.put(b"key", b"v" * 2_100_000))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text.startswith("grpc: received message larger than max (") and text.endswith(" vs. 2097152)")
    assert len(client.get(b"key")) == 1_572_864 - 100


def test_request_limits_are_flags(new_server):
    server = new_server(max_txn_ops=3, max_request_bytes=10_000).start()
    with server.client() as client:
        operations = [pb.RequestOp(request_put=pb.PutRequest(key=b"key/%d" % i)) for i in range(4)]
        client.txn(success=operations[:3])
        too_many = grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request"
        assert status(lambda: client.txn(success=operations)) == too_many
        client.put(b"key", b"v" * 9_000)
        too_large = grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large"
        assert status(lambda: client.put(b"key", b"v" * 11_000)) == too_large


def test_a_large_answer(client):
    """Thirty megabytes in one response: flow control and the send buffer hold."""
    for i in range(30):
        client.put(b"key/%02d" % i, b"%02d" % i * 500_000)
    for _ in range(2):
        answer = client.prefix(b"key/", timeout=60)
        assert [kv.value for kv in answer.kvs] == [b"%02d" % i * 500_000 for i in range(30)]


def test_many_calls_at_once_on_one_connection(client):
    calls = [client.kv.Put.future(pb.PutRequest(key=b"key/%04d" % i), timeout=60) for i in range(2000)]
    revisions = {call.result().header.revision for call in calls}
    assert revisions == set(range(2, 2002))
    assert client.prefix(b"key/", count_only=True).count == 2000


def test_many_connections(server):
    def work(number):
        with server.client() as client:
            for i in range(5):
                client.put(b"key/%d" % number, b"%d" % i)
            return client.get(b"key/%d" % number)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert list(pool.map(work, range(100))) == [b"4"] * 100


def test_members(server, client):
    answer = client.cluster.MemberList(pb.MemberListRequest(linearizable=True), timeout=60)
    (member,) = answer.members
    assert (member.name, list(member.clientURLs), member.isLearner) == ("one", [server.url], False)
    assert member.ID == answer.header.member_id
    assert answer.header.revision == 0


def test_status(client):
    client.put(b"key")
    answer = client.maintenance.Status(pb.StatusRequest(), timeout=60)
    assert answer.leader == answer.header.member_id and answer.raftTerm == answer.header.raft_term
    assert answer.header.revision == 2
    assert 0 < answer.raftAppliedIndex <= answer.raftIndex
    assert 0 < answer.dbSizeInUse <= answer.dbSize
    assert list(answer.errors) == [] and not answer.isLearner


def test_hash(client):
    empty = client.maintenance.Hash(pb.HashRequest(), timeout=60)
    assert client.maintenance.Hash(pb.HashRequest(), timeout=60).hash == empty.hash
    client.put(b"key", b"value")
    assert client.maintenance.Hash(pb.HashRequest(), timeout=60).hash != empty.hash


def test_hashkv(client):
    def hash_of(revision=0):
        return client.maintenance.HashKV(pb.HashKVRequest(revision=revision), timeout=60)

    assert (hash_of().hash, hash_of().compact_revision) == (1084519789, -1)
    client.put(b"key", b"one")
    client.put(b"key", b"two")
    now = hash_of()
    assert now.header.revision == 3 and hash_of(3).hash == now.hash != hash_of(2).hash
    client.compact(3, physical=True)
    assert hash_of().compact_revision == 3
    compacted = grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
    assert status(lambda: hash_of(2)) == compacted
    future = grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"
    assert status(lambda: hash_of(9)) == future


def test_alarms_are_none(client):
    assert not client.maintenance.Alarm(pb.AlarmRequest(), timeout=60).alarms


@pytest.mark.berth_only  # etcd ends its process.
def test_an_unknown_alarm_action_is_refused(client):
    status(lambda: client.maintenance.Alarm(pb.AlarmRequest(action=9), timeout=60))
    client.put(b"key")


@pytest.mark.berth_only  # etcd ends its process.
def test_a_put_that_keeps_the_value_of_a_key_deleted_in_the_same_transaction(client):
    client.put(b"key", b"value")
    delete = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"a", range_end=b"\0"))
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"key", ignore_value=True))
    try:
        client.txn(success=[delete, put])
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert client.get(b"key") == b"value", "a refused transaction changes nothing"
    client.put(b"other")
