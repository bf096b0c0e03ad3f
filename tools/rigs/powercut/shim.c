// Records what a process writes and flushes under one folder: a preloaded library around libc's functions.
//
//   POWERCUT_ROOT    the folder, as an absolute path without links
//   POWERCUT_TRACE   the file that events are appended to; outside of the folder
//   POWERCUT_FAULT   "base-sync": flushes of the files in base/ are neither done nor recorded;
//                    "log-sync": the same for the log's open segments;
//                    "slow-base": no fault, but a slow disk under base/: its durable writes begin some time late
//
// Events stand in the trace in the order in which they happened, with the time of CLOCK_MONOTONIC in nanoseconds. A
// write and a flush are two events each, before and after, as others may run meanwhile; a change of names or of a
// file's size is one, made and recorded under the lock. Data is copied before it is written. What goes through a
// shared writable mapping is not seen: the mapping itself is recorded, so that the rig can tell where that matters.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
    OPEN = 1, CLOSE, WRITE_BEGIN, WRITE_END, SYNC_BEGIN, SYNC_END, TRUNCATE, ALLOCATE, RENAME, UNLINK, MKDIR, RMDIR,
    MAPPED, UNKNOWN,
};

// As tools/rigs/powercut/trace.py reads it.
struct event {
    uint32_t payload;  // bytes that follow
    uint16_t kind;
    uint16_t flags;
    uint64_t time;
    uint64_t operation;  // joins the two events of a write or a flush
    int64_t file;        // descriptor
    int64_t first;       // offset, size or result
    int64_t second;      // length
};

enum { DURABLE = 1, CREATED = 2, TRUNCATED = 4, PUNCHED = 8 };
enum { FILES = 4096, TRACE_FD = 3900, PENDING = 1024 };

static char root[4096];
static size_t root_length;
static int trace = -1;
static enum { NONE, BASE_SYNC, LOG_SYNC, SLOW_BASE } fault;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_fast64_t operations = 1;

// What is known of each descriptor under the root. Written when it is opened, before anyone else knows its number.
static struct file {
    _Atomic char known;
    char durable;  // each write is flushed before it returns
    char deaf;     // the planted fault swallows its flushes
    char slow;     // its durable writes are held up
} files[FILES];

// Asynchronous writes under way, by their control block.
static struct {
    const struct iocb *block;
    uint64_t operation;
    int fd;
} pending[PENDING];

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Not through libc: its functions are the ones this library stands in front of.
static long raw(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void die(const char *why) {
    raw(SYS_write, 2, (long)why, (long)strlen(why), 0, 0, 0);
    raw(SYS_exit_group, 97, 0, 0, 0, 0, 0);
}

static void put(const void *bytes, size_t count) {
    const char *next = bytes;
    while (count > 0) {
        long done = raw(SYS_write, trace, (long)next, (long)count, 0, 0, 0);
        if (done == -EINTR) continue;
        if (done <= 0) die("powercut shim: the trace cannot be written\n");
        next += done;
        count -= (size_t)done;
    }
}

// With the lock held.
static void record(enum kind kind, int flags, uint64_t operation, int64_t file, int64_t first, int64_t second,
                   const struct iovec *parts, int count) {
    struct event event = {.kind = kind, .flags = (uint16_t)flags, .time = now(), .operation = operation, .file = file,
                          .first = first, .second = second};
    size_t payload = 0;
    for (int i = 0; i < count; i++) payload += parts[i].iov_len;
    event.payload = (uint32_t)payload;
    put(&event, sizeof event);
    for (int i = 0; i < count; i++) put(parts[i].iov_base, parts[i].iov_len);
}

static void note(enum kind kind, int flags, uint64_t operation, int64_t file, int64_t first, int64_t second) {
    int saved = errno;
    pthread_mutex_lock(&lock);
    record(kind, flags, operation, file, first, second, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
}

static uint64_t begin_write(int fd, const struct iovec *parts, int count, int64_t offset, int durable) {
    uint64_t operation = atomic_fetch_add(&operations, 1);
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    pthread_mutex_lock(&lock);
    record(WRITE_BEGIN, durable && !files[fd].deaf ? DURABLE : 0, operation, fd, offset, (int64_t)length, parts, count);
    pthread_mutex_unlock(&lock);
    return operation;
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("POWERCUT_ROOT"), *path = getenv("POWERCUT_TRACE"), *planted = getenv("POWERCUT_FAULT");
    if (!folder || !path) return;
    root_length = strlen(folder);
    if (root_length >= sizeof root - 1) die("powercut shim: POWERCUT_ROOT is too long\n");
    memcpy(root, folder, root_length + 1);
    if (planted && *planted) {
        if (!strcmp(planted, "base-sync")) fault = BASE_SYNC;
        else if (!strcmp(planted, "log-sync")) fault = LOG_SYNC;
        else if (!strcmp(planted, "slow-base")) fault = SLOW_BASE;
        else die("powercut shim: POWERCUT_FAULT is not known\n");
    }
    int fd = (int)raw(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600, 0, 0);
    if (fd < 0) die("powercut shim: POWERCUT_TRACE cannot be opened\n");
    // Out of the way of the numbers the program gets.
    trace = (int)raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, TRACE_FD, 0, 0, 0);
    if (trace < 0) trace = (int)raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 200, 0, 0, 0);
    if (trace < 0) die("powercut shim: no descriptor for the trace\n");
    raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

// The path relative to the root in a buffer, or NULL when it leads elsewhere. The root itself is "".
static const char *inside(const char *path, char *buffer, size_t size) {
    if (trace < 0 || !path || strncmp(path, root, root_length) != 0) return NULL;
    const char *rest = path + root_length;
    if (*rest != 0 && *rest != '/') return NULL;
    // "." and ".." and doubled slashes are resolved by text: there are no links under the root.
    size_t length = 0;
    while (*rest) {
        while (*rest == '/') rest++;
        size_t part = strcspn(rest, "/");
        if (part == 0) break;
        if (part == 1 && rest[0] == '.') {
        } else if (part == 2 && rest[0] == '.' && rest[1] == '.') {
            if (length == 0) return NULL;
            while (length > 0 && buffer[length - 1] != '/') length--;
            if (length > 0) length--;
        } else {
            if (length + part + 2 > size) return NULL;
            if (length > 0) buffer[length++] = '/';
            memcpy(buffer + length, rest, part);
            length += part;
        }
        rest += part;
    }
    buffer[length] = 0;
    return buffer;
}

static struct file *known(int fd) {
    if (trace < 0 || fd < 0 || fd >= FILES || !files[fd].known) return NULL;
    return &files[fd];
}

// MARK: names

static int open_recorded(const char *path, int flags, mode_t mode, const char *name) {
    int deaf = (fault == BASE_SYNC && !strncmp(name, "base/", 5)) || (fault == LOG_SYNC && !strncmp(name, "log/open-", 9));
    int asked = deaf ? flags & ~(O_SYNC | O_DSYNC) : flags;
    pthread_mutex_lock(&lock);
    struct stat before;
    int exists = raw(SYS_newfstatat, AT_FDCWD, (long)path, (long)&before, 0, 0, 0) == 0;
    int fd = (int)raw(SYS_openat, AT_FDCWD, (long)path, asked, mode, 0, 0);
    if (fd >= 0) {
        if (fd >= FILES) die("powercut shim: too many open files\n");
        int access = flags & O_ACCMODE;
        files[fd].durable = (flags & O_DSYNC) != 0;
        files[fd].deaf = (char)deaf;
        files[fd].slow = fault == SLOW_BASE && !strncmp(name, "base/", 5);
        files[fd].known = 1;
        int about = (!exists && (flags & O_CREAT) ? CREATED : 0) | (exists && (flags & O_TRUNC) && access != O_RDONLY ? TRUNCATED : 0);
        record(OPEN, about, 0, fd, flags, 0, &(struct iovec){(void *)name, strlen(name)}, 1);
    }
    pthread_mutex_unlock(&lock);
    if (fd < 0) {
        errno = -fd;
        return -1;
    }
    return fd;
}

static int open_any(const char *path, int flags, mode_t mode) {
    char buffer[4096];
    const char *name = inside(path, buffer, sizeof buffer);
    if (name) return open_recorded(path, flags, mode, name);
    long fd = raw(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0);
    if (fd < 0) {
        errno = (int)-fd;
        return -1;
    }
    return (int)fd;
}

#define OPEN_BODY \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *path, int flags, ...) {
    OPEN_BODY
    return open_any(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    OPEN_BODY
    return open_any(path, flags, mode);
}
int __open_2(const char *path, int flags) { return open_any(path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_any(path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_any(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_any(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    if (path && path[0] == '/') return open_any(path, flags, mode);
    if (known(folder)) note(UNKNOWN, 0, 0, folder, SYS_openat, 0);
    long fd = raw(SYS_openat, folder, (long)path, flags, mode, 0, 0);
    if (fd < 0) {
        errno = (int)-fd;
        return -1;
    }
    return (int)fd;
}
int openat(int folder, const char *path, int flags, ...) {
    OPEN_BODY
    return open_at(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    OPEN_BODY
    return open_at(folder, path, flags, mode);
}

int close(int fd) {
    if (known(fd)) {
        note(CLOSE, 0, 0, fd, 0, 0);
        files[fd].known = 0;
    }
    if (fd == trace && trace >= 0) {
        errno = EBADF;
        return -1;
    }
    long result = raw(SYS_close, fd, 0, 0, 0, 0, 0);
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return 0;
}

// One path, or two for a rename.
static int change_names(enum kind kind, long number, const char *path, long argument, const char *other) {
    char a[4096], b[4096];
    const char *name = inside(path, a, sizeof a), *new_name = other ? inside(other, b, sizeof b) : NULL;
    if (name || new_name) pthread_mutex_lock(&lock);
    long result = raw(number, (long)path, other ? (long)other : argument, 0, 0, 0, 0);
    if (name || new_name) {
        if (result == 0) {
            if (other && (!name || !new_name)) {
                record(UNKNOWN, 0, 0, -1, number, 0, NULL, 0);
            } else {
                // Two names are parted by a zero byte.
                struct iovec parts[] = {{(void *)name, strlen(name)}, {"", 1}, {(void *)new_name, new_name ? strlen(new_name) : 0}};
                record(kind, 0, 0, -1, 0, 0, parts, new_name ? 3 : 1);
            }
        }
        pthread_mutex_unlock(&lock);
    }
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return 0;
}

int mkdir(const char *path, mode_t mode) { return change_names(MKDIR, SYS_mkdir, path, mode, NULL); }
int rmdir(const char *path) { return change_names(RMDIR, SYS_rmdir, path, 0, NULL); }
int unlink(const char *path) { return change_names(UNLINK, SYS_unlink, path, 0, NULL); }
int rename(const char *path, const char *other) { return change_names(RENAME, SYS_rename, path, 0, other); }

// Ways to change names that nobody uses under the root today. Should that change, the rig says so and fails.
#define FORBIDDEN_NAMES(function, parameters, arguments, path) \
    int function parameters { \
        char buffer[4096]; \
        if (inside(path, buffer, sizeof buffer)) note(UNKNOWN, 0, 0, -1, -1, 0); \
        REAL(function); \
        return real arguments; \
    }
FORBIDDEN_NAMES(link, (const char *from, const char *to), (from, to), to)
FORBIDDEN_NAMES(symlink, (const char *from, const char *to), (from, to), to)
FORBIDDEN_NAMES(truncate, (const char *path, off_t size), (path, size), path)
FORBIDDEN_NAMES(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), path)
FORBIDDEN_NAMES(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), path)
FORBIDDEN_NAMES(renameat, (int f, const char *from, int t, const char *to), (f, from, t, to), to)
FORBIDDEN_NAMES(renameat2, (int f, const char *from, int t, const char *to, unsigned flags), (f, from, t, to, flags), to)

// MARK: sizes

static int change_size(enum kind kind, int fd, int mode, off_t offset, off_t length) {
    struct file *file = known(fd);
    if (file) pthread_mutex_lock(&lock);
    long result = kind == TRUNCATE ? raw(SYS_ftruncate, fd, length, 0, 0, 0, 0) : raw(SYS_fallocate, fd, mode, offset, length, 0, 0);
    if (file) {
        if (result == 0) record(kind, mode ? PUNCHED : 0, 0, fd, offset, length, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return (int)result;
}

static int answer(long result) {
    if (result >= 0) return (int)result;
    errno = (int)-result;
    return -1;
}

int ftruncate(int fd, off_t size) { return answer(change_size(TRUNCATE, fd, 0, 0, size)); }
int ftruncate64(int fd, off_t size) { return answer(change_size(TRUNCATE, fd, 0, 0, size)); }
int posix_fallocate(int fd, off_t offset, off_t length) { return -change_size(ALLOCATE, fd, 0, offset, length); }
int posix_fallocate64(int fd, off_t offset, off_t length) { return -change_size(ALLOCATE, fd, 0, offset, length); }

static int allocate(int fd, int mode, off_t offset, off_t length) {
    if (mode == 0 || mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) return answer(change_size(ALLOCATE, fd, mode, offset, length));
    if (known(fd)) note(UNKNOWN, 0, 0, fd, SYS_fallocate, mode);
    return answer(raw(SYS_fallocate, fd, mode, offset, length, 0, 0));
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return allocate(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off_t offset, off_t length) { return allocate(fd, mode, offset, length); }

// MARK: data

// offset -1: at the descriptor's position.
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset, int flags, long number, const long *arguments) {
    struct file *file = known(fd);
    uint64_t operation = 0;
    if (file) {
        off_t place = offset >= 0 ? offset : raw(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0);
        int durable = file->durable || (flags & (RWF_DSYNC | RWF_SYNC));
        if (file->slow && durable) raw(SYS_nanosleep, (long)&(struct timespec){.tv_nsec = 40000000}, 0, 0, 0, 0, 0);
        operation = begin_write(fd, parts, count, place, durable);
    }
    long result = raw(number, fd, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
    if (file) note(WRITE_END, 0, operation, fd, result, 0);
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    struct iovec part = {(void *)bytes, count};
    return write_parts(fd, &part, 1, -1, 0, SYS_write, (long[5]){(long)bytes, (long)count});
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    struct iovec part = {(void *)bytes, count};
    return write_parts(fd, &part, 1, offset, 0, SYS_pwrite64, (long[5]){(long)bytes, (long)count, offset});
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) { return pwrite(fd, bytes, count, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return write_parts(fd, parts, count, -1, 0, SYS_writev, (long[5]){(long)parts, count});
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return write_parts(fd, parts, count, offset, 0, SYS_pwritev, (long[5]){(long)parts, count, offset});
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev(fd, parts, count, offset); }
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return write_parts(fd, parts, count, offset, flags, SYS_pwritev2, (long[5]){(long)parts, count, offset, 0, flags});
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return pwritev2(fd, parts, count, offset, flags);
}

#define FORBIDDEN_DATA(type, function, parameters, arguments, fd) \
    type function parameters { \
        if (known(fd)) note(UNKNOWN, 0, 0, fd, -2, 0); \
        REAL(function); \
        return real arguments; \
    }
FORBIDDEN_DATA(ssize_t, sendfile, (int to, int from, off_t *offset, size_t count), (to, from, offset, count), to)
FORBIDDEN_DATA(ssize_t, sendfile64, (int to, int from, off64_t *offset, size_t count), (to, from, offset, count), to)
FORBIDDEN_DATA(ssize_t, copy_file_range, (int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags), (from, a, to, b, count, flags), to)
FORBIDDEN_DATA(ssize_t, splice, (int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags), (from, a, to, b, count, flags), to)

static int flush(int fd, long number) {
    struct file *file = known(fd);
    if (!file) return answer(raw(number, fd, 0, 0, 0, 0, 0));
    if (file->deaf) return 0;
    uint64_t operation = atomic_fetch_add(&operations, 1);
    note(SYNC_BEGIN, 0, operation, fd, 0, 0);
    long result = raw(number, fd, 0, 0, 0, 0, 0);
    note(SYNC_END, 0, operation, fd, result, 0);
    return answer(result);
}
int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

// MARK: mappings

static void note_mapping(int protection, int flags, int fd) {
    if (fd >= 0 && (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) && known(fd)) note(MAPPED, 0, 0, fd, 0, 0);
}
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    note_mapping(protection, flags, fd);
    long result = raw(SYS_mmap, (long)address, (long)length, protection, flags, fd, offset);
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return MAP_FAILED;
    }
    return (void *)result;
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}

// MARK: asynchronous writes, which libraft makes through syscall()

static void submitted(const struct iocb *block) {
    struct file *file = known((int)block->aio_fildes);
    if (!file) return;
    int fd = (int)block->aio_fildes;
    struct iovec one = {(void *)(uintptr_t)block->aio_buf, block->aio_nbytes};
    const struct iovec *parts = &one;
    int count = 1;
    switch (block->aio_lio_opcode) {
    case IOCB_CMD_PWRITE: break;
    case IOCB_CMD_PWRITEV:
        parts = (const struct iovec *)(uintptr_t)block->aio_buf;
        count = (int)block->aio_nbytes;
        break;
    case IOCB_CMD_PREAD:
    case IOCB_CMD_PREADV: return;
    default: note(UNKNOWN, 0, 0, fd, SYS_io_submit, block->aio_lio_opcode); return;
    }
    uint64_t operation =
        begin_write(fd, parts, count, block->aio_offset, file->durable || (block->aio_rw_flags & (RWF_DSYNC | RWF_SYNC)));
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PENDING; i++) {
        if (pending[i].block) continue;
        pending[i].block = block;
        pending[i].operation = operation;
        pending[i].fd = fd;
        pthread_mutex_unlock(&lock);
        return;
    }
    die("powercut shim: too many asynchronous writes\n");
}

static void completed(const struct iocb *block, long result) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PENDING; i++) {
        if (pending[i].block != block) continue;
        record(WRITE_END, 0, pending[i].operation, pending[i].fd, result, 0, NULL, 0);
        pending[i].block = NULL;
        break;
    }
    pthread_mutex_unlock(&lock);
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    long result;
    switch (trace >= 0 ? number : -1) {
    case SYS_io_submit: {
        struct iocb **blocks = (struct iocb **)c;
        for (long i = 0; i < b; i++) submitted(blocks[i]);
        result = raw(number, a, b, c, d, e, f);
        for (long i = result < 0 ? 0 : result; i < b; i++) completed(blocks[i], -EAGAIN);
        break;
    }
    case SYS_io_getevents:
        result = raw(number, a, b, c, d, e, f);
        for (long i = 0; i < result; i++) {
            const struct io_event *event = (const struct io_event *)d + i;
            completed((const struct iocb *)(uintptr_t)event->obj, (long)event->res);
        }
        break;
    // libuv's ways to close a file and to write several parts, and a call that Swift's view of libc leaves out.
    case SYS_close: return close((int)a);
    case SYS_pwritev: return pwritev((int)a, (const struct iovec *)b, (int)c, d);
    case SYS_fallocate: return fallocate((int)a, (int)b, c, d);
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev2: case SYS_ftruncate: case SYS_copy_file_range:
    case SYS_fsync: case SYS_fdatasync:
        if (known((int)a)) note(UNKNOWN, 0, 0, a, number, 0);
        result = raw(number, a, b, c, d, e, f);
        break;
    default: result = raw(number, a, b, c, d, e, f);
    }
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
