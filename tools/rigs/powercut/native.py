"""The parts in C, compiled when they are missing or older than their source."""

import ctypes
import os
import pathlib
import subprocess

from harness.paths import ROOT

SOURCES = pathlib.Path(__file__).parent


def library(name):
    """The path of `name`.c as a shared library."""
    source = SOURCES / f"{name}.c"
    folder = ROOT / ".build-rigs"
    folder.mkdir(exist_ok=True)
    made = folder / f"{name}.so"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        # A name of its own, then a rename: two rigs may compile at once.
        new = folder / f"{name}.{os.getpid()}.so"
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", new, source, "-ldl", "-lpthread"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        except FileNotFoundError:
            raise SystemExit("rig-powercut: gcc is missing; tools/install --test brings it") from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"rig-powercut: {source.name} does not compile:\n{error.stderr}") from None
        new.rename(made)
    return made


_crc = None


def crc32c(parts):
    """The checksum of all parts, one after the other."""
    global _crc
    if _crc is None:
        _crc = ctypes.CDLL(library("crc32c")).crc32c
        _crc.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
        _crc.restype = ctypes.c_uint32
    crc = 0
    for part in parts:
        crc = _crc(crc, part, len(part))
    return crc
