"""A gRPC proxy that can lie: faults are planted between clients and a sound server, for rigs to be put to the test."""

import concurrent.futures
import random
import threading

import grpc

from harness.api import SERVICES, berth, message_class, pb

_METHODS = {
    f"/{service.full_name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}


class Proxy(grpc.GenericRpcHandler):
    """Forwards every call. `fault` may have methods `unary(proxy, name, request, forward)` and
    `answers(proxy, name, answers)`, which see decoded messages; without a fault nothing is changed."""

    def __init__(self, fault=None, seed=0):
        self.fault = fault
        self.random = random.Random(f"{seed} proxy")
        self.planted = 0
        self.lock = threading.Lock()
        self.channel = None
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(max_workers=100),
            handlers=[self],
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def connect(self, address):
        """Forwards to `address` from now on."""
        if self.channel:
            self.channel.close()
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )

    def close(self):
        self.server.stop(0).wait(10)
        if self.channel:
            self.channel.close()

    def once(self, probability):
        """True for the one time that a fault is to happen, and not the first time it could."""
        with self.lock:
            if self.planted or self.random.random() >= probability:
                return False
            self.planted += 1
            return True

    def service(self, details):
        method = _METHODS.get(details.method)
        if method is None:
            return None
        coders = {
            "request_deserializer": message_class(method.input_type).FromString,
            "response_serializer": lambda message: message.SerializeToString(),
        }
        name = method.name
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._stream(method, details.method, requests, context), **coders
            )

        def forward(request):
            call = self.channel.unary_unary(
                details.method,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=message_class(method.output_type).FromString,
            )
            return call(request, timeout=120)

        def unary(request, context):
            before = self.planted
            try:
                change = getattr(self.fault, "unary", None)
                return change(self, name, request, forward) if change else forward(request)
            except grpc.RpcError as error:
                if self.planted > before and not isinstance(error, _Refusal):
                    self.planted = 0  # The call failed by itself, and maybe nothing was done: once more.
                context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(unary, **coders)

    def _stream(self, method, path, requests, context):
        call = self.channel.stream_stream(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(method.output_type).FromString,
        )(requests)
        context.add_callback(call.cancel)
        change = getattr(self.fault, "answers", None)
        try:
            yield from change(self, method.name, call) if change else call
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())


# Faults. Each happens once and breaks a promise of the server's. `noticed`: what must be said about it, among the rest.


class LostWrite:
    """A put is acknowledged and not done."""

    noticed = "lost: put"

    def unary(self, proxy, name, request, forward):
        if name == "Put" and proxy.once(0.01):
            return pb.PutResponse(header=pb.ResponseHeader(revision=_revision(proxy) + 1))
        return forward(request)


class WriteDoneTwice:
    """A put is done twice."""

    noticed = "found at revision"

    def unary(self, proxy, name, request, forward):
        if name == "Put" and proxy.once(0.01):
            forward(request)
        return forward(request)


class RefusedAndDone:
    """A put is refused and done all the same."""

    noticed = "was refused"

    def unary(self, proxy, name, request, forward):
        if name == "Put" and proxy.once(0.01):
            forward(request)
            raise _Refusal()
        return forward(request)


class HalfATransaction:
    """Of a transaction's puts the last is left out."""

    noticed = "expected put"

    def unary(self, proxy, name, request, forward):
        puts = [op for op in request.success if op.HasField("request_put")] if name == "Txn" else []
        if len(puts) > 2 and not request.compare and proxy.once(0.05):
            request.success.remove(puts[-1])
        return forward(request)


class RepeatedEvent:
    """A watch gets an answer twice."""

    noticed = "came again"

    def answers(self, proxy, name, answers):
        for answer in answers:
            yield answer
            if name == "Watch" and answer.events and proxy.once(0.01):
                yield answer


class DroppedEvent:
    """A watch never gets one of its answers."""

    noticed = "never came"

    def answers(self, proxy, name, answers):
        for answer in answers:
            if not (name == "Watch" and answer.events and proxy.once(0.01)):
                yield answer


class ChangedEvent:
    """A watch gets an event with another value."""

    noticed = "other"

    def answers(self, proxy, name, answers):
        for answer in answers:
            if name == "Watch" and any(len(event.kv.value) > 20 for event in answer.events) and proxy.once(0.01):
                event = next(event for event in answer.events if len(event.kv.value) > 20)
                event.kv.value = event.kv.value[:-1] + bytes([event.kv.value[-1] ^ 1])
            yield answer


class TwoHolders:
    """A lock is granted while another holds it."""

    noticed = "surely held"

    def unary(self, proxy, name, request, forward):
        if name == "Acquire" and request.ttl > 100:
            line = _inspect(proxy, request.name)
            if line.holders and proxy.once(0.5):
                revision = _revision(proxy)
                handle = berth.Handle(
                    name=request.name, key=b"%b/%x" % (request.name, request.lease), token=revision, lease=request.lease
                )
                handle.ttl = request.ttl
                header = pb.ResponseHeader(revision=revision)
                return berth.AcquireResponse(header=header, acquired=True, handle=handle)
        return forward(request)


class OpenGuard:
    """A write without proof passes a lock's guard."""

    noticed = "past its guard"

    def unary(self, proxy, name, request, forward):
        if name == "Put" and request.key.startswith(b"lock/"):
            for place in _inspect(proxy, request.key).places:
                if place.holds and place.protected and proxy.once(0.7):
                    compare = pb.Compare(target=pb.Compare.CREATE, key=place.key, create_revision=place.token)
                    answer = forward_txn(proxy, compare, request)
                    if answer.succeeded:
                        return pb.PutResponse(header=answer.header)
                    proxy.planted = 0  # The holder left in this moment: no breach.
        return forward(request)


class StaleRead:
    """A read is answered as of long ago."""

    noticed = "after revision"

    def __init__(self):
        self.old = None

    def unary(self, proxy, name, request, forward):
        answer = forward(request)
        if name == "Range" and not request.range_end and request.key.startswith(b"k/"):
            if self.old is None:
                self.old = answer.header.revision
            elif answer.header.revision > self.old + 100 and proxy.once(0.1):
                answer.header.revision = self.old
        return answer


class MissingKey:
    """A range leaves a key out."""

    noticed = "is missing"

    def unary(self, proxy, name, request, forward):
        answer = forward(request)
        if name == "Range" and len(answer.kvs) > 50 and proxy.once(1):
            del answer.kvs[17]
            answer.count -= 1
        return answer


class OtherHash:
    """The hash is of another history."""

    noticed = "HashKV"

    def unary(self, proxy, name, request, forward):
        answer = forward(request)
        if name == "HashKV" and request.revision and proxy.once(1):
            answer.hash ^= 0x10
        return answer


class LostLease:
    """A lease is gone."""

    noticed = "lost: lease"

    def unary(self, proxy, name, request, forward):
        answer = forward(request)
        if name == "LeaseLeases" and proxy.once(1):
            leases = [status for status in answer.leases if status.ID >> 32 < 1000]
            if leases:
                answer.leases.remove(leases[0])
        return answer


FAULTS = [
    LostWrite, WriteDoneTwice, RefusedAndDone, HalfATransaction, RepeatedEvent, DroppedEvent, ChangedEvent, TwoHolders,
    OpenGuard, StaleRead, MissingKey, OtherHash, LostLease,
]  # fmt: skip


class _Refusal(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self):
        return "planted"


def _call(proxy, path, request, answer):
    call = proxy.channel.unary_unary(
        path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer.FromString
    )
    return call(request, timeout=60)


def _revision(proxy):
    request = pb.RangeRequest(key=b"\0", count_only=True)
    return _call(proxy, "/etcdserverpb.KV/Range", request, pb.RangeResponse).header.revision


def _inspect(proxy, name):
    return _call(proxy, "/berth.v1.Locks/Inspect", berth.InspectRequest(name=name), berth.InspectResponse)


def forward_txn(proxy, compare, put):
    request = pb.TxnRequest(compare=[compare], success=[pb.RequestOp(request_put=put)])
    return _call(proxy, "/etcdserverpb.KV/Txn", request, pb.TxnResponse)
