"""The processes of a measurement: the server under test, what it has used so far, and programs that drive it."""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import disk

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement that gave no figure, with the reason and what to do about it."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent(by=signal.SIGTERM):
    """In the child: the kernel ends it should this script be killed outright."""
    ctypes.CDLL(None).prctl(1, by)


def run(command, limit, **options):
    """What a program printed; `limit` is in seconds."""
    name = Path(command[0]).name
    try:
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=limit, preexec_fn=die_with_parent, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} did not end within {limit:.0f} s") from None
    except FileNotFoundError:
        raise Failed(f"{command[0]} is missing; run tools/install --bench") from None
    if done.returncode:
        raise Failed(f"{name}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def stat_of(pid):
    """The fields of /proc/PID/stat behind the program's name, which may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid):
    """CPU time of one process and of the children that it has seen end.

    The usual figures come in steps of 10 ms, more than each of PostgreSQL's 256 processes may use while it is watched;
    of a single thread the scheduler tells nanoseconds.
    """
    fields = stat_of(pid)
    own, of_children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15])) / TICKS_PER_SECOND
    if int(fields[17]) == 1:
        schedstat = Path(f"/proc/{pid}/schedstat")
        nanoseconds = int(schedstat.read_text().split()[0]) if schedstat.exists() else 0
        if nanoseconds:  # Some kernels are built without.
            return nanoseconds / 1e9 + of_children
    return own / TICKS_PER_SECOND + of_children


def tree(root):
    """A process and all that descend from it. Sessions would not do: PostgreSQL's processes each start their own."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(stat_of(entry)[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has ended since.
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


@dataclass(frozen=True)
class Usage:
    """What a server has used since its start."""

    cpu_seconds: float
    written_bytes: int | None  # None where no disk counts

    def __sub__(self, earlier):
        written = None if self.written_bytes is None else self.written_bytes - earlier.written_bytes
        return Usage(self.cpu_seconds - earlier.cpu_seconds, written)


class Server:
    """One server on a port and an empty data folder of its own; used with `with`, after which nothing is left of it.

    A subclass prepares the folder and gives the command, and tells whether the server answers yet.
    """

    title = ""
    user = None  # Whom it runs as, when not as ourselves.
    stop_signal = signal.SIGTERM
    many_processes = False

    def __init__(self, data_root):
        data_root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="rival-", dir=data_root)).absolute()
        self.process = None

    def prepare(self):
        """Fills the folder and returns the server's command."""
        raise NotImplementedError

    def answers(self):
        """Whether it serves calls; may raise OSError instead of saying no."""
        raise NotImplementedError

    def __enter__(self):
        try:
            command = [str(c) for c in self.prepare()]
            with open(self.folder / "output", "wb") as output:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder,
                    start_new_session=True, preexec_fn=lambda: die_with_parent(self.stop_signal), **self.as_user())
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def as_user(self):
        return {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}

    def wait_until_ready(self):
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise Failed(f"{self.title} ended at start: {self.tail()}")
            try:
                if self.answers():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise Failed(f"{self.title} was not ready after 60 s: {self.tail()}")

    def tail(self):
        return (self.folder / "output").read_text(errors="replace")[-500:].strip()

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def usage(self):
        """Of all its processes. A process's figures pass to its parent when it ends, so none are lost."""
        cpu = 0.0
        for pid in tree(self.process.pid):
            try:
                cpu += cpu_seconds(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
        return Usage(cpu, disk.bytes_written(self.folder))

    def memory_mib(self):
        """Peak resident memory of a server of one process.

        Peaks of processes that share memory cannot be added up: of a server of many it is the sum of their
        proportional shares at this moment.
        """
        if not self.many_processes:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            return int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) / 1024
        total = 0
        for pid in tree(self.process.pid):
            try:
                total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total / 1024
