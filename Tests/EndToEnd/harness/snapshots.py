"""Snapshots as a client sees them: the stream, the command, and what makes a store equal to another."""

import json

from .api import berth, pb
from .berthctl import Berth
from .client import Stream


def open_copy(client, **options):
    """A copy under way, as a stream of chunks."""
    return Stream(client.maintenance_berth.Snapshot, berth.SnapshotRequest(), **options)


def save(server, path, *options):
    """Saves with `berth snapshot save` and returns what it printed."""
    return json.loads(Berth(server.url)("snapshot", "save", path, "-w", "json", *options).stdout)


def describe(path):
    return json.loads(Berth("unused")("snapshot", "status", path, "-w", "json").stdout)


def restore(path, data_dir, *options):
    command = ["snapshot", "restore", path, "--data-dir", data_dir, "-w", "json", *options]
    return json.loads(Berth("unused")(*command).stdout)


def hashes(client):
    """The store's hash as hexadecimal text, and HashKV with what it is for."""
    whole = client.maintenance.Hash(pb.HashRequest(), timeout=60)
    history = client.maintenance.HashKV(pb.HashKVRequest(), timeout=60)
    return f"{whole.hash:08x}", history.hash, history.compact_revision, whole.header.revision
