/* alloc_fail.h - makes the n-th allocation fail, and counts what is still held.
 *
 * The programs of test/hard are linked with --wrap (Makefile), so every malloc, calloc, realloc, strdup, strndup,
 * posix_memalign, aligned_alloc and mmap of the library comes through here; jansson is given the same functions. What libc
 * allocates for itself (opendir) does not.
 *
 *     static llm_status load(void *arg, llm_error *err) { ... open and close ... }
 *     long n = alloc_fail_each(load, arg);        // once for every n; asserts an error each time and nothing left over
 *
 * Include it in one file of a program. Single-threaded code only: the counters are plain. */
#ifndef ALLOC_FAIL_H
#define ALLOC_FAIL_H
#include "../llm_test.h"
#include "status.h"
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/mman.h>

static struct { bool on, all_after; long at, count, failed, live; } alloc_fail;

/* Shall this one fail? at 0: none does. */
static bool alloc_fails(void)
{
    if (!alloc_fail.on) return false;
    alloc_fail.count++;
    if (alloc_fail.at == 0 || alloc_fail.count < alloc_fail.at) return false;
    if (alloc_fail.count > alloc_fail.at && !alloc_fail.all_after) return false;
    alloc_fail.failed++;
    errno = ENOMEM;
    return true;
}

static void *alloc_count(void *p)
{
    if (p && alloc_fail.on) alloc_fail.live++;
    return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_posix_memalign(void **p, size_t align, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t n);

void *__wrap_malloc(size_t n) { return alloc_fails() ? NULL : alloc_count(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return alloc_fails() ? NULL : alloc_count(__real_calloc(n, size)); }
char *__wrap_strdup(const char *s) { return alloc_fails() ? NULL : alloc_count(__real_strdup(s)); }
char *__wrap_strndup(const char *s, size_t n) { return alloc_fails() ? NULL : alloc_count(__real_strndup(s, n)); }
void *__wrap_aligned_alloc(size_t align, size_t n) { return alloc_fails() ? NULL : alloc_count(__real_aligned_alloc(align, n)); }
void *__wrap_realloc(void *p, size_t n)
{
    if (alloc_fails()) return NULL;
    return p ? __real_realloc(p, n) : alloc_count(__real_realloc(p, n));
}
int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
    int code;
    if (alloc_fails()) return ENOMEM;
    if ((code = __real_posix_memalign(p, align, n)) == 0) alloc_count(*p);
    return code;
}
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    void *p;
    if (alloc_fails()) return MAP_FAILED;
    p = __real_mmap(at, n, prot, flags, fd, offset);
    if (p != MAP_FAILED) alloc_count(p);
    return p;
}
int __wrap_munmap(void *p, size_t n)
{
    if (alloc_fail.on) alloc_fail.live--;
    return __real_munmap(p, n);
}
void __wrap_free(void *p)
{
    if (p && alloc_fail.on) alloc_fail.live--;
    __real_free(p);
}

/* One call of f with allocation number at failing (all_after: and every later one). True while there was one to fail. */
static bool alloc_fail_once(llm_status (*f)(void *, llm_error *), void *arg, long at, bool all_after)
{
    llm_error err = { 0 };
    llm_status status;

    alloc_fail.at = at, alloc_fail.all_after = all_after, alloc_fail.count = alloc_fail.failed = alloc_fail.live = 0;
    alloc_fail.on = true;
    status = f(arg, &err);
    alloc_fail.on = false;
    ck_assert_msg(alloc_fail.live == 0, "allocation %ld failing: %ld left over", at, alloc_fail.live);
    if (alloc_fail.failed == 0) {
        ck_assert_msg(status == LLM_OK, "with enough memory: %s", err.text);
        return false;
    }
    ck_assert_msg(status != LLM_OK && err.status == status && err.text[0], "allocation %ld failed, but %s", at,
                  status == LLM_OK ? "no error came" : "no message");
    return true;
}

/* f must open, use and close what it tests. Returns the number of allocations f makes when none fails. */
static long alloc_fail_each(llm_status (*f)(void *, llm_error *), void *arg)
{
    long n = 1;

    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
    ck_assert(!alloc_fail_once(f, arg, 0, false));              /* once before, for what is set up only once */
    while (alloc_fail_once(f, arg, n, false)) alloc_fail_once(f, arg, n, true), n++;
    return n - 1;
}
#endif
