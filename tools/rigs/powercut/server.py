"""Servers as the rig runs them: recorded or not, sound or with a fault planted."""

import dataclasses
import os
import pathlib
import re
import subprocess

from harness.server import Server

from . import native

# What no power cut leaves anything certain in, and no start reads.
SCRATCH = frozenset(
    f"{folder}/{name}"
    for folder, names in {
        "base": ["lock.mdb"],
        "base.new": ["lock.mdb"],  # A store in the making.
        "young-a": ["data.mdb", "lock.mdb"],
        "young-b": ["data.mdb", "lock.mdb"],
    }.items()
    for name in names
)


@dataclasses.dataclass(frozen=True)
class Build:
    """Which server: its binary, a fault that is compiled into it, and what the recorder does under it (see shim.c)."""

    binary: str
    fault: str = ""
    deaf: str = ""
    options: tuple = ()
    checks: bool = False  # It has the command `check`.

    def command(self, arguments):
        return [self.binary, *([self.fault] if self.fault else []), *arguments, *self.options]

    def check(self, directory):
        """What `berth check` has against a folder that no server uses, or None."""
        if not self.checks:
            return None
        done = subprocess.run([self.binary, "check", directory], capture_output=True, text=True, timeout=120)
        return None if done.returncode == 0 else f"berth check ends with {done.returncode}: {(done.stdout + done.stderr)[-800:]}"


def sound(binary):
    """The server as it is, with what its version has to make much happen in little time."""
    text = help_text(binary, "serve")
    wanted = {"--snapshot-count": "150", "--flush-interval": "300ms"}
    options = tuple(part for name, value in wanted.items() if name + " " in text for part in (name, value))
    return Build(binary, options=options, checks=re.search(r"^  check ", help_text(binary), re.MULTILINE) is not None)


def help_text(*command):
    return subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60).stdout


class RigServer(Server):
    """A server on `data_dir`. With `trace`, all it does to its folder is recorded there."""

    def __init__(self, build, data_dir, trace=None):
        super().__init__(pathlib.Path(data_dir), kind="berth")
        self.build = build
        self.trace = trace

    def command(self):
        return self.build.command(super().command()[1:])

    def environment(self):
        environment = super().environment()
        if self.trace:
            environment |= {
                "LD_PRELOAD": os.fspath(native.library("shim")),
                "POWERCUT_ROOT": os.fspath(self.data_dir.resolve()),
                "POWERCUT_TRACE": os.fspath(self.trace),
                "POWERCUT_FAULT": self.build.deaf,
            }
        return environment
