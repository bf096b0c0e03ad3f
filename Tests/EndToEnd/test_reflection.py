"""gRPC reflection: a client that knows nothing of etcd finds the services, their messages, and calls them."""

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness.client import status

pytestmark = pytest.mark.berth_only  # etcd has no reflection.

SERVED = {
    "berth.v1.Elections",
    "berth.v1.Locks",
    "berth.v1.Maintenance",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "v3electionpb.Election",
    "v3lockpb.Lock",
}


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def ask(channel, *requests, version="v1"):
    """Each request's answer, in one stream."""
    stub = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(stub(iter(requests), timeout=60))


def request(**fields):
    return reflection_pb2.ServerReflectionRequest(**fields)


def files(answer):
    assert answer.WhichOneof("message_response") == "file_descriptor_response", answer
    return [
        descriptor_pb2.FileDescriptorProto.FromString(file).name
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_lists_what_is_served(channel, version):
    (answer,) = ask(channel, request(list_services="*", host="here"), version=version)
    names = [service.name for service in answer.list_services_response.service]
    assert SERVED <= set(names) and names == sorted(names)
    assert answer.valid_host == "here" and answer.original_request.list_services == "*"


def test_every_listed_service_is_described(channel):
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    (answer,) = ask(channel, request(list_services=""))
    for service in answer.list_services_response.service:
        assert pool.FindServiceByName(service.name).methods, service.name


def test_a_file_comes_with_what_it_imports_once(channel):
    first, again = ask(
        channel,
        request(file_containing_symbol="v3lockpb.Lock"),
        request(file_by_filename="etcd/api/etcdserverpb/rpc.proto"),
    )
    assert files(first)[0] == "v3lock.proto"
    assert set(files(first)) == {
        "v3lock.proto",
        "etcd/api/etcdserverpb/rpc.proto",
        "etcd/api/mvccpb/kv.proto",
        "etcd/api/authpb/auth.proto",
    }
    assert files(again) == ["etcd/api/etcdserverpb/rpc.proto"]  # Asked for by name it is sent, its imports are known.


@pytest.mark.parametrize(
    "symbol, file",
    [
        ("etcdserverpb.KV", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.KV.Put", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.PutRequest", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.PutRequest.prev_kv", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.RequestOp.request", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.RangeRequest.SortOrder", "etcd/api/etcdserverpb/rpc.proto"),
        ("etcdserverpb.RangeRequest.ASCEND", "etcd/api/etcdserverpb/rpc.proto"),
        ("mvccpb.KeyValue", "etcd/api/mvccpb/kv.proto"),
        ("berth.v1.Locks.Acquire", "berth/v1/locks.proto"),
    ],
)
def test_symbols_of_every_kind_are_found(channel, symbol, file):
    (answer,) = ask(channel, request(file_containing_symbol=symbol))
    assert files(answer)[0] == file


def test_what_is_not_there_is_not_found_and_the_stream_goes_on(channel):
    extension = reflection_pb2.ExtensionRequest(containing_type="etcdserverpb.PutRequest", extension_number=7)
    *missing, numbers, listed = ask(
        channel,
        request(file_by_filename="nothing.proto"),
        request(file_containing_symbol="nothing.Nothing"),
        request(file_containing_extension=extension),
        request(all_extension_numbers_of_type="nothing.Nothing"),
        request(all_extension_numbers_of_type="etcdserverpb.PutRequest"),
        request(list_services=""),
    )
    for answer in missing:
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], answer
        assert answer.error_response.error_message
    assert numbers.all_extension_numbers_response.base_type_name == "etcdserverpb.PutRequest"
    assert not numbers.all_extension_numbers_response.extension_number
    assert listed.list_services_response.service


def test_a_request_for_nothing_ends_the_stream(channel):
    code, text = status(lambda: ask(channel, request(host="here")))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "message_request" in text


def test_a_client_that_knows_nothing_writes_and_reads(channel):
    """As grpcurl does: everything below comes out of reflection."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "etcdserverpb.KV" in database.get_services()
    pool = descriptor_pool.DescriptorPool(database)

    def call(service, name, /, **fields):
        method = pool.FindServiceByName(service).FindMethodByName(name)
        wanted = message_factory.GetMessageClass(method.input_type)
        given = message_factory.GetMessageClass(method.output_type)
        path = f"/{service}/{name}"
        return channel.unary_unary(path, wanted.SerializeToString, given.FromString)(wanted(**fields), timeout=60)

    put = call("etcdserverpb.KV", "Put", key=b"key", value=b"value")
    got = call("etcdserverpb.KV", "Range", key=b"key")
    assert [(kv.key, kv.value, kv.mod_revision) for kv in got.kvs] == [(b"key", b"value", put.header.revision)]
    assert call("etcdserverpb.Maintenance", "Status").version.startswith("3.5.")
    assert call("berth.v1.Locks", "Inspect", name=b"none").header.revision == put.header.revision
    assert call("grpc.health.v1.Health", "Check", service="etcdserverpb.KV").status == 1


def test_the_stub_of_the_published_package_works(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request(list_services="")]), timeout=60)
    assert answer.list_services_response.service
