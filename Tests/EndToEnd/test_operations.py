"""What an operator does to a running store: compaction, defragmentation, metrics, settings of flush and compaction."""

import os
import pathlib
import subprocess
import threading
import time
import urllib.request

import grpc
import pytest

from harness.api import pb
from harness.etcdctl import Etcdctl
from harness.target import berth_binary

berth_only = pytest.mark.berth_only
COMPACTED = "etcdserver: mvcc: required revision has been compacted"


def metrics(server):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def status(client):
    return client.maintenance.Status(pb.StatusRequest())


def disk_bytes(server):
    return os.stat(pathlib.Path(server.data_dir) / "base/data.mdb").st_blocks * 512


def hash_of(client, revision=0):
    return client.maintenance.HashKV(pb.HashKVRequest(revision=revision)).hash


def write_history(client, rounds, keys=50, size=1_000):
    for number in range(rounds):
        client.txn(
            success=[
                pb.RequestOp(request_put=pb.PutRequest(key=b"key%d" % key, value=bytes([number % 251]) * size))
                for key in range(keys)
            ]
        )


@berth_only
def test_defragment_gives_disk_space_back_while_writers_and_readers_go_on(new_server):
    server = new_server(flush_interval="200ms").start()
    etcdctl = Etcdctl(server.url)
    with server.client() as client:
        write_history(client, 600)
        client.compact(client.revision(), physical=True)
        before, grown = status(client), disk_bytes(server)
        assert grown > 20_000_000 and before.dbSize > 20_000_000
        stop, errors, slowest, done = threading.Event(), [], [0.0, 0.0], [0, 0]

        def loop(place, call):
            try:
                while not stop.is_set():
                    began = time.monotonic()
                    call()
                    slowest[place] = max(slowest[place], time.monotonic() - began)
                    done[place] += 1
            except grpc.RpcError as error:
                errors.append(error)

        with server.client() as writer, server.client() as reader:
            threads = [
                threading.Thread(target=loop, args=(0, lambda: writer.put(b"writer", b"x"))),
                threading.Thread(target=loop, args=(1, lambda: reader.range(b"key", b"kez"))),
            ]
            for thread in threads:
                thread.start()
            assert etcdctl("defrag").stdout.startswith("Finished defragmenting etcd member")
            stop.set()
            for thread in threads:
                thread.join()
        assert not errors and min(done) > 0
        print(f"slowest put {slowest[0] * 1000:.1f} ms, slowest range {slowest[1] * 1000:.1f} ms beside it")
        after = status(client)
        assert disk_bytes(server) < grown / 4
        assert after.dbSizeInUse <= after.dbSize < before.dbSize / 4
        client.put(b"last", b"one")
        revision = client.revision()
        hashed = hash_of(client, revision)
        assert metrics(server)["berth_defragmentation_released_bytes_total"] > 15_000_000
    server.kill()
    server.start()
    with server.client() as client:
        assert hash_of(client, revision) == hashed
        assert len(client.range(b"key", b"kez").kvs) == 50
        # Again, with nothing to do, and with writes into what was given back.
        assert etcdctl("defrag").code == 0
        write_history(client, 100)
        revision = client.revision()
        hashed = hash_of(client, revision)
    assert server.stop() == 0
    server.start()
    with server.client() as client:
        assert hash_of(client, revision) == hashed


@berth_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_flush_into_holes_of_a_full_disk_fails_and_is_tried_again(new_server, tmp_path):
    """Given back pages are taken by others; the flush that wants them again must fail whole, and succeed later."""
    base = tmp_path / "data" / "base"
    base.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(base)], check=True)
    try:
        server = new_server(data_dir=tmp_path / "data", flush_interval="100ms").start()
        with server.client() as client:
            write_history(client, 300)
            client.compact(client.revision(), physical=True)
            assert Etcdctl(server.url)("defrag").code == 0
            ballast = base / "ballast"
            with open(ballast, "wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                except OSError:
                    pass
            assert metrics(server)["berth_flush_failing"] == 0
            write_history(client, 20)
            wait(lambda: metrics(server)["berth_flush_failures_total"] >= 2)
            seen = metrics(server)
            assert seen["berth_flush_failing"] == 1
            assert "flush failed; nothing is lost" in server.log()
            # Reads and writes go on as long as the young layers have room.
            client.put(b"meanwhile", b"1")
            assert client.get(b"meanwhile") == b"1"
            # What gives space back works on a full disk as well.
            assert Etcdctl(server.url)("defrag").code == 0
            revision = client.revision()
            hashed = hash_of(client, revision)
            ballast.unlink()
            wait(lambda: metrics(server)["berth_flush_failing"] == 0)
            assert metrics(server)["berth_flushes_total"] > seen["berth_flushes_total"]
        server.kill()
        server.start()
        with server.client() as client:
            assert hash_of(client, revision) == hashed
        assert server.stop() == 0
    finally:
        for process in [s.process for s in [locals().get("server")] if s is not None and s.process is not None]:
            process.kill()
            process.wait()
        subprocess.run(["umount", str(base)], check=True)


def wait(holds, timeout=60):
    """Until something that only metrics tell is so."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@berth_only
def test_periodic_compaction_keeps_its_window_and_goes_on(new_server):
    server = new_server(auto_compaction_mode="periodic", auto_compaction_retention="1s").start()
    with server.client() as client:
        first = client.put(b"key", b"first").header.revision
        for number in range(20):
            last = client.put(b"key", b"%d" % number).header.revision
        wait(lambda: metrics(server)["berth_compacted_revision"] >= last)
        with pytest.raises(grpc.RpcError) as caught:
            client.range(b"key", revision=first)
        assert caught.value.details() == COMPACTED
        assert client.get(b"key") == b"19"
        again = client.put(b"key", b"again").header.revision
        wait(lambda: metrics(server)["berth_compacted_revision"] >= again)
        assert metrics(server)["berth_auto_compaction_failures_total"] == 0
        assert "automatic compaction" in server.log()


@berth_only
def test_physical_compaction_answers_when_the_revisions_are_gone(new_server):
    server = new_server(flush_interval="10s").start()
    etcdctl = Etcdctl(server.url)
    with server.client() as client:
        write_history(client, 100)
        assert metrics(server)["berth_compaction_removed_revisions_total"] == 0
        assert etcdctl("compaction", str(client.revision()), "--physical").stdout.startswith("compacted revision")
        seen = metrics(server)
        assert seen["berth_compaction_removed_revisions_total"] == 99 * 50
        assert seen["berth_compaction_duration_seconds_count"] == 1


@berth_only
def test_every_path_reads_a_compacted_revision_with_etcds_error(server, client):
    write_history(client, 3, keys=2)
    client.compact(4)
    compacted = (grpc.StatusCode.OUT_OF_RANGE, COMPACTED)

    def failure(call):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        return caught.value.code(), caught.value.details()

    get = pb.RequestOp(request_range=pb.RangeRequest(key=b"key0", revision=3))
    assert failure(lambda: client.range(b"key0", revision=3)) == compacted
    assert failure(lambda: client.range(b"key", b"kez", revision=2, count_only=True)) == compacted
    assert failure(lambda: client.txn(success=[get])) == compacted
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"other"))
    assert failure(lambda: client.txn(success=[put, get])) == compacted
    assert client.get(b"other") is None
    assert failure(lambda: client.compact(4)) == compacted
    assert failure(lambda: client.compact(3)) == compacted
    assert client.range(b"key0", revision=4).kvs[0].mod_revision == 4
    with client.watch() as watch:
        watch.create(b"key0", start_revision=2)
        answer = watch.next()
        assert (answer.canceled, answer.compact_revision) == (True, 4)


@berth_only
@pytest.mark.parametrize(
    "options, named",
    [
        (["--flush-revisions", "0"], "--flush-revisions is 0"),
        (["--flush-revisions", "many"], "--flush-revisions is 'many'"),
        (["--flush-bytes", "1000"], "--flush-bytes is 1000"),
        (["--flush-interval", "1ms"], "--flush-interval"),
        (["--flush-interval", "soon"], "--flush-interval is 'soon'"),
        (["--auto-compaction-mode", "weekly"], "--auto-compaction-mode is 'weekly'"),
        (["--auto-compaction-retention", "-1"], "--auto-compaction-retention"),
        (["--auto-compaction-mode", "revision", "--auto-compaction-retention", "5m"], "--auto-compaction-retention"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_in_one_line(tmp_path, options, named):
    name, value = options[-2:]
    variable = {"BERTH_" + name[2:].upper().replace("-", "_"): value}
    for given, environment in [(options, {}), (options[:-2], variable)]:
        command = [berth_binary(), "serve", "--data-dir", str(tmp_path / "data")]
        command += [f"{a}={b}" for a, b in zip(given[::2], given[1::2])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)
        assert done.returncode == 64, done
        (line,) = done.stderr.strip().splitlines()
        assert named in line and "expected" in line
    assert not (tmp_path / "data").exists()
