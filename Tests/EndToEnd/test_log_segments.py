"""What libraft gets from Berth in place of the C library's functions (docs/decisions/0011)."""

import os
import pathlib
import re
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


def test_the_context_of_a_full_segment_is_given_back_by_a_thread_of_its_own(server, client):
    def waits():
        """How often the thread has waited: for the kernel, and for the next context."""
        for task in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
            if task.joinpath("comm").read_text().strip() == "berth-aio":
                return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", task.joinpath("status").read_text(), re.M)[1])
        return 0

    # libraft has tried out at start whether there is asynchronous I/O: that context may still be on its way.
    before, limit = 0, time.monotonic() + 10
    while before == 0 or before != waits():
        assert time.monotonic() < limit, "the thread is not there, or does not come to rest"
        before = waits()
        time.sleep(0.2)
    for number in range(100):
        client.kv.Put(pb.PutRequest(key=b"%d" % number, value=b"v" * 100_000))
    # Ten million bytes: a segment has eight, and went with its context.
    assert waits() > before
    assert client.kv.Range(pb.RangeRequest(key=b"99")).kvs[0].value == b"v" * 100_000
