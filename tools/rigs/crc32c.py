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


def _appending_zeros():
    """For each bit of a length, tables that move a checksum past that many zero bytes: one table a byte of it."""
    operators = []
    step = [_after_zero_byte(1 << bit) for bit in range(32)]
    for _ in range(40):
        tables = []
        for byte in range(4):
            table = [0] * 256
            for value in range(1, 256):
                lowest = (value & -value).bit_length() - 1
                table[value] = table[value & (value - 1)] ^ step[8 * byte + lowest]
            tables.append(table)
        operators.append(tables)
        step = [_moved(_moved(1 << bit, tables), tables) for bit in range(32)]
    return operators


def _after_zero_byte(crc):
    return _BYTES[crc & 0xFF] ^ (crc >> 8)


def _moved(crc, tables):
    return (
        tables[0][crc & 0xFF] ^ tables[1][crc >> 8 & 0xFF] ^ tables[2][crc >> 16 & 0xFF] ^ tables[3][crc >> 24]
    )


_ZEROS = _appending_zeros()


def combined(first, second, length):
    """The checksum of two pieces put together, from the checksum of each and the length of the second."""
    bit = 0
    while length:
        if length & 1:
            first = _moved(first, _ZEROS[bit])
        length >>= 1
        bit += 1
    return first ^ second


assert crc32c(b"123456789") == 0xE3069283
assert combined(crc32c(b"1234"), crc32c(b"56789"), 5) == 0xE3069283
