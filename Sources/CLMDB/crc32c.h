/* CRC-32C by the processor's own instruction, which Swift has no name for. Here because the store, which guards LMDB's pages
   by it, is the only module that imports this one. */
#ifndef BERTH_CRC32C_H
#define BERTH_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Whether the processor has the instruction (SSE 4.2). */
static inline int berth_has_crc32c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 20));
}

/* Takes bytes into an unfinished checksum. Only where the processor has the instruction. */
__attribute__((target("sse4.2"))) static inline uint32_t
berth_crc32c(uint32_t state, const void *bytes, size_t count) {
    const unsigned char *next = (const unsigned char *)bytes;
    uint64_t sum = state;
    for (; count >= 8; count -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    uint32_t rest = (uint32_t)sum;
    for (; count > 0; count--, next++) rest = __builtin_ia32_crc32qi(rest, *next);
    return rest;
}

#else

static inline int berth_has_crc32c(void) { return 0; }
static inline uint32_t berth_crc32c(uint32_t state, const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return state;
}

#endif
#endif
