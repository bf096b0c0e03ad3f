"""What libraft gets from Berth in place of the C library's functions (docs/decisions/0011)."""

import os
import pathlib
import time

import pytest

from harness.api import pb

pytestmark = pytest.mark.berth_only


def holds_data(path):
    """Whether the file system keeps blocks for the file's beginning that were written, not just reserved."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(file, 0, os.SEEK_DATA) == 0
    except OSError:
        return False  # Nothing but a hole.
    finally:
        os.close(file)


def test_a_new_segment_is_filled_with_zeros(server):
    reserved = server.data_dir / "reserved"
    with open(reserved, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
    if holds_data(reserved):
        pytest.skip("this file system does not tell reserved blocks from written ones")
    # The first is in use; what comes next is prepared before it is needed.
    segment = server.data_dir / "log" / "open-2"
    limit = time.monotonic() + 10
    while not (segment.exists() and holds_data(segment)):
        assert time.monotonic() < limit, sorted(os.listdir(segment.parent))
        time.sleep(0.01)
    assert not any(segment.read_bytes())


def test_contexts_of_asynchronous_io_are_given_back_by_a_thread_of_its_own(server, client):
    for number in range(100):
        client.kv.Put(pb.PutRequest(key=b"%d" % number, value=b"v" * 100_000))
    # Ten million bytes: a segment has eight, and went with its context.
    tasks = pathlib.Path(f"/proc/{server.pid}/task")
    assert "berth-aio" in {task.joinpath("comm").read_text().strip() for task in tasks.iterdir()}
    assert client.kv.Range(pb.RangeRequest(key=b"99")).kvs[0].value == b"v" * 100_000
