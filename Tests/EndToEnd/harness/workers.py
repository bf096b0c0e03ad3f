"""Workers at a lock as processes of their own, by every kind of client."""

import os
import subprocess
import sys

from .etcdctl import Running
from .paths import ROOT

HERE = ROOT / "Tests/EndToEnd"
GO_SOURCES = "/usr/share/gocode"  # Where Debian's golang-etcd-server-dev puts etcd's Go client.


def worker(server, by, name, *options):
    """A Python worker: see worker.py."""
    command = [sys.executable, "-m", "harness.worker", server.address, by, name, *options]
    return Running(command, dict(os.environ, PYTHONPATH=str(HERE), GRPC_VERBOSITY="ERROR"))


def go_binary(name):
    """Builds the Go program in the folder of this name, which is cheap when nothing changed, and returns its path."""
    folder = ROOT / ".build-bench"
    folder.mkdir(exist_ok=True)
    cache = os.environ.get("GOCACHE", f"{folder}/cache")
    environment = dict(os.environ, GO111MODULE="off", GOFLAGS="", GOPATH=GO_SOURCES, GOCACHE=cache)
    # A name of its own, then a rename: two test processes may build at once.
    made = folder / f"{name}.{os.getpid()}"
    build = ["go", "build", "-o", made, "."]
    built = subprocess.run(build, cwd=HERE / name, env=environment, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, f"install golang-go and golang-etcd-server-dev; go build: {built.stderr}"
    return made.rename(folder / name)


def go_mutex_binary():
    return go_binary("gomutex")


def go_mutex(binary, server, name, ttl, *command):
    return Running([binary, server.address, name, str(ttl), *command], dict(os.environ))
