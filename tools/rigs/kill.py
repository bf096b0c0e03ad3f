"""Kills a server under load, again and again, and holds what comes back against what was acknowledged."""

import os
import pathlib
import random
import shutil
import sys
import threading
import time

from . import rig as rigs
from .history import History
from .verify import Problems, Recovery
from .workload import Compactor, Workload

from harness.server import Server

MOMENTS = {"at random": 5, "during a flush": 2, "during a compaction": 2, "at once": 1}


class Story:
    """One data folder, one record, many lives of a server."""

    def __init__(self, rig, number, address=None):
        self.rig = rig
        self.seed = f"{rig.seed} {number}"
        self.random = random.Random(self.seed)
        self.folder = rig.folder / f"story-{number}"
        self.folder.mkdir()
        self.server = Server(self.folder / "data", log_level="notice", **self.draw_flags())
        rig.on_exit(self.server.kill)
        self.history = History(self.seed)
        self.workload = Workload(self.history, self.seed, writers=3, lockers=2, recipes=1)
        self.recovery = Recovery(self.history)
        self.start_took = 0.1
        self.address = address  # Where clients connect, when that is not the server itself.

    def draw_flags(self):
        """Frequent flushes and checkpoints, so that kills meet them."""
        interval = self.random.choice(["150ms", "400ms", "1s", "5s"])
        count = self.random.choice([200, 1000, 5000])
        return self.rig.flags(flush_interval=interval, snapshot_count=count)

    def start(self):
        self.server.options = self.draw_flags()
        began = time.monotonic()
        self.server.start()
        self.start_took = time.monotonic() - began

    def check(self):
        client = self.server.client() if self.address is None else self.rig.client(self.address)
        with client:
            problems = self.recovery.check(client, self.workload)
        if problems or not self.server.is_running():
            if not self.server.is_running():
                problems(f"the server died of it with {self.server.process.returncode}")
            problems(f"the server's log ends in: {self.server.log()[-600:]}")
        return problems

    def run(self, moment):
        """Load, a kill, and starts until one is let live. Returns what was done, in words."""
        self.workload.start(self.address or self.server.address)
        began = time.monotonic()
        self.await_moment(moment)
        took = time.monotonic() - began
        if not self.server.is_running():
            code = self.server.process.returncode
            self.history.problem(f"the server ended by itself with {code}: {self.server.log()[-600:]}")
        self.server.kill()
        self.workload.stop()
        interrupted = 0
        while self.random.random() < 0.4 and interrupted < 3:
            self.server.launch()
            time.sleep(self.random.uniform(0, 1.1 * self.start_took))
            self.server.kill()
            interrupted += 1
        again = f", then {interrupted} times at start" if interrupted else ""
        return f"killed {moment} after {took:.1f} s{again}"

    def await_moment(self, moment):
        if moment == "at once":
            return time.sleep(self.random.uniform(0, 0.1))
        time.sleep(self.random.uniform(0.2, 1.6))
        if moment == "during a flush":
            changed = modified(self.server.data_dir / "base/data.mdb")
            deadline = time.monotonic() + 8
            while modified(self.server.data_dir / "base/data.mdb") == changed and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(self.random.choice([0, self.random.uniform(0, 0.03)]))
        elif moment == "during a compaction":
            compactor = Compactor(self.workload, self.recovery.ledger.last)
            thread = threading.Thread(target=compactor.compact, args=(self.address or self.server.address,), daemon=True)
            thread.start()
            time.sleep(self.random.uniform(0, 0.15))
            self.workload.threads.append(thread)


def modified(path):
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def run(rig, rounds):
    story, number, stories = None, 0, []
    for round in range(1, rounds + 1):
        if story is None:
            number += 1
            story = Story(rig, number)
            stories.append(story)
            story.start()
        before = len(story.history.operations)
        moment = rig.random.choices(list(MOMENTS), MOMENTS.values())[0]
        told = story.run(moment)
        operations = story.history.operations[before:]
        acknowledged = sum(operation.outcome == "acknowledged" for operation in operations)
        unknown = sum(operation.outcome == "unknown" for operation in operations)
        try:
            story.start()
            problems = story.check()
        except Exception as error:
            problems = Problems()
            problems(f"{type(error).__name__}: {error}")
        line = (
            f"round {round}: {told}; {acknowledged} acknowledged, {unknown} unknown, up in {story.start_took:.2f} s,"
            f" revision {story.recovery.ledger.last}"
        )
        if not rig.judge(line, problems):
            story.server.kill()
            if rig.keep:
                rig.kept.append(story.folder)
            else:
                shutil.rmtree(story.folder)
            story = None
    operations = [operation for story in stories for operation in story.history.operations]
    unknown = [operation for operation in operations if operation.outcome == "unknown"]
    rig.say(
        f"rig-kill: {sum(operation.outcome == 'acknowledged' for operation in operations)} writes acknowledged,"
        f" {len(unknown)} unknown of which {sum(operation.found > 0 for operation in unknown)} were there;"
        f" {sum(place.token > 0 for story in stories for place in story.history.places)} locks held;"
        f" {sum(watcher.count for story in stories for watcher in story.workload.watchers)} revisions watched"
    )


def main():
    options = rigs.parser(__doc__, rounds=200)
    options.add_argument(
        "--planted", action="store_true", help="plant faults that must be noticed, instead of killing a sound server"
    )
    arguments = options.parse_args()
    with rigs.Rig("rig-kill", arguments) as rig:
        if arguments.planted:
            from . import planted

            planted.run(rig)
        else:
            run(rig, arguments.rounds)
    return rig.finish()


if __name__ == "__main__":
    sys.exit(main())
