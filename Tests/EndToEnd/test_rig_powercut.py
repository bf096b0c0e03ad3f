"""The disk that tools/rig-powercut cuts the power of: what was flushed stays, what was not may go, and no more than that."""

import random
import sys

import pytest

from harness.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))

from rigs.powercut import trace  # noqa: E402
from rigs.powercut.disk import EVERYTHING, PAGE, SECTOR, Chance, Disk, Unexplained  # noqa: E402

A, B, C = (bytes([letter]) * PAGE for letter in b"abc")


class Machine:
    """Plays a program that writes: makes events and feeds them to a disk."""

    def __init__(self):
        self.disk = Disk()
        self.operation = 0

    def event(self, kind, file=0, first=0, second=0, payload=b"", flags=0, operation=0):
        self.disk.take(trace.Event(kind, flags, 0, operation, file, first, second, memoryview(payload)))

    def open(self, path, file, flags=trace.CREATED):
        self.event(trace.OPEN, file, payload=path.encode(), flags=flags)

    def begin(self, kind, file, **fields):
        self.operation += 1
        self.event(kind, file, operation=self.operation, **fields)
        return self.operation

    def write(self, file, offset, data, durable=False):
        operation = self.begin(
            trace.WRITE_BEGIN, file, first=offset, payload=data, flags=trace.DURABLE if durable else 0
        )
        self.event(trace.WRITE_END, file, first=len(data), operation=operation)

    def sync(self, file):
        self.end_sync(self.begin(trace.SYNC_BEGIN, file))

    def end_sync(self, operation):
        self.event(trace.SYNC_END, operation=operation)

    def sync_root(self):
        self.open("", 99, flags=0)
        self.sync(99)

    def images(self, folder, count=60):
        """What `count` crashes leave, as {path: bytes}."""
        folder.mkdir(exist_ok=True)
        for number in range(count):
            target = folder / f"{number}"
            self.disk.build(target, Chance(random.Random(number)))
            yield {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()}


@pytest.fixture
def machine():
    machine = Machine()
    machine.open("file", 3)
    machine.sync_root()
    return machine


def test_what_was_flushed_is_there_after_every_crash(machine, tmp_path):
    machine.write(3, 0, A + B)
    machine.sync(3)
    machine.write(3, PAGE, C)
    for image in machine.images(tmp_path):
        assert image["file"][:PAGE] == A
        assert len(image["file"]) == 2 * PAGE


def test_a_write_that_is_flushed_by_itself_is_there_and_others_may_be_lost(machine, tmp_path):
    machine.write(3, 2 * PAGE, C)
    machine.write(3, 0, A, durable=True)
    seen = {image["file"][2 * PAGE :] for image in machine.images(tmp_path) if image["file"][:PAGE] == A}
    assert {C, bytes(PAGE)} <= seen
    assert all(image["file"][:PAGE] == A for image in machine.images(tmp_path / "again"))


def test_unflushed_pages_are_kept_lost_or_torn_each_for_itself(machine, tmp_path):
    machine.write(3, 0, A + A + A)
    machine.sync(3)
    machine.write(3, 0, B + B + B)
    kinds = set()
    for image in machine.images(tmp_path, 200):
        pages = [image["file"][n * PAGE : (n + 1) * PAGE] for n in range(3)]
        for page in pages:
            changes = [n for n in range(1, PAGE) if page[n] != page[n - 1]]
            assert len(changes) <= 1 and all(n % SECTOR == 0 for n in changes)
        kinds.add(tuple("kept" if p == B else "lost" if p == A else "torn" for p in pages))
    assert ("kept", "lost", "kept") in kinds or ("lost", "kept", "lost") in kinds
    assert ("kept",) * 3 in kinds and ("lost",) * 3 in kinds
    assert any("torn" in kind for kind in kinds)


def test_a_flush_covers_what_had_ended_when_it_began_and_no_more(machine, tmp_path):
    machine.write(3, 0, A)
    flush = machine.begin(trace.SYNC_BEGIN, 3)
    machine.write(3, PAGE, B)
    machine.end_sync(flush)
    assert {image["file"][PAGE:] for image in machine.images(tmp_path)} >= {B, b""}


def test_flushes_that_overlap_neither_undo_nor_overdo_each_other(machine, tmp_path):
    machine.write(3, 0, A)
    first = machine.begin(trace.SYNC_BEGIN, 3)
    machine.write(3, 0, B)
    machine.sync(3)
    machine.write(3, 0, C)
    machine.end_sync(first)
    assert {image["file"] for image in machine.images(tmp_path)} >= {B, C}
    assert A not in {image["file"] for image in machine.images(tmp_path / "again")}


def test_names_come_in_order_and_only_a_flush_of_the_folder_keeps_them(machine, tmp_path):
    machine.open("new", 4)
    machine.write(4, 0, A)
    machine.sync(4)
    machine.event(trace.RENAME, payload=b"new\0final")
    machine.event(trace.UNLINK, payload=b"file")
    seen = {frozenset(image) for image in machine.images(tmp_path)}
    assert seen <= {frozenset(names) for names in (["file"], ["file", "new"], ["file", "final"], ["final"])}
    assert len(seen) > 2
    machine.sync_root()
    assert all(set(image) == {"final"} and image["final"] == A for image in machine.images(tmp_path / "again"))


def test_sizes_come_in_order_and_skipped_space_is_zeros(machine, tmp_path):
    machine.event(trace.ALLOCATE, 3, first=0, second=3 * PAGE)
    machine.write(3, 0, A)
    machine.event(trace.TRUNCATE, 3, second=SECTOR)
    sizes = set()
    for image in machine.images(tmp_path):
        sizes.add(len(image["file"]))
        assert set(image["file"][PAGE:]) <= {0}
    assert sizes == {0, 3 * PAGE, SECTOR}


def test_a_hole_is_not_there_before_it_is_flushed(machine, tmp_path):
    machine.write(3, 0, A + B)
    machine.sync(3)
    machine.event(trace.ALLOCATE, 3, first=0, second=PAGE, flags=trace.PUNCHED)
    assert {image["file"][:PAGE] for image in machine.images(tmp_path)} >= {A, bytes(PAGE)}
    assert all(image["file"][PAGE:] == B for image in machine.images(tmp_path / "again"))


def test_what_the_recorder_cannot_explain_is_an_error(machine):
    with pytest.raises(Unexplained):
        machine.event(trace.UNKNOWN, 3, first=285)
    with pytest.raises(Unexplained):
        machine.write(77, 0, A)


def test_all_events_together_make_the_folder(machine, tmp_path):
    machine.write(3, 0, A + B[:100])
    machine.disk.build(tmp_path / "image", EVERYTHING)
    assert machine.disk.differences(tmp_path / "image", ()) == []
    (tmp_path / "image/file").write_bytes(A + B[:99])
    assert machine.disk.differences(tmp_path / "image", ())
