"""One run of a server with everything recorded: its disk by the preloaded recorder, its answers by the clients."""

import dataclasses
import os
import pathlib
import pickle
import random
import threading
import time

import grpc

from harness.api import pb

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
    """Large values on few keys, to fill segments of the log, to make flushes long, and to bring a checkpoint on."""

    def act(self):
        self.put(key=b"big/%d" % self.random.randrange(3))
        self.workload.stopping.wait(0.5 if self.workload.has_checkpoint else 0.01)

    def value(self, id):
        size = self.random.choice([300_000, 1_000_000, 1_400_000])
        return (b"%d/" % id + FILLER * 6)[:size]


class Load(Workload):
    """The rigs' workload, with large values and compactions beside it."""

    has_checkpoint = False

    def __init__(self, history, seed):
        super().__init__(history, seed)
        for watcher in self.watchers:
            watcher.next_revision = 2
        for number in range(2):
            self.writers.append(BigWriter(self, f"big writer {number}", 50 + number))
        self.compactions = []

    def defragment(self, client):
        try:
            client.maintenance.Defragment(pb.DefragmentRequest(), timeout=60)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                self.history.problem(f"Defragment: {error.code().name}: {error.details()}")

    def compact(self, client, draw):
        """Up to a revision that every watcher has seen: one that still has to get it would be cancelled, and rightly."""
        seen = min(watcher.next_revision for watcher in self.watchers) - 1
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

    def describe(self):
        """What happened in it, in words."""
        events = trace.read(self.trace)
        names = [event.text for event in events if event.kind == trace.OPEN and event.flags & trace.CREATED]
        through = {}  # Descriptors that write through to base: one write a transaction.
        transactions = 0
        for event in events:
            if event.kind == trace.OPEN:
                through[event.file] = event.text == "base/data.mdb" and event.first & os.O_DSYNC
            transactions += event.kind == trace.WRITE_END and bool(through.get(event.file))
        counts = {
            "revisions": max(self.history.seen, default=1),
            "compactions": len(self.compactions),
            "transactions of base": transactions,
            "segments": sum(name.startswith("log/open-") for name in names),
            "checkpoints": sum("snapshot" in name and name.endswith(".meta") for name in names),
            "holes": sum(event.kind == trace.ALLOCATE and event.flags & trace.PUNCHED > 0 for event in events),
            "MiB": self.trace.stat().st_size >> 20,
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    def save(self):
        with open(self.folder / "recording", "wb") as file:
            pickle.dump((self.history, self.compactions, self.ready), file, protocol=pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def load(folder):
        folder = pathlib.Path(folder)
        with open(folder / "recording", "rb") as file:
            return Recording(folder, *pickle.load(file))


def record(build, folder, seed, seconds, on_exit):
    """Runs a server under load in `folder` for some seconds. Raises `Failed`, with what the run itself showed."""
    folder.mkdir(parents=True)
    draw = random.Random(f"{seed} recording")
    history = History(seed)
    load = Load(history, seed)
    server = RigServer(build, folder / "data", folder / "trace")
    on_exit(server.kill)
    server.start()
    ready = time.monotonic()
    try:
        load.start(server.address)
        with server.client() as client:
            while time.monotonic() < ready + seconds or not load.has_checkpoint and time.monotonic() < ready + 4 * seconds:
                time.sleep(draw.uniform(0.1, 0.5))
                load.has_checkpoint = any(name.startswith("snapshot-") for name in os.listdir(server.data_dir / "log"))
                load.compact(client, draw)
                if draw.random() < 0.15:
                    load.defragment(client)
            load.stop()
            see_the_rest(client, history)
        if (code := server.stop()) != 0:
            raise Failed(f"the server ended with {code} when told to stop:\n{server.log()[-1500:]}")
    except grpc.RpcError as error:
        raise Failed(f"{error.code().name}: {error.details()}\n{server.log()[-1500:]}") from None
    finally:
        server.kill()
        load.stop()
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
