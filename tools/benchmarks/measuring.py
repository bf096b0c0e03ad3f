"""How each work is measured against one running server: by the load driver, by h2load, or by a life of many works.

Figures have the same names everywhere: rate (per second), cpu and client (µs of CPU time for each operation, of the
server and of the client), p50, p99, p99.9 (ms), rss (MiB, the highest), written (bytes for each operation).
"""
import json
import os
import re
import time
from pathlib import Path

import catalog
import disk
from peers import Failed, run

HERE = Path(__file__).resolve().parent
HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
WARM_UP = 0.5  # seconds
WAITERS_LIMIT = 620  # seconds; etcd needs minutes to queue ten thousand
# Berth writes to its store's file 5 s after the log at the latest, so a pause longer than that is its end.
QUIET, QUIET_START, QUIET_LIMIT = 6, 1, 60  # seconds

REST = 8  # seconds after a life, in which a server may do what it does when it has time
# What a server lives through before its memory is read; counts, so that every server does the same work.
LIFE = [
    ("fill", "-keys", "100000", "-clients", "16"),
    ("put", "-loops", "256", "-count", "100000", "-keys", "100000"),
    ("put", "-loops", "16", "-count", "5000", "-keys", "1000", "-value-size", "4096"),
    ("get", "-loops", "64", "-count", "50000"),
    ("range", "-loops", "4", "-count", "500", "-span", "1000"),
    ("txn", "-loops", "64", "-count", "20000", "-keys", "1000"),
    ("watch", "-loops", "4", "-count", "2000", "-watchers", "100", "-ahead", "20"),
    ("lease", "-loops", "64", "-count", "5000"),
    ("keep-alive", "-loops", "16", "-count", "20000", "-leases", "1000"),
    ("lock", "-loops", "64", "-count", "5000", "-locks", "64"),
    ("handoff", "-loops", "16", "-count", "200"),
]


class Measuring:
    def __init__(self, args):
        self.args = args
        self.load = run([HERE / "load/build"], 600).strip()

    def measure(self, work, side, server, *, counts_bytes):
        """The figures of one work on a server; bytes written are worth a wait, so they come only when asked for."""
        if work.name == "h2load-put":
            got = self.wire_put(server)
        elif work.name == "h2load-unary":
            got = self.h2load(server, "/grpc.health.v1.Health/Check", grpc_frame(b""))[0]
        elif work.name == "memory":
            return self.life(server)
        elif work.group == "waiters":
            return self.waiters(work, side, server)
        else:
            got = self.closed_loops(work, side, server, counts_bytes and work.writes)
        return got | {"rss": server.memory_mib()["VmHWM"]}

    def call_load(self, server, *arguments, limit=None):
        text = run(
            [self.load, "-endpoint", f"127.0.0.1:{server.port}", "-server-pid", str(server.process.pid),
             "-value-size", str(self.args.value_size), "-warm-up", str(WARM_UP), *arguments],
            limit or self.args.seconds + 120)
        got = json.loads(text)
        if got["errors"]:
            raise Failed(f"{got['errors']} of {got['requests']} requests failed: {got['error_texts']}")
        return got

    def closed_loops(self, work, side, server, counts_bytes):
        arguments = [*work.load, "-clients", str(work.clients or min(self.args.clients, work.loops)),
                     "-seconds", str(self.args.seconds)]
        if work.value_size:
            arguments += ["-value-size", str(work.value_size)]
        if work.ways:
            arguments += ["-by", way_of(work, side)]
        before = None
        if counts_bytes:
            settle(server, QUIET_START)  # Berth prepares its log just after it started.
            os.sync()
            before = disk.bytes_written(server.folder)
        got = self.call_load(server, *arguments)
        if not got["requests"]:
            raise Failed("no request was answered in the time measured")
        figures = figures_of(got)
        if work.watchers:
            figures["cpu per put"] = figures["cpu"] * work.watchers
        if before is not None:
            settle(server, QUIET)
            os.sync()
            figures["written"] = (disk.bytes_written(server.folder) - before) / got["total_requests"]
        return figures

    def waiters(self, work, side, server):
        count = self.args.waiters if work.name == "waiters" else min(self.args.waiters, catalog.SERVICE_WAITERS)
        got = self.call_load(server, "-workload", "waiters", "-count", str(count), "-by", way_of(work, side),
                             "-clients", str(self.args.clients), limit=WAITERS_LIMIT)
        extra = got["extra"]
        return {
            "waiter KiB": extra["bytes_per_waiter"] / 1024,
            "anonymous KiB": extra["anonymous_bytes_per_waiter"] / 1024,
            "seconds": extra["queue_milliseconds"] / 1000, "cpu": got["server_cpu_us_per_request"],
            "woken": extra["woken"] / extra["releases"], "p50": got["p50_us"] / 1000,
        }

    def life(self, server):
        time.sleep(1)
        idle = server.memory_mib()
        for workload, *arguments in LIFE:
            self.call_load(server, "-workload", workload, *arguments, limit=180)
        time.sleep(REST)
        after = server.memory_mib()
        return {"idle": idle["VmRSS"], "idle anonymous": idle["RssAnon"], "after": after["VmRSS"],
                "after anonymous": after["RssAnon"], "rss": after["VmHWM"]}

    def wire_put(self, server):
        value = protobuf_bytes(1, b"bench/00000001") + protobuf_bytes(2, b"v" * self.args.value_size)
        before = self.call_load(server, "-workload", "revision")["revision_after"]
        got, sent = self.h2load(server, "/etcdserverpb.KV/Put", grpc_frame(value))
        after = self.call_load(server, "-workload", "revision")["revision_after"]
        if after - before != sent:
            raise Failed(f"{sent} puts were answered, but the revision moved by {after - before}")
        return got

    def h2load(self, server, path, body):
        """Sends the same call from 16 connections with 16 streams each; returns figures and the calls answered."""
        file = server.folder / "body"
        file.write_bytes(body)
        url = f"http://127.0.0.1:{server.port}{path}"
        # h2load sees HTTP statuses only, so one call shows first that gRPC's own status is OK.
        seen = run(["nghttp", "-nv", "-d", file, *HEADERS, url], 20)
        if "grpc-status: 0" not in seen:
            raise Failed(f"{path} is not answered with OK: {re.findall('grpc-(?:status|message): .*', seen)}")

        def send(count):
            cpu = server.cpu_seconds()
            text = run(["h2load", "-n", str(count), "-c", "16", "-m", "16", "-d", file, *HEADERS, url],
                       self.args.seconds * 10 + 60)
            cpu = server.cpu_seconds() - cpu
            rate = float(re.search(r"([\d.]+) req/s", text)[1])
            succeeded = int(re.search(r"(\d+) succeeded", text)[1])
            if succeeded != count:
                raise Failed(f"only {succeeded} of {count} calls succeeded")
            return {"rate": rate, "cpu": cpu * 1e6 / count}

        warm_up = 5000
        count = min(max(int(send(warm_up)["rate"] * self.args.seconds), 2000), 5_000_000)
        return send(count), warm_up + count + 1


def way_of(work, side):
    """How this side stands in a line, as the load driver's -by names it."""
    own = {"own": "", "kept": "-kept"}
    return work.ways[1] + own[side] if side in own else work.ways[0]


def figures_of(got):
    """What the load driver printed, in the names and units of this suite."""
    figures = {"rate": got["rate"], "cpu": got["server_cpu_us_per_request"],
               "client": got["client_cpu_us_per_request"]}
    if got["p50_us"]:
        # Of fewer operations the percentile would be the greatest, which says nothing.
        for name, key, least in (("p50", "p50_us", 2), ("p99", "p99_us", 100), ("p99.9", "p99_9_us", 1_000)):
            if got["requests"] >= least:
                figures[name] = got[key] / 1000
    return figures


def settle(server, quiet):
    """Waits until the process has written nothing for some seconds."""
    last, since, limit = server.bytes_to_disk(), time.monotonic(), time.monotonic() + QUIET_LIMIT
    while time.monotonic() < limit and time.monotonic() - since < quiet:
        time.sleep(0.1)
        if (now := server.bytes_to_disk()) != last:
            last, since = now, time.monotonic()


def protobuf_bytes(field, value):
    assert len(value) < 1 << 14
    length = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 127 | 128, len(value) >> 7])
    return bytes([field << 3 | 2]) + length + value


def grpc_frame(message):
    return b"\0" + len(message).to_bytes(4, "big") + message
