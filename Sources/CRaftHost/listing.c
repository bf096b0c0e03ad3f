// After a checkpoint libraft lists the log's folder on a worker thread, to remove what is no longer needed. When that fails, as
// when the process has no file descriptor left, it frees two pointers that were never set, and the process dies. There an
// empty list is as good: nothing is removed, the next step looks at the folder again and reports the error, and the next
// checkpoint removes more. At start libraft lists the folder to load it, on the log's own thread: there the error must be seen.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "next.h"
#include "raft_host.h"

static _Thread_local bool sees_errors;

void raft_host_sees_listing_errors(bool does) { sees_errors = does; }

typedef int (*filter)(const struct dirent64 *);
typedef int (*order)(const struct dirent64 **, const struct dirent64 **);
typedef int (*list_folder)(const char *, struct dirent64 ***, filter, order);

// Found before `main`, or by whoever calls earlier.
static list_folder next_list(void) {
    static void *next;
    return (list_folder)next_function(&next, "scandir64");
}

__attribute__((constructor)) static void find_next_list(void) { next_list(); }

// libraft lists by way of libuv.
static bool is_in_libuv(void *address) {
    Dl_info found;
    if (!dladdr(address, &found) || !found.dli_fname) return false;
    const char *slash = strrchr(found.dli_fname, '/');
    return strncmp(slash ? slash + 1 : found.dli_fname, "libuv.so", 8) == 0;
}

int scandir64(const char *folder, struct dirent64 ***entries, filter keep, order before) {
    int count = next_list()(folder, entries, keep, before);
    if (count >= 0 || sees_errors) return count;
    int error = errno;
    if (is_in_libuv(__builtin_return_address(0))) {
        *entries = NULL;
        return 0;
    }
    errno = error;
    return count;
}
