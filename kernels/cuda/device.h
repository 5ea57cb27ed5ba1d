/* device.h - the device language as the kernels use it: under nvcc CUDA's own, elsewhere the shim's; and the few operations of
 * a warp that both spell alike. Matrix tiles are the instructions' own fragments (PTX ISA, "Matrix Fragments for mma"). */
#ifndef LLM_CUDA_DEVICE_H
#define LLM_CUDA_DEVICE_H
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#define LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define UNROLL _Pragma("unroll")
#define NO_INLINE inline __noinline__
#else
#include "shim.h"
#define DYNAMIC_SHARED(name) unsigned char *name = shim::e.shared
#define UNROLL
#define NO_INLINE inline
#endif

enum { WARP_SIZE = 32 };
#define FULL_WARP 0xffffffffu

/* ---- numbers of 16 and 8 bits ---- */

#ifdef __CUDACC__
static __device__ __forceinline__ float f16_float(uint16_t h) { return __half2float(__ushort_as_half(h)); }
static __device__ __forceinline__ uint16_t float_f16(float x) { return __half_as_ushort(__float2half_rn(x)); }
#else
extern "C" {
#include "half.h"
}
static inline float f16_float(uint16_t h) { return f16_to_float(h); }
static inline uint16_t float_f16(float x) { return float_to_f16(x); }
#endif

static __device__ __forceinline__ float bf16_float(uint16_t h) { return __uint_as_float((unsigned)h << 16); }

static __device__ __forceinline__ uint16_t float_bf16(float x)
{
    unsigned u = __float_as_uint(x);
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000u ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Two halves in a word, the first one low. */
static __device__ __forceinline__ uint32_t pack_f16(float a, float b) { return (uint32_t)float_f16(a) | (uint32_t)float_f16(b) << 16; }

/* OCP FP8 (kernels/cpu/narrow.h): E5M2 is a half's upper byte; E4M3 becomes one, 2^8 too small, by moving its bits. */
static __device__ __forceinline__ float e5m2_float(uint8_t b) { return f16_float((uint16_t)(b << 8)); }
static __device__ __forceinline__ float e4m3_float(uint8_t b)
{
    if ((b & 0x7f) == 0x7f) return __uint_as_float(0x7fc00000u | (unsigned)(b & 0x80) << 24);
    return f16_float((uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7)) * 256.0f;
}

/* As f32_to_e4m3 of kernels/cpu/narrow.h. */
static __device__ __forceinline__ uint8_t float_e4m3(float x)
{
    unsigned u = __float_as_uint(x), sign = u >> 24 & 0x80, a = u & 0x7fffffff;

    if (a > 0x7f800000u) return 0x7f;
    if (a >= 0x43e00000u) return (uint8_t)(sign | 0x7e);                                /* 448 */
    if (a < 0x3c800000u) return (uint8_t)(sign | (__float_as_uint(fmaf(__uint_as_float(a), 512.0f, 8388608.0f)) & 15));     /* 2^-6 */
    a -= 120u << 23;
    return (uint8_t)(sign | (a + 0x7ffff + (a >> 20 & 1)) >> 20);
}

/* Two E4M3, the first one low, as two halves, which hold them exactly. */
static __device__ __forceinline__ uint32_t e4m3_pair(uint16_t two)
{
#ifdef __CUDACC__
    __half2_raw h = __nv_cvt_fp8x2_to_halfraw2(two, __NV_E4M3);
    return (uint32_t)h.x | (uint32_t)h.y << 16;
#else
    return pack_f16(e4m3_float((uint8_t)two), e4m3_float((uint8_t)(two >> 8)));
#endif
}

/* 2^(e-128): the scale of MXFP4 blocks whose codes are doubled. */
static __device__ __forceinline__ float e8m0_half_float(uint8_t e) { return __uint_as_float(e < 2 ? 0x00200000u << e : (unsigned)(e - 1) << 23); }

/* ---- the warp ---- */

static __device__ __forceinline__ int lane_id() { return (int)(threadIdx.x & 31); }
static __device__ __forceinline__ int warp_id() { return (int)(threadIdx.x >> 5); }

#ifdef __CUDACC__
static __device__ __forceinline__ float warp_sum(float v)
{
    UNROLL for (int m = 16; m > 0; m >>= 1) v += __shfl_xor_sync(FULL_WARP, v, m);
    return v;
}
static __device__ __forceinline__ float warp_max(float v)
{
    UNROLL for (int m = 16; m > 0; m >>= 1) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, m));
    return v;
}
#else
/* The same tree in one meeting of the lanes, by the last to come: sums of xor partners are the same on both sides. */
template <class F> static inline float shim_reduce(float v, F both)
{
    shim::fiber *f = shim::e.now;
    shim::warp *w = &shim::e.w[f->index / 32];
    float *t = (float *)(void *)w->tile[f->parity ^= 1];

    t[f->index % 32] = v;
    shim::wait(&w->meet, [t, both] { for (int m = 16; m > 0; m >>= 1) for (int i = 0; i < m; i++) t[i] = both(t[i], t[i + m]); });
    return t[0];
}
static inline float warp_sum(float v) { return shim_reduce(v, [](float a, float b) { return a + b; }); }
static inline float warp_max(float v) { return shim_reduce(v, [](float a, float b) { return fmaxf(a, b); }); }
#endif

/* The sum over all threads of a block of up to 32 warps, in every thread; shared [32]. Two barriers. */
static __device__ __forceinline__ float block_sum(float v, float *shared)
{
    int n = (int)(blockDim.x >> 5);

    v = warp_sum(v);
    if (lane_id() == 0) shared[warp_id()] = v;
    __syncthreads();
    v = warp_sum(lane_id() < n ? shared[lane_id()] : 0.0f);
    __syncthreads();
    return v;
}

/* ---- matrix tiles: d += a b ----
 * Lane l has row l/4 (and l/4 + 8) of a and d, column l/4 of b; along k its words lie at l%4. d: { row l/4: columns 2(l%4), +1;
 * row l/4 + 8: the same }. */
#ifdef __CUDACC__
static __device__ __forceinline__ void mma_s8_k32(int d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
static __device__ __forceinline__ void mma_s8_k16(int d[4], const uint32_t a[2], uint32_t b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b));
}
static __device__ __forceinline__ void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8x8 tiles of halves; lane 8i + r gives the address of row r of tile i. Plain: r[i] is row l/4, values 2(l%4), +1 of tile i. */
static __device__ __forceinline__ void load_tiles(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}
/* Turned over: r[i] is rows 2(l%4), +1 of column l/4. */
static __device__ __forceinline__ void load_tiles_turned(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)) : "memory");
}
#else
#include "shim_tiles.h"
#endif
#endif
