"""kazoo, as the worker processes use it."""
import queue
import random
import time

from kazoo.client import KazooClient

FILL_BYTES = 500_000  # of values in one transaction; the server takes packets below 1 MiB
LOCK_SECONDS = 30


def connect(settings):
    client = KazooClient(hosts=f"127.0.0.1:{settings.port}", timeout=10)
    client.start(timeout=30)
    return client


def path_of(key):
    return f"/bench/{key:08}"


def fill(client, settings, value):
    """Makes this worker's share of the nodes."""
    keys = range(*settings.fills)
    client.ensure_path("/bench")
    at_once = max(1, min(500, FILL_BYTES // (len(value) + 100)))
    for first in range(0, len(keys), at_once):
        transaction = client.transaction()
        for key in keys[first:first + at_once]:
            transaction.create(path_of(key), value)
        for result in transaction.commit():
            if isinstance(result, Exception):
                raise result


class KeyLoops:
    """Closed loops of sets or gets at random nodes: each sends its next call when the last is answered, all over one
    connection, as ZooKeeper's clients do."""

    def __init__(self, settings):
        self.settings, self.value = settings, b"v" * settings.value_size
        self.client = connect(settings)
        fill(self.client, settings, self.value)
        self.send = self.set if settings.kind == "put" else self.get
        self.ends = queue.SimpleQueue()
        self.records = []
        self.closes = 0

    def set(self, path):
        return self.client.set_async(path, self.value)

    def get(self, path):
        return self.client.get_async(path)

    def start(self, closes):
        self.closes = closes
        for _ in self.settings.loops:
            self.next()

    def next(self):
        sent = time.monotonic_ns()
        self.send(path_of(random.randrange(self.settings.keys))).rawlink(lambda answer: self.answered(answer, sent))

    def answered(self, answer, sent):
        """Runs on the client's own thread for callbacks, one at a time."""
        now = time.monotonic_ns()
        problem = answer.exception
        if problem is None and self.settings.kind == "get" and len(answer.value[0]) != len(self.value):
            problem = ValueError(f"a value of {len(answer.value[0])} bytes")
        if problem is not None:
            self.ends.put(problem)
            return
        self.records.append((now, now - sent))
        if now < self.closes:
            self.next()
        else:
            self.ends.put(None)

    def wait(self):
        for _ in self.settings.loops:
            if problem := self.ends.get():
                raise problem

    def done(self):
        return len(self.records)


class LockPlace:
    """A session of its own at one lock."""

    def __init__(self, settings, name):
        self.lock = connect(settings).Lock(f"/bench-locks/{name}")

    def turn(self, inside):
        self.lock.acquire(timeout=LOCK_SECONDS)
        inside()
        self.lock.release()


class ElectionPlace:
    """A candidate with a session of its own, who leads for as long as its function runs."""

    def __init__(self, settings, name):
        self.election = connect(settings).Election(f"/bench-elections/{name}")

    def turn(self, inside):
        self.election.run(inside)


def open_place(settings, name):
    return (ElectionPlace if settings.kind == "election" else LockPlace)(settings, name)
