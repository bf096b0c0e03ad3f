"""The regression guard: how many instructions the server executes for fixed work, beside the numbers in guard.json.

    tools/bench --guard             compares, and fails when an operation takes over 10 % more than it did
    tools/bench --guard --update    writes what it found to guard.json

The server runs under valgrind's callgrind, which counts the instructions of all its threads in user space. One client
sends one operation after the other, so batches are the same in every run. Each work is done with two numbers of
operations; what connecting and preparing cost is in both, and cancels out. Instruction counts do not depend on how
busy the machine is; they do on the compiler and on the C libraries, so an update of those may need new numbers.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import Failed, die_with_parent, free_port, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NUMBERS = HERE / "guard.json"
TOLERANCE = 0.10
WORKS = {  # name: operations, arguments of the load command
    "put": (1_000, ["-workload", "put"]),
    "get": (1_000, ["-workload", "get"]),
    "watch event": (1_000, ["-workload", "watch", "-watchers", "1"]),
    "lock": (300, ["-workload", "lock", "-by", "acquire"]),
}
ROUNDS = 2
START_LIMIT, CALL_LIMIT = 120, 120  # seconds


class Counted:
    """A server under callgrind, in an empty data folder."""

    def __init__(self, original, folder):
        self.folder, self.port, self.dumps = folder, free_port(), 0
        # Debian's valgrind gives up on the debug information that Swift writes; names of functions stay.
        program = folder / "berth"
        run(["strip", "--strip-debug", "-o", program, original], 120)
        shim = folder / "shim.so"
        run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "guard_shim.c", "-ldl"], 60)
        command = [
            "valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={folder}/counts",
            program, "serve", "--data-dir", str(folder / "data"),
            "--listen-client-urls", f"http://127.0.0.1:{self.port}",
            # No flush of the store while it counts.
            "--flush-interval", "1h", "--flush-revisions", "100000",
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "ETCD"))}
        environment["LD_PRELOAD"] = str(shim)
        self.output = open(folder / "output", "wb")
        self.process = subprocess.Popen(
            command, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True, preexec_fn=die_with_parent, cwd=folder)

    def wait_until_ready(self, load):
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise Failed(f"the server ended under valgrind: {self.tail()}")
            try:
                load(self, "-workload", "revision")
                return
            except Failed:
                time.sleep(0.5)
        raise Failed(f"the server was not ready under valgrind after {START_LIMIT} s: {self.tail()}")

    def tail(self):
        return (self.folder / "output").read_text(errors="replace")[-1_000:].strip()

    def instructions(self):
        """Those executed since the last call."""
        run(["callgrind_control", "--dump", str(self.process.pid)], 60)
        self.dumps += 1
        dump = self.folder / f"counts.{self.dumps}"
        if not dump.exists():
            raise Failed(f"callgrind wrote no {dump.name}: {self.tail()}")
        return int(re.findall(r"^(?:totals|summary): (\d+)", dump.read_text(errors="replace"), re.M)[-1])

    def stop(self):
        """At once: its data are thrown away, and under valgrind an orderly end takes seconds."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()


def count_all(program):
    """Instructions of one operation of each work."""
    bench = run([HERE / "load/build"], 600).strip()

    def load(server, *arguments):
        return run([bench, "-endpoint", f"127.0.0.1:{server.port}", "-loops", "1", "-clients", "1", *arguments], CALL_LIMIT)

    folder = Path(tempfile.mkdtemp(prefix="berth-guard-"))
    server = None
    try:
        server = Counted(program, folder)
        server.wait_until_ready(load)
        found = {}
        for work, (count, arguments) in WORKS.items():
            load(server, *arguments, "-count", str(count))  # Fills what is read, and every pool.
            # What falls into a run beside it only adds: the least of each.
            least = {}
            for times in (1, 3) * ROUNDS:
                server.instructions()
                load(server, *arguments, "-count", str(times * count))
                least[times] = min(server.instructions(), least.get(times, sys.maxsize))
            found[work] = round((least[3] - least[1]) / (2 * count))
            print(f"guard: {work}: {found[work]:,} instructions", file=sys.stderr)
        return found
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def compare(found, known):
    """Prints each work beside its number; how many passed and failed."""
    passed = failed = 0
    for work, instructions in found.items():
        if work not in known:
            failed += 1
            print(f"guard: {work} has no number in {NUMBERS.name}; write it with tools/bench --guard --update")
            continue
        change = instructions / known[work] - 1
        verdict = "passed"
        if change > TOLERANCE:
            verdict = f"FAILED: over {TOLERANCE:.0%} more. Find out why (callgrind_annotate), or --update if it is worth it"
        elif change < -TOLERANCE:
            verdict = "passed; --update, so that the gain is guarded too"
        passed, failed = passed + (change <= TOLERANCE), failed + (change > TOLERANCE)
        print(f"guard: {work:<12} {instructions:>9,} instructions, was {known[work]:>9,} ({change:+.1%}): {verdict}")
    return passed, failed


def main(argv):
    p = argparse.ArgumentParser(prog="tools/bench --guard", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--update", action="store_true", help=f"write the numbers found to {NUMBERS.name}")
    p.add_argument("--berth", default=os.environ.get("BERTH_BIN", str(ROOT / ".build/release/berth")),
                   help="Berth's program, a release build (default: $BERTH_BIN or .build/release/berth)")
    args = p.parse_args(argv)
    for program, package in (("valgrind", "valgrind"), ("go", "golang-go"), ("cc", "gcc")):
        if not shutil.which(program):
            sys.exit(f"guard: {program} is missing; run tools/install --guard (package {package})")
    if not shutil.which(args.berth):
        sys.exit(f"guard: {args.berth} is missing; swift build -c release --product berth")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        found = count_all(args.berth)
    except Failed as problem:
        sys.exit(f"guard: {problem}")
    if args.update:
        NUMBERS.write_text(json.dumps(found, indent=2) + "\n")
        print(f"guard: written to {NUMBERS}")
        return
    passed, failed = compare(found, json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {})
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
