"""CRC-32C (Castagnoli), two bytes a step: Python's standard library has other polynomials only."""

import sys

_POLYNOMIAL = 0x82F63B78


def _table():
    table = []
    for value in range(1 << 16):
        for _ in range(16):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()
_BYTES = [0] * 256
for _value in range(256):
    _crc = _value
    for _ in range(8):
        _crc = (_crc >> 1) ^ (_POLYNOMIAL if _crc & 1 else 0)
    _BYTES[_value] = _crc
assert sys.byteorder == "little", "pairs of bytes are read as they lie in memory"


def crc32c(data, crc=0):
    """The checksum of `data`, going on from `crc`."""
    crc ^= 0xFFFFFFFF
    table = _TABLE
    whole = len(data) & ~1
    for pair in memoryview(data)[:whole].cast("H"):
        crc = table[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    for byte in data[whole:]:
        crc = _BYTES[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283
