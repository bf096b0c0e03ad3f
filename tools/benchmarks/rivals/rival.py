"""What every rival has in common: its name and settings, the works it can do, and how a measurement is framed."""
from pathlib import Path

from .server import Failed

KEYS = 10_000
# Beyond this, fewer keys are used: values of 100 KiB would not fit into ZooKeeper's heap ten thousand times.
MOST_BYTES = 256 << 20

TURN_WORKS = ("lock-1", "lock-16", "lock-64", "handoff-16")
KEY_WORKS = ("put-1", "put-16", "put-256", "get-16", "get-256")


def keys_for(value_size):
    return max(1, min(KEYS, MOST_BYTES // max(1, value_size)))


class Rival:
    """A server to compare with; the subclasses know how it is started and driven."""

    title = ""
    settings = ""
    works: tuple[str, ...] = (*KEY_WORKS, *TURN_WORKS)

    def version(self) -> str:
        raise NotImplementedError

    def missing(self) -> list[str]:
        """Debian packages that must be installed first."""
        raise NotImplementedError

    def start(self, data_root):
        """The server, not yet entered."""
        raise NotImplementedError

    def drive(self, server, kind, loops, seconds, value_size) -> dict[str, float]:
        """The figures of one work on a running server."""
        raise NotImplementedError

    def measure(self, work, seconds, data_root, value_size=128) -> dict[str, float]:
        """rate per s; cpu and client in µs per operation; p50, p99 and p99.9 in ms; rss in MiB; written in bytes per
        operation. A figure that could not be had is left out.

        Raises Failed when there is nothing to report.
        """
        if work not in self.works:
            raise Failed(f"{self.title} has nothing like {work}; it can do {', '.join(self.works)}")
        if missing := self.missing():
            raise Failed(f"{self.title} is not installed; run tools/install --bench (packages {' '.join(missing)})")
        kind, _, loops = work.partition("-")
        with self.start(Path(data_root)) as server:
            return self.drive(server, kind, int(loops), seconds, value_size)
