/// Functions of the C library that libraft finds here first: `posix_fallocate`, `syscall` and `scandir64`; and its own checksum
/// (docs/decisions/0011).
///
/// libraft is linked into the program and finds the first there; `scandir64`, which libuv calls, is also exported, as the dynamic
/// linker looks into the program before it looks into libraries. For everybody but libraft they are what they always were. The
/// last takes the place of libraft's own by the linker's `--wrap`.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Whether the calling thread, and libraft on it, is told when the log's folder cannot be listed; no thread is before it says so.
void raft_host_sees_listing_errors(bool does);

/// The checksum of libraft's files, going on from `crc`; a new one begins with 0. `bytes` may be null when there are none.
uint32_t raft_host_checksum(const void *bytes, size_t count, uint32_t crc);
