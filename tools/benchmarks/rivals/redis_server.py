"""Redis: one server that flushes every write; keys by redis-benchmark, locks by redis-py."""
import os
import re
import resource
import shutil

from . import workers
from .figures import per_operation
from .rival import Rival, keys_for
from .server import Failed, Server, run

WARM_UP_SECONDS = 1
CALIBRATION = 500  # requests, to learn how many the warm-up is to have


class RedisServer(Server):
    title = "Redis"

    def prepare(self):
        return ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", self.folder, "--daemonize", "no",
                "--save", "", "--appendonly", "yes", "--appendfsync", "always"]

    def answers(self):
        try:
            return "PONG" in self.ask("PING")
        except Failed:
            return False

    def ask(self, *words):
        return run(["redis-cli", "-h", "127.0.0.1", "-p", self.port, "--raw", *words], 60)

    def counter(self, section, name):
        found = re.search(rf"^{name}(\d+)", self.ask("INFO", section), re.M)
        return int(found[1]) if found else 0

    def check_settings(self):
        if "always" not in self.ask("CONFIG", "GET", "appendfsync"):
            raise Failed("Redis does not have appendfsync always; it would not be durable")

    def fill(self, keys, value_size):
        """All keys that redis-benchmark asks for, under the names it gives them."""
        script = "for i = 0, ARGV[1] - 1 do redis.call('SET', string.format('key:%012d', i), ARGV[2]) end"
        self.ask("EVAL", script, "0", str(keys), "v" * value_size)


class Redis(Rival):
    title = "Redis"
    settings = ("appendonly yes, appendfsync always, save \"\": every write is flushed to the log before it is "
                "answered; keys by redis-benchmark without pipelining, locks by redis-py, whose waiters ask again "
                "every 100 ms")

    def version(self):
        return re.search(r"v=([\d.]+)", run(["redis-server", "--version"], 20))[1]

    def missing(self):
        return [package for program, package in (("redis-server", "redis-server"), ("redis-benchmark", "redis-tools"))
                if not shutil.which(program)]

    def start(self, data_root):
        return RedisServer(data_root)

    def drive(self, server, kind, loops, seconds, value_size):
        server.check_settings()
        if kind in ("put", "get"):
            return measure_keys(server, kind, loops, seconds, value_size)
        return workers.measure(server, workers.Work("redis_client", kind, loops), seconds)


def measure_keys(server, kind, loops, seconds, value_size):
    """redis-benchmark ends after a number of calls, which two shorter runs find out; they warm up as well."""
    keys = keys_for(value_size)
    server.fill(keys, value_size)

    def send(count, limit):
        text = run(["redis-benchmark", "-h", "127.0.0.1", "-p", server.port, "-c", loops, "-P", "1", "-n", count,
                    "-d", value_size, "-r", keys, "-t", "set" if kind == "put" else "get", "--precision", "3"], limit)
        return text, float(re.search(r"throughput summary: ([\d.]+) requests per second", text)[1])

    count = max(CALIBRATION, loops)
    for stretch in (WARM_UP_SECONDS, seconds):
        count = max(int(send(count, 120)[1] * stretch), loops)
    counted = Answers(server, kind)
    os.sync()
    client, before = ended_children_cpu_seconds(), server.usage()
    text, rate = send(count, seconds * 10 + 60)
    used, client = server.usage() - before, ended_children_cpu_seconds() - client
    counted.check(count)
    return {"rate": rate, **per_operation(count, used, client), **latencies(text), "rss": server.memory_mib()}


class Answers:
    """What the server itself says it did since: sets, or gets that found their key."""

    def __init__(self, server, kind):
        self.counter = ("commandstats", "cmdstat_set:calls=") if kind == "put" else ("stats", "keyspace_hits:")
        self.server = server
        self.before = server.counter(*self.counter)

    def check(self, count):
        done = self.server.counter(*self.counter) - self.before
        if done != count:
            raise Failed(f"redis-benchmark counts {count} answers, but the server {done}")


def latencies(text):
    """In ms, from redis-benchmark's summary and its distribution, whose steps halve what is left: 99.902 % is the
    first at or above 99.9 %."""
    header, values = re.search(r"latency summary \(msec\):\s*\n\s*(avg.*)\n\s*(.*)", text).groups()
    summary = dict(zip(header.split(), map(float, values.split())))
    found = {"p50": summary["p50"], "p99": summary["p99"]}
    steps = re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds \(cumulative count", text)
    above = [float(ms) for percent, ms in steps if 99.9 <= float(percent) < 100]
    return {**found, "p99.9": above[0]} if above else found


def ended_children_cpu_seconds():
    """CPU time of the programs that this process has run to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
