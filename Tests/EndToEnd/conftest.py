"""Fixtures: every test gets a server process of its own, on a port and folder of its own."""

import itertools
import shutil

import pytest

from harness.etcdctl import Etcdctl
from harness.server import Server
from harness.target import is_berth


def pytest_configure(config):
    config.addinivalue_line("markers", "memory(megabytes): how much the server may grow during a test of bad input")
    config.addinivalue_line("markers", "berth_only: about Berth's own command or promises; skipped for other targets")


def pytest_collection_modifyitems(items):
    if is_berth():
        return
    skip = pytest.mark.skip(reason="about Berth alone")
    for item in items:
        if item.get_closest_marker("berth_only"):
            item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for server in getattr(item, "servers", []):
            report.sections.append((f"log of {server.name} ({server.address})", server.log()))


@pytest.fixture
def new_server(request, tmp_path):
    """Makes servers that are ended with the test: `new_server()` makes one; call `start` on it."""
    servers = request.node.servers = []
    numbers = itertools.count()

    def make(**options):
        options.setdefault("data_dir", tmp_path / f"data-{next(numbers)}")
        if "kind" not in options and not is_berth():
            options |= {"heartbeat_interval": 50, "election_timeout": 500}  # A single member elects itself sooner.
        server = Server(**options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.kill()
    for server in servers:
        if server.data_dir.is_dir():  # A store may take hundreds of megabytes; its log is in the report.
            shutil.rmtree(server.data_dir)
    # Stores preallocate space; pytest would keep the folders of its last three runs.
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def server(new_server):
    """A server that answers, over an empty store."""
    server = new_server().start()
    yield server
    # Whatever the test did to it, it must not have died of it.
    if server.process is not None:
        assert server.is_running(), f"the server died with {server.process.returncode}"


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def second_client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def etcdctl(server):
    return Etcdctl(server.url)
