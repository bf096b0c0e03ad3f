#include <lmdb.h>
#include "crc32c.h"
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

/* fallocate(2), which Swift's view of the C library leaves out: takes the blocks of a range out of a file and keeps
   the file's length. Returns 0, or -1 with errno set. */
static inline int berth_punch_hole(int file, long offset, long length) {
    const int punch_hole = 0x02, keep_size = 0x01; /* FALLOC_FL_* */
    return (int)syscall(SYS_fallocate, file, punch_hole | keep_size, offset, length);
}

/* Gives the heap's free pages back to the system when more than `worth` bytes of it are free; others that allocate may have
   to wait for some milliseconds. Returns the bytes that are free afterwards, or 0 when it did nothing. */
static inline unsigned long berth_trim_heap(unsigned long worth) {
    if (mallinfo2().fordblks <= worth) return 0;
    malloc_trim(0);
    return mallinfo2().fordblks;
}
