/* blocks_iq.h - blocks.h for the codebook and ternary types: IQ1, IQ2, IQ3, TQ. Groups of 4 or 8 weights are one entry of a grid, with signs apart;
 * their values are bytes like every other type's codes. IQ1's values lie an eighth beside -1, 0 and 1: its codes are eight times as large.
 * The grids are those of kernels/cpu, compiled once more for the device; lookups hit its first cache (0.5 to 4 KiB a type). */
#ifndef LLM_CUDA_BLOCKS_IQ_H
#define LLM_CUDA_BLOCKS_IQ_H
#include "blocks.h"

#define IQ_GRID(name, n, kind) static __device__ const uint16_t name[n]
#define IQ1(codes) codes
#define IQ2(codes) codes
#define IQ3_XXS(codes) codes
#define IQ3_S(codes) codes
#include "iq_grids.c"

/* The values of iq_grids.h, four to a word; of IQ1 times eight, moved up by one and down by one. */
#define IQ2_VALUES 0x002b1908u
#define IQ3_XXS_LOW 0x1c140c04u
#define IQ3_XXS_HIGH 0x3e342c24u
#define IQ3_S_LOW 0x07050301u
#define IQ3_S_HIGH 0x0f0d0b09u
#define IQ1_UP 0x000901f9u
#define IQ1_DOWN 0x0007fff7u

static __device__ __forceinline__ uint2 load8(const uint8_t *p)
{
#ifdef __CUDACC__
    uint2 v;
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
#else
    return *(const uint2 *)(const void *)p;
#endif
}

/* The 8 values that an entry's codes of 2 bits choose from a word. */
static __device__ __forceinline__ void grid8(uint32_t entry, uint32_t values, uint32_t w[2])
{
    uint32_t s = (entry | entry << 8) & 0x00ff00ffu;

    s = (s | s << 4) & 0x0f0f0f0fu, s = (s | s << 2) & 0x33333333u;
    w[0] = __byte_perm(values, 0, s & 0xffff), w[1] = __byte_perm(values, 0, s >> 16);
}

/* The 4 values that an entry's codes of 3 bits choose from two words. */
static __device__ __forceinline__ uint32_t grid4(uint32_t entry, uint32_t low, uint32_t high)
{
    return __byte_perm(low, high, (entry & 7) | (entry & 0x38) << 1 | (entry & 0x1c0) << 2 | (entry & 0xe00) << 3);
}

/* Four values above 0, negated where bits 0..3 of sign are set. */
static __device__ __forceinline__ uint32_t negate4(uint32_t w, uint32_t sign)
{
    uint32_t one = (sign & 15) * 0x00204081u & 0x01010101u;
    return (w ^ one * 0xff) + one;
}

static __device__ __forceinline__ void negate8(uint32_t w[2], uint32_t sign) { w[0] = negate4(w[0], sign), w[1] = negate4(w[1], sign >> 4); }

/* Seven signs, and an eighth that makes the number of minus signs even. */
static __device__ __forceinline__ uint32_t even_signs(uint32_t index) { return index | (uint32_t)(__popc(index) & 1) << 7; }

/* Scales of 4 bits each for 16 values. */
static __device__ __forceinline__ void iq2_scales(float d, uint32_t two, float *s)
{
    s[0] = d * (0.5f + (float)(two & 15)) * 0.25f, s[1] = d * (0.5f + (float)(two >> 4)) * 0.25f;
}

template <> struct block_of<DT_IQ2_XXS> {
    BLOCK_TRAITS(256, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        uint2 v = load8(a + 8 * (int64_t)i);
        UNROLL for (int l = 0; l < 4; l++) grid8(iq2_xxs_grid[v.x >> 8 * l & 255], IQ2_VALUES, w + 2 * l), negate8(w + 2 * l, even_signs(v.y >> 7 * l & 127));
    }
    static __device__ __forceinline__ void scales(const uint8_t *a, const uint8_t *b, int i, float *s, float *)
    {
        s[0] = half_at(b + 2 * (i / 8)) * (0.5f + (float)(load8(a + 8 * (int64_t)i).y >> 28)) * 0.25f;
    }
};
template <> struct block_of<DT_IQ2_XS> {
    BLOCK_TRAITS(256, 0, 0, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        uint2 v = load8(a + 8 * (int64_t)i);
        UNROLL for (int l = 0; l < 4; l++) {
            uint32_t q = (l < 2 ? v.x : v.y) >> 16 * (l & 1) & 0xffff;
            grid8(iq2_xs_grid[q & 511], IQ2_VALUES, w + 2 * l), negate8(w + 2 * l, even_signs(q >> 9));
        }
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { iq2_scales(half_at(b + 10 * (i / 8)), b[10 * (i / 8) + 2 + i % 8], s); }
};
template <> struct block_of<DT_IQ2_S> {
    BLOCK_TRAITS(256, 0, 0, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8])
    {
        uint32_t q = load4(a + 64 * (i / 8) + 4 * (i % 8)), sign = load4(a + 64 * (i / 8) + 32 + 4 * (i % 8)), high = b[18 * (i / 8) + 2 + i % 8];
        UNROLL for (int l = 0; l < 4; l++)
            grid8(iq2_s_grid[(q >> 8 * l & 255) | (high >> 2 * l & 3) << 8], IQ2_VALUES, w + 2 * l), negate8(w + 2 * l, sign >> 8 * l & 255);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { iq2_scales(half_at(b + 18 * (i / 8)), b[18 * (i / 8) + 10 + i % 8], s); }
};
template <> struct block_of<DT_IQ3_XXS> {
    BLOCK_TRAITS(256, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        uint2 v = load8(a + 96 * (i / 8) + 8 * (i % 8));
        uint32_t sign = load4(a + 96 * (i / 8) + 64 + 4 * (i % 8));
        UNROLL for (int l = 0; l < 8; l++) w[l] = grid4(iq3_xxs_grid[(l < 4 ? v.x : v.y) >> 8 * (l & 3) & 255], IQ3_XXS_LOW, IQ3_XXS_HIGH);
        UNROLL for (int l = 0; l < 4; l++) negate8(w + 2 * l, even_signs(sign >> 7 * l & 127));
    }
    static __device__ __forceinline__ void scales(const uint8_t *a, const uint8_t *b, int i, float *s, float *)
    {
        s[0] = half_at(b + 2 * (i / 8)) * (0.5f + (float)(load4(a + 96 * (i / 8) + 64 + 4 * (i % 8)) >> 28)) * 0.5f;
    }
};
template <> struct block_of<DT_IQ3_S> {
    BLOCK_TRAITS(256, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        const uint8_t *at = a + 104 * (i / 8);
        uint2 v = load8(at + 8 * (i % 8));
        uint32_t high = at[64 + i % 8], sign = load4(at + 72 + 4 * (i % 8));
        UNROLL for (int l = 0; l < 8; l++) w[l] = grid4(iq3_s_grid[((l < 4 ? v.x : v.y) >> 8 * (l & 3) & 255) | (high >> l & 1) << 8], IQ3_S_LOW, IQ3_S_HIGH);
        UNROLL for (int l = 0; l < 4; l++) negate8(w + 2 * l, sign >> 8 * l & 255);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *)
    {
        b += 6 * (i / 8);
        s[0] = half_at(b) * (float)(1 + 2 * (b[2 + i % 8 / 2] >> 4 * (i & 1) & 15));
    }
};
template <> struct block_of<DT_IQ1_S> {
    BLOCK_TRAITS(256, 0, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        uint32_t q = load4(a + 48 * (i / 8) + 4 * (i % 8)), high = load2(a + 48 * (i / 8) + 32 + 2 * (i % 8)), values = high & 0x8000 ? IQ1_DOWN : IQ1_UP;
        UNROLL for (int l = 0; l < 4; l++) grid8(iq1_grid[(q >> 8 * l & 255) | (high >> 3 * l & 7) << 8], values, w + 2 * l);
    }
    static __device__ __forceinline__ void scales(const uint8_t *a, const uint8_t *b, int i, float *s, float *)
    {
        s[0] = half_at(b + 2 * (i / 8)) * (float)(2 * (load2(a + 48 * (i / 8) + 32 + 2 * (i % 8)) >> 12 & 7) + 1) * 0.125f;
    }
};
template <> struct block_of<DT_IQ1_M> {
    BLOCK_TRAITS(256, 0, 0, 1);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *, int i, uint32_t w[8])
    {
        uint32_t q = load4(a + 48 * (i / 8) + 4 * (i % 8)), high = load2(a + 48 * (i / 8) + 32 + 2 * (i % 8));
        UNROLL for (int l = 0; l < 4; l++) {
            uint32_t h = high >> 4 * l & 15;
            grid8(iq1_grid[(q >> 8 * l & 255) | (h & 7) << 8], h & 8 ? IQ1_DOWN : IQ1_UP, w + 2 * l);
        }
    }
    /* The half that all share lies in the upper four bits of the four words; a word has the scales of four times 16 values below them. */
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *)
    {
        uint2 v = *(const uint2 *)(const void *)(b + 8 * (i / 8));
        float d = f16_float((uint16_t)((v.x >> 12 & 15) | (v.x >> 28 & 15) << 4 | (v.y >> 12 & 15) << 8 | (v.y >> 28 & 15) << 12)) * 0.125f;
        uint32_t word = (i % 8 < 4 ? v.x : v.y) >> 16 * (i % 4 / 2);
        UNROLL for (int h = 0; h < 2; h++) s[h] = d * (float)(2 * (word >> 3 * (2 * (i & 1) + h) & 7) + 1);
    }
};
template <> struct block_of<DT_TQ2_0> {
    BLOCK_TRAITS(256, 1, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8]) { block_of<DT_Q2_K>::codes(a, b, i, w); }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 2 * (i / 8)); }
};

/* Digit n in base 3 of each of four bytes (kernels/cpu/dequant.c), counted from the greatest. */
static __device__ __forceinline__ uint32_t trits4(uint32_t w, int n)
{
    uint32_t power = n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : 81;
    uint32_t even = (w & 0x00ff00ffu) * power & 0x00ff00ffu, odd = (w >> 8 & 0x00ff00ffu) * power & 0x00ff00ffu;

    return (even * 3 >> 8 & 0x00ff00ffu) | (odd * 3 & 0xff00ff00u);
}

/* Groups 0..4 are digits of bytes 0..31, 5 to the first half of 7 digits of bytes 32..47, two a group, the rest digits of the four bytes in plane b. */
template <> struct block_of<DT_TQ1_0> {
    BLOCK_TRAITS(256, 1, 0, 0);
    static __device__ __forceinline__ void codes(const uint8_t *a, const uint8_t *b, int i, uint32_t w[8])
    {
        const uint8_t *at = a + 48 * (i / 8) + (i % 8 < 5 ? 0 : 32);
        int n = i % 8 < 5 ? i % 8 : 2 * (i % 8 - 5), last = i % 8 == 7;
        uint32_t in[8], tail = load2(b + 6 * (i / 8)) | load2(b + 6 * (i / 8) + 2) << 16;
        words_of(load16(at), in), words_of(load16(i % 8 < 5 ? at + 16 : at), in + 4);
        UNROLL for (int k = 0; k < 4; k++) w[k] = trits4(in[k], n), w[4 + k] = last ? trits4(tail, k) : trits4(in[4 + k], i % 8 < 5 ? n : n + 1);
    }
    static __device__ __forceinline__ void scales(const uint8_t *, const uint8_t *b, int i, float *s, float *) { s[0] = half_at(b + 6 * (i / 8) + 4); }
};
#endif
