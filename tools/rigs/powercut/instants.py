"""When the power is cut: at random, and far more often where something is half done."""

import os

from . import trace

NEAR = 4  # Events around an interesting one that count as well.
FAR = 200  # Most events of a longer stretch.


class Instants:
    """Draws positions in a trace: a crash at position n comes after n events."""

    def __init__(self, events, ready):
        self.events = events
        self.places = {
            "anywhere": range(len(events) + 1),
            "first start": [n for n, event in enumerate(events) if event.time < ready * 1e9],
            **self._sort(),
        }

    def _sort(self):
        """Events by what they are part of, told by the files they touch."""
        found = {"flush of base": set(), "segments": set(), "checkpoint": set(), "log write": set(), "holes": set()}
        paths = {}
        named = None  # When a checkpoint got its name, until base is committed next: what it refers to must be there.
        inside = None  # The first write of a flush of base, until its last page is written through.
        for n, event in enumerate(self.events):
            if event.kind == trace.OPEN:
                paths[event.file] = (event.text, event.first)
            path, flags = paths.get(event.file, ("", 0))
            if event.kind in (trace.RENAME, trace.UNLINK):
                path = event.text
            if path.startswith("base/data"):
                if event.kind == trace.ALLOCATE:
                    found["holes"].update(range(n - NEAR, n + NEAR))
                if event.kind == trace.WRITE_BEGIN and inside is None:
                    inside = n
                if event.kind == trace.WRITE_END and flags & os.O_DSYNC and inside is not None:
                    found["flush of base"].update(range(inside, n + 2))
                    inside = None
                    if named is not None:
                        found["checkpoint"].update(range(named, min(n, named + FAR) + 2))
                        named = None
            elif path.startswith("log/"):
                if "snapshot" in path:
                    found["checkpoint"].update(range(n - NEAR, n + NEAR))
                    if event.kind == trace.RENAME:
                        named = n
                elif event.kind in (trace.WRITE_BEGIN, trace.WRITE_END):
                    found["log write"].add(n)
                else:
                    found["segments"].update(range(n - NEAR, n + NEAR))
        return {name: sorted(n for n in where if 0 <= n <= len(self.events)) for name, where in found.items()}

    def draw(self, random):
        """(position, what is going on there)."""
        weights = {"anywhere": 10, "first start": 8, "flush of base": 30, "segments": 20, "checkpoint": 17, "log write": 15, "holes": 6}
        names = [name for name in weights if len(self.places[name])]
        name = random.choices(names, [weights[name] for name in names])[0]
        return random.choice(self.places[name]), name

    def time(self, position):
        """The latest instant at which the disk was still so, in seconds."""
        return self.events[position].time / 1e9 if position < len(self.events) else float("inf")
