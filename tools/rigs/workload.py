"""Clients that record all they do: writers, lockers of both kinds, watchers. They outlive the server.

`Workload.run(address)` begins a *life*: each actor connects and goes on where it was. A life ends when the server dies
or `stop` is called; a lost answer is recorded as unknown.
"""

import collections
import random
import threading
import time

import grpc

from harness.api import berth, pb, prefix_end
from harness.client import Client
from harness.locks import acquire_request

from .history import REFUSALS, Change, Compare, describe

KEYS = 300
ANSWER_WITHIN = 60.0  # Seconds; a backstop, as a server that lives answers far sooner.
SIZES = [0, 8, 8, 40, 40, 40, 200, 200, 1000, 5000]  # Of values, in bytes; a few are larger still.
LOCKS = [b"lock/a", b"lock/b", b"lock/c"]
FILLER = random.Random(7).randbytes(1 << 18)


class LifeEnded(Exception):
    """The server is gone, or the workload was told to stop."""


class Actor:
    def __init__(self, workload, name):
        self.workload = workload
        self.history = workload.history
        self.name = name
        self.random = random.Random(f"{workload.seed} {name}")
        self.client = None

    def live(self, client):
        """Acts until the life ends."""
        self.client = client
        while not self.workload.stopping.is_set():
            try:
                self.act()
            except LifeEnded:
                pass
            except grpc.RpcError as error:
                self.workload.unrecorded_failure(self, error)
                if error.code().name in REFUSALS and not self.workload.patient:
                    self.history.problem(f"{self.name}: unexpected refusal {error.code().name}: {error.details()}")
            except ValueError as error:  # gRPC's word for a call on a channel that was closed.
                if "closed channel" not in str(error):
                    self.history.problem(f"{self.name}: {error!r}")
                return
            except Exception as error:  # A mistake of the rig's own must not pass for silence.
                self.history.problem(f"{self.name}: {error!r}")
                return
            else:
                continue
            if not self.workload.patient:
                return
            self.workload.pause()

    def call(self, operation, send):
        """Sends a write. Returns its answer, or None when it was refused; the caller acknowledges."""
        try:
            return send()
        except grpc.RpcError as error:
            self.history.refuse(operation, error.code().name, error.details())
            self.workload.failed(operation, error)
            if error.code().name in REFUSALS or self.workload.patient:
                self.workload.pause()
                return None
            raise LifeEnded from None
        except ValueError:
            self.history.refuse(operation, "CANCELLED", "channel closed")
            raise LifeEnded from None

    def value(self, id):
        size = self.random.choice(self.workload.sizes)
        if self.random.random() < 0.003:
            size = self.random.choice([70_000, 200_000])
        start = self.random.randrange(len(FILLER) - size)
        return b"%d/" % id + FILLER[start : start + size]


class Writer(Actor):
    """Puts, deletes, transactions and leases on keys that all writers share."""

    def __init__(self, workload, name, number):
        super().__init__(workload, name)
        self.leases = []
        self.next_lease = (number + 1) << 32
        self.last_read = None

    def act(self):
        kinds = {
            "put": 45, "put_leased": 12, "delete": 10, "delete_range": 2, "txn": 12, "multi": 8, "read": 12,
            "grant": 2, "revoke": 1, "trespass": 2,
        }  # fmt: skip
        kind = self.random.choices(list(kinds), kinds.values())[0]
        getattr(self, kind)()

    def key(self):
        # Every seventh key is longer than LMDB's keys may be.
        number = self.random.randrange(KEYS)
        return b"k/%03d" % number if number % 7 else b"k/%03d/" % number + b"long" * 130

    def write(self, kind, request, send, changed, **fields):
        """One recorded write; `changed` tells from the answer whether keys changed."""
        operation = self.history.begin(self.name, kind, **fields)
        answer = self.call(operation, lambda: send(request, timeout=self.workload.answer_within))
        if answer is not None:
            succeeded = getattr(answer, "succeeded", True)
            self.history.acknowledge(
                operation, answer.header.revision, changed=changed(answer, operation), succeeded=succeeded
            )
        return operation, answer

    def put(self, lease=0, key=None):
        id = self.history.new_id()
        change = Change("put", key or self.key(), self.value(id), lease=lease)
        request = pb.PutRequest(key=change.key, value=change.value, lease=lease)
        return self.write("put", request, self.client.kv.Put, lambda *_: True, id=id, changes=(change,))

    def put_leased(self):
        self.put(lease=self.random.choice(self.leases) if self.leases else 0)

    def trespass(self):
        """A write of a lock's own key without any proof."""
        self.put(key=self.random.choice(LOCKS))

    def delete(self, key=None, range_end=b""):
        change = Change("delete", key or self.key(), range_end=range_end)
        request = pb.DeleteRangeRequest(key=change.key, range_end=range_end)
        self.write("delete", request, self.client.kv.DeleteRange, lambda a, _: a.deleted > 0, changes=(change,))

    def delete_range(self):
        start = self.random.randrange(KEYS)
        self.delete(b"k/%03d" % start, b"k/%03d" % (start + self.random.randrange(2, 8)))

    def changes(self, id, count):
        keys = {self.key() for _ in range(count)}
        return tuple(
            Change("delete", key) if self.random.random() < 0.2 else Change("put", key, self.value(id))
            for key in sorted(keys)
        )

    def txn(self):
        """A write that depends on what was read last, and another one if that has changed."""
        if self.last_read is None:
            return self.read()
        key, kv = self.last_read
        target = self.random.choice(["mod", "version", "create", "value"])
        if target == "value" and kv is None:
            target = "mod"
        if target == "value":
            operand = kv.value
        else:
            operand = getattr(kv, {"mod": "mod_revision", "create": "create_revision"}.get(target, target)) if kv else 0
        id = self.history.new_id()
        compares = (Compare(target, key, operand),)
        changes = (Change("put", key, self.value(id)), *(c for c in self.changes(id, 2) if c.key != key))
        otherwise = self.changes(id, 1) if self.random.random() < 0.5 else ()
        self.transact(id, compares, changes, otherwise)

    def multi(self):
        id = self.history.new_id()
        self.transact(id, (), self.changes(id, self.random.randrange(2, 9)), ())

    def transact(self, id, compares, changes, otherwise, **fields):
        request = pb.TxnRequest(
            compare=[wire_compare(compare) for compare in compares],
            success=[wire_change(change) for change in changes],
            failure=[wire_change(change) for change in otherwise],
        )

        def changed(answer, _):
            return any(
                r.HasField("response_put") or r.response_delete_range.deleted > 0 for r in answer.responses
            )

        fields |= {"id": id, "compares": compares, "changes": changes, "otherwise": otherwise}
        return self.write("txn", request, self.client.kv.Txn, changed, **fields)

    def read(self):
        key = self.key()
        floor = self.history.floor
        answer = self.client.range(key, timeout=self.workload.answer_within)
        self.history.told(answer.header.revision, floor, f"a read of {self.name}")
        self.last_read = (key, answer.kvs[0] if answer.kvs else None)
        for kv in answer.kvs:
            self.history.glimpse(kv)

    def grant(self):
        self.next_lease += 1
        lease, ttl = self.next_lease, 100_000
        request = pb.LeaseGrantRequest(ID=lease, TTL=ttl)
        _, answer = self.write(
            "grant", request, self.client.lease.LeaseGrant, lambda *_: False, lease=lease, ttl=ttl
        )
        if answer is not None:
            self.leases = [*self.leases[-5:], lease]

    def revoke(self):
        if not self.leases:
            return
        lease = self.leases.pop(self.random.randrange(len(self.leases)))
        # Whether keys went with it is not in the answer: `Ledger` finds out.
        self.write(
            "revoke",
            pb.LeaseRevokeRequest(ID=lease),
            self.client.lease.LeaseRevoke,
            lambda *_: False,
            changes=(Change("revoke", lease=lease),),
            lease=lease,
        )


def wire_compare(compare):
    field = {"create": "create_revision", "mod": "mod_revision"}.get(compare.target, compare.target)
    target = getattr(pb.Compare, compare.target.upper())
    return pb.Compare(result=pb.Compare.EQUAL, target=target, key=compare.key, **{field: compare.operand})


def wire_change(change):
    if change.kind == "put":
        return pb.RequestOp(request_put=pb.PutRequest(key=change.key, value=change.value, lease=change.lease))
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=change.key, range_end=change.range_end))


class Locker(Actor):
    """Takes locks, writes under their guard, and gives them up or lets them run out. The line is berth.v1's."""

    guarding = True

    def __init__(self, workload, name, number):
        super().__init__(workload, name)
        self.next_lease = (number + 1001) << 32
        self.place = None
        self.operation = None

    def act(self):
        if self.place is None:
            self.begin()
        if not self.place.token:
            self.enter()
        if self.place.token:
            self.use()
            self.leave()
            self.place = None

    def begin(self):
        self.next_lease += 1
        lock, lease = self.random.choice(LOCKS), self.next_lease
        key = b"%b/%x" % (lock, lease)
        id = self.history.new_id()
        ttl = 2 if self.guarding and self.random.random() < 0.1 else 600
        self.operation = self.history.begin(
            self.name, "place", id=id, changes=(Change("put", key, b"%d/" % id, lease=lease),), lease=lease, ttl=ttl
        )
        self.place = self.history.new_place(
            lock=lock, key=key, lease=lease, ttl=ttl, guarding=self.guarding, label=b"%d/" % id
        )

    def enter(self):
        """Repeats the same call until it is answered: the same lease finds the same place."""
        place = self.place
        # While a call waits the lease rests, but a broken connection ends that, and the place with it.
        place.may_leave = True
        began = time.monotonic()
        request = acquire_request(
            place.lock, ttl=place.ttl, lease=place.lease, wait=ANSWER_WITHIN, owner=place.label.decode()
        )
        try:
            answer = self.client.locks.Acquire(request, timeout=2 * ANSWER_WITHIN)
        except grpc.RpcError as error:
            self.history.refuse(self.operation, error.code().name, error.details())
            self.workload.failed(self.operation, error)
            if error.code().name == "NOT_FOUND" or "lease ended" in (error.details() or ""):
                self.place = None  # Its lease ran out while nobody was connected. Start over.
                self.operation.outcome = "unknown"
                return
            raise LifeEnded from None
        if not answer.acquired:
            self.operation.outcome = "unknown"
            self.place = None
            return
        self.granted(answer.handle.token, answer.header.revision, time.monotonic() if place.ttl > 100 else began)

    def granted(self, token, revision, since):
        place = self.place
        place.token = token
        place.granted_at = revision
        place.held_from = time.monotonic()
        place.held_until = since + place.ttl
        place.may_leave = place.ttl < 100
        self.operation.revision = token
        self.history.acknowledge(self.operation, token)
        self.history.told(revision)

    def use(self):
        for _ in range(self.random.randrange(3)):
            self.fenced_write()

    def fenced_write(self):
        """A write of the lock's key, with proof. While the lock is surely held, the proof must be accepted."""
        place = self.place
        id = self.history.new_id()
        compares = (Compare("create", place.key, place.token),)
        changes = (Change("put", place.lock, self.value(id)),)
        operation = self.history.begin(
            self.name, "txn", id=id, compares=compares, changes=changes, fenced=place.token
        )
        request = pb.TxnRequest(compare=map(wire_compare, compares), success=map(wire_change, changes))
        answer = self.call(operation, lambda: self.client.kv.Txn(request, timeout=self.workload.answer_within))
        if answer is not None:
            self.history.acknowledge(
                operation, answer.header.revision, changed=answer.succeeded, succeeded=answer.succeeded
            )
            if not answer.succeeded and operation.end < place.held_until:
                self.history.problem(f"{self.name} lost {place.key} (token {place.token}) while it surely held")

    def leave(self):
        place = self.place
        if place.ttl < 100:
            return  # Its lease runs out.
        place.held_until = min(place.held_until, time.monotonic())
        place.may_leave = True
        request = berth.ReleaseRequest(key=place.key, token=place.token)
        # The deletion is allowed by `may_leave`; whether it came is not of interest.
        self.client.locks.Release(request, timeout=self.workload.answer_within)


class RecipeLocker(Locker):
    """Takes locks the way etcd's clients do: a lease, a key if it is not there, and a wait for the one before."""

    guarding = False

    def enter(self):
        place = self.place
        try:
            self.client.grant(place.ttl, id=place.lease, timeout=self.workload.answer_within)
        except grpc.RpcError as error:
            if error.code().name not in ("FAILED_PRECONDITION", "ALREADY_EXISTS"):  # Granted in an earlier life.
                raise
        txn = pb.TxnRequest(
            compare=[wire_compare(Compare("create", place.key, 0))],
            success=[wire_change(self.operation.changes[0])],
            failure=[pb.RequestOp(request_range=pb.RangeRequest(key=place.key))],
        )
        answer = self.client.kv.Txn(txn, timeout=self.workload.answer_within)
        if answer.succeeded:
            token = answer.header.revision
        else:
            token = answer.responses[0].response_range.kvs[0].create_revision
        if self.operation.outcome != "acknowledged":
            self.history.acknowledge(self.operation, token)
        while True:
            line = self.client.prefix(
                place.lock + b"/",
                max_create_revision=token - 1,
                sort_target=pb.RangeRequest.CREATE,
                sort_order=pb.RangeRequest.DESCEND,
                limit=1,
                timeout=ANSWER_WITHIN,
            )
            if not line.kvs:
                break
            self.await_deletion(line.kvs[0].key, line.header.revision + 1)
        self.granted(token, line.header.revision, time.monotonic())

    def await_deletion(self, key, revision):
        with self.client.watch() as watch:
            watch.send_create(key, start_revision=revision)
            while not self.workload.stopping.is_set():
                try:
                    answer = watch.next(0.5)
                except TimeoutError:
                    continue
                except Exception:
                    raise LifeEnded from None
                if answer.canceled or any(event.type for event in answer.events):
                    return
        raise LifeEnded

    def leave(self):
        place = self.place
        place.held_until = min(place.held_until, time.monotonic())
        place.may_leave = True
        try:
            self.client.revoke(place.lease, timeout=self.workload.answer_within)
        except grpc.RpcError as error:
            if error.code().name != "NOT_FOUND":  # Revoked in an earlier life, without an answer.
                raise


class Filler(Actor):
    """Makes the log grow and nothing else: transactions with a large value whose compare never holds."""

    def act(self):
        compares = (Compare("create", b"filler", 1 << 60),)
        changes = (Change("put", b"filler", FILLER * 2),)
        request = pb.TxnRequest(compare=map(wire_compare, compares), success=map(wire_change, changes))
        operation = self.history.begin(self.name, "txn", compares=compares, changes=changes)
        answer = self.call(operation, lambda: self.client.kv.Txn(request, timeout=self.workload.answer_within))
        if answer is not None:
            self.history.acknowledge(
                operation, answer.header.revision, changed=answer.succeeded, succeeded=answer.succeeded
            )


class Watcher(Actor):
    """Watches a range over the server's lives, each time from its last revision + 1."""

    def __init__(self, workload, name, key=b"\0", range_end=b"\0"):
        super().__init__(workload, name)
        self.key, self.range_end = key, range_end
        self.everything = range_end == b"\0"
        self.next_revision = 1
        self.received = []  # (revision, events) since the last check.
        self.count = 0  # Of revisions received.
        self.lock = threading.Lock()

    def act(self):
        with self.client.watch() as watch:
            watch.send_create(self.key, self.range_end, start_revision=self.next_revision)
            while not self.workload.stopping.is_set():
                try:
                    answer = watch.next(0.5)
                except TimeoutError:
                    continue
                except Exception:
                    if not self.workload.stopping.is_set():
                        self.workload.watches_broken += 1
                    raise LifeEnded from None
                if answer.canceled:
                    self.history.problem(
                        f"{self.name}: watch from {self.next_revision} cancelled, compacted at"
                        f" {answer.compact_revision}: {answer.cancel_reason}"
                    )
                    raise LifeEnded
                self.take(answer)

    def take(self, answer):
        batch = {}
        for event in answer.events:
            batch.setdefault(event.kv.mod_revision, []).append((event.type, event.kv.SerializeToString()))
        for revision, events in batch.items():
            if revision < self.next_revision:
                self.history.problem(f"{self.name}: revision {revision} came again, or late, after {self.next_revision - 1}")
            elif self.everything and revision > self.next_revision and self.next_revision > 2:
                self.history.problem(f"{self.name}: revisions {self.next_revision} to {revision - 1} never came")
            events = tuple(events)
            with self.lock:
                self.received.append((revision, events))
                self.count += 1
                self.next_revision = max(self.next_revision, revision + 1)
            if self.everything:
                self.history.see(revision, events)


class Compactor:
    """Compacts at a random revision up to `latest` that no watcher has still to get."""

    def __init__(self, workload, latest):
        self.workload = workload
        self.latest = latest

    def compact(self, address):
        history, watchers = self.workload.history, self.workload.watchers
        latest = min([self.latest, *(watcher.next_revision - 1 for watcher in watchers)])
        if latest < 10:
            return
        target = random.Random(f"{self.workload.seed} {latest}").randint(latest * 3 // 4, latest)
        operation = history.begin("compactor", "compact", target=target)
        with Client(address) as client:
            try:
                answer = client.compact(target, timeout=self.workload.answer_within)
                history.acknowledge(operation, answer.header.revision, changed=False)
            except grpc.RpcError as error:
                history.refuse(operation, error.code().name, error.details())


class Workload:
    """A fixed cast of actors. `patient`: a life goes on when a write fails for a reason of the server's own."""

    def __init__(
        self, history, seed, writers=4, lockers=2, recipes=1, patient=False, sizes=SIZES, answer_within=ANSWER_WITHIN
    ):
        self.history = history
        self.seed = seed
        self.patient = patient
        self.sizes = sizes
        self.answer_within = answer_within
        self.failures = collections.Counter()  # (code, text) → how often a write failed so.
        self.watches_broken = 0
        self.stopping = threading.Event()
        self.watchers = [
            Watcher(self, "watcher of everything"),
            Watcher(self, "second watcher of everything"),
            Watcher(self, "watcher of keys", b"k/", prefix_end(b"k/")),
        ]
        self.writers = [Writer(self, f"writer {n}", n) for n in range(writers)]
        self.lockers = [Locker(self, f"locker {n}", n) for n in range(lockers)]
        self.lockers += [RecipeLocker(self, f"recipe {n}", 100 + n) for n in range(recipes)]
        self.filler = Filler(self, "filler")
        self.threads = []
        self.clients = []

    def actors(self, filling):
        return [*self.watchers, *self.writers, *self.lockers, *([self.filler] if filling else [])]

    def fill(self):
        """Adds the filler to a life that began without it."""
        if self.filling:
            return
        self.filling = True
        self.launch(self.filler)

    def launch(self, actor):
        client = Client(self.address)
        thread = threading.Thread(target=actor.live, args=(client,), name=actor.name, daemon=True)
        self.clients.append(client)
        self.threads.append(thread)
        thread.start()

    def start(self, address, filling=False):
        """Begins a life; `filling` makes the log grow fast."""
        assert not self.threads
        self.stopping.clear()
        self.address, self.filling = address, filling
        for actor in self.actors(filling):
            self.launch(actor)

    def stop(self, within=90):
        """Ends a life, if the server's death has not done so yet, and waits for every actor."""
        self.stopping.set()
        deadline = time.monotonic() + within
        for thread in self.threads[len(self.watchers) : len(self.watchers) + len(self.writers)]:
            thread.join(max(0, deadline - time.monotonic()))
        for client in self.clients:
            client.close()
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.history.problem(f"{thread.name} did not come to an end within {within} s")
        self.threads, self.clients = [], []

    # For actors

    def failed(self, operation, error):
        """A write failed; `operation` ended just now."""
        took = operation.end - operation.begin
        self.count_failure(error)
        if error.code().name == "DEADLINE_EXCEEDED" and operation.kind != "place":
            self.history.problem(f"no answer within {took:.1f} s: {describe(operation)}")

    def count_failure(self, error):
        """Refusals that are an answer to the request itself (a guard, a lease that is gone) do not count."""
        code = error.code().name
        if not self.stopping.is_set() and code not in ("FAILED_PRECONDITION", "NOT_FOUND"):
            self.failures[code, error.details()] += 1

    def unrecorded_failure(self, actor, error):
        self.count_failure(error)
        if error.code().name == "DEADLINE_EXCEEDED":
            self.history.problem(f"no answer to {actor.name} within {self.answer_within} s")

    def pause(self):
        """After a failure, so that a server in trouble is not asked without end."""
        if self.patient:
            self.stopping.wait(0.02)
