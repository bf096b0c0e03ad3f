"""Command line: starts both servers, runs the sequence, prints what was compared.

The servers are `--subject` and `--peer`: `berth` (binary in BERTH_BIN), `etcd` (Debian's), or the path of an etcd
binary.
"""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
import traceback

from harness.server import Server
from .generator import MAX_TXN_OPS
from .run import Mismatch, Run, show
from .side import Failure, Side


def main():
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="repeat the run with this seed (default: a new one)")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--restarts", type=int, default=2, help="how often both servers are restarted on the way")
    parser.add_argument("--subject", default="berth")
    parser.add_argument("--peer", default="etcd")
    parser.add_argument("--keep", action="store_true", help="keep data folders and logs")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"differential: {arguments.subject} beside {arguments.peer}, seed {seed}, {arguments.operations} operations")
    sys.stdout.flush()

    path = pathlib.Path(tempfile.mkdtemp(prefix="differential-"))
    try:
        return compare(arguments, seed, path)
    finally:
        if arguments.keep:
            print(f"kept: {path}")
        else:
            shutil.rmtree(path)


def compare(arguments, seed, path):
    servers = [
        Server(path / "subject", kind=arguments.subject, max_txn_ops=MAX_TXN_OPS),
        Server(path / "peer", kind=arguments.peer, max_txn_ops=MAX_TXN_OPS),
    ]
    sides = [Side(f"{role} ({server.kind})", server) for role, server in zip(("subject", "peer"), servers)]
    run = Run(*sides, seed, arguments.operations, arguments.restarts, verbose=arguments.verbose)
    failed = 0
    began = time.monotonic()
    try:
        for server in servers:
            server.start()
        run.run()
        cpu = [side.cpu_seconds() for side in sides]
        report(run, time.monotonic() - began, cpu)
    except (Mismatch, Failure, TimeoutError) as error:
        failed = 1
        print(f"\nDIFFERENCE at operation {run.number} with seed {seed}:")
        explain(run.what)
        print(error or type(error).__name__)
        for server in servers:
            if server.process is not None and not server.is_running():
                print(f"{server.kind} has died with {server.process.returncode}; its log ends:\n{server.log()[-4000:]}")
    except Exception:
        failed = 1
        print(f"\nerror at operation {run.number} with seed {seed}:")
        explain(run.what)
        traceback.print_exc(file=sys.stdout)
    finally:
        for server in servers:
            server.kill()
    print(f"differential: {run.passed} passed, {failed} failed")
    return 1 if failed else 0


def explain(what):
    if isinstance(what, tuple):
        print(f"{what[0]}:\n{show(what[1])}")
    else:
        print(what)


def report(run, seconds, cpu):
    kinds = ", ".join(f"{count} {kind.replace('_', '-')}" for kind, count in sorted(run.counts.items()))
    print(f"{run.passed} operations in {seconds:.0f} s: {kinds}")
    print(f"{run.delivered} watch events, revision {run.draw.revision}, compacted at {run.draw.compacted}")
    print("refusals, alike on both:")
    for error, count in run.errors.most_common():
        print(f"{count:7} {error}")


sys.exit(main())
