#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own entry point: https://llvm.org/docs/LibFuzzer.html#using-libfuzzer-as-a-library */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

/* What is allocated between these two is no leak: https://clang.llvm.org/docs/LeakSanitizer.html */
void __lsan_disable(void);
void __lsan_enable(void);
