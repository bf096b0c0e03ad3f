"""The server as a process: start, stop, kill, restart, and clear words when it cannot start."""

import os
import re
import signal
import socket
import subprocess
import threading

import grpc
import pytest

from harness.api import pb
from harness.client import StreamEnded
from harness.etcdctl import Etcdctl
from harness.target import berth_binary

berth_only = pytest.mark.berth_only
LOGGED = re.compile(r"\d{4}-\d\d-\d\dT")


def run_berth(*arguments, environment=None, timeout=60):
    """Runs the command to its end, which must come by itself."""
    return subprocess.run(
        [berth_binary(), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | (environment or {}),
    )


def one_clear_line(result):
    """Why a start was refused: one line of the command's own, beside what it may have logged before."""
    assert result.returncode != 0, result
    lines = [line for line in result.stderr.splitlines() if line.strip() and not LOGGED.match(line)]
    assert len(lines) == 1, result.stderr
    assert ".swift" not in lines[0] and "Fatal error" not in lines[0]
    return lines[0]


# Restarts


def everything(client):
    return [kv.SerializeToString() for kv in client.range(b"\0", b"\0").kvs]


def test_a_restart_keeps_everything(server, client):
    client.grant(1000, id=7)
    for i in range(200):
        client.put(b"key/%03d" % (i % 50), b"%d" % i, lease=7 if i % 3 == 0 else 0)
    client.delete(b"key/010", b"key/020")
    client.compact(100)
    before, revision = everything(client), client.revision()
    identity = client.range(b"x").header
    past = client.prefix(b"key/", revision=150).kvs
    server.stop()
    server.start()
    with server.client() as client:
        assert everything(client) == before
        header = client.range(b"x").header
        assert (header.revision, header.cluster_id, header.member_id) == (
            revision,
            identity.cluster_id,
            identity.member_id,
        )
        assert header.raft_term >= identity.raft_term
        assert client.prefix(b"key/", revision=150).kvs == past
        with pytest.raises(grpc.RpcError):
            client.prefix(b"key/", revision=99)
        assert client.put(b"new").header.revision == revision + 1
        with client.watch() as watch:
            watch.create_prefix(b"key/", start_revision=150)
            assert watch.next().events[0].kv.mod_revision == 150


def test_many_restarts(server):
    for i in range(5):
        with server.client() as client:
            client.put(b"key/%d" % i)
            assert client.prefix(b"key/").count == i + 1
        server.stop()
        server.start()
    with server.client() as client:
        assert client.revision() == 6


def test_a_kill_loses_no_acknowledged_put(server):
    """Writers on several connections; the process is killed amid them, more than once."""
    acknowledged = {}
    for round in range(3):
        counted = threading.Semaphore(0)

        def write(number):
            with server.client() as client:
                for i in range(100_000):
                    key = b"round %d/writer %d/%06d" % (round, number, i)
                    try:
                        answer = client.put(key, key[::-1], timeout=10)
                    except grpc.RpcError:
                        return
                    acknowledged[key] = answer.header.revision
                    counted.release()

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for writer in writers:
            writer.start()
        for _ in range(1000):
            counted.acquire()
        server.kill()
        for writer in writers:
            writer.join()
        server.start()
        with server.client() as client:
            stored = {kv.key: kv for kv in client.prefix(b"round ", timeout=60).kvs}
            missing = [key for key in acknowledged if key not in stored]
            assert not missing, f"{len(missing)} of {len(acknowledged)} lost, such as {missing[:3]}"
            for key, revision in acknowledged.items():
                assert stored[key].mod_revision == revision and stored[key].value == key[::-1]
            revisions = sorted(kv.mod_revision for kv in stored.values())
            assert revisions == list(range(2, 2 + len(revisions))), "revisions have no gap"


# The end


def test_a_signal_ends_it_cleanly(new_server):
    for number in (signal.SIGTERM, signal.SIGINT):
        server = new_server().start()
        with server.client() as client:
            client.put(b"key")
            server.signal(number)
            code = server.wait()
            assert code == 0 or (not server.is_berth and code == -number)


@berth_only
def test_running_calls_end_in_order_at_a_stop(server, client):
    """Streams are ended, a waiting Lock is told to try elsewhere, and nobody waits for the deadline."""
    client.grant(100, id=1)
    client.grant(100, id=2)
    client.lock.Lock(pb.LockRequest(name=b"name", lease=1), timeout=60)
    waiting = client.lock.Lock.future(pb.LockRequest(name=b"name", lease=2), timeout=60)
    client.await_keys(b"name/", 2)
    watch = client.watch()
    watch.create(b"key")
    assert server.stop() == 0
    with pytest.raises(StreamEnded) as ended:
        watch.next()
    assert ended.value.code == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as error:
        waiting.result()
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_writes_in_flight_at_a_stop_are_whole(server):
    """Every put is either acknowledged and there after a restart, or failed."""
    with server.client() as client:
        calls = [client.kv.Put.future(pb.PutRequest(key=b"key/%05d" % i), timeout=60) for i in range(3000)]
        calls[0].result()
        server.stop()
        acknowledged = set()
        for i, call in enumerate(calls):
            try:
                call.result()
                acknowledged.add(b"key/%05d" % i)
            except grpc.RpcError as error:
                assert error.code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                    grpc.StatusCode.UNKNOWN,
                ), error
    server.start()
    with server.client() as client:
        assert acknowledged <= {kv.key for kv in client.prefix(b"key/").kvs}


# The start


@berth_only
def test_one_line_says_where_it_serves(server):
    lines = [line for line in server.log().splitlines() if line.strip()]
    saying = [line for line in lines if server.address in line]
    assert len(saying) == 1, lines
    assert str(server.data_dir) in saying[0] and re.search(r"revision\W+1\b", saying[0]), saying


@berth_only
def test_flags_are_also_environment_variables(tmp_path, new_server):
    server = new_server()
    variables = {"BERTH_DATA_DIR": str(server.data_dir), "BERTH_LISTEN_CLIENT_URLS": server.url, "BERTH_NAME": "named"}
    server.command = lambda: [berth_binary(), "serve"]
    plain = server.environment()
    server.environment = lambda: plain | variables
    server.start()
    (line,) = Etcdctl(server.url)("member", "list").lines
    assert ", started, named," in line and server.data_dir.is_dir()


@berth_only
def test_advertised_urls_are_what_members_list(new_server):
    server = new_server(advertise_client_urls="http://berth.example:2379").start()
    (line,) = Etcdctl(server.url)("member", "list").lines
    assert "http://berth.example:2379" in line


def test_a_taken_port(new_server, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = new_server(port=taken.getsockname()[1])
        if not server.is_berth:
            with pytest.raises(RuntimeError, match="address already in use"):
                server.start()
            return
        result = run_berth(*server.command()[1:])
        line = one_clear_line(result)
        assert str(server.port) in line and "in use" in line


@berth_only
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--listen-client-urls", "nonsense"], "nonsense"),
        (["--listen-client-urls", "https://127.0.0.1:1"], "https"),
        (["--listen-client-urls", "http://127.0.0.1:99999"], "99999"),
        (["--max-txn-ops", "many"], "many"),
        (["--max-txn-ops", "-1"], "max-txn-ops"),
        (["--max-request-bytes", "0"], "max-request-bytes"),
        (["--quota-backend-bytes", "x"], "x"),
        (["--log-level", "loud"], "loud"),
    ],
)
def test_a_bad_flag(tmp_path, flags, named):
    result = run_berth("serve", "--data-dir", str(tmp_path / "data"), *flags)
    assert result.returncode != 0
    assert named in result.stderr, result.stderr
    assert "Fatal error" not in result.stderr
    # A usage reminder may follow; the reason comes first.
    assert named in result.stderr.splitlines()[0]


@berth_only
def test_a_second_process_on_the_same_folder(server, new_server):
    second = new_server(data_dir=server.data_dir)
    line = one_clear_line(run_berth(*second.command()[1:]))
    assert str(server.pid) in line, "it says who holds the folder"
    with server.client() as client:
        client.put(b"key")


@berth_only
def test_a_folder_left_by_a_killed_process_opens_again(server, client):
    client.put(b"key", b"value")
    server.kill()
    server.start()
    with server.client() as client:
        assert client.get(b"key") == b"value"


@berth_only
def test_a_data_folder_that_is_a_file(tmp_path, new_server):
    path = tmp_path / "file"
    path.write_text("not a folder")
    server = new_server(data_dir=path)
    assert str(path) in one_clear_line(run_berth(*server.command()[1:]))
    assert path.read_text() == "not a folder"


@berth_only
def test_help_and_version():
    result = run_berth("serve", "--help")
    assert result.returncode == 0
    flags = "data-dir listen-client-urls advertise-client-urls name log-level quota-backend-bytes max-request-bytes"
    for flag in (*flags.split(), "max-txn-ops"):
        assert f"--{flag} " in result.stdout
    result = run_berth("--version")
    assert result.returncode == 0 and re.search(r"\d+\.\d+", result.stdout)
