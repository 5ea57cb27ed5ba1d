/* checked.h - size arithmetic that says when it wraps. */
#ifndef LLM_BASE_CHECKED_H
#define LLM_BASE_CHECKED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False when the result does not fit; *out is then unspecified. */
static inline bool ck_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ck_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ck_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ck_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }

/* x rounded up to a multiple of a power of two. */
static inline bool ck_align(size_t x, size_t pow2, size_t *out)
{
    if (!ck_add(x, pow2 - 1, out)) return false;
    *out &= ~(pow2 - 1);
    return true;
}
#endif
