"""Reads what shim.c has written: the events of one server process, in the order in which they happened."""

import dataclasses
import mmap
import struct

OPEN, CLOSE, WRITE_BEGIN, WRITE_END, SYNC_BEGIN, SYNC_END, TRUNCATE, ALLOCATE = range(1, 9)
RENAME, UNLINK, MKDIR, RMDIR, MAPPED, UNKNOWN = range(9, 15)
NAMES = (
    "- open close write wrote sync synced truncate allocate rename unlink mkdir rmdir mapped unknown".split()
)

DURABLE, CREATED, TRUNCATED, PUNCHED = 1, 2, 4, 8

HEADER = struct.Struct("<IHHQQqqq")


@dataclasses.dataclass(slots=True)
class Event:
    kind: int
    flags: int
    time: int  # CLOCK_MONOTONIC in nanoseconds.
    operation: int
    file: int
    first: int
    second: int
    payload: memoryview

    @property
    def text(self):
        return bytes(self.payload).decode()


def read(path):
    """All events. Their data stays in the file, which is mapped. What a killed process did not write out is left out."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        whole = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)) if size else memoryview(b"")
    events = []
    place = 0
    while place + HEADER.size <= size:
        payload, kind, flags, time, operation, descriptor, first, second = HEADER.unpack_from(whole, place)
        place += HEADER.size
        if place + payload > size:
            break
        data = whole[place : place + payload]
        events.append(Event(kind, flags, time, operation, descriptor, first, second, data))
        place += payload
    return events
