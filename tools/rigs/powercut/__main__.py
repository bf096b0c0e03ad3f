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
from .check import EXPECTED, in_words
from .disk import Unexplained
from .recording import Failed, record
from .server import sound

CONTROL = 10  # Images of a sound server that are looked at first: nothing may be found in them.
GIVE_UP = 3  # Recordings that fail in a row.

LOST = r"lost: the store is at revision \d+, but \d+ had been told"
OTHER_CONTENT = (
    r"range at revision \d+: .* (is missing|is wrong|should not be there)"
    r"|HashKV at revision \d+ is \d+, but \d+ by the recorded history"
    r"|revision \d+ has other content"
)
STORE_BEHIND_LOG = r"the log starts after entry \d+ but the store holds entries up to \d+ only"
STORE_DAMAGED = r"damaged data in \S*base|MDB_(CORRUPTED|INVALID|PAGE_NOTFOUND|VERSION_MISMATCH)"
LOG_BEHIND_STORE = r"log (ends at entry \d+|folder holds no entries) but the store has applied"
LOG_DAMAGED = r"log is damaged: "


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault that must be noticed: one of the problems of some image has to say what only this fault brings about."""

    text: str
    proofs: tuple  # Regular expressions.
    deaf: bool = False  # The recorder plants it, under any server; others are in berth-faulty.

    def proof(self, result):
        """The problem of an image that proves the fault, or None. What comes up without a crash proves nothing."""
        if result["number"] == 0:
            return None
        return next((text for text in result["problems"] if any(re.search(proof, text) for proof in self.proofs)), None)


PLANTED = {
    "base-sync": Fault(
        "base's flushes are switched off", (STORE_DAMAGED, STORE_BEHIND_LOG, LOST, OTHER_CONTENT), deaf=True
    ),
    "log-sync": Fault("the log's own flush is removed", (LOST, LOG_BEHIND_STORE, LOG_DAMAGED), deaf=True),
    "truncate-before-flush": Fault("the log is truncated before the flush is done", (STORE_BEHIND_LOG,)),
    "index-before-data": Fault(
        "the applied index is committed in a transaction of its own, before the data", (LOST, OTHER_CONTENT)
    ),
    "index-after-data": Fault(
        "the applied index is committed in a transaction of its own, after the data", (OTHER_CONTENT,)
    ),
}


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
    options = parser.parse_args()
    options.planted = list(PLANTED) if options.planted == "all" else options.planted.split(",") if options.planted else []
    if unknown := set(options.planted) - set(PLANTED):
        parser.error(f"--planted knows all and {','.join(PLANTED)}, not {','.join(sorted(unknown))}")
    return options


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

    def run(self, build, label, wanted, until=None):
        """Results of `wanted` images, over as many recordings as they need. Each is told when it failed.

        `until`: a result for which this holds is the last; such a run is silent, as failures are what it looks for.
        """
        results, recordings, failures = [], 0, 0
        while len(results) < wanted and failures < GIVE_UP:
            folder = self.rig.folder / f"{label}-{recordings}"
            seed = f"{self.rig.seed} {label} {recordings}"
            recordings += 1
            recording = self.record(build, folder, seed, label, results, until)
            failures = failures + 1 if recording is None else 0
            if recording is not None:
                count = min(self.options.per_recording, wanted - len(results))
                numbers = range(len(results) + 1, len(results) + 1 + count)
                self.images(build, recording, seed, label, numbers, until, results)
            shutil.rmtree(folder)
            if until and any(map(until, results)):
                break
        if failures == GIVE_UP:
            self.rig.say(f"{label}: {GIVE_UP} recordings failed in a row; no more are made")
        return results

    def record(self, build, folder, seed, label, results, until):
        began = time.monotonic()
        try:
            recording = record(build, folder, seed, self.options.seconds, self.rig.on_exit)
        except (Failed, Unexplained) as error:
            self.take(label, results, rig_result("the recording, without a crash", str(error)), until)
            return None
        except EXPECTED as error:
            self.take(label, results, rig_result("the recording, without a crash", in_words(error)), until)
            return None
        recording.save()
        shutil.rmtree(folder / "data")
        self.rig.say(f"{label}: recorded {recording.describe()} in {time.monotonic() - began:.1f} s")
        return recording

    def images(self, build, recording, seed, label, numbers, until, results):
        work = recording.folder / "images"
        work.mkdir()
        keep = self.rig.folder / "kept" / label if self.options.keep and not until else None
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
                result = json.loads(line)
                self.take(label, results, result, until, keep)
                if until and until(result):
                    enough.set()
                if enough.is_set():
                    worker.terminate()
                    break
            code = worker.wait()
            if seen < len(mine) and not enough.is_set():
                text = f"the worker ended with {code} after {seen} of {len(mine)} images"
                self.take(label, results, rig_result("the rig itself", text), until)

        threads = [threading.Thread(target=share, args=(n,), daemon=True) for n in range(self.options.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def take(self, label, results, result, until, keep=None):
        results.append(result)
        if not result["problems"] or until:
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
            # A disk that is slow under base leaves time between what the faults bring out of order.
            unplanted = dataclasses.replace(build, binary=faulty, fault="none", deaf="slow-base", checks=False)
            for deaf, control in ((True, build), (False, unplanted)):
                names = [name for name in options.planted if PLANTED[name].deaf == deaf]
                if names and show_sound(cut, control, names):
                    for name in names:
                        planted = {"deaf": name} if deaf else {"fault": name}
                        show_caught(cut, name, dataclasses.replace(control, **planted))
        else:
            results = cut.run(build, "berth", options.images)
            rig.failed = sum(bool(result["problems"]) for result in results)
            rig.passed = len(results) - rig.failed
            rig.say("\n".join([summary(results), *kinds_of_failure(results)]))
        return rig.finish()


def show_sound(cut, build, names):
    """Without a fault nothing is found, so that what is found later is the fault's doing."""
    what = f"no fault in {pathlib.Path(build.binary).name}"
    results = cut.run(build, f"control-{'deaf' if PLANTED[names[0]].deaf else 'none'}", CONTROL)
    bad = sum(bool(result["problems"]) for result in results)
    if bad:
        cut.rig.fail(f"{what}: something was found in {bad} of {len(results)} images, so {', '.join(names)} cannot be shown")
    else:
        cut.rig.ok(f"{what}: nothing found in {len(results)} images")
    return not bad


def show_caught(cut, name, build):
    """A fault passes when a crash shows it, in the words that prove it; a server that fails otherwise shows nothing."""
    fault = PLANTED[name]
    results = cut.run(build, name, cut.options.images, until=fault.proof)
    caught = next((n for n, result in enumerate(results, 1) if fault.proof(result)), None)
    others = [result for result in results if result["problems"] and not fault.proof(result)]
    besides = ""
    if others:
        reason = " ".join(others[0]["problems"][0].split())[-400:]
        besides = f"\n    {len(others)} times something else, first in {others[0]['place']}: {reason}"
    if caught is None:
        return cut.rig.fail(f"{fault.text}: not noticed in {len(results)} images{besides}")
    result = results[caught - 1]
    reason = " ".join(fault.proof(result).split())[-400:]
    cut.rig.ok(f"{fault.text}: caught after {caught} images, at one in {result['place']}:\n    {reason}{besides}\n   ")


if __name__ == "__main__":
    sys.exit(main())
