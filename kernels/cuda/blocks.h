/* blocks.h - 32 weights of every block type as bytes, with their scale, from the planes that weights.cu lays out. Formulas:
 * kernels/cpu/dequant.c. Value k of group i is s (code - OFF) + m, or with SUB16 s[k/16] and m[k/16] in place of s and m.
 *
 * type         plane a, per block                    plane b, per block (stride)
 * Q8_0         32 codes                              d (2)
 * Q4_0 IQ4_NL  16: value j low, j + 16 high          d (2)
 * MXFP4        16, likewise                          e (1)
 * Q4_1 Q4_G    16, likewise                          d m | d zero 0 (4)
 * Q5_0 Q5_1    16, likewise                          d qh (6) | d m qh (8)
 * Q4_K         128                                   d dmin scales[12] (16)
 * Q5_K         qh[32] qs[128]                        the same
 * Q6_K         ql[128] qh[64]                        scales[16] d (18, 20 apart)
 * Q2_K         64                                    scales[16] d dmin (20)
 * Q3_K         hmask[32] qs[64]                      scales[12] d (14, 16 apart)
 * IQ4_XS       128                                   d high low[4] (8)
 * IQ2_XXS      qs[64], a group's signs and scale in it   d (2)
 * IQ2_XS       qs[64]                                d scales[8] (10)
 * IQ2_S        qs[32] signs[32]                      d qh[8] scales[8] (18)
 * IQ3_XXS      qs[64] signs and scales[32]           d (2)
 * IQ3_S        qs[64] qh[8] signs[32]                d scales[4] (6)
 * IQ1_S        qs[32] qh and scales[16]              d (2)
 * IQ1_M        qs[32] qh[16]                         scales with d (8)
 * TQ1_0        qs[48]                                qh[4] d (6)
 * TQ2_0        64                                    d (2) */
#ifndef LLM_CUDA_BLOCKS_H
#define LLM_CUDA_BLOCKS_H
#include "device.h"
extern "C" {
#include "dtype.h"
}

/* Bytes of weights are read once: they pass by the first cache. */
static __device__ __forceinline__ uint4 load16(const uint8_t *p)
{
#ifdef __CUDACC__
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
#else
    return *(const uint4 *)(const void *)p;
#endif
}
static __device__ __forceinline__ uint32_t load4(const uint8_t *p) { return *(const uint32_t *)(const void *)p; }
static __device__ __forceinline__ uint32_t load2(const uint8_t *p) { return *(const uint16_t *)(const void *)p; }
static __device__ __forceinline__ float half_at(const uint8_t *p) { return f16_float((uint16_t)load2(p)); }

static __device__ __forceinline__ void words_of(uint4 v, uint32_t w[4]) { w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w; }

/* Four bytes 0..127 less the same number 0..127 each, without borrowing from one another. */
static __device__ __forceinline__ uint32_t less4(uint32_t w, uint32_t off) { return ((w | 0x80808080u) - off * 0x01010101u) ^ 0x80808080u; }

/* 16 bytes of nibbles: low ones are values 0..15, high ones 16..31. */
static __device__ __forceinline__ void nibbles(uint4 v, uint32_t w[8])
{
    words_of(v, w);
    UNROLL for (int k = 0; k < 4; k++) w[4 + k] = w[k] >> 4 & 0x0f0f0f0fu, w[k] &= 0x0f0f0f0fu;
}

/* The bytes that 8 nibbles of v choose among 16: those of the low nibbles in *low, of the high ones in *high. */
static __device__ __forceinline__ void look_up(uint32_t v, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3, uint32_t *low, uint32_t *high)
{
    uint32_t s = v & 0x77777777u, pick = 0x32103210u | (v & 0x88888888u) >> 1;
    uint32_t x = __byte_perm(__byte_perm(t0, t1, s & 0xffff), __byte_perm(t2, t3, s & 0xffff), pick & 0xffff);
    uint32_t y = __byte_perm(__byte_perm(t0, t1, s >> 16), __byte_perm(t2, t3, s >> 16), pick >> 16);

    *low = __byte_perm(x, y, 0x6420), *high = __byte_perm(x, y, 0x7531);
}

static __device__ __forceinline__ void look_up16(uint4 v, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3, uint32_t w[8])
{
    uint32_t in[4];

    words_of(v, in);
    UNROLL for (int k = 0; k < 4; k++) look_up(in[k], t0, t1, t2, t3, &w[k], &w[4 + k]);
}

/* iq4_value and mxfp4_value of kernels/cpu/dequant.c, four to a word. */
static __device__ __forceinline__ void codes_iq4(uint4 v, uint32_t w[8]) { look_up16(v, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u, w); }
static __device__ __forceinline__ void codes_mxfp4(uint4 v, uint32_t w[8]) { look_up16(v, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu, w); }

/* Bits 0..3 of n to bits 4, 12, 20, 28. */
static __device__ __forceinline__ uint32_t spread4(uint32_t n) { return n * 0x02040810u & 0x10101010u; }

static __device__ __forceinline__ void fifth_bits(uint32_t qh, uint32_t w[8])
{
    UNROLL for (int k = 0; k < 8; k++) w[k] |= spread4(qh >> 4 * k & 15);
}

/* Q4_K's and Q5_K's 6-bit scale and minimum j of 12 bytes. */
static __device__ __forceinline__ void scale_min_k4(const uint8_t *s, int j, float *sc, float *mn)
{
    if (j < 4) { *sc = (float)(s[j] & 63), *mn = (float)(s[j + 4] & 63); return; }
    *sc = (float)((s[j + 4] & 15) | s[j - 4] >> 6 << 4), *mn = (float)(s[j + 4] >> 4 | s[j] >> 6 << 4);
}

template <int DT> struct block_of;

#define BLOCK_TRAITS(group, off, has_min, sub16) enum { GROUP = group, OFF = off, MIN = has_min, SUB16 = sub16 }

template <> struct block_of<DT_Q8_0> {
    BLOCK_TRAITS(32, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { words_of(load16(a + 32 * i), w), words_of(load16(a + 32 * i + 16), w + 4); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 2 * i); }
};
template <> struct block_of<DT_Q4_0> {
    BLOCK_TRAITS(32, 8, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { nibbles(load16(a + 16 * i), w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 2 * i); }
};
template <> struct block_of<DT_Q4_1> {
    BLOCK_TRAITS(32, 0, 1, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { nibbles(load16(a + 16 * i), w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *m) { s[0] = half_at(b + 4 * i), m[0] = half_at(b + 4 * i + 2); }
};
template <> struct block_of<DT_Q4_G> {
    BLOCK_TRAITS(32, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8])
    {
        nibbles(load16(a + 16 * i), w);
        UNROLL for (int k = 0; k < 8; k++) w[k] = less4(w[k], b[4 * i + 2]);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 4 * i); }
};
template <> struct block_of<DT_Q5_0> {
    BLOCK_TRAITS(32, 16, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8])
    {
        nibbles(load16(a + 16 * i), w);
        fifth_bits(load2(b + 6 * i + 2) | load2(b + 6 * i + 4) << 16, w);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 6 * i); }
};
template <> struct block_of<DT_Q5_1> {
    BLOCK_TRAITS(32, 0, 1, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8])
    {
        nibbles(load16(a + 16 * i), w);
        fifth_bits(load4(b + 8 * i + 4), w);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *m) { s[0] = half_at(b + 8 * i), m[0] = half_at(b + 8 * i + 2); }
};
template <> struct block_of<DT_IQ4_NL> {
    BLOCK_TRAITS(32, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { codes_iq4(load16(a + 16 * i), w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 2 * i); }
};
template <> struct block_of<DT_MXFP4> {
    BLOCK_TRAITS(32, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { codes_mxfp4(load16(a + 16 * i), w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = e8m0_half_float(b[i]); }
};
template <> struct block_of<DT_Q4_K> {
    BLOCK_TRAITS(256, 0, 1, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        const uint8_t *q = a + 128 * (i / 8) + 32 * (i % 8 / 2);
        words_of(load16(q), w), words_of(load16(q + 16), w + 4);
        UNROLL for (int k = 0; k < 8; k++) w[k] = w[k] >> 4 * (i & 1) & 0x0f0f0f0fu;
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *m)
    {
        float sc, mn;
        b += 16 * (i / 8);
        scale_min_k4(b + 4, i % 8, &sc, &mn);
        s[0] = half_at(b) * sc, m[0] = -half_at(b + 2) * mn;
    }
};
template <> struct block_of<DT_Q5_K> {
    BLOCK_TRAITS(256, 0, 1, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        const uint8_t *h = a + 160 * (i / 8), *q = h + 32 + 32 * (i % 8 / 2);
        uint32_t high[8];
        words_of(load16(q), w), words_of(load16(q + 16), w + 4), words_of(load16(h), high), words_of(load16(h + 16), high + 4);
        UNROLL for (int k = 0; k < 8; k++) w[k] = (w[k] >> 4 * (i & 1) & 0x0f0f0f0fu) | (high[k] >> (i & 7) & 0x01010101u) << 4;
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *m) { block_of<DT_Q4_K>::scales(NULL, b, i, s, m); }
};
template <> struct block_of<DT_Q6_K> {
    BLOCK_TRAITS(256, 32, 0, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        int n = i % 8 / 4, part = i % 4;
        const uint8_t *q = a + 192 * (i / 8) + 64 * n + 32 * (part % 2), *h = a + 192 * (i / 8) + 128 + 32 * n;
        uint32_t high[8];
        words_of(load16(q), w), words_of(load16(q + 16), w + 4), words_of(load16(h), high), words_of(load16(h + 16), high + 4);
        UNROLL for (int k = 0; k < 8; k++) w[k] = (w[k] >> 4 * (part / 2) & 0x0f0f0f0fu) | (high[k] >> 2 * part & 0x03030303u) << 4;
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *)
    {
        b += 20 * (i / 8);
        float d = half_at(b + 16);
        s[0] = d * (float)(int8_t)b[2 * (i % 8)], s[1] = d * (float)(int8_t)b[2 * (i % 8) + 1];
    }
};
template <> struct block_of<DT_Q2_K> {
    BLOCK_TRAITS(256, 0, 1, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        const uint8_t *q = a + 64 * (i / 8) + 32 * (i % 8 / 4);
        words_of(load16(q), w), words_of(load16(q + 16), w + 4);
        UNROLL for (int k = 0; k < 8; k++) w[k] = w[k] >> 2 * (i & 3) & 0x03030303u;
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *m)
    {
        b += 20 * (i / 8);
        float d = half_at(b + 16), least = -half_at(b + 18);
        UNROLL for (int h = 0; h < 2; h++) s[h] = d * (float)(b[2 * (i % 8) + h] & 15), m[h] = least * (float)(b[2 * (i % 8) + h] >> 4);
    }
};
template <> struct block_of<DT_Q3_K> {
    BLOCK_TRAITS(256, 4, 0, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        const uint8_t *h = a + 96 * (i / 8), *q = h + 32 + 32 * (i % 8 / 4);
        uint32_t high[8];
        words_of(load16(q), w), words_of(load16(q + 16), w + 4), words_of(load16(h), high), words_of(load16(h + 16), high + 4);
        UNROLL for (int k = 0; k < 8; k++) w[k] = (w[k] >> 2 * (i & 3) & 0x03030303u) | (high[k] >> (i & 7) & 0x01010101u) << 2;
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *)
    {
        b += 16 * (i / 8);
        float d = half_at(b + 12);
        UNROLL for (int h = 0; h < 2; h++) {
            int j = 2 * (i % 8) + h, low = j < 8 ? b[j] & 15 : b[j - 8] >> 4;
            s[h] = d * (float)((low | (b[8 + j % 4] >> 2 * (j / 4) & 3) << 4) - 32);
        }
    }
};
template <> struct block_of<DT_IQ4_XS> {
    BLOCK_TRAITS(256, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8]) { codes_iq4(load16(a + 16 * i), w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *)
    {
        int j = i % 8;
        b += 8 * (i / 8);
        s[0] = half_at(b) * (float)((int)((b[4 + j / 2] >> 4 * (j % 2) & 15) | (load2(b + 2) >> 2 * j & 3) << 4) - 32);
    }
};

/* Every block type: CASE(type) for a switch. */
#define PLAIN_BLOCK_TYPES(CASE) \
    CASE(DT_Q8_0) CASE(DT_Q4_0) CASE(DT_Q4_1) CASE(DT_Q4_G) CASE(DT_Q5_0) CASE(DT_Q5_1) CASE(DT_IQ4_NL) CASE(DT_MXFP4) \
    CASE(DT_Q4_K) CASE(DT_Q5_K) CASE(DT_Q6_K) CASE(DT_Q2_K) CASE(DT_Q3_K) CASE(DT_IQ4_XS)
#define GRID_BLOCK_TYPES(CASE) \
    CASE(DT_IQ2_XXS) CASE(DT_IQ2_XS) CASE(DT_IQ2_S) CASE(DT_IQ3_XXS) CASE(DT_IQ3_S) CASE(DT_IQ1_S) CASE(DT_IQ1_M) CASE(DT_TQ1_0) CASE(DT_TQ2_0)
#define BLOCK_TYPES(CASE) PLAIN_BLOCK_TYPES(CASE) GRID_BLOCK_TYPES(CASE)

/* ---- types of one value a block ---- */

template <int DT> struct value_of;
template <> struct value_of<DT_F32> { enum { BYTES = 4 }; static __device__ __forceinline__ float at(const uint8_t *p, float) { return *(const float *)(const void *)p; } };
template <> struct value_of<DT_F16> { enum { BYTES = 2 }; static __device__ __forceinline__ float at(const uint8_t *p, float) { return half_at(p); } };
template <> struct value_of<DT_BF16> { enum { BYTES = 2 }; static __device__ __forceinline__ float at(const uint8_t *p, float) { return bf16_float((uint16_t)load2(p)); } };
template <> struct value_of<DT_F8_E4M3> { enum { BYTES = 1 }; static __device__ __forceinline__ float at(const uint8_t *p, float) { return e4m3_float(*p); } };
template <> struct value_of<DT_F8_E5M2> { enum { BYTES = 1 }; static __device__ __forceinline__ float at(const uint8_t *p, float) { return e5m2_float(*p); } };

#define VALUE_TYPES(CASE) CASE(DT_F32) CASE(DT_F16) CASE(DT_BF16) CASE(DT_F8_E4M3) CASE(DT_F8_E5M2)
#include "blocks_iq.h"
#endif
