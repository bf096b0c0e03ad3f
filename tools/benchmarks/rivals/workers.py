"""Loops that a Python client drives, shared out over one process for each core."""
import json
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import line
from .figures import figures, sleep_until
from .server import Failed, die_with_parent

BENCHMARKS = Path(__file__).resolve().parent.parent
READY_SECONDS = 120  # Connecting, and filling the store with keys.
END_SECONDS = 60  # From the end of the window until the last loop has had its turn.


@dataclass(frozen=True)
class Work:
    """What the loops do: `client` is the module of this package that knows the client's library."""

    client: str
    kind: str
    loops: int
    value_size: int = 0
    keys: int = 0
    warm_up: float = 1
    environment: tuple[tuple[str, str], ...] = ()


class Worker:
    """One process of loops; gone when its `with` ends."""

    def __init__(self, settings, environment, output):
        self.errors = output
        with open(output, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rivals.worker", json.dumps(settings)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, cwd=BENCHMARKS, env={**os.environ, **dict(environment)},
                preexec_fn=die_with_parent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def say(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, limit):
        """The next line it prints; `limit` is in monotonic seconds."""
        heard = b""
        while not heard.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0, limit - time.monotonic()))[0]:
                raise Failed(f"the clients did not answer in time; {self.complaint()}")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise Failed(f"the clients gave up: {self.complaint()}")
            heard += part
        return heard.decode()

    def complaint(self):
        """The end of what it wrote to its error output, of which the last line tells most."""
        text = self.errors.read_text(errors="replace").strip()
        if "ModuleNotFoundError" in text:
            return f"{text.splitlines()[-1]}; install tools/benchmarks/requirements.txt into the Python that runs this"
        return text[-500:]


def measure(server, work, seconds, check=None):
    """Runs the loops and returns their figures; `check` is called with the number of operations done in all."""
    lines = server.folder / "lines"
    line.create(lines, work.loops)
    count = min(work.loops, len(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(
                {"client": f"rivals.{work.client}", "kind": work.kind, "port": server.port, "lines": str(lines),
                 "loops": list(range(number, work.loops, count)), "value_size": work.value_size, "keys": work.keys,
                 "fills": [number, work.keys, count]},
                work.environment, server.folder / f"worker-{number}"))
            for number in range(count)]
        limit = time.monotonic() + READY_SECONDS
        for worker in workers:
            worker.hear(limit)
        if check:
            check.begin()
        os.sync()
        opens = time.monotonic_ns() + int(work.warm_up * 1e9)
        closes = opens + int(seconds * 1e9)
        for worker in workers:
            worker.say(f"{opens} {closes}")
        sleep_until(opens)
        before = server.usage()
        sleep_until(closes)
        used = server.usage() - before
        limit = time.monotonic() + END_SECONDS
        results = [json.loads(worker.hear(limit)) for worker in workers]
        memory = server.memory_mib()
        if check:
            check.end(sum(r["done"] for r in results))
    if shared := line.times_shared(lines):
        raise Failed(f"two loops held one lock at the same time, seen {shared} times")
    return figures([n for r in results for n in r["nanoseconds"]], seconds, used,
                   sum(r["client_cpu_seconds"] for r in results), memory)
