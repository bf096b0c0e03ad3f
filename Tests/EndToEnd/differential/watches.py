"""Which events each watch must have seen.

The watch over everything gives the full history; what any other watch owes follows from its range, its start revision
and its filters. Knowing the number of events to wait for is what makes comparing two servers exact, whatever their
speed.
"""

import dataclasses


@dataclasses.dataclass
class ExpectedWatch:
    stream: int
    watch_id: int
    key: bytes
    range_end: bytes
    start_revision: int  # The first revision that it owes.
    filters: frozenset
    live: bool  # Started after all history there was: one revision a response, under that revision's header.
    created_at: float
    count: int = 0
    compared: int = 0

    def wants(self, event):
        if event.kv.mod_revision < self.start_revision or event.type in self.filters:
            return False
        return in_range(event.kv.key, self.key, self.range_end)


def in_range(key, start, end):
    if end == b"":
        return key == start
    return key >= start and (end == b"\0" or key < end)


class History:
    """All events ever, in order, with the count that each open watch owes."""

    def __init__(self):
        self.events = []
        self.open = {}  # (stream, watch id) → ExpectedWatch
        self.deleted_at = set()  # Revisions with a deletion in them.

    def add(self, events):
        for event in events:
            if event.type == 1:
                self.deleted_at.add(event.kv.mod_revision)
            for watch in self.open.values():
                if watch.wants(event):
                    watch.count += 1
        self.events.extend(events)

    def begin(self, watch):
        watch.count = sum(1 for event in self.events if watch.wants(event))
        self.open[watch.stream, watch.watch_id] = watch

    def end(self, stream, watch_id):
        del self.open[stream, watch_id]

    def of(self, watch, start, stop):
        """The events that a watch owes, from its `start`-th to before its `stop`-th, which is its newest."""
        found = []
        for event in reversed(self.events):
            if len(found) == stop - start:
                break
            if watch.wants(event):
                found.append(event)
        return found[::-1]
