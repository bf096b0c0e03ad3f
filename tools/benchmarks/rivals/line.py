"""What the loops of all worker processes share about each lock: who holds it, who held it last, when it was let go.

It lies in a file that every process maps; a word is read or written at once. Entering is not atomic, and need not be:
of two loops that hold one lock at a time, at least the first to leave finds the other's number in place of its own.
"""
import mmap

HOLDER, LAST_HOLDER, RELEASED_AT, SHARED = range(4)  # SHARED: how often two loops were seen to hold it.
WORDS = 4


def create(path, lines):
    path.write_bytes(bytes(8 * WORDS * lines))


def times_shared(path):
    """How often two loops were seen to hold one lock, over all lines of the file."""
    return sum(memoryview(path.read_bytes()).cast("q")[SHARED::WORDS])


class Line:
    """One lock of the file; loops are numbered from 1."""

    def __init__(self, path, number):
        with open(path, "r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")[number * WORDS:(number + 1) * WORDS]

    def enter(self, loop):
        """Returns who held it last (0: nobody) and when that one let go, by the monotonic clock."""
        if self.words[HOLDER]:
            self.words[SHARED] += 1
        self.words[HOLDER] = loop
        return self.words[LAST_HOLDER], self.words[RELEASED_AT]

    def leave(self, loop, now):
        if self.words[HOLDER] != loop:
            self.words[SHARED] += 1
        self.words[HOLDER] = 0
        self.words[LAST_HOLDER], self.words[RELEASED_AT] = loop, now
