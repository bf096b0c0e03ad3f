"""Where the batches of a log segment lie. The format is libraft's: a word that names it, then batches, then zeros.

A batch: checksums of header and data (4 bytes each), the header (the number of entries, then 16 bytes for each: term 8,
type 1, nothing 3, length 4), and the entries' data.
"""

import struct

SECTOR = 512


def batches(data):
    """(offset, length, entries) of each batch, as far as they can be followed."""
    found, place = [], 8
    while place + 16 <= len(data):
        (count,) = struct.unpack_from("<Q", data, place + 8)
        header = place + 16
        if not 0 < count < 1_000_000 or header + 16 * count > len(data):
            break
        size = sum(
            (struct.unpack_from("<I", data, header + 16 * entry + 12)[0] + 7) // 8 * 8 for entry in range(count)
        )
        length = 16 + 16 * count + size
        if place + length > len(data):
            break
        found.append((place, length, count))
        place += length
    return found


def lacks_sector(data, start, end):
    """Whether some sector holds only zeros where it meets the bytes from `start` to `end`."""
    while start < end:
        following = min(start // SECTOR * SECTOR + SECTOR, end)
        if not any(data[start:following]):
            return True
        start = following
    return False
