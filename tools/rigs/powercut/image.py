"""Makes crash images of a recording, one after the other, and looks at each."""

import dataclasses
import json
import pathlib
import random
import shutil
import signal
import sys
import time

from ..verify import Problems, replay
from . import trace
from .check import check, examine, in_words
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


class Image:
    """What a crash left, and what was found out about it."""

    def __init__(self, folder, disk, past, instant, mark):
        self.folder = folder
        self.disk = disk
        self.past = past
        self.instant = instant
        self.mark = mark
        self.lives = 1
        self.living = False  # It is in a life that will be cut.
        self.problems = Problems()

    def build(self, draw):
        data = self.folder / f"data-{self.lives}"
        self.disk.build(data, Chance(draw), SCRATCH)
        return data


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
        """Whatever goes wrong, in the server or in the rig, is a problem of this image and of no other."""
        began = time.monotonic()
        folder = self.work / f"image-{number}"
        folder.mkdir()
        image = Image(folder, disk, past, instant, b"image %d" % number)
        try:
            self.crash(image, draw)
        except Exception as error:
            again = f"life {image.lives} after a crash: " if image.living else ""
            image.problems(again + in_words(error))
        if image.problems and self.keep:
            try:
                shutil.copytree(folder, self.keep / f"image-{number}", dirs_exist_ok=True)
            except (OSError, shutil.Error) as error:
                image.problems(f"could not be kept: {str(error)[:300]}")
        shutil.rmtree(folder, ignore_errors=True)
        return Result(
            number, place, position, image.lives, time.monotonic() - began, image.past.floor(image.instant),
            image.problems.texts,
        )  # fmt: skip

    def crash(self, image, draw):
        """Builds the image, cuts it again in some of its lives, and looks at what is left in the end."""
        data = image.build(draw)
        while image.lives < MOST_LIVES and draw.random() < self.nested:
            # The power goes again while the server recovers, or soon after.
            image.living = True
            self.live(data, image, draw)
            image.living = False
            if image.problems:
                return
            image.lives += 1
            data = image.build(draw)
        if self.keep:
            shutil.copytree(data, image.folder / "image")
        server = RigServer(self.build, data)
        examine(server, image.past, image.instant, draw, image.mark, image.problems, draw.random() < THOROUGH)

    def live(self, data, image, draw):
        """A short recorded life on an image, and a crash within: the image is that of this crash then."""
        disk = Disk.holding(data)
        path = image.folder / f"trace-{image.lives}"
        server = RigServer(self.build, data, path)
        try:
            server.start()
            ready = time.monotonic()
            with server.client() as client:
                checked = check(client, image.past, image.instant, draw, image.problems)
                told, events, compactions = work_a_little(client, draw, checked, image.lives)
        finally:
            server.kill()
        if image.problems:
            return
        recorded = trace.read(path)
        instants = Instants(recorded, ready)
        position, _ = instants.draw(draw)
        for event in recorded[:position]:
            disk.take(event)
        past, found = image.past.after(checked, image.instant, events, told, compactions)
        for text in found.texts:
            image.problems(text)
        image.disk, image.past, image.instant = disk, past, instants.time(position)


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
