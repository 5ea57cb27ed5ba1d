/* encode_rule.h - the formats whose own rounding rule leaves no choice, or three, a block of 32 at a time, and what is done to every
 * value on the way to any format. As with the search (encode_fit.h) every instruction set gives the same bits. */
#ifndef LLM_ENCODE_RULE_H
#define LLM_ENCODE_RULE_H
#include "cpu.h"
#include "dtype.h"
#include <stdbool.h>
#include <string.h>

/* x and the codes of a block are 32 values. */
typedef struct {
    /* F16 or BF16 at from, at any address, to x [n]. */
    void (*widen)(llm_dtype dtype, const void *from, int64_t n, float *x);
    /* Is no x [n] a NaN or greater in magnitude than most? */
    bool (*within)(const float *x, int64_t n, float most);
    /* Q8_0: the greatest magnitude becomes 127. */
    void (*q8_0)(const float *x, int n_block, uint8_t *out);
    /* Q4_0 and Q5_0: the value of greatest magnitude, the first of equals, becomes code 0, which stands for -levels/2. */
    void (*extreme)(const float *x, int levels, uint8_t *d, uint8_t *code);
    /* Q4_1 and Q5_1: the least value is code 0, the greatest the last one. */
    void (*ends)(const float *x, int levels, uint8_t *d_low, uint8_t *code);
    /* MXFP4: of three exponents the one with the least error, squares weighted with w, NULL: all alike. The first covers the greatest
     * value but for what exceeds the last code, the others are its neighbours. */
    void (*mxfp4)(const float *x, const float *w, int n_block, uint8_t *out);
} rule_fns;

const rule_fns *rule_for(llm_isa isa);
extern const rule_fns rule_fns_ref, rule_fns_avx2, rule_fns_avx512, rule_fns_neon;

/* Codes [32] to 16 bytes of nibbles, and the fifth bits to qh [4] where it is not NULL. */
static inline void put_nibbles(uint8_t *qs, uint8_t *qh, const uint8_t *code)
{
    const uint64_t low = UINT64_C(0x0f0f0f0f0f0f0f0f), ones = UINT64_C(0x0101010101010101);
    uint64_t c[4];
    uint32_t high = 0;

    memcpy(c, code, sizeof c);
    for (int i = 0; i < 2; i++) {
        uint64_t v = (c[i] & low) | (c[i + 2] & low) << 4;
        memcpy(qs + 8 * i, &v, sizeof v);
    }
    if (qh == NULL) return;
    for (int i = 0; i < 4; i++) high |= (uint32_t)(((c[i] >> 4 & ones) * UINT64_C(0x0102040810204080)) >> 56) << 8 * i;     /* gathers 8 bits */
    memcpy(qh, &high, sizeof high);
}
#endif
