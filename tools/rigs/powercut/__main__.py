"""See tools/rig-powercut."""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

from ..rig import Rig
from . import native
from .disk import Unexplained
from .recording import Failed, record
from .server import sound

# Faults that must be noticed. The recorder plants the first two under any server; the others are in berth-faulty.
PLANTED = {
    "base-sync": "base's flushes are switched off",
    "log-sync": "the log's own flush is removed",
    "truncate-before-flush": "the log is truncated before the flush is done",
    "index-before-data": "the applied index is committed in a transaction of its own, before the data",
    "index-after-data": "the applied index is committed in a transaction of its own, after the data",
}
DEAF = ("base-sync", "log-sync")


def arguments():
    parser = argparse.ArgumentParser(
        prog="rig-powercut", description="Cuts the power under Berth and looks at what is left."
    )
    parser.add_argument("--images", type=int, default=100, help="crash images to look at (default: 100)")
    parser.add_argument("--seed", type=int, help="repeats the draws of an earlier run")
    parser.add_argument("--berth", help="the server to test (default: .build/release/berth)")
    parser.add_argument("--faulty", help="the server with faults in it (default: berth-faulty beside the server)")
    parser.add_argument("--planted", help=f"plant a fault and see it caught: all, or some of {','.join(PLANTED)}")
    parser.add_argument("--seconds", type=float, default=8, help="length of a recording (default: 8)")
    parser.add_argument("--per-recording", type=int, default=100, help="images of one recording (default: 100)")
    parser.add_argument("--nested", type=float, default=0.15, help="share of images cut again in their next life")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="images looked at at a time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of images that failed")
    return parser.parse_args()


class PowerCut:
    """Records servers, and has worker processes look at images of what was recorded."""

    def __init__(self, rig, options):
        self.rig = rig
        self.options = options
        self.workers = []
        rig.on_exit(self.end_workers)

    def end_workers(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in self.workers:
            worker.wait(60)

    def run(self, build, label, wanted, stop_at_first=False):
        """Results of `wanted` images, over as many recordings as they need. Each is told when it failed."""
        results, recordings = [], 0
        while len(results) < wanted:
            folder = self.rig.folder / f"{label}-{recordings}"
            seed = f"{self.rig.seed} {label} {recordings}"
            recordings += 1
            recording = self.record(build, folder, seed, label, results)
            if recording is not None:
                count = min(self.options.per_recording, wanted - len(results))
                numbers = range(len(results) + 1, len(results) + 1 + count)
                self.images(build, recording, seed, label, numbers, stop_at_first, results)
            shutil.rmtree(folder)
            if stop_at_first and any(result["problems"] for result in results):
                break
        return results

    def record(self, build, folder, seed, label, results):
        began = time.monotonic()
        try:
            recording = record(build, folder, seed, self.options.seconds, self.rig.on_exit)
        except (Failed, Unexplained) as error:
            self.take(label, results, rig_result("the recording, without a crash", str(error)))
            return None
        recording.save()
        shutil.rmtree(folder / "data")
        self.rig.say(f"{label}: recorded {recording.describe()} in {time.monotonic() - began:.1f} s")
        return recording

    def images(self, build, recording, seed, label, numbers, stop_at_first, results):
        work = recording.folder / "images"
        work.mkdir()
        keep = self.rig.folder / "kept" / label if self.options.keep and not stop_at_first else None
        enough = threading.Event()

        def share(number):
            mine = list(numbers)[number :: self.options.jobs]
            orders = {
                "build": vars(build), "recording": os.fspath(recording.folder), "seed": seed, "numbers": mine,
                "work": os.fspath(work), "keep": os.fspath(keep) if keep else None, "nested": self.options.nested,
            }  # fmt: skip
            command = [sys.executable, "-m", "rigs.powercut.image", json.dumps(orders)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.workers.append(worker)
            seen = 0
            for line in worker.stdout:
                seen += 1
                self.take(label, results, json.loads(line), keep)
                if stop_at_first and any(result["problems"] for result in results):
                    enough.set()
                if enough.is_set():
                    worker.terminate()
                    break
            code = worker.wait()
            if seen < len(mine) and not enough.is_set():
                text = f"the worker ended with {code} after {seen} of {len(mine)} images"
                self.take(label, results, rig_result("the rig itself", text))

        threads = [threading.Thread(target=share, args=(n,), daemon=True) for n in range(self.options.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def take(self, label, results, result, keep=None):
        results.append(result)
        if not result["problems"] or label in PLANTED:
            return
        lines = "\n".join("  " + line for text in result["problems"] for line in text.splitlines())
        kept = ""
        if keep and (keep / f"image-{result['number']}").exists():
            kept = f"\n  kept in {keep}/image-{result['number']}"
            self.rig.kept.append(keep)
        self.rig.say(f"{label} image {result['number']}, {result['place']}: FAILED (seed {self.rig.seed})\n{lines}{kept}")


def rig_result(place, text):
    return {"number": 0, "place": place, "problems": [text], "seconds": 0.0, "lives": 1}


def kinds_of_failure(results):
    """How often each kind of problem came, without numbers and paths."""
    texts = (" ".join(result["problems"][0].split()) for result in results if result["problems"])
    kinds = collections.Counter(re.sub(r"\d+", "N", re.sub(r"/\S+/", "", text))[-200:] for text in texts)
    return [f"  {count} times: {kind}" for kind, count in kinds.most_common()]


def summary(results):
    places = collections.Counter(result["place"] for result in results)
    seconds = sorted(result["seconds"] for result in results)
    return (
        f"cut {', '.join(f'{count} times in {place}' for place, count in places.most_common())};"
        f" {sum(result['lives'] > 1 for result in results)} cut again in a later life;"
        f" an image took {seconds[len(seconds) // 2]:.2f} s (median), at most {seconds[-1]:.2f} s"
    )


def main():
    options = arguments()
    with Rig("rig-powercut", options) as rig:
        native.library("shim"), native.library("crc32c")
        berth = os.environ["BERTH_BIN"]
        build = sound(berth)
        cut = PowerCut(rig, options)
        if options.planted:
            faulty = os.path.abspath(options.faulty or pathlib.Path(berth).with_name("berth-faulty"))
            for name in PLANTED if options.planted == "all" else options.planted.split(","):
                planted = {"deaf": name} if name in DEAF else {"binary": faulty, "fault": name, "checks": False}
                show_caught(cut, name, dataclasses.replace(build, **planted))
        else:
            results = cut.run(build, "berth", options.images)
            rig.failed = sum(bool(result["problems"]) for result in results)
            rig.passed = len(results) - rig.failed
            rig.say("\n".join([summary(results), *kinds_of_failure(results)]))
        return rig.finish()


def show_caught(cut, name, build):
    """A fault passes when a crash shows it; a server that fails without one shows nothing."""
    results = cut.run(build, name, cut.options.images, stop_at_first=True)
    caught = next((n for n, result in enumerate(results, 1) if result["problems"]), None)
    if caught is None:
        return cut.rig.fail(f"{PLANTED[name]}: not noticed in {len(results)} images")
    result = results[caught - 1]
    reason = " ".join(result["problems"][0].split())[-400:]
    if result["number"] == 0:
        return cut.rig.fail(f"{PLANTED[name]}: {result['place']} failed, so nothing was shown:\n    {reason}")
    cut.rig.ok(f"{PLANTED[name]}: caught after {caught} images, at one in {result['place']}:\n    {reason}\n   ")


if __name__ == "__main__":
    sys.exit(main())
