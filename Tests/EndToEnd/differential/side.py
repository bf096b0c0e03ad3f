"""One of the two servers: its process, its connections, and what its watch streams have delivered."""

import collections
import threading

import grpc

from harness.api import pb
from harness.client import Stream, TIMEOUT
from .accounts import NOBODY, UNKNOWN_TOKEN
from .failure import Failure
from .gateway import Gateway
from .normalise import Identity

STREAMS = 4  # Watch streams for random watches.
HISTORY = STREAMS  # One more, with a single watch over everything.


class Watch:
    """What one watch has delivered: the events, in order, and the header revision and size of each response."""

    def __init__(self):
        self.events = []
        self.responses = []  # (header revision, number of events, fragment)


class WatchReader:
    """A watch stream. Answers to creates, cancels and progress requests queue up; events go to their watch's list."""

    def __init__(self, stream, identity, changed):
        self.identity = identity
        self.changed = changed
        self.control = collections.deque()
        self.watches = {}
        self.ended = None
        self.closing = False
        self.stream = stream
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for answer in self.stream.call:
                with self.changed:
                    self._take(answer)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            if not self.closing:
                with self.changed:
                    self.ended = f"{error.code()} {error.details()}"
                    self.changed.notify_all()

    def _take(self, answer):
        if self.identity.cluster_id:
            self.identity.header(answer.header)
        if answer.created or answer.canceled or not answer.events:
            if answer.events:
                self.ended = f"events in a response that creates or cancels: {answer}"
            if answer.created and not answer.canceled:
                self.watches[answer.watch_id] = Watch()
            elif answer.canceled and not answer.created:
                self.watches.pop(answer.watch_id, None)
            self.control.append(answer)
            return
        watch = self.watches.get(answer.watch_id)
        if watch is None:
            self.ended = f"event of a watch that is not there: {answer}"
            return
        for event in answer.events:
            self.identity.key_values([event.kv, event.prev_kv] if event.HasField("prev_kv") else [event.kv])
        if watch.events and answer.events[0].kv.mod_revision <= watch.events[-1].kv.mod_revision:
            previous_was_fragment = watch.responses and watch.responses[-1][2]
            if not previous_was_fragment:
                self.ended = f"a revision was split or went back: {answer}"
        if answer.header.revision < answer.events[-1].kv.mod_revision:
            self.ended = f"header older than its events: {answer}"
        watch.events.extend(answer.events)
        watch.responses.append((answer.header.revision, len(answer.events), answer.fragment))

    def close(self):
        self.closing = True
        self.stream.cancel()


class Side:
    def __init__(self, name, server):
        self.name = name
        self.server = server
        self.identity = Identity()
        self.changed = threading.Condition()
        self.client = None

        self.gateway = None
        self.tokens = {}  # symbol → this server's token
        self.new_token = None  # Of the last Authenticate that succeeded.

    def open(self):
        """Connections for calls."""
        self.client = self.server.client()
        self.gateway = Gateway(self.name, self.server)

    def connect(self, caller=NOBODY):
        """Opens the streams, as a caller who may do all."""
        if self.client is None:
            self.open()
        header = self.client.kv.Range(
            pb.RangeRequest(key=b"\0", count_only=True), timeout=TIMEOUT, metadata=self.metadata(caller)
        ).header
        self.identity.learn(header)
        self.keep_alive = self.client.keep_alive(metadata=self.metadata(caller))
        streams = [self.watch_stream(caller, paused=True) for _ in range(STREAMS + 1)]
        self.watchers = [WatchReader(stream, self.identity, self.changed) for stream in streams]

    def watch_stream(self, caller, **options):
        return Stream(self.client.watch_service.Watch, metadata=self.metadata(caller), **options)

    def disconnect(self):
        for watcher in self.watchers:
            watcher.close()
        self.keep_alive.cancel()
        self.client.close()
        self.gateway.close()
        self.client = self.gateway = None

    def version(self):
        return self.client.maintenance.Status(pb.StatusRequest(), timeout=TIMEOUT).version

    # Callers

    def token(self, caller):
        return "unknown.1" if caller.token == UNKNOWN_TOKEN else self.tokens[caller.token]

    def metadata(self, caller):
        return [] if caller.token is None else [(caller.header, self.token(caller))]

    def http_metadata(self, caller):
        """Headers by which the gateway learns of the token."""
        if caller.token is None:
            return {}
        name = "Authorization" if caller.header == "authorization" else "Grpc-Metadata-Token"
        return {name: self.token(caller)}

    # Unary calls: begun on both sides, then awaited on both.

    def begin(self, method, request, caller=NOBODY, form=None):
        """Over gRPC, or with a form over the gateway."""
        sent = self.identity.translate(request)
        if form:
            return self.gateway.begin(method, sent, form, self.http_metadata(caller))
        service, name = method.split(".")
        call = getattr(getattr(self.client, service), name)
        return call.future(sent, timeout=TIMEOUT, metadata=self.metadata(caller))

    def finish(self, call, request):
        """The normalised answer, or (code, text) of an error."""
        try:
            answer = self.gateway.finish(call) if isinstance(call, str) else call.result()
        except grpc.RpcError as error:
            return (error.code().name, error.details())
        if isinstance(answer, tuple):
            return answer
        if isinstance(answer, pb.AuthenticateResponse):
            self.new_token = answer.token
        return self.identity.answer(answer, request)

    # Watches

    def await_control(self, stream, timeout=TIMEOUT):
        """The next answer on a watch stream that is not events, or None."""
        watcher = self.watchers[stream]
        with self.changed:
            self.changed.wait_for(lambda: watcher.control or watcher.ended, timeout)
            self.check(watcher)
            return watcher.control.popleft() if watcher.control else None

    def await_events(self, stream, watch_id, count, timeout=TIMEOUT):
        """Waits until a watch has delivered `count` events; returns how many it has."""
        watcher = self.watchers[stream]
        with self.changed:
            watch = watcher.watches.get(watch_id)
            if watch is None:
                raise Failure(f"{self.name}: stream {stream} has no watch {watch_id}")
            self.changed.wait_for(lambda: len(watch.events) >= count or watcher.ended, timeout)
            self.check(watcher)
            return watch

    def await_history(self, revision, timeout=TIMEOUT):
        """Waits until the watch over everything has seen `revision`."""
        watcher = self.watchers[HISTORY]

        def reached():
            watch = watcher.watches.get(0)
            return watch and watch.events and watch.events[-1].kv.mod_revision >= revision

        with self.changed:
            done = self.changed.wait_for(lambda: reached() or watcher.ended, timeout)
            self.check(watcher)
            if not done:
                raise Failure(f"{self.name}: revision {revision} never came on the watch over everything")
            return watcher.watches[0]

    def check(self, watcher):
        if watcher.ended:
            raise Failure(f"{self.name}: watch stream: {watcher.ended}")

    def send_keep_alive(self, id):
        self.keep_alive.send(self.identity.translate(pb.LeaseKeepAliveRequest(ID=id)))

    def cpu_seconds(self):
        with open(f"/proc/{self.server.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def __repr__(self):
        return self.name
