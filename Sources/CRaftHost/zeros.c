// A write into blocks that are only reserved makes the file system note that they are used now, with a commit of its own
// journal: on ext4 a small durable write takes nearly twice as long as one over blocks that were written before. So new
// segments of the log are filled with zeros, which is what they are read as anyhow. libraft reserves a segment on a
// worker thread, before anything is written there, and has no other place where the file could be prepared.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "next.h"
#include "raft_host.h"

// Whether libraft will append to this file: `open-` and a number.
static bool is_segment(int file) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return false;
    path[length] = 0;
    const char *slash = strrchr(path, '/');
    return slash && strncmp(slash + 1, "open-", 5) == 0;
}

// Where a block is written in place. Others write elsewhere whatever was there, and would take the reserved space for nothing.
static bool overwrites_in_place(int file) {
    struct statfs system;
    if (fstatfs(file, &system) != 0) return false;
    return system.f_type == EXT4_SUPER_MAGIC || system.f_type == XFS_SUPER_MAGIC;
}

// At most one segment a second, and as many at once as libraft keeps ready. Who fills segments faster writes much with each
// flush: there the zeros would take more of the disk's time than they save.
static bool is_worth_it(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const double burst = 3;
    static double credit = 3, at = 0;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    double now = (double)time.tv_sec + (double)time.tv_nsec / 1e9;
    pthread_mutex_lock(&lock);
    credit += at > 0 ? now - at : 0;
    if (credit > burst) credit = burst;
    at = now;
    bool is = credit >= 1;
    if (is) credit -= 1;
    pthread_mutex_unlock(&lock);
    return is;
}

static int write_zeros(int file, off_t length) {
    enum { PIECE = 1 << 20 };
    char *zeros = calloc(1, PIECE);
    if (!zeros) return 0;  // The segment is as good as one that is only reserved.
    off_t done = 0;
    int code = 0;
    while (done < length && code == 0) {
        off_t rest = length - done;
        ssize_t count = pwrite(file, zeros, rest < PIECE ? (size_t)rest : PIECE, done);
        if (count > 0) {
            done += count;
        } else if (count == 0 || errno != EINTR) {
            code = count == 0 ? ENOSPC : errno;
        }
    }
    free(zeros);
    // libraft opens segments so that each write is durable; should that change, the zeros must still be.
    if (code == 0 && fdatasync(file) != 0) code = errno;
    if (code == 0) posix_fadvise(file, 0, length, POSIX_FADV_DONTNEED);
    return code;
}

typedef int (*reserve)(int, off_t, off_t);

// Found before `main`, or by whoever calls earlier.
static reserve next_reserve(void) {
    static void *next;
    return (reserve)next_function(&next, "posix_fallocate");
}

__attribute__((constructor)) static void find_next_reserve(void) { next_reserve(); }

int posix_fallocate(int file, off_t offset, off_t length) {
    int code = next_reserve()(file, offset, length);
    if (code != 0 || offset != 0 || !is_segment(file) || !overwrites_in_place(file) || !is_worth_it()) return code;
    return write_zeros(file, length);
}
