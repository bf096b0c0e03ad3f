// The checksum that libraft puts before every batch of the log and into the description of a checkpoint: CRC-32 with the polynomial
// 0x04C11DB7, most significant bit first. libraft takes one byte a step, each of which waits for the one before: 2.4 ns a
// byte, the log thread's largest piece of work for long values. This takes sixteen a step.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "raft_host.h"

enum { STEP = 16, POLYNOMIAL = 0x04C11DB7 };

// tables[n][byte]: what `byte` does to the checksum once n more bytes, zeros, came after it.
static uint32_t tables[STEP][256];

__attribute__((constructor)) static void fill_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? crc << 1 ^ POLYNOMIAL : crc << 1;
        tables[0][byte] = crc;
    }
    for (int after = 1; after < STEP; after++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = tables[after - 1][byte];
            tables[after][byte] = crc << 8 ^ tables[0][crc >> 24];
        }
    }
}

// What four bytes do to the checksum, the first in the lowest byte of `word`, with `after` bytes behind the last.
static inline uint32_t four_bytes(uint32_t word, int after) {
    return tables[after + 3][word & 0xff] ^ tables[after + 2][word >> 8 & 0xff] ^ tables[after + 1][word >> 16 & 0xff] ^
           tables[after][word >> 24];
}

uint32_t raft_host_checksum(const void *bytes, size_t count, uint32_t crc) {
    const uint8_t *next = bytes;
    for (; count >= STEP; count -= STEP, next += STEP) {
        uint32_t words[4];
        memcpy(words, next, STEP);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        for (int word = 0; word < 4; word++) words[word] = __builtin_bswap32(words[word]);
#endif
        crc = four_bytes(words[0] ^ __builtin_bswap32(crc), 12) ^ four_bytes(words[1], 8) ^ four_bytes(words[2], 4) ^
              four_bytes(words[3], 0);
    }
    for (; count > 0; count--, next++) crc = crc << 8 ^ tables[0][crc >> 24 ^ *next];
    return crc;
}

// What the linker takes for libraft's own function.
uint32_t __wrap_byteCrc32(const void *bytes, size_t count, uint32_t crc) {
    return raft_host_checksum(bytes, count, crc);
}
