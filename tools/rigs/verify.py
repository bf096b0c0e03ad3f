"""Holds a recovered server against the record.

    problems = Recovery(history).check(client, workload)      after every restart of the same folder
    problems = check_image(client, whole, ledger, instant)    a folder as it might be after a crash at `instant`

Nobody writes meanwhile. Leases of lockers may run out all the same; their places may leave.
"""

import math
import random

from harness.api import pb

from .history import ACKNOWLEDGED, DELETE, FAILED, PUT, UNKNOWN, describe
from .ledger import Attribution, Ledger, decode, in_range, show

REPLAY_WITHIN = 60.0  # Seconds without a further event; a backstop.
PAGE = 2000
AFTERWARDS = b"after/"  # Keys that a rig writes itself, once a server has come back.


class Problems:
    """What was found, the first few of each check in words."""

    def __init__(self, bound=12):
        self.texts = []
        self.count = 0
        self.bound = bound

    def __call__(self, text):
        self.count += 1
        if len(self.texts) < self.bound:
            self.texts.append(text)

    def __bool__(self):
        return self.count > 0

    def __str__(self):
        more = f"\n  and {self.count - len(self.texts)} more" if self.count > len(self.texts) else ""
        return "\n".join(f"  {text}" for text in self.texts) + more


class HistoryUnreadable(Exception):
    pass


def compacted_revision(client):
    revision = client.maintenance.HashKV(pb.HashKVRequest(), timeout=REPLAY_WITHIN).compact_revision
    return max(0, revision)


def replay(client, first, last):
    """Yields (revision, events) of first...last from a watch of everything."""
    if first > last:
        return
    with client.watch() as watch:
        watch.create(b"\0", b"\0", start_revision=first)
        revision, events = 0, []
        while True:
            try:
                answer = watch.next(REPLAY_WITHIN)
            except Exception as error:
                raise HistoryUnreadable(f"watch from {first}, after revision {revision} of {last}: {error}") from None
            if answer.canceled:
                raise HistoryUnreadable(
                    f"watch from {first} was cancelled at {revision}, compacted at {answer.compact_revision}:"
                    f" {answer.cancel_reason}"
                )
            for event in answer.events:
                if event.kv.mod_revision != revision:
                    if events:
                        yield revision, tuple(events)
                    revision, events = event.kv.mod_revision, []
                if revision > last:
                    return
                events.append((event.type, event.kv.SerializeToString()))
            # A revision is never split over answers, so this one is whole.
            if answer.events and revision >= last:
                yield revision, tuple(events)
                return


def read_all(client, revision):
    """Every key-value as of `revision`, in pages."""
    found, start = [], b"\0"
    while True:
        answer = client.range(start, b"\0", revision=revision, limit=PAGE)
        found += answer.kvs
        if not answer.more:
            return found, answer.count if start == b"\0" else len(found)
        start = answer.kvs[-1].key + b"\0"


class Recovery:
    """Checks one store over all its restarts. Keeps the ledger of all it ever had.

    What was checked and can be read no more (because of a compaction) is forgotten, so that long runs stay small.
    """

    def __init__(self, history):
        self.history = history
        self.ledger = Ledger()
        self.attribution = Attribution(history)
        self.leases = LeaseBook()
        self.random = random.Random(f"{history.seed} recovery")
        self.checked_operations = 0
        self.checked_places = 0
        self.compacted = 0

    def check(self, client, workload=None, restarted=True):
        """`restarted`: the server began anew since the last check, so what is not there now will never be."""
        problems = Problems()
        history, ledger = self.history, self.ledger
        for text in history.problems:
            problems(text)
        history.problems.clear()
        self.attribution.refresh()
        operations = history.operations[self.checked_operations :]
        self.checked_operations = len(history.operations)
        revision = client.revision()
        if revision < history.floor:
            problems(f"the store is at revision {revision}, but {history.floor} had been told")
        ledger.compacted = compacted_revision(client)
        check_compaction(operations, self.compacted, ledger.compacted, problems)
        self.compacted = ledger.compacted
        try:
            self.take_in(client, revision, problems)
        except HistoryUnreadable as error:
            problems(str(error))
            return problems
        check_operations(operations, ledger, problems)
        check_shown(history, ledger, problems)
        check_state(client, ledger, revision, self.random, problems)
        self.leases.add(operations, history.places[self.checked_places :])
        self.leases.check(client, ledger, problems)
        check_locks(history, ledger, problems, self.checked_places)
        if workload:
            check_watchers(workload, ledger, problems)
        ledger.forget(ledger.compacted)
        # The ledger has it all now.
        history.seen.clear()
        history.glimpses.clear()
        self.checked_places = next(
            (n for n, place in enumerate(history.places) if not place.settled), len(history.places)
        )
        for operation in operations:
            if operation.kind == "place":
                continue  # It may be asked for again.
            operation.gone = restarted and not operation.found and operation.outcome != ACKNOWLEDGED
            if restarted or operation.found:
                operation.changes = operation.otherwise = operation.compares = ()
        return problems

    def take_in(self, client, revision, problems):
        """The history since the last check, and a piece of what was known before."""
        history, ledger = self.history, self.ledger
        known = ledger.last
        first = max(ledger.compacted + 1, min(known + 1, max(2, known - self.random.randrange(3000))))
        for missing in range(known + 1, first):  # Compacted before it could be read: watchers saw it.
            if missing not in history.seen:
                raise HistoryUnreadable(f"revision {missing} was compacted away before anyone saw it")
            self.append(missing, history.seen[missing][1], problems)
        expected = first
        for main, events in replay(client, first, revision):
            if main != expected:
                problems(f"revisions {expected} to {main - 1} are missing")
                raise HistoryUnreadable(f"history has a gap before {main}")
            expected = main + 1
            if main <= known:
                if ledger.revisions[main] != events:
                    problems(f"revision {main} has other content than before")
            else:
                self.append(main, events, problems)

    def append(self, revision, events, problems):
        author = self.attribution.author(self.ledger, revision, events, problems)
        check_guard(self.ledger, self.history, revision, events, author, problems)
        if author is not None:
            self.ledger.authors[revision] = author
        self.ledger.append(revision, events, problems)


def check_operations(operations, ledger, problems):
    """Every acknowledged write is there, at its revision; every refused one is not."""
    for operation in operations:
        if operation.outcome != ACKNOWLEDGED or operation.kind in ("grant", "compact"):
            continue
        if operation.changed:
            if not operation.found:
                problems(f"lost: {describe(operation)}")
        elif operation.kind == "delete":
            change = operation.changes[0]
            if any(
                in_range(kv.key, change.key, change.range_end)
                for kv in ledger_keys(ledger, change, operation.revision)
            ):
                problems(f"answered as if nothing was there: {describe(operation)}")


def ledger_keys(ledger, change, revision):
    if not change.range_end:
        kv = ledger.at(change.key, revision)
        return [kv] if kv else []
    keys = [key for key in ledger.versions if in_range(key, change.key, change.range_end)]
    return [kv for kv in (ledger.at(key, revision) for key in keys) if kv]


def check_shown(history, ledger, problems):
    """What was shown to anyone is what the history says."""
    for revision, (_, events) in history.seen.items():
        if revision > ledger.compacted and ledger.revisions.get(revision) != events:
            became = "is other now" if revision in ledger.revisions else "is gone"
            problems(f"revision {revision} was shown to a watcher and {became}")
    for glimpse in history.glimpses:
        if glimpse.revision <= ledger.compacted:
            continue
        kvs = [encoded for kind, encoded in ledger.revisions.get(glimpse.revision, ()) if kind == PUT]
        if glimpse.kv not in kvs:
            problems(f"a read showed {show(glimpse.key)} of revision {glimpse.revision}, which is not so")


def check_state(client, ledger, revision, draw, problems):
    """Ranges and hashes, now and in the past."""
    lowest = max(ledger.compacted, 1)
    past = sorted({draw.randint(lowest, revision) for _ in range(3)}) if revision > lowest else []
    for at in [*past, revision]:
        found, count = read_all(client, at)
        compare_state(ledger.state(at), found, at, problems)
        if count != len(found):
            problems(f"the range at revision {at} counts {count} keys and has {len(found)}")
    for at in [*past[:1], revision]:
        expected = ledger.hash(at, ledger.compacted)
        answer = client.maintenance.HashKV(pb.HashKVRequest(revision=at), timeout=REPLAY_WITHIN)
        if expected is not None and answer.hash != expected:
            problems(f"HashKV at revision {at} is {answer.hash}, computed from the history: {expected}")


def compare_state(expected, found, revision, problems):
    if expected == list(found):
        return
    wanted = {kv.key: kv for kv in expected}
    got = {kv.key: kv for kv in found}
    for key in sorted(wanted.keys() | got.keys()):
        if wanted.get(key) != got.get(key):
            what = "is missing" if key not in got else "should not be there" if key not in wanted else "is wrong"
            problems(f"range at revision {revision}: {show(key)} {what}")
    if [kv.key for kv in found] != sorted(wanted):
        problems(f"range at revision {revision}: keys out of order or repeated")


def check_compaction(operations, before, compacted, problems):
    """A compaction that was acknowledged stands, and none that nobody asked for."""
    asked = [operation for operation in operations if operation.kind == "compact"]
    least = max([before, *(o.target for o in asked if o.outcome == ACKNOWLEDGED)])
    most = max([before, *(o.target for o in asked if o.outcome != FAILED)])
    if not least <= compacted <= most:
        problems(f"compacted at revision {compacted}, expected {least} to {most}")


class LeaseBook:
    """Which leases there must be, and which there may be."""

    def __init__(self):
        self.granted, self.revoked, self.maybe = set(), set(), set()

    def add(self, operations, places):
        self.maybe |= {place.lease for place in places}
        for operation in operations:
            if operation.kind == "grant":
                (self.granted if operation.outcome == ACKNOWLEDGED else self.maybe).add(operation.lease)
            elif operation.kind == "revoke" and operation.outcome != FAILED:
                self.granted.discard(operation.lease)
                (self.revoked if operation.outcome == ACKNOWLEDGED else self.maybe).add(operation.lease)

    def check(self, client, ledger, problems):
        """Leases that were granted for long and not revoked are there, with their keys and no others."""
        there = set(client.leases())
        for lease in self.revoked & there:
            problems(f"revoked and there all the same: lease {lease:x}")
        for lease in self.granted - there:
            problems(f"lost: lease {lease:x}")
        for lease in there - self.granted - self.maybe - self.revoked:
            problems(f"nobody asked for lease {lease:x}")
        for lease in self.granted & there:
            keys = list(client.time_to_live(lease, keys=True).keys)
            if keys != sorted(ledger.attached.get(lease, ())):
                expected = len(ledger.attached.get(lease, ()))
                problems(f"lease {lease:x} has {len(keys)} keys, expected {expected}, or others than expected")


def check_guard(ledger, history, revision, events, author, problems):
    """A lock's key was written while a guarding place held: its proof must have been given. Before `events` apply."""
    for kind, encoded in events:
        key = pb.KeyValue.FromString(encoded).key
        line = ledger.lines.get(key)
        if not line:
            continue
        holder = min(line, key=line.get)
        place = history.place_at(holder)
        if place and place.guarding and (author is None or author.fenced != line[holder]):
            problems(f"revision {revision} wrote {show(key)} past its guard {show(holder)}, token {line[holder]}")


def check_locks(history, ledger, problems, checked=0):
    """No lock was ever held by two. Places before `checked` are settled; each is still compared with the next."""
    last = {}  # Lock → the place that was granted last.
    places = [place for place in history.places if place.token]
    for place in sorted(places, key=lambda place: place.held_from):
        before = last.get(place.lock)
        last[place.lock] = place
        if before and place.token <= before.token:
            problems(f"{show(place.lock)}: token {place.token} was granted after token {before.token}")
        if before and before.held_until > place.held_from:
            problems(f"{show(place.lock)}: held by token {place.token} while {before.token} surely held")
    for place in history.places[checked:]:
        if not place.token or place.settled:
            continue
        if place.granted_at > ledger.last:
            problems(f"{show(place.lock)}: token {place.token} was granted at revision {place.granted_at}, which is lost")
        if place.token > ledger.compacted:
            kv = ledger.at(place.key, place.token)
            if kv is None or kv.create_revision != place.token:
                problems(f"{show(place.lock)}: no place with token {place.token}, which was granted")
        if place.granted_at > ledger.compacted:
            first = ledger.holder_at(place.lock, place.granted_at)
            if first is not None and first.create_revision < place.token:
                problems(
                    f"{show(place.lock)}: token {place.token} was granted while {first.create_revision} stood before it"
                )
        place.settled = True


def check_watchers(workload, ledger, problems):
    """Each watcher got every event of its range once, in order, and nothing else."""
    for watcher in workload.watchers:
        with watcher.lock:
            received, watcher.received = watcher.received, []
        last = getattr(watcher, "checked", 1)
        for revision, events in received:
            for missed in range(last + 1, revision):
                if wanted(ledger, watcher, missed):
                    problems(f"{watcher.name}: revision {missed} never came")
            if events != wanted(ledger, watcher, revision):
                problems(f"{watcher.name}: revision {revision} came with other events than history has")
            last = max(last, revision)
        # A compaction may pass what a watcher has got, never what it has not.
        watcher.checked = last


def wanted(ledger, watcher, revision):
    events = ledger.revisions.get(revision, ())
    if watcher.everything:
        return events
    return tuple(
        event for event in events if in_range(pb.KeyValue.FromString(event[1]).key, watcher.key, watcher.range_end)
    )


# Crash images


def complete_ledger(history):
    """The ledger of a recording without a crash, from what its watchers saw; with the problems found in it."""
    problems = Problems()
    recovery = Recovery(history)
    recovery.attribution.refresh()
    for revision in range(2, max(history.seen, default=1) + 1):
        if revision not in history.seen:
            problems(f"no watcher saw revision {revision}")
            break
        recovery.append(revision, history.seen[revision][1], problems)
    check_operations(history.operations, recovery.ledger, problems)
    check_locks(history, recovery.ledger, problems)
    return recovery.ledger, problems


def compactions_at(past, ledger, instant):
    """(the revision at which an image is compacted, others at which it may be as compactions were under way)."""
    asked = [operation for operation in past.operations if operation.kind == "compact"]
    expected = max([ledger.compacted, *(o.target for o in asked if o.outcome == ACKNOWLEDGED)])
    if instant == math.inf:
        return expected, []
    # In the past, what was not answered by then is unknown.
    return expected, sorted({o.target for o in asked if o.outcome == UNKNOWN and o.target > expected})


def check_image(client, history, ledger, instant, draw=random, missing=0, raising=False):
    """A server on a folder as it might be after a crash at `instant` of the recording `history`, whose whole history
    is `ledger` (see `complete_ledger`); an infinite instant stands for a folder at rest.

    The last `missing` revisions that had been told may be missing. `raising`: history that cannot be read, with nothing
    wrong before, raises HistoryUnreadable.
    """
    problems = Problems()
    past = history.until(instant)
    floor = past.floor - missing
    revision = client.revision()
    if revision < floor:
        problems(f"the store is at revision {revision}, but {past.floor} had been told")
    compacted = compacted_revision(client)
    expected, under_way = compactions_at(past, ledger, instant)
    if compacted != expected and compacted not in under_way:
        problems(f"compacted at revision {compacted}, expected {' or '.join(map(str, [expected, *under_way]))}")
    begun = {operation.id for operation in past.operations}
    # Places of lockers may run out once the image has been started.
    leaving = {place.key for place in past.places}
    image = ledger.copy(compacted)
    try:
        for main, events in replay(client, compacted + 1, revision):
            if ledger.revisions.get(main) != events:
                later = all(
                    (kind == DELETE and kv.key in leaving) or kv.key.startswith(AFTERWARDS)
                    for kind, kv in decode(events)
                )
                if main <= floor or not later:
                    problems(f"revision {main} has other content than was written")
            elif (author := ledger.authors.get(main)) and author.id not in begun:
                problems(f"revision {main} holds what had not been asked for yet: {describe(author)}")
            image.append(main, events, problems)
    except HistoryUnreadable as error:
        if raising and not problems:
            raise
        problems(str(error))
        return problems
    check_state(client, image, revision, draw, problems)
    if revision >= past.floor and not missing:
        book = LeaseBook()
        book.add(past.operations, past.places)
        book.check(client, image, problems)
    return problems
