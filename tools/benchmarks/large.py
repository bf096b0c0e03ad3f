"""Many keys in one server: its growth by decades, the replay of a watch, and start-up.

One server goes through all of it, as filling takes the longest. At each size come puts over keys that exist, then gets;
at a million keys one watch from revision 1 on. At the end the server is stopped and started some times, with the files
in the page cache, and timed until its first answer to a linearizable get.
"""
import base64
import json

from measuring import figures_of

LOOPS = 64
STARTS = 3
EVENTS = 1_000_000
FILL_LIMIT, REPLAY_LIMIT, START_LIMIT = 1800, 1200, 300  # seconds


def sizes(args):
    """Numbers of keys to measure at."""
    if args.quick:
        return [10_000, 100_000]
    return [10_000, 100_000, 1_000_000] + [10_000_000] * args.large


def measure(measuring, server, args):
    """Yields (name, figures), many of them."""
    filled = 0
    for keys in sizes(args):
        fill = measuring.call_load(server, "-workload", "fill", "-from", str(filled), "-keys", str(keys), "-clients", "16",
                                   limit=FILL_LIMIT)
        filled = keys
        yield f"growth-{keys}", growth(measuring, server, args, keys) | {"fill": fill["rate"]}
        if keys == min(EVENTS, sizes(args)[-1]):
            got = measuring.call_load(server, "-workload", "replay", "-keys", str(keys), limit=REPLAY_LIMIT)
            yield f"replay-{keys}", figures_of(got) | {
                "events": got["requests"], "seconds": got["seconds"], "rss": server.memory_mib()["VmHWM"]}
        if keys in (EVENTS, sizes(args)[-1]):
            for _ in range(STARTS):
                server.stop()
                seconds = server.start(answers_get, START_LIMIT)
                yield f"start-{keys}", {"seconds": seconds, "rss": server.memory_mib()["VmHWM"]}


def growth(measuring, server, args, keys):
    def closed_loops(workload):
        return measuring.call_load(server, "-workload", workload, "-keys", str(keys), "-loops", str(LOOPS), "-clients",
                                   str(min(args.clients, LOOPS)), "-seconds", str(args.seconds))

    put, get = closed_loops("put"), closed_loops("get")
    memory = server.memory_mib()
    blocks = sum(file.stat().st_blocks for file in (server.folder / "data").rglob("*") if file.is_file())
    return {
        "put": put["rate"], "put cpu": put["server_cpu_us_per_request"], "put p99": put["p99_us"] / 1000,
        "get": get["rate"], "get cpu": get["server_cpu_us_per_request"], "get p99": get["p99_us"] / 1000,
        "rss": memory["VmRSS"], "anonymous": memory["RssAnon"], "disk": blocks / 2048,
    }


def answers_get(server):
    """Whether the server answers a linearizable get with the key; by the JSON gateway, which needs no client."""
    body = json.dumps({"key": base64.b64encode(b"bench/00000007").decode()}).encode()
    return server.answers("POST", "/v3/kv/range", b'"kvs"', body)
