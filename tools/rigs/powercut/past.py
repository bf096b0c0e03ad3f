"""What a server must still know after a crash at some instant, as far as the record of its clients goes."""

import bisect

from harness.api import pb

from ..history import ACKNOWLEDGED, DELETE, FAILED, PENDING, UNKNOWN
from ..ledger import Ledger
from ..verify import Problems, complete_ledger
from . import native
from .recording import Compaction


class Past:
    """The whole history of a recorded run, and how much of it is certain at an instant."""

    def __init__(self, ledger, history, floors, compactions, until=float("inf")):
        """`floors` are (instant, revision) of what clients were told; after `until` nobody touched a lease."""
        self.ledger = ledger
        self.history = history
        self.instants = [at for at, _ in floors]
        self.floors = [revision for _, revision in floors]
        self.compactions = compactions
        self.until = until
        self.grants = [o for o in history.operations if o.kind == "grant"]
        self.revokes = [o for o in history.operations if o.kind == "revoke" and o.outcome != FAILED]
        self.places = {place.key: place for place in history.places}
        self.lines = {}
        for key in ledger.versions:
            if (place := self.places.get(key)) is not None:
                self.lines.setdefault(place.lock, []).append(key)
        self._records = {}

    @staticmethod
    def of(recording):
        ledger, _ = complete_ledger(recording.history)
        compactions = [Compaction(0, 0, 0), *recording.compactions]
        return Past(ledger, recording.history, recording.history.floors, compactions)

    def floor(self, instant):
        """The highest revision that anyone had been told of."""
        place = bisect.bisect_right(self.instants, instant)
        return self.floors[place - 1] if place else 1

    def may_be_compacted(self, instant):
        """(the revision that surely is, all that may be)."""
        sure = max(c.revision for c in self.compactions if c.end is not None and c.end <= instant)
        return sure, {c.revision for c in self.compactions if c.begin <= instant}

    def leases(self, instant):
        """(leases that must be there, that must not)."""
        instant = min(instant, self.until)
        granted = {o.lease for o in self.grants if o.outcome == ACKNOWLEDGED and o.end <= instant}
        revoked = {o.lease for o in self.revokes if o.outcome == ACKNOWLEDGED and o.end <= instant}
        maybe = {o.lease for o in self.revokes if o.begin <= instant}
        return granted - maybe, revoked

    def unasked(self, revision, instant):
        """An operation that made one of the last revisions and had not begun yet, or None."""
        for main in range(max(2, revision - 500), revision + 1):
            author = self.ledger.authors.get(main)
            if author is not None and author.begin > instant:
                return author
        return None

    def lasting_holder(self, lock, revision):
        """Whether the line of a lock holds, as of `revision`, a place whose lease is long."""
        return any(self.places[key].ttl > 100 for key in self.line(lock, revision))

    def line(self, lock, revision):
        return [key for key in self.lines.get(lock, ()) if self.ledger.at(key, revision) is not None]

    def attached(self, lease, state):
        return sorted(kv.key for kv in state if kv.lease == lease)

    def hash(self, revision, compacted, state):
        """HashKV by the book, over the recorded history; None where what is physically gone may show."""
        if not state:
            return None
        parts = [b"key"]
        kept = [kv for kv in state if kv.mod_revision <= compacted]
        subs = {kv.key: self.sub(kv) for kv in kept}
        for kv in sorted(kept, key=lambda kv: (kv.mod_revision, subs[kv.key])):
            parts.append(header(kv.mod_revision, subs[kv.key]) + kv.SerializeToString())
        for main in range(compacted + 1, revision + 1):
            parts += self.stored(main)
        return native.crc32c(parts)

    def sub(self, kv):
        encoded = kv.SerializeToString()
        return next(sub for sub, record in enumerate(self.stored(kv.mod_revision)) if record[17:] == encoded)

    def stored(self, main):
        """The records of a revision as they are hashed."""
        if main not in self._records:
            records = []
            for sub, (kind, encoded) in enumerate(self.ledger.revisions.get(main, ())):
                if kind == DELETE:
                    key = pb.KeyValue.FromString(encoded).key
                    records.append(header(main, sub) + b"t" + pb.KeyValue(key=key).SerializeToString())
                else:
                    records.append(header(main, sub) + encoded)
            self._records[main] = records
        return self._records[main]

    def explains(self, revision, events):
        """Whether events beyond the history can only be places whose short leases ran out, or a write that was on its way when
        the recording ended: done, but neither answered nor watched."""
        open_ids = {o.id for o in self.history.operations if o.outcome in (PENDING, UNKNOWN)}

        def is_explained(kind, encoded):
            kv = pb.KeyValue.FromString(encoded)
            if kind == DELETE:
                return kv.key in self.places or bool(open_ids)
            head = kv.value.partition(b"/")[0]
            return head.isdigit() and int(head) in open_ids

        return all(is_explained(kind, encoded) for kind, encoded in events)

    def after(self, checked, instant, events, told, compactions):
        """The past of a second life: this one up to what was recovered, then `events`."""
        ledger = Ledger()
        problems = Problems()
        for main in range(2, checked.revision + 1):
            ledger.append(main, self.ledger.revisions[main], problems)
        for main, batch in events:
            ledger.append(main, batch, problems)
        # What was recovered is on the disk, whatever happens from here on.
        floors = [(0, checked.revision), *told]
        compactions = [Compaction(0, checked.compacted, 0), *compactions]
        return Past(ledger, self.history, floors, compactions, until=min(instant, self.until)), problems


def header(main, sub):
    return b"%b_%b" % (main.to_bytes(8), sub.to_bytes(8))
