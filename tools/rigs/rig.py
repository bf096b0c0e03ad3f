"""What every rig does alike: options, a scratch folder, an orderly end, and the line that counts."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from harness.paths import ROOT


def parser(description, rounds):
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--rounds", type=int, default=rounds, help=f"how many rounds (default: {rounds})")
    options.add_argument("--seed", type=int, help="repeats the draws of an earlier run")
    options.add_argument("--berth", help="the server to test (default: .build/release/berth)")
    options.add_argument("--keep", action="store_true", help="keep the data folders of rounds that failed")
    return options


class Rig:
    """Counts, and cleans up whatever happens."""

    def __init__(self, name, options):
        self.name = name
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.random = random.Random(self.seed)
        binary = pathlib.Path(options.berth or os.environ.get("BERTH_BIN") or ROOT / ".build/release/berth").resolve()
        if not os.access(binary, os.X_OK):
            sys.exit(f"{name}: no server at {binary}; build it or give --berth")
        os.environ["BERTH_BIN"] = str(binary)
        shown = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, timeout=60)
        self.help = shown.stdout
        self.keep = options.keep
        self.passed = self.failed = 0
        self.started = time.monotonic()
        self.folder = None
        self.cleanups = []
        self.kept = []

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(143))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"berth-{self.name}."))
        print(f"{self.name}: seed {self.seed}", flush=True)
        return self

    def __exit__(self, kind, error, _):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for cleanup in reversed(self.cleanups):
            try:
                cleanup()
            except Exception as failure:
                print(f"{self.name}: while cleaning up: {failure}", flush=True)
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        if kind is not None and issubclass(kind, Exception):
            traceback.print_exception(error)
            self.fail(f"the rig itself broke: {kind.__name__}: {error}")
            return True
        return False

    def flags(self, **wanted):
        """Those of the server's options that this server has, so that older ones can be tested too."""
        return {name: value for name, value in wanted.items() if f"--{name.replace('_', '-')} " in self.help}

    def on_exit(self, cleanup):
        self.cleanups.append(cleanup)

    def say(self, text):
        print(text, flush=True)

    def ok(self, text):
        self.passed += 1
        self.say(f"{text}: ok")

    def fail(self, text, problems=""):
        self.failed += 1
        self.say(f"{text}: FAILED (seed {self.seed})" + (f"\n{problems}" if problems else ""))

    def judge(self, text, problems):
        if problems:
            self.fail(text, problems)
        else:
            self.ok(text)
        return not problems

    def finish(self):
        """Prints the counts; returns the exit status."""
        if self.kept:
            self.say(f"{self.name}: kept {', '.join(map(str, self.kept))}")
        self.say(f"{self.name}: {time.monotonic() - self.started:.0f} s")
        if self.passed + self.failed == 0:
            self.failed = 1
        self.say(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def free_space(path):
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
