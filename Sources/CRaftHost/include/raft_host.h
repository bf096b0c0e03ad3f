/// Functions of the C library that libraft finds here first: `posix_fallocate` and `syscall` (docs/decisions/0011).
///
/// They are exported from the program, where the dynamic linker looks before it looks into libraries. For everybody but
/// libraft they are what they always were. Nothing here is called by Berth's own code.
#pragma once
