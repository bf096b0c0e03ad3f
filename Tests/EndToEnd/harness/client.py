"""A gRPC client for tests: every method of every service, shorthands, and streams whose answers can be awaited."""

import functools
import queue
import threading

import grpc

from .api import SERVICES, message_class, pb, prefix_end
from .target import is_berth

TIMEOUT = 60.0  # Of a unary call, in seconds. Enough for a starved machine; a test that expects a wait sets its own.


class Service:
    """One callable for each method, e.g. `service.Put(request, timeout=…)`."""

    def __init__(self, channel, descriptor):
        for method in descriptor.methods:
            make = {
                (False, False): channel.unary_unary,
                (False, True): channel.unary_stream,
                (True, False): channel.stream_unary,
                (True, True): channel.stream_stream,
            }[method.client_streaming, method.server_streaming]
            call = make(
                f"/{descriptor.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=message_class(method.output_type).FromString,
            )
            setattr(self, method.name, call)


class Client:
    """A connection of its own to `address` (host:port), with TLS when there are `credentials` for it."""

    def __init__(self, address, options=(), credentials=None):
        self.channel = (grpc.secure_channel if credentials else grpc.insecure_channel)(
            address,
            *([credentials] if credentials else []),
            options=[
                ("grpc.use_local_subchannel_pool", 1),  # Else clients of one process would share a connection.
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                # Also the time a connection attempt may take, which a busy machine needs.
                ("grpc.min_reconnect_backoff_ms", 10_000),
                ("grpc.max_reconnect_backoff_ms", 500),
                *options,
            ],
        )
        services = {name: Service(self.channel, descriptor) for name, descriptor in SERVICES.items()}
        self.kv = services["etcdserverpb.KV"]
        self.watch_service = services["etcdserverpb.Watch"]
        self.lease = services["etcdserverpb.Lease"]
        self.auth = services["etcdserverpb.Auth"]
        self.cluster = services["etcdserverpb.Cluster"]
        self.maintenance = services["etcdserverpb.Maintenance"]
        self.maintenance_berth = services["berth.v1.Maintenance"]
        self.lock = services["v3lockpb.Lock"]
        self.election = services["v3electionpb.Election"]
        self.locks = services["berth.v1.Locks"]
        self.elections = services["berth.v1.Elections"]
        self.health = services["grpc.health.v1.Health"]

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def put(self, key, value=b"", *, timeout=TIMEOUT, **fields):
        return self.kv.Put(pb.PutRequest(key=key, value=value, **fields), timeout=timeout)

    def range(self, key, range_end=b"", *, timeout=TIMEOUT, **fields):
        return self.kv.Range(pb.RangeRequest(key=key, range_end=range_end, **fields), timeout=timeout)

    def prefix(self, prefix, **fields):
        return self.range(prefix, prefix_end(prefix), **fields)

    def get(self, key, **fields):
        """The key's value, or None."""
        kvs = self.range(key, **fields).kvs
        return kvs[0].value if kvs else None

    def delete(self, key, range_end=b"", *, timeout=TIMEOUT, **fields):
        return self.kv.DeleteRange(pb.DeleteRangeRequest(key=key, range_end=range_end, **fields), timeout=timeout)

    def txn(self, compare=(), success=(), failure=(), *, timeout=TIMEOUT):
        return self.kv.Txn(pb.TxnRequest(compare=compare, success=success, failure=failure), timeout=timeout)

    def compact(self, revision, *, physical=False, timeout=TIMEOUT):
        return self.kv.Compact(pb.CompactionRequest(revision=revision, physical=physical), timeout=timeout)

    def revision(self):
        return self.range(b"\0", count_only=True).header.revision

    def grant(self, ttl, id=0, *, timeout=TIMEOUT):
        return self.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=ttl, ID=id), timeout=timeout)

    def revoke(self, id, *, timeout=TIMEOUT):
        return self.lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=id), timeout=timeout)

    def time_to_live(self, id, keys=False, *, timeout=TIMEOUT):
        return self.lease.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=id, keys=keys), timeout=timeout)

    def leases(self, *, timeout=TIMEOUT):
        response = self.lease.LeaseLeases(pb.LeaseLeasesRequest(), timeout=timeout)
        return [status.ID for status in response.leases]

    def keep_alive(self, metadata=None):
        return Stream(self.lease.LeaseKeepAlive, metadata=metadata)

    def watch(self, **options):
        return WatchStream(self.watch_service.Watch, **options)

    def await_keys(self, prefix, count, timeout=TIMEOUT):
        """Waits until exactly `count` keys start with `prefix`; returns them in key order."""
        answer = self.prefix(prefix, keys_only=True)
        keys = {kv.key for kv in answer.kvs}
        if len(keys) != count:
            with self.watch() as watch:
                watch.create_prefix(prefix, start_revision=answer.header.revision + 1)
                while len(keys) != count:
                    for event in watch.next(timeout).events:
                        keys.discard(event.kv.key) if event.type else keys.add(event.kv.key)
        return sorted(keys)

    def observe(self, name):
        return Stream(self.election.Observe, pb.LeaderRequest(name=name))


_END = object()

# Codes of a call past its deadline. The client's clock and the server's race, and etcd before 3.5.10 says Unknown.
DEADLINE_EXCEEDED = {grpc.StatusCode.DEADLINE_EXCEEDED} | (set() if is_berth() else {grpc.StatusCode.UNKNOWN})


class Stream:
    """A streaming call: send requests, await answers one by one.

    Answers are read by a thread as they come, unless `paused` is set: then none is read until `resume`, or ever, and
    `call` is the caller's to read.
    """

    def __init__(self, method, request=None, metadata=None, paused=False):
        self._requests = queue.SimpleQueue()
        self._answers = queue.SimpleQueue()
        source = request if request is not None else iter(self._requests.get, _END)
        self.call = method(source, metadata=metadata)
        if not paused:
            self.resume()

    def resume(self):
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for answer in self.call:
                self._answers.put(answer)
            self._answers.put(StreamEnded(grpc.StatusCode.OK, ""))
        except grpc.RpcError as error:
            self._answers.put(StreamEnded(error.code(), error.details()))

    def send(self, request):
        self._requests.put(request)

    def half_close(self):
        self._requests.put(_END)

    def next(self, timeout=TIMEOUT):
        """The next answer; raises StreamEnded when there is none more, TimeoutError when none comes."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer within {timeout} s") from None
        if isinstance(answer, StreamEnded):
            self._answers.put(answer)
            raise answer
        return answer

    def nothing_waits(self):
        return self._answers.empty()

    def cancel(self):
        self._requests.put(_END)
        self.call.cancel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cancel()


class StreamEnded(Exception):
    def __init__(self, code, details):
        super().__init__(f"stream ended: {code} {details}")
        self.code = code
        self.details = details


class WatchStream(Stream):
    """A Watch call."""

    def __init__(self, method, **options):
        super().__init__(method, **options)

    def create(self, key, range_end=b"", **fields):
        """Asks for a watch and awaits its `created` answer. Events of other watches that come first are an error."""
        self.send_create(key, range_end, **fields)
        answer = self.next()
        assert answer.created, answer
        return answer

    def create_prefix(self, prefix, **fields):
        return self.create(prefix, prefix_end(prefix), **fields)

    def send_create(self, key, range_end=b"", **fields):
        create = pb.WatchCreateRequest(key=key, range_end=range_end, **fields)
        self.send(pb.WatchRequest(create_request=create))

    def send_cancel(self, watch_id):
        self.send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id)))

    def send_progress(self):
        self.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def events(self, count, timeout=TIMEOUT):
        """The next `count` events, whichever watch they belong to."""
        events = []
        while len(events) < count:
            answer = self.next(timeout)
            assert not answer.canceled and not answer.created, answer
            events.extend(answer.events)
        assert len(events) == count, events
        return events


def status(call):
    """Runs `call` and returns (code, details) of the error it must fail with."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"expected an error, got {answer!r}")
