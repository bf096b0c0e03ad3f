"""What reaches the disk."""
import os
from pathlib import Path

SECTOR = 512  # bytes, whatever the disk's own (Linux, Documentation/block/stat.rst)


def bytes_written(folder):
    """Bytes written to the disk that a folder is on, by everybody since the machine started.

    Call os.sync() before, where what is dirty has to be in it; not in a window of time that is measured, as it waits.

    The kernel's count for a process would not do: it charges whoever makes a piece of the page cache dirty with all of it,
    256 KiB for one changed block on ext4 of recent Linux. None where there is no such disk, as in tmpfs.
    """
    device = os.stat(folder).st_dev
    counts = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not counts.exists():
        return None
    return int(counts.read_text().split()[6]) * SECTOR
