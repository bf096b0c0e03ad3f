"""Servers as the rig runs them: recorded or not, sound or with a fault planted."""

import dataclasses
import os
import pathlib
import subprocess

from harness.server import Server

from . import native

# What no power cut leaves anything certain in, and no start reads.
SCRATCH = frozenset({"base/lock.mdb", "young-a/data.mdb", "young-a/lock.mdb", "young-b/data.mdb", "young-b/lock.mdb"})


@dataclasses.dataclass(frozen=True)
class Build:
    """Which server: its binary, a fault that is compiled into it, and one that the recorder plants under it."""

    binary: str
    fault: str = ""
    deaf: str = ""
    options: tuple = ()

    def command(self, arguments):
        return [self.binary, *([self.fault] if self.fault else []), *arguments, *self.options]


def known_options(binary):
    """Options of this server that make much happen in little time."""
    text = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, timeout=60).stdout
    wanted = {"--snapshot-count": "1500", "--flush-interval": "300ms"}
    return tuple(part for name, value in wanted.items() if name + " " in text for part in (name, value))


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
