"""The history a server must have: revision by revision, each traced to the operation that made it.

A plain model of etcd's revisions. It is told what a server's history says and checks that every event follows from what
came before and from what clients asked; what it has taken in once may never change.
"""

import bisect

from harness.api import pb

from .crc32c import combined, crc32c
from .history import ACKNOWLEDGED, DELETE, FAILED, PUT, describe

LINE_PREFIX = b"lock/"  # Locks lie here: NAME/<lease in hex> is a place in the line of NAME.


def in_range(key, start, end):
    if end == b"":
        return key == start
    return key >= start and (end == b"\0" or key < end)


def lock_of(key, lease):
    """The lock in whose line a key hanging on `lease` stands, or None."""
    name, _, place = key.rpartition(b"/")
    return name if name and lease and place == b"%x" % lease else None


class Ledger:
    def __init__(self):
        self.revisions = {}  # Revision → tuple of (type, encoded key-value).
        self.authors = {}  # Revision → operation, as far as it is known.
        self.last = 1  # An empty store is at revision 1.
        self.live = {}  # Key → its key-value now.
        self.versions = {}  # Key → (list of revisions, list of key-values or None for a deletion), growing.
        self.attached = {}  # Lease → set of keys.
        self.lines = {}  # Lock → {key: create revision}.
        self.compacted = 0
        self.stored = {}  # (Revision, sub) → what `_stored` computed.

    # Taking in

    def append(self, revision, events, problem):
        """Takes in the next revision, and tells what does not follow from the ones before."""
        if revision != self.last + 1:
            problem(f"revision {revision} follows {self.last}")
        if not events:
            problem(f"revision {revision} is empty")
        for sub, (kind, encoded) in enumerate(events):
            kv = pb.KeyValue.FromString(encoded)
            if kv.mod_revision != revision:
                problem(f"an event of revision {revision} carries mod_revision {kv.mod_revision}")
            self._apply(revision, sub, kind, kv, encoded, problem)
        self.revisions[revision] = events
        self.last = max(self.last, revision)

    def _apply(self, revision, sub, kind, kv, encoded, problem):
        before = self.live.get(kv.key)
        revisions, values = self.versions.setdefault(kv.key, ([], []))
        if kind == PUT:
            create = before.create_revision if before else revision
            version = before.version + 1 if before else 1
            if (kv.create_revision, kv.version) != (create, version):
                problem(
                    f"revision {revision}, {show(kv.key)}: create revision {kv.create_revision} and version {kv.version},"
                    f" expected {create} and {version}"
                )
            self._detach(before)
            self.live[kv.key] = kv
            if kv.lease:
                self.attached.setdefault(kv.lease, set()).add(kv.key)
                if lock := lock_of(kv.key, kv.lease):
                    self.lines.setdefault(lock, {})[kv.key] = kv.create_revision
        else:
            if before is None:
                problem(f"revision {revision} deletes {show(kv.key)}, which was not there")
            if kv.value or kv.lease or kv.version or kv.create_revision:
                problem(f"revision {revision}: the deletion of {show(kv.key)} carries more than key and revision")
            self._detach(before)
            self.live.pop(kv.key, None)
        revisions.append((revision, sub))
        values.append(kv if kind == PUT else None)

    def _detach(self, kv):
        if kv is not None and kv.lease:
            self.attached.get(kv.lease, set()).discard(kv.key)
            if lock := lock_of(kv.key, kv.lease):
                self.lines.get(lock, {}).pop(kv.key, None)

    # What changes make of the present state

    def holds(self, compares):
        return all(self._holds(compare) for compare in compares)

    def _holds(self, compare):
        kv = self.live.get(compare.key)
        if compare.target == "value":
            return kv is not None and kv.value == compare.operand
        return {
            "create": kv.create_revision if kv else 0,
            "mod": kv.mod_revision if kv else 0,
            "version": kv.version if kv else 0,
        }[compare.target] == compare.operand

    def outcome(self, operation):
        """(compares hold, the events wanted as (type, key, value, lease)) were it applied now."""
        succeeded = self.holds(operation.compares)
        events, gone = [], set()
        for change in operation.changes if succeeded else operation.otherwise:
            if change.kind == "put":
                events.append((PUT, change.key, change.value, change.lease))
                continue
            if change.kind == "revoke":
                keys = self.attached.get(change.lease, ())
            elif change.range_end == b"":
                keys = [change.key] if change.key in self.live else []
            else:
                keys = [key for key in self.live if in_range(key, change.key, change.range_end)]
            for key in sorted(keys):
                if key not in gone:
                    gone.add(key)
                    events.append((DELETE, key, b"", 0))
        return succeeded, events

    # Looking back

    def at(self, key, revision):
        """The key's key-value as of `revision`, or None."""
        revisions, values = self.versions.get(key, ((), ()))
        place = bisect.bisect_left(revisions, (revision + 1, 0))
        return values[place - 1] if place else None

    def state(self, revision):
        """All key-values as of `revision`, in key order."""
        if revision >= self.last:
            return [self.live[key] for key in sorted(self.live)]
        found = (self.at(key, revision) for key in sorted(self.versions))
        return [kv for kv in found if kv is not None]

    def hash(self, revision, compacted):
        """What HashKV must answer, or None where physical compaction may show in it: when no key is alive."""
        compacted = min(compacted, revision)
        kept, alive = [], False  # Of what is compacted, only the newest live versions at `revision` count.
        for revisions, values in self.versions.values():
            place = bisect.bisect_left(revisions, (revision + 1, 0)) - 1
            if place >= 0 and values[place] is not None:
                alive = True
                if revisions[place][0] <= compacted:
                    kept.append((revisions[place], values[place]))
        if not alive:
            return None
        crc = crc32c(b"key")
        for (main, sub), kv in sorted(kept, key=lambda version: version[0]):
            crc = combined(crc, *self._stored(main, sub, PUT, kv))
        for main in range(compacted + 1, revision + 1):
            for sub, (kind, encoded) in enumerate(self.revisions.get(main, ())):
                crc = combined(crc, *self._stored(main, sub, kind, encoded))
        return crc

    def _stored(self, main, sub, kind, kv):
        """Checksum and length of a change as etcd stores it; computed once."""
        known = self.stored.get((main, sub))
        if known is None:
            encoded = kv if isinstance(kv, bytes) else kv.SerializeToString()
            if kind == DELETE:
                encoded = pb.KeyValue(key=pb.KeyValue.FromString(encoded).key).SerializeToString()
            data = b"%b_%b%b%b" % (main.to_bytes(8), sub.to_bytes(8), b"t" if kind == DELETE else b"", encoded)
            known = self.stored[main, sub] = (crc32c(data), len(data))
        return known

    def forget(self, compacted):
        """Lets go of history that nobody can read any more."""
        self.compacted = max(self.compacted, compacted)
        for revision in [r for r in self.revisions if r <= compacted]:
            del self.revisions[revision]
            self.authors.pop(revision, None)
        kept = set()
        for key, (revisions, values) in list(self.versions.items()):
            newest = bisect.bisect_left(revisions, (compacted + 1, 0)) - 1
            if newest > 0:
                del revisions[:newest], values[:newest]
            if len(values) == 1 and values[0] is None and revisions[0][0] <= compacted:
                del self.versions[key]
            else:
                kept.add(revisions[0])
        self.stored = {place: known for place, known in self.stored.items() if place[0] > compacted or place in kept}

    def copy(self, revision):
        """A ledger of its own of what was up to `revision`, compacted there."""
        other = Ledger()
        kvs = [(key, place, kv) for key in self.versions for place, kv in self._version_at(key, revision)]
        for key, place, kv in kvs:
            other.versions[key] = ([place], [kv])
            if kv is not None:
                other.live[key] = kv
                if kv.lease:
                    other.attached.setdefault(kv.lease, set()).add(key)
                    if lock := lock_of(key, kv.lease):
                        other.lines.setdefault(lock, {})[key] = kv.create_revision
        other.compacted = revision
        other.last = max(1, revision)
        other.stored = dict(self.stored)
        return other

    def _version_at(self, key, revision):
        revisions, values = self.versions[key]
        place = bisect.bisect_left(revisions, (revision + 1, 0)) - 1
        return [(revisions[place], values[place])] if place >= 0 else []

    def holder_at(self, lock, revision):
        """The key-value of the head of a line as of `revision`, or None."""
        prefix = lock + b"/"
        heads = [self.at(key, revision) for key in self.versions if key.startswith(prefix)]
        heads = [kv for kv in heads if kv is not None and lock_of(kv.key, kv.lease) == lock]
        return min(heads, key=lambda kv: kv.create_revision, default=None)


class Attribution:
    """Finds for each revision the operation that made it: each operation once, and whole."""

    def __init__(self, history):
        self.history = history
        self.by_id = {}
        self.looked_at = 0
        self.open_deletions = []  # Operations of unknown outcome that delete and put nothing.

    def refresh(self):
        """Takes in what was recorded since; outcomes of operations under way are known by now."""
        for operation in self.history.operations[self.looked_at :]:
            self.by_id[operation.id] = operation
            if operation.outcome != FAILED:
                # Either branch of a transaction may do nothing but delete.
                branches = [branch for branch in (operation.changes, operation.otherwise) if branch]
                if any(all(change.kind != "put" for change in branch) for branch in branches):
                    self.open_deletions.append(operation)
        self.looked_at = len(self.history.operations)
        self.open_deletions = [
            o
            for o in self.open_deletions
            # The answer to a revoked lease does not tell whether keys went with it.
            if o.outcome != FAILED and not o.found and not o.gone and (o.outcome != ACKNOWLEDGED or o.kind == "revoke")
        ]

    def author(self, ledger, revision, events, problem):
        """The operation that made `events`, which come next. Tells what is wrong with it."""
        wanted = [(kind, kv.key, kv.value, kv.lease) for kind, kv in decode(events)]
        claimed, writer = self.history.claims.get(revision), self._writer_of(wanted)
        operation = writer or claimed
        if claimed and writer and claimed is not writer:
            problem(f"revision {revision} is not what was answered, {describe(claimed)}, but {describe(writer)}")
        if operation is None:
            operation = next((o for o in self.open_deletions if not o.found and ledger.outcome(o)[1] == wanted), None)
            if operation is None:
                if not self._is_end_of_leases(wanted):
                    problem(f"revision {revision} was asked for by nobody: {show_events(wanted)}")
                return None
        # A place whose first call broke may have left the line and entered it anew.
        if operation.found and operation.kind != "place":
            problem(f"revision {revision} repeats revision {operation.found}: {describe(operation)}")
        elif operation.gone:
            problem(f"revision {revision} was not there after an earlier restart: {describe(operation)}")
        elif operation.outcome == FAILED:
            problem(f"revision {revision} was refused: {describe(operation)}: {operation.error}")
        elif (
            operation.outcome == ACKNOWLEDGED
            and operation.changed
            and operation.revision != revision
            and operation.kind != "place"
        ):
            problem(f"found at revision {revision}: {describe(operation)}")
        succeeded, expected = ledger.outcome(operation)
        if operation.outcome == ACKNOWLEDGED and operation.succeeded != succeeded:
            problem(f"revision {revision}: the compares were answered wrongly: {describe(operation)}")
        if expected != wanted:
            problem(
                f"revision {revision} is {show_events(wanted)}, expected {show_events(expected)} of {describe(operation)}"
            )
        operation.found = revision
        return operation

    def _writer_of(self, wanted):
        """By the id with which every value begins."""
        for kind, _, value, _ in wanted:
            if kind == PUT:
                head = value.partition(b"/")[0]
                return self.by_id.get(int(head)) if head.isdigit() else None
        return None

    def _is_end_of_leases(self, wanted):
        """Places that may leave their line."""
        places = [self.history.place_at(key) for kind, key, _, _ in wanted if kind == DELETE]
        return len(places) == len(wanted) and all(place is not None and place.may_leave for place in places)


def decode(events):
    return [(kind, pb.KeyValue.FromString(encoded)) for kind, encoded in events]


def show(key):
    text = key.decode(errors="backslashreplace")
    return text if len(text) < 40 else f"{text[:30]}… ({len(key)} bytes)"


def show_events(wanted):
    shown = [f"{'delete' if kind else 'put'} {show(key)} ({len(value)} bytes)" for kind, key, value, _ in wanted[:4]]
    return ", ".join(shown) + (f" and {len(wanted) - 4} more" if len(wanted) > 4 else "") or "nothing"
