"""The machine, the programs and the settings that figures depend on."""
import os
import platform
import re
import shlex
from datetime import date
from pathlib import Path

import catalog
from figures import DISTURBED
from peers import Failed, disk_flush_microseconds, run

FLUSHED = "as shipped: a write is answered after its entry of the log was flushed (fdatasync)"


def gather(args, rivals):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    total = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    return {
        "date": date.today().isoformat(),
        "processor": model[1].strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory GiB": round(total, 1),
        "kernel": platform.release(),
        "fdatasync µs": round(disk_flush_microseconds(args.data_root)),
        "servers": [server(args, name) for name in args.servers] + [rival(r) for r in rivals.values()],
        "clients": f"etcd's own Go client for Berth and etcd, at most {args.clients} connections; h2load",
        "command": command(args),
    }


def server(args, name):
    lines = run([args.programs[name], "--version"], 10).splitlines()
    return {"title": catalog.SIDES[name][1], "version": lines[0].split()[-1], "settings": FLUSHED}


def rival(found):
    try:
        version = found.version()
    except Failed as problem:
        version = str(problem)
    except Exception as problem:  # A rival's own kind of failure; the run goes on and says so at each of its works.
        version = f"unknown ({problem})"
    return {"title": found.title, "version": version, "settings": found.settings}


def command(args):
    """The command that makes the same run, without the folders of one machine."""
    words = ["tools/bench", "--rounds", str(args.rounds), "--seconds", f"{args.seconds:g}"]
    for name in ("only", "servers_named"):
        if value := getattr(args, name):
            words += [f"--{name.removesuffix('_named')}", value]
    for name, usual in (("cores", 0), ("value_size", 128), ("clients", 16), ("waiters", 10_000)):
        if (value := getattr(args, name)) != usual:
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += [f"--{name}" for name in ("quick", "large") if getattr(args, name)]
    return shlex.join(words)


def sentences(record):
    """Markdown lines that say under which conditions a run was made."""
    c, settings = record["conditions"], record["settings"]
    rounds = settings["rounds"]
    others = [run["others"] for run in record["runs"]] or [0]
    lines = [
        f"Made by `{c['command']}` on {c['date']}. Do not edit: the tool writes this file, and its figures are also in "
        "`benchmarks/figures.json`.", "",
        f"- Machine: {c['cores']} cores ({c['processor']}), {c['memory GiB']:g} GiB, Linux {c['kernel']}; one fdatasync of "
        f"4 KiB takes {c['fdatasync µs']} µs. Client and server share it, over loopback. Other programs took "
        f"{sum(others) / len(others):.0f} % of its CPU time on average; a run of which they took more than "
        f"{DISTURBED} % counts only where there is no other.",
        f"- Clients: {c['clients']}.",
        f"- Medians of {rounds} round{'s' * (rounds > 1)} of {settings['seconds']:g} s each, with the lowest and highest "
        "rate. Every measurement has a fresh server with an empty data folder on the same disk; servers take turns, in "
        "reverse order every other round. Memory after a life of many works, growth and start-up are of one round.",
        "- The first half second of a measurement does not count. Six seconds hold a flush of Berth's store (every 5 s) and "
        "dozens of etcd's commits; shorter ones may hold none of Berth's." if settings["seconds"] < 5.5 else
        "- The first half second of a measurement does not count; the rest holds a flush of Berth's store (every 5 s).",
        "- Answers are checked: the revision must move by exactly the writes answered, a get must find its key, watchers "
        "must see every event once and in order, a lock must have one holder.",
        "- CPU is the server process's user and system time divided by the operations answered in the same time. RSS is "
        "the highest of the process (VmHWM). Bytes written are what the disk counts until the server is quiet (for "
        "the other stores, until the window closes: what they answered is flushed by then), the file system's own and those of "
        "others included; from one round. What PostgreSQL keeps back for a checkpoint is not in them.",
        "- etcd and Berth may store 8 GiB (`--quota-backend-bytes`); all else is as shipped.", "",
        "| server | version | durable settings |", "| --- | --- | --- |",
    ]
    lines += [f"| {s['title']} | {s['version']} | {s['settings']} |" for s in c["servers"]]
    return [*lines, ""]
