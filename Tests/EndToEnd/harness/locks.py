"""Locks and elections by berth.v1: shorthands for calls, proofs, and what a refusal tells."""

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from .api import berth, pb
from .client import TIMEOUT, Stream

FOREVER = 300.0  # Deadline of a call that waits its turn: a backstop for a test that would hang.
Type = berth.Event  # Its values: Type.QUEUED, Type.ACQUIRED, …


def _status_class():
    """google.rpc.Status, which no installed package brings."""
    file = descriptor_pb2.FileDescriptorProto(
        name="google/rpc/status.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=[any_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="Status")
    field = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="details",
        number=3,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".google.protobuf.Any",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


RpcStatus = _status_class()


def guard(key, range_end=b""):
    return berth.Guard(key=key, range_end=range_end)


def acquire_request(name, *, ttl=60, wait=None, **fields):
    """`wait` in seconds; 0 tries once, None waits as long as the call lasts. `lease` alone: ttl=0."""
    request = berth.AcquireRequest(name=name, ttl=ttl, **fields)
    if wait is not None:
        request.wait_milliseconds = int(wait * 1000)
    return request


def begin_acquire(client, name, *, timeout=FOREVER, **fields):
    """An Acquire that goes on; `.result()` waits for its answer. Keep it: gRPC cancels a call that nobody refers to."""
    return client.locks.Acquire.future(acquire_request(name, **fields), timeout=timeout)


def acquire(client, name, *, timeout=FOREVER, **fields):
    return client.locks.Acquire(acquire_request(name, **fields), timeout=timeout)


def hold(client, name, **fields):
    """Takes a lock that is free; returns the handle."""
    answer = acquire(client, name, wait=0, **fields)
    assert answer.acquired, answer
    check_handle(answer.handle, name)
    return answer.handle


def check_handle(handle, name):
    assert handle.name == name
    assert handle.key == b"%b/%x" % (name, handle.lease)
    assert handle.token > 0 and handle.lease != 0 and handle.ttl >= 2, handle


def release(client, handle, *, timeout=TIMEOUT):
    return client.locks.Release(berth.ReleaseRequest(key=handle.key, token=handle.token), timeout=timeout)


def renew(client, handle, *, timeout=TIMEOUT):
    return client.locks.Renew(berth.RenewRequest(key=handle.key, token=handle.token), timeout=timeout)


def inspect(client, name, *, limit=0, timeout=TIMEOUT):
    return client.locks.Inspect(berth.InspectRequest(name=name, limit=limit), timeout=timeout)


def list_locks(client, prefix=b"", *, limit=0, after=b"", timeout=TIMEOUT):
    return client.locks.List(berth.ListRequest(prefix=prefix, limit=limit, after=after), timeout=timeout)


def break_lock(client, name, *, token=0, by="operator", reason="a test", timeout=TIMEOUT):
    request = berth.BreakRequest(name=name, token=token, by=by, reason=reason)
    return client.locks.Break(request, timeout=timeout)


def campaign_request(name, value=b"", *, ttl=60, wait=None, **fields):
    request = berth.CampaignRequest(name=name, value=value, ttl=ttl, **fields)
    if wait is not None:
        request.wait_milliseconds = int(wait * 1000)
    return request


def begin_campaign(client, name, value=b"", *, timeout=FOREVER, **fields):
    return client.elections.Campaign.future(campaign_request(name, value, **fields), timeout=timeout)


def campaign(client, name, value=b"", **fields):
    answer = begin_campaign(client, name, value, **fields).result()
    if answer.elected:
        check_handle(answer.leader, name)
    return answer


def proclaim(client, leader, value, *, timeout=TIMEOUT):
    return client.elections.Proclaim(berth.ProclaimRequest(leader=leader, value=value), timeout=timeout)


def leader_of(client, name, *, timeout=TIMEOUT):
    """The leader's place, or None."""
    answer = client.elections.Leader(berth.LeaderRequest(name=name), timeout=timeout)
    return answer.leader if answer.HasField("leader") else None


def resign(client, leader, *, timeout=TIMEOUT):
    return client.elections.Resign(berth.ResignRequest(leader=leader), timeout=timeout)


# Proofs and fenced writes


def proof(handle):
    """The compare that holds only while the place stands."""
    return pb.Compare(
        result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=handle.key, create_revision=handle.token
    )


def put_op(key, value=b"", **fields):
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **fields))


def delete_op(key, range_end=b"", **fields):
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end, **fields))


def range_op(key, range_end=b"", **fields):
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end, **fields))


def fenced(client, handle, *operations, timeout=TIMEOUT):
    """Runs operations under the handle's proof; the answer's `succeeded` is False when the lock is lost."""
    return client.txn(compare=[proof(handle)], success=operations, timeout=timeout)


# Refusals


def error_of(call):
    """Runs `call`, which must fail, and returns its RpcError."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"expected an error, got {answer!r}")


def refusal_of(call):
    """Runs a write that a guard must refuse; returns the LockedDetail that the refusal carries."""
    error = error_of(call)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details().startswith("berth: key is locked: "), error.details()
    carried = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = RpcStatus.FromString(carried)
    assert status.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert status.message == error.details()
    (detail,) = status.details
    assert detail.type_url == "type.googleapis.com/berth.v1.LockedDetail"
    return berth.LockedDetail.FromString(detail.value)


# Streams


class EventStream(Stream):
    """A Locks.Observe call. Checks in passing that answers are of whole revisions, in order."""

    def __init__(self, client, name, *, prefix=False, start_revision=0, token=0):
        request = berth.ObserveRequest(name=name, prefix=prefix, start_revision=start_revision, token=token)
        super().__init__(client.locks.Observe, request)
        self.revision = 0  # All up to here is told.

    def batch(self, timeout=TIMEOUT):
        """The events of the next answer; none, when it only says how far the stream has come."""
        answer = self.next(timeout)
        for event in answer.events:
            assert self.revision < event.revision <= answer.header.revision, answer
        assert [e.revision for e in answer.events] == sorted(e.revision for e in answer.events)
        self.revision = max(self.revision, answer.header.revision)
        return list(answer.events)

    def events(self, count, timeout=TIMEOUT):
        """The next `count` events."""
        events = []
        while len(events) < count:
            events += self.batch(timeout)
        assert len(events) == count, events
        return events

    def until(self, condition, timeout=TIMEOUT):
        """Events up to the answer with the first one that meets the condition."""
        events = []
        while not any(map(condition, events)):
            events += self.batch(timeout)
        return events


def observe_leaders(client, name, *, start_revision=0):
    request = berth.ElectionObserveRequest(name=name, start_revision=start_revision)
    return Stream(client.elections.Observe, request)


def await_places(client, name, count, timeout=TIMEOUT):
    """Waits until exactly `count` keys stand in the line; returns Inspect's answer."""
    client.await_keys(name + b"/", count, timeout)
    return inspect(client, name)
