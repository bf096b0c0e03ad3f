#pragma once
#include <dlfcn.h>

// The function that `name` would be without this program's own: that of the C library. `kept` remembers it; several threads
// may ask at once.
static inline void *next_function(void **kept, const char *name) {
    void *found = __atomic_load_n(kept, __ATOMIC_ACQUIRE);
    if (found) return found;
    found = dlsym(RTLD_NEXT, name);
    __atomic_store_n(kept, found, __ATOMIC_RELEASE);
    return found;
}
