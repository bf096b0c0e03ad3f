"""Which server is under test.

TARGET chooses: `berth` (default; the binary is BERTH_BIN, else .build/release/berth), `etcd` (Debian's), or the path of
an etcd binary, so that the tests themselves can be put to the test.
"""

import os

from .paths import ROOT


def berth_binary():
    return os.environ.get("BERTH_BIN") or str(ROOT / ".build/release/berth")


def target():
    return os.environ.get("TARGET", "berth")


def is_berth():
    return target() == "berth"
