"""What is measured: every work, and the servers and clients that do it.

A work is one kind of load. A side is a server and a way to drive it; the sides of a work take turns. Nothing here runs
anything.
"""
import os
from dataclasses import dataclass

# Sides that etcd's protocol reaches, in the order of tables: name -> (server, what tables call it).
SIDES = {
    "own": ("berth", "Berth, berth.v1"),
    "kept": ("berth", "Berth, berth.v1, lease kept"),
    "berth": ("berth", "Berth"),
    "etcd-3.5": ("etcd-3.5", "etcd 3.5"),
    "etcd-3.4": ("etcd-3.4", "etcd 3.4"),
}
PEER = "etcd-3.5"  # The side that Berth is judged against.
SERVERS = ["berth", "etcd-3.5", "etcd-3.4"]
SERVICE_WAITERS = 2_000  # at most: more of them take etcd's Lock service longer than the time limit

GROUPS = {  # name: heading
    "put": "Puts",
    "get": "Gets and ranges",
    "mixed": "Transactions and a mix",
    "watch": "Watches",
    "lease": "Leases",
    "lines": "Locks and elections",
    "waiters": "Many waiters at one lock",
    "wire": "The ceiling: h2load, 16 connections with 16 streams each",
    "scaling": "One core and more",
    "memory": "Memory",
    "large": "Many keys",
}


@dataclass(frozen=True)
class Work:
    """`load` is the load driver's arguments; works without them have a way of their own in measuring.py."""

    name: str
    group: str
    title: str
    load: tuple = ()
    loops: int = 0
    clients: int = 0  # connections; 0: one for each loop, up to --clients
    value_size: int = 0  # 0: --value-size
    watchers: int = 0
    writes: bool = False  # whether bytes written for each operation mean something
    is_main: bool = False  # measured on Debian's older etcd too
    ways: tuple = ()  # how etcd's client and berth.v1 stand in a line
    cores: int = 0  # that the server is confined to; 0: what --cores says
    rounds: int = 1_000_000  # at most; works that take minutes are measured once


def closed_loop(name, group, title, workload, loops, *more, **settings):
    plural = "loop" if loops == 1 else "loops"
    load = ("-workload", workload, "-loops", str(loops), *more)
    return Work(name, group, f"{title}, {loops:,} {plural}", load, loops, **settings)


def puts():
    for loops in (1, 16, 256, 1000):
        yield closed_loop(f"put-{loops}", "put", "put, {value}", "put", loops, writes=True, is_main=loops < 1000)
    for size, name, title, widths in ((4096, "4k", "4 KiB", (1, 16, 256)), (102_400, "100k", "100 KiB", (1, 16))):
        for loops in widths:
            yield closed_loop(f"put-{name}-{loops}", "put", f"put, {title}", "put", loops, "-keys", "1000", writes=True,
                              value_size=size)


def gets():
    for loops in (1, 16, 256):
        yield closed_loop(f"get-{loops}", "get", "linearizable get", "get", loops, is_main=loops > 1)
    for loops in (16, 256):
        yield closed_loop(f"get-serializable-{loops}", "get", "serializable get", "get-serializable", loops)
    for span, loops in ((10, 16), (1000, 4), (100_000, 1)):
        yield closed_loop(f"range-{span}", "get", f"range of {span:,} keys", "range", loops, "-span", str(span), "-keys",
                          str(max(span, 10_000)))


def mixed():
    for loops in (16, 64):
        yield closed_loop(f"txn-{loops}", "mixed", "txn: compare, put or get", "txn", loops, "-keys", "1000", writes=True,
                          is_main=loops == 64)
    yield closed_loop("mix-64", "mixed", "7 gets to 3 puts", "mix", 64, writes=True)


def watches():
    for watchers, loops, clients in ((1, 4, 4), (100, 4, 4), (10_000, 1, 16)):
        # Without a bound writers are seconds or minutes ahead of their watchers, and no put's events lie in its window.
        ahead = ("-ahead", "20") if watchers > 1 else ()
        title = f"events to {watchers:,} {'watcher' if watchers == 1 else 'watchers'} from {loops} loop{'s' * (loops > 1)}"
        yield Work(f"watch-{watchers}", "watch", title, ("-workload", "watch", "-loops", str(loops), "-watchers",
                   str(watchers), *ahead), loops, clients, watchers=watchers, is_main=watchers == 100)
    yield closed_loop("watch-idle-10000", "watch", "put beside 10,000 watchers of other keys", "watch-idle", 16,
                      "-watchers", "10000")


def leases():
    for loops in (16, 64):
        yield closed_loop(f"lease-{loops}", "lease", "lease grant + revoke", "lease", loops, writes=True,
                          is_main=loops == 64)
    for count, loops in ((1, 1), (10_000, 16)):
        plural = "lease" if count == 1 else "leases"
        yield closed_loop(f"keep-alive-{count}", "lease", f"keep-alive of {count:,} {plural}", "keep-alive", loops,
                          "-leases", str(count))


def lines():
    for loops in (1, 16, 64):
        yield closed_loop(f"lock-{loops}", "lines", "lock + unlock, each loop its own lock", "lock", loops, "-locks",
                          str(loops), writes=True, is_main=loops == 64, ways=("mutex", "acquire"))
    for loops in (16, 256):
        title = f"hand-offs of one lock, {loops} in line"
        yield Work(f"handoff-{loops}", "lines", title, ("-workload", "handoff", "-loops", str(loops)), loops, writes=True,
                   is_main=loops == 16, ways=("mutex", "acquire"))
    yield Work("election-16", "lines", "hand-overs of one election, 16 candidates",
               ("-workload", "handoff", "-loops", "16"), 16, writes=True, ways=("election", "campaign"))


def scaling():
    for cores in (n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)):
        plural = "core" if cores == 1 else "cores"
        for kind, title in (("put", "put, {value}"), ("get", "linearizable get")):
            yield closed_loop(f"scaling-{kind}-{cores}", "scaling", f"{title}, server on {cores} {plural}", kind, 256,
                              cores=cores)


WORKS = {
    work.name: work
    for work in (
        *puts(), *gets(), *mixed(), *watches(), *leases(), *lines(),
        Work("waiters", "waiters", "{waiters} waiters", ways=("mutex", "acquire"), rounds=1),
        Work("waiters-service", "waiters", "{service_waiters} waiters, etcd's Lock service", ways=("service",), rounds=1),
        Work("h2load-put", "wire", "put, {value}", is_main=True),
        Work("h2load-unary", "wire", "empty unary call (gRPC health)"),
        *scaling(),
        Work("memory", "memory", "a server that lives through a mix of all works", is_main=True, rounds=1),
        Work("large", "large", "growth, replay of a watch, start-up", rounds=1),
    )
}
USUAL = [name for name, work in WORKS.items() if work.group != "waiters"]  # etcd takes minutes to queue them


def title_of(work, settings):
    """The work's name in tables; `settings` are those of the run."""
    service = min(settings["waiters"], SERVICE_WAITERS)
    return work.title.format(value=f"{settings['value_size']:,} B", waiters=f"{settings['waiters']:,}",
                             service_waiters=f"{service:,}")


def sides_of(work, servers, rivals=()):
    """The sides that do a work, in the order of tables; `rivals` are those that were found, by name."""
    sides = [side for side, (server, _) in SIDES.items() if server in servers]
    if not work.ways or work.group == "waiters":
        sides = [side for side in sides if side != "kept"]
    if len(work.ways) < 2:
        sides = [side for side in sides if side != "own"]
    if not work.is_main:
        sides = [side for side in sides if side != "etcd-3.4"]
    return sides + [name for name, rival in rivals.items() if work.name in rival.works] if rivals else sides


def chosen(only):
    """The works that the comma-separated names, beginnings of names and groups mean; raises KeyError for others."""
    found = []
    for name in only.split(","):
        some = [w for w, work in WORKS.items() if w == name or w.startswith(name + "-") or work.group == name]
        if not some:
            raise KeyError(name)
        found += some
    return [w for w in WORKS if w in found]
