// What Debian 12's valgrind 3.19 cannot do with a Swift server, and this preloaded library does in its place.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

// libdispatch hands over a mask in read-only memory; valgrind writes to it and dies.
int sigsuspend(const sigset_t *mask) {
    sigset_t copy = *mask;
    return (int)syscall(SYS_rt_sigsuspend, &copy, 8);
}

// valgrind has less address space to give than Berth reserves for its store.
int mdb_env_set_mapsize(void *environment, size_t size) {
    static int (*original)(void *, size_t);
    if (!original) original = (int (*)(void *, size_t))dlsym(RTLD_NEXT, "mdb_env_set_mapsize");
    const size_t most = (size_t)2 << 30;
    return original(environment, size < most ? size : most);
}
