/// Functions of the C library that libraft finds here first: `posix_fallocate`, `syscall` and `scandir64` (docs/decisions/0011).
///
/// They are exported from the program, where the dynamic linker looks before it looks into libraries. For everybody but
/// libraft they are what they always were.
#pragma once
#include <stdbool.h>

/// Whether the calling thread, and libraft on it, is told when the log's folder cannot be listed; no thread is before it says so.
void raft_host_sees_listing_errors(bool does);
