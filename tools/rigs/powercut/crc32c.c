// CRC-32C, eight bytes a step: hashes of whole histories are computed for every image.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t table[8][256];

__attribute__((constructor)) static void fill(void) {
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t crc = value;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][value] = crc;
    }
    for (int step = 1; step < 8; step++)
        for (uint32_t value = 0; value < 256; value++)
            table[step][value] = (table[step - 1][value] >> 8) ^ table[0][table[step - 1][value] & 0xFF];
}

uint32_t crc32c(uint32_t crc, const unsigned char *bytes, size_t count) {
    crc = ~crc;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        word ^= crc;
        crc = table[7][word & 0xFF] ^ table[6][word >> 8 & 0xFF] ^ table[5][word >> 16 & 0xFF] ^
              table[4][word >> 24 & 0xFF] ^ table[3][word >> 32 & 0xFF] ^ table[2][word >> 40 & 0xFF] ^
              table[1][word >> 48 & 0xFF] ^ table[0][word >> 56];
    }
    while (count-- > 0) crc = (crc >> 8) ^ table[0][(crc ^ *bytes++) & 0xFF];
    return ~crc;
}
