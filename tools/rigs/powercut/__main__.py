"""See tools/rig-powercut."""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from harness.paths import ROOT

from . import native
from .recording import Failed, record
from .server import Build, known_options

# Faults the rig must notice: what is planted, where, and under which name it is known there.
PLANTED = {
    "base-sync": "base's flushes are switched off",
    "log-sync": "the log's own flush is removed",
    "truncate-before-flush": "the log is truncated before the flush is done",
    "index-before-data": "the applied index is written in a transaction of its own, before the data",
    "index-after-data": "the applied index is written in a transaction of its own, after the data",
}
DEAF = ("base-sync", "log-sync")  # Planted by the recorder; the others are in the binary.


def arguments():
    parser = argparse.ArgumentParser(prog="rig-powercut", description="Cuts the power under Berth and looks at what is left.")
    parser.add_argument("--images", type=int, default=100, help="crash images to look at (default: 100)")
    parser.add_argument("--seed", type=int, help="of all that is drawn (default: a new one)")
    parser.add_argument("--berth", help="the server (default: .build/release/berth)")
    parser.add_argument("--faulty", help="the server with faults in it (default: berth-faulty beside the server)")
    parser.add_argument("--planted", help=f"show that a fault is caught: all, or of {', '.join(PLANTED)}")
    parser.add_argument("--seconds", type=float, default=8, help="length of a recording (default: 8)")
    parser.add_argument("--per-recording", type=int, default=100, help="images of one recording (default: 100)")
    parser.add_argument("--nested", type=float, default=0.12, help="share of images cut again while they recover")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="images looked at at a time")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for images that failed (default: a new one in the temporary folder)")
    return parser.parse_args()


class Rig:
    def __init__(self, options, scratch):
        self.options = options
        self.scratch = scratch
        self.keep = options.keep or pathlib.Path(tempfile.gettempdir()) / f"rig-powercut-{options.seed}"
        self.children = []

    def run(self, build, label, wanted, stop_at_first=False):
        """Looks at `wanted` images. Returns the results; one that failed ends it when asked to."""
        results, recordings = [], 0
        while len(results) < wanted:
            folder = self.scratch / f"{label}-{recordings}"
            seed = f"{self.options.seed} {label} {recordings}"
            recordings += 1
            began = time.monotonic()
            try:
                recording = record(build, folder, seed, self.options.seconds)
            except Failed as error:
                results.append({"number": 0, "place": "the recording", "problems": [str(error)], "seconds": 0, "lives": 0})
                print(f"FAILED {label}: the recording itself, without any crash:\n{error}")
                if stop_at_first:
                    return results
                continue
            recording.save()
            size = recording.trace.stat().st_size
            shutil.rmtree(folder / "data")
            count = min(self.options.per_recording, wanted - len(results))
            print(
                f"{label}: recorded {max(recording.history.seen)} revisions, {len(recording.compactions)} compactions,"
                f" {size >> 20} MiB in {time.monotonic() - began:.1f} s",
                flush=True,
            )
            first = len(results) + 1
            results += self.images(build, recording, seed, label, range(first, first + count), stop_at_first)
            shutil.rmtree(folder)
            if stop_at_first and any(result["problems"] for result in results):
                break
        return results

    def images(self, build, recording, seed, label, numbers, stop_at_first):
        results, lock = [], threading.Lock()
        failed = threading.Event()
        work = recording.folder / "images"
        work.mkdir()

        def share(worker):
            mine = list(numbers)[worker :: self.options.jobs]
            keep = None if stop_at_first else os.fspath(self.keep / label)
            orders = {
                "build": vars(build), "recording": os.fspath(recording.folder), "seed": seed, "numbers": mine,
                "work": os.fspath(work), "keep": keep, "nested": self.options.nested,
            }  # fmt: skip
            command = [sys.executable, "-m", "rigs.powercut.image", json.dumps(orders)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            seen = 0
            for line in process.stdout:
                result = json.loads(line)
                seen += 1
                with lock:
                    results.append(result)
                    if result["problems"]:
                        failed.set()
                        if not stop_at_first:
                            self.tell(label, result)
                if stop_at_first and failed.is_set():
                    process.terminate()
                    break
            code = process.wait()
            if seen < len(mine) and not (stop_at_first and failed.is_set()):
                with lock:
                    text = f"the rig's own worker ended with {code} after {seen} of {len(mine)} images"
                    results.append({"number": 0, "place": "?", "problems": [text], "seconds": 0, "lives": 0})
                    self.tell(label, results[-1])

        threads = [threading.Thread(target=share, args=(n,)) for n in range(self.options.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def tell(self, label, result):
        print(f"FAILED {label} image {result['number']} ({result['place']}, {result['lives']} lives):")
        for text in result["problems"]:
            print(f"  {text}")
        print(f"  kept in {self.keep / label}/image-{result['number']}", flush=True)


def summary(results):
    places = collections.Counter(result["place"] for result in results)
    nested = sum(result["lives"] > 1 for result in results)
    seconds = sorted(result["seconds"] for result in results)
    return (
        f"{', '.join(f'{count} {place}' for place, count in places.most_common())}; {nested} cut again while they"
        f" recovered; an image took {seconds[len(seconds) // 2]:.2f} s, at most {seconds[-1]:.2f} s"
    )


def main():
    options = arguments()
    options.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    berth = os.path.abspath(options.berth or os.environ.get("BERTH_BIN") or ROOT / ".build/release/berth")
    faulty = os.path.abspath(options.faulty or pathlib.Path(berth).with_name("berth-faulty"))
    print(f"rig-powercut: seed {options.seed}", flush=True)
    native.library("shim"), native.library("crc32c")
    began = time.monotonic()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="rig-powercut."))
    passed = failed = 0
    try:
        rig = Rig(options, scratch)
        if options.planted:
            chosen = list(PLANTED) if options.planted == "all" else options.planted.split(",")
            for name in chosen:
                deaf = name in DEAF
                build = Build(berth if deaf else faulty, "" if deaf else name, name if deaf else "", known_options(berth))
                results = rig.run(build, name, options.images, stop_at_first=True)
                caught = next((n for n, result in enumerate(results, 1) if result["problems"]), None)
                if caught:
                    passed += 1
                    result = results[caught - 1]
                    print(f"caught after {caught} images: {PLANTED[name]}\n    by: {result['problems'][0].splitlines()[0]}", flush=True)
                else:
                    failed += 1
                    print(f"NOT CAUGHT by {len(results)} images: {PLANTED[name]}", flush=True)
        else:
            build = Build(berth, options=known_options(berth))
            results = rig.run(build, "berth", options.images)
            failed = sum(bool(result["problems"]) for result in results)
            passed = len(results) - failed
            print(summary(results))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"rig-powercut: {time.monotonic() - began:.0f} s, seed {options.seed}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
