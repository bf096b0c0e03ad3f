"""Loops that stand in line for locks, one thread each."""
import queue
import threading
import time

from .line import Line


class TurnLoops:
    """The loops of one worker. `open_place` connects one loop to one lock or election by name; its `turn` waits, calls
    what it is given while it holds, and lets go."""

    def __init__(self, settings, open_place):
        self.hand_over = settings.kind != "lock"
        self.ends = queue.SimpleQueue()
        self.records = []  # of all loops: when an operation ended, and how long it took, in nanoseconds
        self.loops = []
        for number in settings.loops:
            lock = 0 if self.hand_over else number
            place = open_place(settings, f"bench-{lock}")
            self.loops.append(Loop(place, Line(settings.lines, lock), number + 1, self))

    def start(self, closes):
        for loop in self.loops:
            threading.Thread(target=self.run, args=(loop, closes), daemon=True).start()

    def run(self, loop, closes):
        problem = None
        try:
            loop.run(closes)
        except Exception as caught:  # Whatever it is, the measurement has failed by it.
            problem = caught
        self.ends.put(problem)

    def wait(self):
        for _ in self.loops:
            if problem := self.ends.get():
                raise problem

    def done(self):
        return len(self.records)


class Loop:
    def __init__(self, place, line, number, loops):
        self.place, self.line, self.number, self.loops = place, line, number, loops
        self.asked = 0

    def run(self, closes):
        while (asked := time.monotonic_ns()) < closes:
            self.asked = asked
            self.place.turn(self.inside)
            if not self.loops.hand_over:
                ended = time.monotonic_ns()
                self.loops.records.append((ended, ended - asked))

    def inside(self):
        """Called while it holds. A hand-over counts from the holder's call that lets go to this call, and only when
        the holder changed: who takes his own lock again has handed nothing over."""
        got = time.monotonic_ns()
        last, released_at = self.line.enter(self.number)
        if self.loops.hand_over and last not in (0, self.number):
            # A lock that was free when it was asked for shows no hand-over; the whole acquisition counts then.
            self.loops.records.append((got, got - max(self.asked, released_at)))
        self.line.leave(self.number, time.monotonic_ns())
