"""etcd's own Go client, unchanged, from Debian's golang-etcd-server-dev: what programs do with it, see goclient/."""

import subprocess

import pytest

from harness.workers import go_binary

SCENARIOS = [
    "cluster",
    "election",
    "errors",
    "kv",
    "lease-expiry",
    "leases",
    "leasing",
    "maintenance",
    "mirror",
    "mutex",
    "namespace",
    "session",
    "stm",
    "transactions",
    "watch",
    "watch-history",
    "watch-many",
    "watch-progress",
]


@pytest.fixture(scope="session")
def goclient():
    return go_binary("goclient")


def test_every_scenario_is_here(goclient):
    listed = subprocess.run([goclient, "list"], capture_output=True, text=True, check=True, timeout=60)
    assert listed.stdout.split() == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(goclient, server, scenario):
    ran = subprocess.run([goclient, server.url, scenario], capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stdout + ran.stderr
