"""What the measuring tools share: servers to measure, programs to run, and what disturbed us meanwhile."""
import ctypes
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path



class Failed(Exception):
    """A measurement that gave no figure, with the reason."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """In the child: the kernel ends the server should this script be killed outright."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Server:
    """One server process, Berth or etcd as `kind` says, on a port and an empty data folder of its own.

    `options` are more flags of its. `security` is the paths of a certificate and its key: then it listens with TLS.
    `program` is the file to run where it is not the one that `args` names; `cores` are the only ones that it may use.
    """

    def __init__(self, kind, args, options=(), security=None, program=None, cores=None):
        self.security, self.cores = security, cores
        self.kind, self.port = kind, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=args.data_root))
        self.process = None
        url = f"{'https' if security else 'http'}://127.0.0.1:{self.port}"
        if kind == "berth":
            command = [program or args.berth, "serve", "--data-dir", str(self.folder / "data"), "--listen-client-urls", url]
        else:
            peer = f"http://127.0.0.1:{free_port()}"
            command = [
                program or args.etcd, "--data-dir", str(self.folder / "data"), "--log-level", "error", "--name", "default",
                "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            ]
        command += options
        if security:
            command += ["--cert-file", str(security[0]), "--key-file", str(security[1])]
        self.command = command

    def __enter__(self):
        self.start()
        return self

    def start(self, is_ready=None, limit=30):
        """Starts it on the folder as it is, and returns the seconds until it answers: a call for its health, or else
        what `is_ready` asks of it."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("BERTH_", "ETCD"))}
        self.output = open(self.folder / "output", "wb")
        started = time.monotonic()
        self.process = subprocess.Popen(
            self.command, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True, preexec_fn=self.prepare_child)
        try:
            self.wait_until_ready(is_ready or Server.is_healthy, limit)
        except BaseException:
            self.__exit__()
            raise
        return time.monotonic() - started

    def prepare_child(self):
        die_with_parent()
        if self.cores:
            os.sched_setaffinity(0, self.cores)

    def wait_until_ready(self, is_ready, limit):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"{self.kind} ended at start: {self.tail()}")
            try:
                if is_ready(self):
                    return
            except OSError:
                pass
            time.sleep(0.002)
        raise Failed(f"{self.kind} was not ready after {limit} s: {self.tail()}")

    def is_healthy(self):
        return self.answers("GET", "/health", b" 200 ")

    def answers(self, method, path, expected, body=b""):
        """Whether the answer to one HTTP request, on a connection of its own, holds the `expected` bytes."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        with self.connect() as s:
            s.sendall(head.encode() + body)
            answer = b""
            while part := s.recv(4096):
                answer += part
                if expected in answer:
                    return True
        return False

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        if not self.security:
            return connection
        return ssl.create_default_context(cafile=self.security[0]).wrap_socket(connection, server_hostname="127.0.0.1")

    def tail(self):
        return (self.folder / "output").read_text(errors="replace")[-500:].strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        self.output.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_seconds(self):
        # The second field is the program's name in brackets; the rest counts from behind it.
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes_to_disk(self):
        """Bytes that the process has had written to disks so far, as the kernel counts them."""
        return int(re.search(r"^write_bytes: (\d+)", Path(f"/proc/{self.process.pid}/io").read_text(), re.M)[1])

    def memory_mib(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024 for name in ("VmRSS", "RssAnon", "VmHWM")}


def run(command, timeout):
    command = [str(c) for c in command]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name} did not end within {timeout:.0f} s") from None
    except FileNotFoundError:
        raise Failed(f"{command[0]} is missing; run tools/install --bench") from None
    if done.returncode:
        raise Failed((done.stderr or done.stdout).strip()[-500:])
    return done.stdout


def disk_flush_microseconds(folder):
    """Median time of one fdatasync of 4 KiB on the disk that the data folders are on."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as f:
        for _ in range(200):
            os.write(f.fileno(), b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(f.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def own_cpu_seconds():
    """CPU time of this script and of every process it started and has seen end."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def machine_cpu_seconds():
    """CPU time spent in all processes since the machine started, and what the host took away."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


class Disturbance:
    """How much of the machine others took while we measured. Much of it makes rates worthless."""

    def __init__(self):
        self.started, self.own = time.monotonic(), own_cpu_seconds()
        self.busy, self.stolen = machine_cpu_seconds()

    def percent(self):
        busy, stolen = machine_cpu_seconds()
        others = busy - self.busy - (own_cpu_seconds() - self.own) + stolen - self.stolen
        return max(0.0, others * 100 / ((time.monotonic() - self.started) * os.cpu_count()))
