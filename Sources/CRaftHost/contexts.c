// libraft gives back a segment's context of asynchronous I/O on the log thread when the segment is full, and the kernel
// makes who does that wait for its readers everywhere (RCU), some 30 ms in which nothing is written. Nothing is under way in
// the context by then, and nobody needs to know when it is gone: a thread of its own waits instead.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "next.h"
#include "raft_host.h"

typedef long (*system_call)(long, ...);

// Found before `main`, or by whoever calls earlier.
static system_call next_call(void) {
    static void *next;
    return (system_call)next_function(&next, "syscall");
}

__attribute__((constructor)) static void find_next_call(void) { next_call(); }

// Contexts that wait to be given back. When there are more the caller waits itself.
enum { ROOM = 64 };
static unsigned long waiting[ROOM];
static int count;
static bool has_thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

static void *give_back(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_setname_np(pthread_self(), "berth-aio");
    for (;;) {
        pthread_mutex_lock(&lock);
        while (count == 0) pthread_cond_wait(&arrived, &lock);
        unsigned long context = waiting[--count];
        pthread_mutex_unlock(&lock);
        next_call()(SYS_io_destroy, context);
    }
    return unused;
}

// Leaves `errno` as it was: libraft looks at it after it gave a context back.
static bool give_back_later(unsigned long context) {
    int error = errno;
    pthread_mutex_lock(&lock);
    if (!has_thread) {
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, 128 << 10);
        has_thread = pthread_create(&thread, &attributes, give_back, NULL) == 0;
        pthread_attr_destroy(&attributes);
    }
    bool is_taken = has_thread && count < ROOM;
    if (is_taken) {
        waiting[count++] = context;
        pthread_cond_signal(&arrived);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return is_taken;
}

long syscall(long number, ...) {
    va_list list;
    long argument[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) argument[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_io_destroy && give_back_later((unsigned long)argument[0])) return 0;
    return next_call()(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
