"""What clients asked, when, and what they were told: the record that a recovered server is held against.

An operation has a beginning and, unless it is still under way, an end, both by CLOCK_MONOTONIC in seconds. Its outcome:

    acknowledged  the server said yes: it must be there, at the revision it was answered with, for ever
    failed        the server said no: it must never be there
    unknown       no answer, or one that leaves it open: wholly there or not at all

Everything that clients were shown (events of watches, answers to reads) is kept too: no revision may ever have other content.
"""

import dataclasses
import itertools
import pickle
import threading
import time

PENDING, ACKNOWLEDGED, FAILED, UNKNOWN = "pending", "acknowledged", "failed", "unknown"

PUT, DELETE = 0, 1  # Types of events, as on the wire.

# Codes by which the server says that it did nothing and will not. Any other error leaves the outcome open.
REFUSALS = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "RESOURCE_EXHAUSTED",
    "PERMISSION_DENIED",
    "UNIMPLEMENTED",
}


def says_not_done(code, text):
    """Whether an error tells that the write was not made and will not be."""
    if code in REFUSALS or "etcdserver: too many requests" in text:
        return True
    # A disk that is full or fails: the text tells a write that was not taken from one that was on its way.
    return code == "UNAVAILABLE" and text.startswith("berth: ") and "may have been made or not" not in text


@dataclasses.dataclass(slots=True, frozen=True)
class Change:
    """One step of a write: a put, the deletion of a range (without `range_end`: of a key), or a lease's end."""

    kind: str  # put, delete, revoke
    key: bytes = b""
    value: bytes = b""
    range_end: bytes = b""
    lease: int = 0


@dataclasses.dataclass(slots=True, frozen=True)
class Compare:
    """A condition of a transaction: `target` (create, mod, version, value) of `key` equals `operand`."""

    target: str
    key: bytes
    operand: object


@dataclasses.dataclass(slots=True)
class Operation:
    id: int
    actor: str
    kind: str  # put, delete, txn, grant, revoke, compact; a place in a lock's line: acquire, enter
    begin: float
    changes: tuple = ()  # In order; of a transaction, when its compares hold.
    compares: tuple = ()
    otherwise: tuple = ()  # Of a transaction whose compares do not hold.
    lease: int = 0
    ttl: int = 0
    fenced: int = 0  # The token whose holder wrote this.
    end: float | None = None
    outcome: str = PENDING
    revision: int = 0  # From the answer: of the write, or of the store as it was met.
    succeeded: bool = True  # A transaction's compares held.
    changed: bool = True  # The answer tells of a change, which has `revision` for its own.
    error: str = ""
    target: int = 0  # Of a compaction.
    found: int = 0  # The revision at which a recovered server had it; set by verification.
    gone: bool = False  # A recovered server did not have it, so none may have it later.

    @property
    def wanted(self):
        return self.changes if self.succeeded else self.otherwise


@dataclasses.dataclass(slots=True)
class Place:
    """A locker's place in a line, and what it may think of it."""

    lock: bytes
    key: bytes
    lease: int
    ttl: int
    guarding: bool  # While it holds, writes of the lock's key need its proof.
    label: bytes
    began: float
    token: int = 0  # Once it holds.
    granted_at: int = 0  # The revision under which it was told that it holds.
    held_from: float = 0.0
    held_until: float = 0.0  # Surely held before this instant.
    may_leave: bool = False  # It was given up, or its lease may have run out: its key may go.
    settled: bool = False  # Its grant has been checked.


@dataclasses.dataclass(slots=True, frozen=True)
class Glimpse:
    """A key-value as a read showed it."""

    at: float
    key: bytes
    revision: int
    kv: bytes


class History:
    """The record. Safe to use from many threads."""

    def __init__(self, seed):
        self.seed = seed
        self.operations = []
        self.places = []
        self.places_by_key = {}
        self.glimpses = []
        self.seen = {}  # Revision → (instant, its events), from watches of everything.
        self.claims = {}  # Revision → the acknowledged operation that has it.
        self.problems = []
        self.floor = 1  # The highest revision anyone was ever told of.
        self.floors = []  # (instant, revision), growing.
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["_lock"], state["_ids"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._ids = itertools.count(max((operation.id for operation in self.operations), default=0) + 1)

    def save(self, path):
        with open(path, "wb") as file:
            pickle.dump(self, file, protocol=pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def load(path):
        with open(path, "rb") as file:
            return pickle.load(file)

    # Recording

    def problem(self, text):
        with self._lock:
            if len(self.problems) < 100:
                self.problems.append(text)

    def new_id(self):
        return next(self._ids)

    def begin(self, actor, kind, id=None, **fields):
        operation = Operation(id or self.new_id(), actor, kind, time.monotonic(), **fields)
        with self._lock:
            self.operations.append(operation)
        return operation

    def new_place(self, **fields):
        place = Place(began=time.monotonic(), **fields)
        with self._lock:
            self._add(place)
        return place

    def _add(self, place):
        self.places.append(place)
        self.places_by_key[place.key] = place  # Keys carry a lease of their own, so none comes twice.

    def place_at(self, key):
        return self.places_by_key.get(key)

    def acknowledge(self, operation, revision, *, changed=True, succeeded=True):
        """The server said yes. `changed`: the answer shows that keys changed, at exactly `revision`."""
        now = time.monotonic()
        with self._lock:
            operation.end = now
            operation.revision = revision
            operation.changed = changed
            operation.succeeded = succeeded
            operation.outcome = ACKNOWLEDGED
            if changed:
                other = self.claims.setdefault(revision, operation)
                if other is not operation and len(self.problems) < 100:
                    self.problems.append(f"revision {revision} was answered twice: {describe(other)}; {describe(operation)}")
            self._raise_floor(now, revision)

    def refuse(self, operation, code, text=""):
        operation.end = time.monotonic()
        operation.error = f"{code}: {text}"
        # A place may have been entered before the wait for it failed.
        refused = operation.kind != "place" and says_not_done(code, text or "")
        operation.outcome = FAILED if refused else UNKNOWN

    def told(self, revision, floor=0, what="an answer"):
        """A header's revision; `floor` is `self.floor` as it was before the call began."""
        if revision < floor:
            self.problem(f"{what} says revision {revision}, after revision {floor} had been told")
        with self._lock:
            self._raise_floor(time.monotonic(), revision)

    def _raise_floor(self, now, revision):
        if revision > self.floor:
            self.floor = revision
            self.floors.append((now, revision))

    def glimpse(self, kv):
        with self._lock:
            self.glimpses.append(Glimpse(time.monotonic(), kv.key, kv.mod_revision, kv.SerializeToString()))

    def see(self, revision, events):
        """All events of a revision, as (type, encoded key-value) in order, from a watch of everything."""
        now = time.monotonic()
        with self._lock:
            known = self.seen.setdefault(revision, (now, events))
            self._raise_floor(now, revision)
        if known[1] != events:
            self.problem(f"revision {revision} was shown with other content than before")

    # Looking back

    def until(self, instant):
        """The record as it was at `instant`: what had not begun is left out, what had not ended is unknown.

        It shares no operation with this one.
        """
        past = History(self.seed)
        for operation in self.operations:
            if operation.begin > instant:
                continue
            copy = dataclasses.replace(operation, found=0)
            if copy.end is None or copy.end > instant:
                copy.outcome, copy.end, copy.error = UNKNOWN, None, ""
            elif copy.outcome == ACKNOWLEDGED and copy.changed:
                past.claims[copy.revision] = copy
            past.operations.append(copy)
        for place in self.places:
            if place.began <= instant:
                past._add(place)
        past.glimpses = [glimpse for glimpse in self.glimpses if glimpse.at <= instant]
        past.seen = {revision: seen for revision, seen in self.seen.items() if seen[0] <= instant}
        past.floors = [(at, revision) for at, revision in self.floors if at <= instant]
        past.floor = past.floors[-1][1] if past.floors else 1
        return past

    def count(self, outcome):
        return sum(operation.outcome == outcome for operation in self.operations)


def describe(operation):
    first = operation.wanted[0] if operation.wanted else None
    target = f" {(first.key or b'lease %x' % first.lease)[:30].decode(errors='replace')}" if first else ""
    answered = f" at revision {operation.revision}" if operation.outcome == ACKNOWLEDGED else ""
    return f"{operation.kind} {operation.id} of {operation.actor}{target}, {operation.outcome}{answered}"
