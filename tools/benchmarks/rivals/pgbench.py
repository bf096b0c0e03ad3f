"""Puts and gets by pgbench, whose log tells when each transaction ended and how long it took."""
import math
import os
import random
import re
import signal
import string
import subprocess
import time

from .figures import figures
from .server import Failed, cpu_seconds, die_with_parent

WARM_UP_SECONDS = 1
CONNECT_SECONDS = 60

SCRIPTS = {
    "put": "INSERT INTO kv (key, value) VALUES (:key, :value) "
           "ON CONFLICT (key) DO UPDATE SET value = excluded.value;\n",
    # \gset fails unless there is exactly one row.
    "get": "SELECT value FROM kv WHERE key = :key \\gset\n",
}


def value_of(size):
    """Letters that do not repeat, as PostgreSQL would compress long values that do."""
    return "".join(random.choices(string.ascii_letters + string.digits, k=size))


def measure(server, program, kind, loops, seconds, value_size, keys):
    value = value_of(value_size)
    server.query(f"CREATE TABLE kv (key text PRIMARY KEY, value text NOT NULL);\n"
                 f"INSERT INTO kv SELECT generate_series(1, {keys})::text, '{value}';\nANALYZE kv;\n")
    script, log = server.folder / "script.sql", server.folder / "log"
    script.write_text(f"\\set key random(1, {keys})\n" + SCRIPTS[kind])
    before = writes(server)
    command = [program, *server.address(), "-n", "-c", loops, "-j", "1", "-M", "prepared", "-f", script, "-l",
               "--log-prefix", log, "-T", math.ceil(CONNECT_SECONDS + WARM_UP_SECONDS + seconds + 30)]
    if kind == "put":
        command += ["-D", f"value={value}"]
    with open(server.folder / "pgbench", "wb") as output, subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd=server.folder, env={**os.environ, **server.environment}, preexec_fn=die_with_parent) as process:
        try:
            window = watch(server, process, log, seconds)
            # Its time, which counts from before it connects, is an alarm; this one only comes earlier.
            process.send_signal(signal.SIGALRM)
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            raise Failed("pgbench did not end") from None
        finally:
            process.kill()
    check(server, process, kind, before)
    return window.figures(log.with_name(f"{log.name}.{process.pid}"))


class Window:
    def __init__(self, opens, closes, used, client, memory):
        self.opens, self.closes, self.used, self.client, self.memory = opens, closes, used, client, memory

    def figures(self, log):
        """A line of the log: client, transaction, µs taken, script, second and µs of the end."""
        taken = []
        with open(log) as lines:
            for line in lines:
                _, _, took, _, second, microsecond = line.split()[:6]
                if self.opens <= int(second) + int(microsecond) / 1e6 < self.closes:
                    taken.append(int(took) * 1000)
        return figures(taken, self.closes - self.opens, self.used, self.client, self.memory)


def watch(server, process, log, seconds):
    """Waits until transactions are logged, which says that all are connected, then opens and closes the window."""
    file = log.with_name(f"{log.name}.{process.pid}")
    limit = time.monotonic() + CONNECT_SECONDS
    while not (file.exists() and file.stat().st_size):
        if process.poll() is not None or time.monotonic() > limit:
            raise Failed(f"pgbench did not begin: {complaint(server)}")
        time.sleep(0.01)
    time.sleep(WARM_UP_SECONDS)
    os.sync()
    client, before, opens = cpu_seconds(process.pid), server.usage(), time.time()
    time.sleep(seconds)
    used, client, closes = server.usage() - before, cpu_seconds(process.pid) - client, time.time()
    window = Window(opens, closes, used, client, server.memory_mib())
    if process.poll() is not None:
        raise Failed(f"pgbench ended before the window closed: {complaint(server)}")
    return window


def complaint(server):
    return (server.folder / "pgbench").read_text(errors="replace").strip()[-500:]


def writes(server):
    """Rows written. Of two connections about to insert the same row one takes its insertion back, which counts as a deletion,
    and updates; nothing else deletes."""
    return int(server.query("SELECT n_tup_ins + n_tup_upd - n_tup_del FROM pg_stat_user_tables WHERE relname = 'kv';"))


def check(server, process, kind, before):
    """Every put that pgbench counts must have written a row; each connection says so when it ends."""
    text = complaint(server)
    done = re.search(r"transactions actually processed: (\d+)", text)
    if process.returncode or not done or not re.search(r"failed transactions: 0 ", text):
        raise Failed(f"pgbench: {text}")
    expected = int(done[1]) if kind == "put" else 0
    limit = time.monotonic() + 10
    while (written := writes(server) - before) != expected:
        if time.monotonic() > limit:
            raise Failed(f"pgbench counts {expected} puts, but the server {written}")
        time.sleep(0.05)
