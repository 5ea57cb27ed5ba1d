/* codebook.c - eight values at a time: an entry spread over eight bytes, and its signs as bytes of ones. Bound by instructions, some ten for eight values. */
#include "codebook.h"
#include "iq_grids.h"
#include "narrow.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* minus: ones in each byte whose bit is set in the index; even: the index
 * holds 7 bits, and the eighth makes the number of minus signs even. */
static codebook_tables spread_tables;
static uint64_t minus[256], even[128];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_bool is_spread;

static uint64_t spread(unsigned entry, int n, int bits, const uint8_t *value)
{
    uint64_t out = 0;

    for (int j = 0; j < n; j++) out |= (uint64_t)value[entry >> bits * j & ((1u << bits) - 1)] << 8 * j;
    return out;
}

static void spread_all(void)
{
    static const uint8_t iq1_value[4] = { 0, 8, 16, 24 }, all[2] = { 0, 255 };
    codebook_tables *t = &spread_tables;

    for (unsigned i = 0; i < 256; i++) t->iq2_xxs[i] = spread(iq2_xxs_grid[i], 8, 2, iq2_value), t->iq3_xxs[i] = (uint32_t)spread(iq3_xxs_grid[i], 4, 3, iq3_xxs_value);
    for (unsigned i = 0; i < 512; i++) t->iq2_xs[i] = spread(iq2_xs_grid[i], 8, 2, iq2_value), t->iq3_s[i] = (uint32_t)spread(iq3_s_grid[i], 4, 3, iq3_s_value);
    for (unsigned i = 0; i < 1024; i++) t->iq2_s[i] = spread(iq2_s_grid[i], 8, 2, iq2_value);
    for (unsigned i = 0; i < 2048; i++) t->iq1[i] = spread(iq1_grid[i], 8, 2, iq1_value);
    for (unsigned i = 0; i < 256; i++) minus[i] = spread(i, 8, 1, all);
    for (unsigned i = 0; i < 128; i++) even[i] = minus[i | (unsigned)__builtin_parity(i) << 7];
    atomic_store_explicit(&is_spread, true, memory_order_release);
}

const codebook_tables *codebook_spread(void)
{
    if (!atomic_load_explicit(&is_spread, memory_order_acquire)) pthread_once(&once, spread_all);
    return &spread_tables;
}

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

static void unpack_iq2_xxs(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(qs + 4);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, t->iq2_xxs[qs[l]], even[s >> 7 * l & 127]);
    }
}

static void unpack_iq2_xs(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) put_scales(o->sc + 2 * i, b[66 + i]);
#pragma GCC unroll 4
    for (int i = 0; i < 32; i++) {
        unsigned q = load_u16(b + 2 + 2 * i);
        put(o->w + 8 * i, t->iq2_xs[q & 511], even[q >> 9]);
    }
}

static void unpack_iq2_s(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 4 * i, *sign = b + 34 + 4 * i;
        unsigned high = b[66 + i];
        put_scales(o->sc + 2 * i, b[74 + i]);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, t->iq2_s[qs[l] | (high >> 2 * l & 3) << 8], minus[sign[l]]);
    }
}

static void unpack_iq3_xxs(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.25f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(b + 66 + 4 * i);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put(o->w + 32 * i + 8 * l, t->iq3_xxs[qs[2 * l]] | (uint64_t)t->iq3_xxs[qs[2 * l + 1]] << 32, even[s >> 7 * l & 127]);
    }
}

static void unpack_iq3_s(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b));
    for (int i = 0; i < 4; i++) put_scales(o->sc + 2 * i, b[106 + i]);
    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i, *sign = b + 74 + 4 * i;
        unsigned high = b[66 + i];
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++, high >>= 2)
            put(o->w + 32 * i + 8 * l, t->iq3_s[qs[2 * l] | (high & 1) << 8] | (uint64_t)t->iq3_s[qs[2 * l + 1] | (high & 2) << 7] << 32, minus[sign[l]]);
    }
}

/* Eight codes 0, 1, 2 stand for -1, 0, 1, all moved by an eighth; w is eight times that. */
static void unpack_iq1_s(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        unsigned qh = load_u16(b + 34 + 2 * i);
        o->sc[i] = (uint8_t)(2 * (qh >> 12 & 7) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) put_less(o->w + 32 * i + 8 * l, t->iq1[b[2 + 4 * i + l] | (qh >> 3 * l & 7) << 8], 7 + 2 * (qh >> 15));
    }
}

/* The f16 scale is spread over the top nibbles of the four scale words. */
float iq1_m_scale(const uint8_t *b)
{
    unsigned d = 0;

    for (int i = 0; i < 4; i++) d |= (unsigned)load_u16(b + 48 + 2 * i) >> 12 << 4 * i;
    return f16_to_float((uint16_t)d);
}

static void unpack_iq1_m(const codebook_tables *t, const uint8_t *b, codebook_block *o)
{
    o->d = iq1_m_scale(b) * 0.125f;
    for (int i = 0; i < 16; i++) {              /* groups of 16 share a scale and a byte of high bits */
        unsigned qh = b[32 + i];
        o->sc[i] = (uint8_t)(2 * ((unsigned)load_u16(b + 48 + 2 * (i / 4)) >> 3 * (i % 4) & 7) + 1);
#pragma GCC unroll 4
        for (int l = 0; l < 2; l++, qh >>= 4) put_less(o->w + 16 * i + 8 * l, t->iq1[b[2 * i + l] | (qh & 7) << 8], 7 + 2 * (qh >> 3 & 1));
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
    case DT_IQ2_XS: case DT_IQ2_S: case DT_IQ1_M: return 16;
    case DT_IQ2_XXS: case DT_IQ3_XXS: case DT_IQ3_S: case DT_IQ1_S: case DT_TQ1_0: case DT_TQ2_0: case DT_Q8_K: return 32;
    default: return 0;
    }
}

void codebook_unpack(llm_dtype dtype, const uint8_t *b, codebook_block *out)
{
    switch (dtype) {
    case DT_IQ2_XXS: unpack_iq2_xxs(codebook_spread(), b, out); break;
    case DT_IQ2_XS:  unpack_iq2_xs(codebook_spread(), b, out); break;
    case DT_IQ2_S:   unpack_iq2_s(codebook_spread(), b, out); break;
    case DT_IQ3_XXS: unpack_iq3_xxs(codebook_spread(), b, out); break;
    case DT_IQ3_S:   unpack_iq3_s(codebook_spread(), b, out); break;
    case DT_IQ1_S:   unpack_iq1_s(codebook_spread(), b, out); break;
    case DT_IQ1_M:   unpack_iq1_m(codebook_spread(), b, out); break;
    case DT_TQ1_0:   unpack_tq1_0(b, out); break;
    case DT_TQ2_0:   unpack_tq2_0(b, out); break;
    default:         unpack_q8_k(b, out); break;
    }
}
