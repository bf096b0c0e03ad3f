"""The messages and services of etcd's v3 API and of berth.v1, made from the compiled protos.

`pb.PutRequest` is a message class of etcd's, whatever package it comes from: its names are unique over all packages.
`berth.AcquireRequest` is one of berth.v1, which has some names in common with etcd's. `SERVICES["etcdserverpb.KV"]`
lists a service's methods.
"""

import types

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .paths import ENVIRONMENT

pb = types.SimpleNamespace()
berth = types.SimpleNamespace()
SERVICES = {}


def _load():
    files = descriptor_pb2.FileDescriptorSet.FromString((ENVIRONMENT / "protos.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    for file in files.file:
        if file.package == "grpc.reflection.v1alpha":
            continue  # The messages of v1 under another name.
        descriptor = pool.FindFileByName(file.name)
        into = berth if file.package == "berth.v1" else pb
        for name, message in descriptor.message_types_by_name.items():
            assert not hasattr(into, name), f"two messages called {name}"
            setattr(into, name, message_factory.GetMessageClass(message))
        for name, values in descriptor.enum_types_by_name.items():
            setattr(into, name, types.SimpleNamespace(**{value.name: value.number for value in values.values}))
        for service in descriptor.services_by_name.values():
            SERVICES[service.full_name] = service


_load()


def message_class(descriptor):
    return message_factory.GetMessageClass(descriptor)


def prefix_end(prefix):
    """The range_end that makes a range of all keys starting with `prefix`."""
    for i in reversed(range(len(prefix))):
        if prefix[i] < 0xFF:
            return prefix[:i] + bytes([prefix[i] + 1])
    return b"\0"
