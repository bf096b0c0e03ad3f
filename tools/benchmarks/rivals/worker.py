"""One process of loops, started by workers.py, so that Python's one thread at a time is not what is measured.

Takes its settings as JSON in its argument, says "ready" once all loops are connected, reads when the window opens and
closes (monotonic nanoseconds), and prints what ended within it as JSON. It stays connected until its input ends.
"""
import importlib
import json
import os
import sys
import time
from types import SimpleNamespace

from .figures import sleep_until
from .server import die_with_parent
from .turns import TurnLoops


def main():
    die_with_parent()
    settings = SimpleNamespace(**json.loads(sys.argv[1]))
    client = importlib.import_module(settings.client)
    if settings.kind in ("put", "get"):
        loops = client.KeyLoops(settings)
    else:
        loops = TurnLoops(settings, client.open_place)
    print("ready", flush=True)
    opens, closes = map(int, sys.stdin.readline().split())
    loops.start(closes)
    sleep_until(opens)
    cpu = time.process_time()
    sleep_until(closes)
    cpu = time.process_time() - cpu
    loops.wait()
    taken = [took for ended, took in loops.records if opens <= ended < closes]
    print(json.dumps({"nanoseconds": taken, "client_cpu_seconds": cpu, "done": loops.done()}), flush=True)
    sys.stdin.read()
    os._exit(0)  # The clients' own threads would still say goodbye to a server that ends next.


if __name__ == "__main__":
    main()
