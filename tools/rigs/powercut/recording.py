"""One run of a server with everything recorded: its disk by the preloaded recorder, its answers by the clients."""

import dataclasses
import pathlib
import pickle
import random
import threading
import time

from ..history import History
from ..verify import complete_ledger, replay
from ..workload import FILLER, Workload, Writer
from . import trace
from .disk import Disk
from .server import SCRATCH, RigServer


class Failed(Exception):
    """The recording is of no use, for reasons that its text gives."""


@dataclasses.dataclass
class Compaction:
    begin: float
    revision: int
    end: float | None = None  # When it was acknowledged.


class BigWriter(Writer):
    """Large values on few keys, to fill segments of the log and to make flushes long; as many bytes as it was given."""

    left = 0

    def act(self):
        if self.left <= 0:
            return self.workload.stopping.wait(0.1)
        self.put(key=b"big/%d" % self.random.randrange(3))
        self.workload.stopping.wait(self.random.choice([0, 0.02, 0.1]))

    def value(self, id):
        size = min(self.random.choice([300_000, 1_000_000, 1_400_000]), max(self.left, 1000))
        self.left -= size
        return (b"%d/" % id + FILLER * 6)[:size]


class Load(Workload):
    """The rigs' workload, with large values and compactions beside it."""

    def __init__(self, history, seed, big_bytes):
        super().__init__(history, seed)
        for watcher in self.watchers:
            watcher.next_revision = 2
        for number in range(2):
            self.writers.append(BigWriter(self, f"big writer {number}", 50 + number))
            self.writers[-1].left = big_bytes // 2
        self.compactions = []

    def compact(self, client, draw):
        """Up to a revision that every watcher has seen."""
        seen = min(watcher.next_revision for watcher in self.watchers if watcher.everything) - 1
        target = seen - draw.choice([0, 20, 200])
        if target <= max((c.revision for c in self.compactions), default=1):
            return
        compaction = Compaction(time.monotonic(), target)
        self.compactions.append(compaction)
        client.compact(target)
        compaction.end = time.monotonic()


@dataclasses.dataclass
class Recording:
    """What a run left: the trace of its disk, and what its clients know."""

    folder: pathlib.Path
    history: History
    compactions: list
    ready: float  # When the server first answered.

    @property
    def trace(self):
        return self.folder / "trace"

    def save(self):
        with open(self.folder / "recording", "wb") as file:
            pickle.dump((self.history, self.compactions, self.ready), file, protocol=pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def load(folder):
        folder = pathlib.Path(folder)
        with open(folder / "recording", "rb") as file:
            return Recording(folder, *pickle.load(file))


def record(build, folder, seed, seconds):
    """Runs a server under load in `folder` for some seconds. Raises `Failed`, with what the run itself showed."""
    folder.mkdir(parents=True)
    draw = random.Random(f"{seed} recording")
    history = History(seed)
    # Without an option for it, only many bytes make a checkpoint of the log fall due.
    load = Load(history, seed, (10 if "--snapshot-count" in build.options else 76) << 20)
    server = RigServer(build, folder / "data", folder / "trace").start()
    ready = time.monotonic()
    try:
        load.start(server.address)
        with server.client() as client:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(draw.uniform(0.1, 0.5))
                load.compact(client, draw)
            load.stop()
            see_the_rest(client, history)
        server.stop()
    finally:
        server.kill()
    recording = Recording(folder, history, load.compactions, ready)
    problems = problems_of(recording, server.data_dir)
    if problems:
        raise Failed("\n".join(problems))
    return recording


def see_the_rest(client, history):
    """What happened after the watchers had gone."""
    first = max(history.seen, default=1) + 1
    for revision, events in replay(client, first, client.revision()):
        history.see(revision, events)


def problems_of(recording, data):
    problems = list(recording.history.problems)
    disk = Disk()
    for event in trace.read(recording.trace):
        disk.take(event)
    problems += [f"the recorder missed something: {text}" for text in disk.differences(data, SCRATCH)]
    if unseen := disk.mapped - SCRATCH:
        problems.append(f"the recorder cannot see what is written to {', '.join(sorted(unseen))} through a mapping")
    ledger, found = complete_ledger(recording.history)
    return problems + found.texts
