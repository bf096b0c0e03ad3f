"""Makes crash images of a recording, one after the other, and looks at each."""

import dataclasses
import json
import pathlib
import random
import shutil
import signal
import sys
import time

import grpc

from ..verify import Problems, replay
from . import trace
from .check import check, examine
from .disk import Chance, Disk
from .instants import Instants
from .past import Past
from .recording import Compaction, Recording
from .server import SCRATCH, Build, RigServer

MOST_LIVES = 3
THOROUGH = 0.1  # The share of images whose whole history is read by a watch too.


@dataclasses.dataclass
class Result:
    number: int
    place: str
    position: int
    lives: int
    seconds: float
    revision: int
    problems: list

    def text(self):
        return json.dumps(dataclasses.asdict(self))


class Images:
    """A share of a recording's images: those with the numbers `numbers`."""

    def __init__(self, recording, build, seed, numbers, work, keep, nested):
        self.recording = recording
        self.build = build
        self.seed = seed
        self.numbers = numbers
        self.work = work
        self.keep = keep
        self.nested = nested

    def run(self):
        events = trace.read(self.recording.trace)
        instants = Instants(events, self.recording.ready)
        past = Past.of(self.recording)
        plans = []
        for number in self.numbers:
            draw = random.Random(f"{self.seed} image {number}")
            plans.append((*instants.draw(draw), number, draw))
        disk, done = Disk(), 0
        for position, place, number, draw in sorted(plans, key=lambda plan: plan[:3]):
            for event in events[done:position]:
                disk.take(event)
            done = position
            yield self.look(disk, past, instants.time(position), number, place, position, draw)

    def look(self, disk, past, instant, number, place, position, draw):
        began = time.monotonic()
        folder = self.work / f"image-{number}"
        kept = self.keep / f"image-{number}" if self.keep else None
        folder.mkdir()
        lives = 1
        problems = Problems()
        data = folder / "data-1"
        disk.build(data, Chance(draw), SCRATCH)
        while not problems and lives < MOST_LIVES and draw.random() < self.nested:
            # The power goes again while the server recovers, or soon after.
            began_life = self.live(data, folder / f"trace-{lives}", past, instant, draw, problems, lives)
            if began_life is None:
                break
            disk, past, instant = began_life
            lives += 1
            data = folder / f"data-{lives}"
            disk.build(data, Chance(draw), SCRATCH)
        if not problems:
            if kept:
                shutil.copytree(data, folder / "image")
            server = RigServer(self.build, data)
            problems = examine(server, past, instant, draw, b"image %d" % number, draw.random() < THOROUGH)
        if problems and kept:
            shutil.copytree(folder, kept, dirs_exist_ok=True)
        shutil.rmtree(folder)
        return Result(number, place, position, lives, time.monotonic() - began, past.floor(instant), problems.texts)

    def live(self, data, path, past, instant, draw, problems, life):
        """A short recorded life on an image. Returns (disk, past, instant) of a crash within, or None."""
        disk = Disk.holding(data)
        server = RigServer(self.build, data, path)
        try:
            server.start()
            ready = time.monotonic()
            with server.client() as client:
                checked = check(client, past, instant, draw, problems)
                told, events, compactions = work_a_little(client, draw, checked, life)
        except (RuntimeError, grpc.RpcError) as error:
            problems(f"life {life} after a crash: {str(error).strip()[-1500:]}")
            return None
        finally:
            server.kill()
        if problems:
            return None
        recorded = trace.read(path)
        instants = Instants(recorded, ready)
        position, _ = instants.draw(draw)
        for event in recorded[:position]:
            disk.take(event)
        cut = instants.time(position)
        next_past, found = past.after(checked, instant, events, told, compactions)
        for text in found.texts:
            problems(text)
        return disk, next_past, cut


def work_a_little(client, draw, checked, life):
    """Writes, deletions and compactions in turn. Returns (instant, revision) of each answer, all events, and the
    compactions."""
    told, events, compactions = [(time.monotonic(), checked.revision)], [], []

    def see():
        first = events[-1][0] + 1 if events else checked.revision + 1
        events.extend(replay(client, first, client.revision()))

    for number in range(draw.randrange(5, 60)):
        key = b"life/%d" % draw.randrange(8)
        size = draw.choice([10, 100, 5_000, 200_000 if number % 10 == 0 else 10])
        if draw.random() < 0.8:
            answer = client.put(key, b"%d/%d/" % (life, number) + bytes(size))
        else:
            answer = client.delete(key)
        told.append((time.monotonic(), answer.header.revision))
        last = max([checked.compacted, *(c.revision for c in compactions)])
        if draw.random() < 0.06 and answer.header.revision > last:
            see()
            compactions.append(Compaction(time.monotonic(), answer.header.revision))
            client.compact(answer.header.revision)
            compactions[-1].end = time.monotonic()
    see()
    return told, events, compactions


def main(arguments):
    """A worker process: takes its orders as JSON, prints a line of JSON for each image."""
    # After the image in hand: an exception in the midst of a server's start would leave the server behind.
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    orders = json.loads(arguments[0])
    build = Build(**orders["build"] | {"options": tuple(orders["build"]["options"])})
    keep = pathlib.Path(orders["keep"]) if orders["keep"] else None
    images = Images(
        Recording.load(orders["recording"]), build, orders["seed"], orders["numbers"], pathlib.Path(orders["work"]),
        keep, orders["nested"],
    )  # fmt: skip
    for result in images.run():
        if stopped:
            return
        print(result.text(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
