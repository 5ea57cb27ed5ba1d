/* codebook.c - eight values at a time: an entry spread over eight bytes, and its signs as bytes of ones. Bound by instructions, some ten for eight values. */
#include "codebook.h"
#include "iq_grids.h"
#include "narrow.h"
#include <string.h>

/* Ones in each byte whose bit is set in the index; and for an index of 7 bits, whose eighth makes the number of minus signs even. */
#define SIGN(i)     (BIT(i, 0) | BIT(i, 1) | BIT(i, 2) | BIT(i, 3) | BIT(i, 4) | BIT(i, 5) | BIT(i, 6) | BIT(i, 7))
#define BIT(i, j)   (uint64_t)((i) >> (j) & 1) * 255 << 8 * (j)
#define ODD(i)      (((i) ^ (i) >> 1 ^ (i) >> 2 ^ (i) >> 3 ^ (i) >> 4 ^ (i) >> 5 ^ (i) >> 6) & 1)
#define EVEN(i)     SIGN((i) | ODD(i) << 7)
#define FOUR(f, i)  f(i), f((i) + 1), f((i) + 2), f((i) + 3)
#define MANY(f, i)  FOUR(f, i), FOUR(f, (i) + 4), FOUR(f, (i) + 8), FOUR(f, (i) + 12)
#define MOST(f, i)  MANY(f, i), MANY(f, (i) + 16), MANY(f, (i) + 32), MANY(f, (i) + 48)
static const uint64_t minus[256] = { MOST(SIGN, 0), MOST(SIGN, 64), MOST(SIGN, 128), MOST(SIGN, 192) };
static const uint64_t even[128] = { MOST(EVEN, 0), MOST(EVEN, 64) };

static const uint64_t ones = 0x0101010101010101;

/* Magnitudes, none of them 0, and their signs. */
static inline void put(int8_t *w, uint64_t v, uint64_t sign)
{
    v = (v ^ sign) + (sign & ones);
    memcpy(w, &v, sizeof v);
}
/* Bytes below 128 minus `less`, of each. */
static inline void put_less(int8_t *w, uint64_t v, unsigned less)
{
    v = (v + ones * (128 - less)) ^ ones * 128;
    memcpy(w, &v, sizeof v);
}

/* Scales 2 s + 1 of two nibbles. */
static inline void put_scales(uint8_t *sc, unsigned both) { sc[0] = (uint8_t)(2 * (both & 15) + 1), sc[1] = (uint8_t)(2 * (both >> 4) + 1); }

static void unpack_iq2_xxs(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(qs + 4);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, iq2_xxs_grid[qs[l]], even[s >> 7 * l & 127]);
    }
}

static void unpack_iq2_xs(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) put_scales(o->sc + 2 * i, b[66 + i]);
#pragma GCC unroll 4
    for (int i = 0; i < 32; i++) {
        unsigned q = load_u16(b + 2 + 2 * i);
        put(o->w + 8 * i, iq2_xs_grid[q & 511], even[q >> 9]);
    }
}

static void unpack_iq2_s(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 4 * i, *sign = b + 34 + 4 * i;
        unsigned high = b[66 + i];
        put_scales(o->sc + 2 * i, b[74 + i]);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, iq2_s_grid[qs[l] | (high >> 2 * l & 3) << 8], minus[sign[l]]);
    }
}

static void unpack_iq3_xxs(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.25f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(b + 66 + 4 * i);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, iq3_xxs_grid[qs[2 * l]] | (uint64_t)iq3_xxs_grid[qs[2 * l + 1]] << 32, even[s >> 7 * l & 127]);
    }
}

static void unpack_iq3_s(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b));
    for (int i = 0; i < 4; i++) put_scales(o->sc + 2 * i, b[106 + i]);
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i, *sign = b + 74 + 4 * i;
        unsigned high = b[66 + i];
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++, high >>= 2)
            put(o->w + 32 * i + 8 * l, iq3_s_grid[qs[2 * l] | (high & 1) << 8] | (uint64_t)iq3_s_grid[qs[2 * l + 1] | (high & 2) << 7] << 32, minus[sign[l]]);
    }
}

/* Eight codes 0, 1, 2 stand for -1, 0, 1, all moved by an eighth; w is eight times that. */
static void unpack_iq1_s(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        unsigned qh = load_u16(b + 34 + 2 * i);
        o->sc[i] = (uint8_t)(2 * (qh >> 12 & 7) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put_less(o->w + 32 * i + 8 * l, iq1_grid[b[2 + 4 * i + l] | (qh >> 3 * l & 7) << 8], 7 + 2 * (qh >> 15));
    }
}

/* The f16 scale is spread over the top nibbles of the four scale words. */
float iq1_m_scale(const uint8_t *b)
{
    unsigned d = 0;

    for (int i = 0; i < 4; i++) d |= (unsigned)load_u16(b + 48 + 2 * i) >> 12 << 4 * i;
    return f16_to_float((uint16_t)d);
}

static void unpack_iq1_m(const uint8_t *b, codebook_block *o)
{
    o->d = iq1_m_scale(b) * 0.125f;
    for (int i = 0; i < 16; i++) {              /* groups of 16 share a scale and a byte of high bits */
        unsigned qh = b[32 + i];
        o->sc[i] = (uint8_t)(2 * ((unsigned)load_u16(b + 48 + 2 * (i / 4)) >> 3 * (i % 4) & 7) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 2; l++, qh >>= 4) put_less(o->w + 16 * i + 8 * l, iq1_grid[b[2 * i + l] | (qh & 7) << 8], 7 + 2 * (qh >> 3 & 1));
    }
}

/* Digit n (base 3) of byte q, counted from the most significant one, minus 1; the byte is the number times 256/243, rounded up. */
static int8_t *put_trits(int8_t *w, const uint8_t *b, int n_byte, int n_digit)
{
    static const uint8_t power[5] = { 1, 3, 9, 27, 81 };

    for (int n = 0; n < n_digit; n++, w += n_byte)
        for (int m = 0; m < n_byte; m++) w[m] = (int8_t)(((uint8_t)(b[m] * power[n]) * 3 >> 8) - 1);
    return w;
}

static void unpack_tq1_0(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b + 52));
    memset(o->sc, 1, sizeof o->sc);
    put_trits(put_trits(put_trits(o->w, b, 32, 5), b + 32, 16, 5), b + 48, 4, 4);
}

static void unpack_tq2_0(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b + 64));
    memset(o->sc, 1, sizeof o->sc);
    for (int k = 0; k < 256; k += 8) {
        uint64_t v;
        memcpy(&v, b + 32 * (k / 128) + k % 32, sizeof v);
        put_less(o->w + k, v >> 2 * (k % 128 / 32) & 3 * ones, 1);
    }
}

static void unpack_q8_k(const uint8_t *b, codebook_block *o)
{
    o->d = bits_float(load_u32(b));
    memset(o->sc, 1, sizeof o->sc);
    memcpy(o->w, b + 4, sizeof o->w);
}

int codebook_sub(llm_dtype dtype)
{
    switch (dtype) {
#define CASE(type, name, sub) case DT_##type: return sub;
    CODEBOOK_TYPES(CASE)
#undef CASE
    default: return 0;
    }
}

void codebook_unpack(llm_dtype dtype, const uint8_t *b, codebook_block *out)
{
    switch (dtype) {
#define CASE(type, name, sub) case DT_##type: unpack_##name(b, out); break;
    CODEBOOK_TYPES(CASE)
    default: break;
    }
}

void codebook_unpack_rows(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, codebook_block *out)
{
    for (int r = 0; r < n_row; r++) codebook_unpack(dtype, b + (size_t)r * row_bytes, &out[r]);
}
