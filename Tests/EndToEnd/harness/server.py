"""Server processes: started, awaited, ended by their own ids, and looked at from outside."""

import http.client
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

from .client import Client
from .target import berth_binary, target

READY_WITHIN = 120.0
STOPPED_WITHIN = 60.0


def free_port():
    """A port that nobody listens on, from below the range that the system gives to outgoing connections.

    A port from that range (as binding port 0 gives) could be taken by some client's connection while a server restarts.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        first_outgoing = int(limits.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(max(1024, first_outgoing - 20_000), max(2048, first_outgoing))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    """One server process over a data folder. `start` returns when it answers; options are flags without the dashes."""

    def __init__(self, data_dir, kind=None, port=None, name="one", log_level=None, security=None, **options):
        self.kind = kind or target()
        self.security = security  # A certificates.Security: TLS on the client's port.
        self.data_dir = pathlib.Path(data_dir)
        self.port = port or free_port()
        self.name = name
        self.log_level = log_level
        self.options = options
        self.process = None
        self.log_path = self.data_dir.with_name(self.data_dir.name + ".log")
        self._log_start = 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"{'https' if self.security else 'http'}://{self.address}"

    @property
    def is_berth(self):
        return self.kind == "berth"

    def command(self):
        if self.is_berth:
            flags = {"log-level": self.log_level or "info"}
            command = [berth_binary(), "serve"]
        else:
            binary = shutil.which(self.kind) or self.kind
            peer = f"http://127.0.0.1:{free_port()}"
            flags = {
                "advertise-client-urls": self.url,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": f"{self.name}={peer}",
                "logger": "zap",
                "log-level": self.log_level or "warn",
            }
            command = [binary]
        flags |= {"name": self.name, "data-dir": str(self.data_dir), "listen-client-urls": self.url}
        if self.security:
            flags |= self.security.flags()
        flags |= {name.replace("_", "-"): value for name, value in self.options.items()}
        for name, value in flags.items():
            command += [f"--{name}=true"] if value is True else [f"--{name}", str(value)]
        return command

    def environment(self):
        return {
            name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "ETCDCTL_", "BERTH_"))
        }

    def launch(self):
        """Starts the process and returns at once."""
        assert self.process is None
        with open(self.log_path, "ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )
        return self

    def start(self):
        self.launch()
        deadline = time.monotonic() + READY_WITHIN
        while not self.is_healthy():
            if self.process.poll() is not None:
                code = self.process.returncode
                self.process = None
                raise RuntimeError(f"server exited with {code} at start:\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"server not ready within {READY_WITHIN} s:\n{self.log()}")
            time.sleep(0.01)  # Readiness is polled: it is the one thing a port cannot tell before it is open.
        return self

    def is_healthy(self):
        connection = self.http(timeout=20)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def http(self, timeout=60.0):
        """A connection for HTTP/1.1 requests."""
        if self.security:
            context = self.security.context()
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        """What the process has printed since its last start."""
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as log:
            log.seek(self._log_start)
            return log.read()[-20_000:].decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=STOPPED_WITHIN):
        """The exit code, negative for a signal."""
        code = self.process.wait(timeout)
        self.process = None
        return code

    def stop(self):
        """Asks the process to end, and returns its exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            log = self.log()
            self.kill()
            raise RuntimeError(f"server did not end within {STOPPED_WITHIN} s of SIGTERM:\n{log}") from None

    def kill(self):
        if self.process is not None:
            self.signal(signal.SIGKILL)
            return self.wait()

    def client(self, **options):
        if self.security:
            options.setdefault("credentials", self.security.grpc_credentials())
        return Client(self.address, **options)

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS: the process is gone")

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))
