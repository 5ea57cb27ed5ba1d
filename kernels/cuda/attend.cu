/* attend.cu - attention over the cache (kv.cu) on the matrix units, with the softmax taken as the keys come by (Milakov and Gimelshein,
 * arXiv 1805.02867; FlashAttention-2, arXiv 2307.08691).
 *
 * A tile is 16 MT query rows of one kv head: positions times the heads that share it, so that each key is read once for all of them. A
 * block of 4 warps walks its keys in steps of KEYS: every warp scores a quarter of them (q k^T), threads turn scores into weights,
 * every warp adds up a quarter of the value's width (p v). Where tiles are few, as in decoding, the keys are cut into parts, one
 * block each, and a second kernel merges them in ascending order. Keys, values, queries and weights are halves in the products, sums
 * are floats; queries are divided by a power of two first. Where the model's weights meet x as 8-bit codes, which a last bit may change,
 * queries and weights are the sum of two halves each: twice the products, and results that differ from the CPU's in the last bits only.
 * How many rows a tile has does not change any bit of a row's result.
 * Deterministic: the keys are cut where their positions say (part_begin), and a block that walks several parts merges them as the second kernel
 * would, so that a row's result depends on its own keys alone.
 * Bound by the bytes of the keys and values for few rows, by the matrix units for many. Shared memory: one step's keys and values, the
 * queries, scores and weights.
 * A cache of floats takes another kernel (attend_floats), all of whose products and sums are floats: a block a query row and head, no matrix units. */
#include "cuda_impl.h"
#include "kv_row.h"

enum { THREADS = 128, PART_MIN = 256, PAD = 8 };    /* PAD halves a row in shared memory keep its tiles in different banks */

typedef struct {
    llm_rows o, q;
    llm_kv_layer kv;
    const llm_span *span;
    const int32_t *pos, *seq;           /* of each row: attend_floats */
    const float *sinks;
    float *partial;                     /* [tile row of all][part]: d_v sums, then the largest score and the sum */
    int n_span, n_head, group, window, n_part, rows_all;
    bool cut;                           /* parts are those of part_begin */
    bool fine;                          /* queries and weights are two halves each */
    float scale, softcap;
} attend_job;

static __host__ __device__ __forceinline__ int round16(int d) { return (d + 15) & ~15; }

/* The parts of dynamic shared memory, for rows query rows and keys keys. A row's weights take the place of its scores: keys halves, and behind
 * them, where they are fine, keys halves more. */
typedef struct { int k, v, q, score, total; } attend_areas;        /* offsets in bytes; v == k for a latent cache */

static __host__ __device__ __forceinline__ attend_areas areas_of(const llm_kv_layer &kv, int rows, int keys, bool fine)
{
    int dk = round16(kv.d_k) + PAD, dv = round16(kv.d_v) + PAD;
    attend_areas a;

    a.k = 0, a.v = kv.latent ? 0 : 2 * keys * dk, a.q = 2 * keys * dk + (kv.latent ? 0 : 2 * keys * dv);
    a.score = a.q + (fine ? 4 : 2) * rows * dk, a.total = a.score + 4 * rows * (keys + 4) + 4 * rows * 2;
    return a;
}

/* Where a block works: rows first .. of the span's n * group, row r being position r / group and head r % group of the kv head. */
typedef struct { llm_span span; int first, rows, kv_head, key0, key1, base; } attend_place;

static __device__ bool find(const attend_job &g, int tile_rows, attend_place *p)
{
    int tile = (int)blockIdx.x;

    for (int i = 0; i < g.n_span; i++) {
        llm_span s = g.span[i];
        int rows = s.n * g.group, tiles = (rows + tile_rows - 1) / tile_rows;
        if (tile < tiles) {
            p->span = s, p->first = tile * tile_rows, p->rows = rows - p->first < tile_rows ? rows - p->first : tile_rows;
            p->kv_head = (int)blockIdx.y, p->base = s.row0 * g.group + p->first;
            return true;
        }
        tile -= tiles;
    }
    return false;
}

/* First key of part i, where parts lie at fixed positions: 16 of 256 keys, 28 of 1024, then 4096 each, so that long contexts have few. */
static __host__ __device__ __forceinline__ int part_begin(int i) { return i < 16 ? 256 * i : i < 44 ? 4096 + 1024 * (i - 16) : 32768 + 4096 * (i - 44); }
static __host__ __device__ __forceinline__ int part_at(int pos) { return pos < 4096 ? pos / 256 : pos < 32768 ? 16 + (pos - 4096) / 1024 : 44 + (pos - 32768) / 4096; }

/* The keys that any row of the tile sees, and of these the part that this block takes: whole steps. */
static __device__ void key_range(const attend_job &g, attend_place *p, int keys)
{
    int first = p->span.pos0 + p->first / g.group, last = p->span.pos0 + (p->first + p->rows - 1) / g.group;
    int begin = g.window > 0 && first >= g.window ? (first - g.window + 1) / keys * keys : 0;
    int steps = (last + keys - begin) / keys, per = (steps + g.n_part - 1) / g.n_part;

    p->key0 = begin + (int)blockIdx.z * per * keys, p->key1 = p->key0 + per * keys;
    if (g.cut) {
        int from = g.n_part > 1 ? part_begin((int)blockIdx.z) : 0;
        p->key0 = from > begin ? from : begin, p->key1 = g.n_part > 1 ? part_begin((int)blockIdx.z + 1) : last + 1;
    }
    if (p->key1 > last + 1) p->key1 = last + 1;
}

/* 8 values from element `at` of a row of the cache as halves; width: elements of the row. */
static __device__ __forceinline__ uint4 cell8(const llm_kv_layer &kv, const uint8_t *row, int at, int width)
{
    if (kv.dtype == DT_F16) {
        if ((at & 7) == 0) return *(const uint4 *)(const void *)(row + 2 * at);
        const uint16_t *h = (const uint16_t *)(const void *)row + at;
        return uint4{ h[0] | (uint32_t)h[1] << 16, h[2] | (uint32_t)h[3] << 16, h[4] | (uint32_t)h[5] << 16, h[6] | (uint32_t)h[7] << 16 };
    }
    if (kv.dtype == DT_F8_E4M3) {
        uint16_t two[4];
        if ((at & 7) == 0) {
            uint2 w = *(const uint2 *)(const void *)(row + at);
            two[0] = (uint16_t)w.x, two[1] = (uint16_t)(w.x >> 16), two[2] = (uint16_t)w.y, two[3] = (uint16_t)(w.y >> 16);
        } else {
            UNROLL for (int i = 0; i < 4; i++) two[i] = (uint16_t)(row[at + 2 * i] | row[at + 2 * i + 1] << 8);
        }
        return uint4{ e4m3_pair(two[0]), e4m3_pair(two[1]), e4m3_pair(two[2]), e4m3_pair(two[3]) };
    }
    float f[8], d = f16_float(((const uint16_t *)(const void *)(row + width))[at / 32]);
    UNROLL for (int i = 0; i < 8; i++) f[i] = (float)((const int8_t *)row)[at + i] * d;
    return uint4{ pack_f16(f[0], f[1]), pack_f16(f[2], f[3]), pack_f16(f[4], f[5]), pack_f16(f[6], f[7]) };
}

/* One value, for the ends of rows whose width is no multiple of 8. */
static __device__ __forceinline__ uint16_t cell1(const llm_kv_layer &kv, const uint8_t *row, int at, int width)
{
    if (kv.dtype == DT_F16) return ((const uint16_t *)(const void *)row)[at];
    if (kv.dtype == DT_F8_E4M3) return float_f16(e4m3_float(row[at]));
    return float_f16((float)((const int8_t *)row)[at] * f16_float(((const uint16_t *)(const void *)(row + width))[at / 32]));
}

/* `keys` rows of one head's keys or values, from position pos on, to shared memory; zeros beyond the range and the width. */
static __device__ void load_cells(uint16_t *to, const llm_kv_layer &kv, bool value, const attend_place *p, int pos, int keys)
{
    int d = value ? kv.d_v : kv.d_k, wide = round16(d), pitch = wide + PAD, width = kv.n_kv_head * d, pieces = wide / 8;
    const uint8_t *base = value ? (const uint8_t *)kv.v + (size_t)p->span.seq * kv.v_seq_bytes : (const uint8_t *)kv.k + (size_t)p->span.seq * kv.k_seq_bytes;
    size_t size = (size_t)kv_row_size(kv.dtype, width);

    for (int i = (int)threadIdx.x; i < keys * pieces; i += THREADS) {
        int key = i / pieces, at = i % pieces * 8;
        uint16_t *out = to + key * pitch + at;
        const uint8_t *row = base + (size_t)((pos + key) % kv.n_cell) * size;
        bool there = pos + key < p->key1;
        if (there && at + 8 <= d) { *(uint4 *)(void *)out = cell8(kv, row, p->kv_head * d + at, width); continue; }
        for (int k = 0; k < 8; k++) out[k] = there && at + k < d ? cell1(kv, row, p->kv_head * d + at + k, width) : 0;
    }
}

/* The tile's queries as halves; mul [row] is the power of two they are divided by. What halves cannot hold of them follows tile_rows rows further
 * on. Warps take a row each in turn. */
static __device__ void load_queries(uint16_t *to, float *mul, const attend_job &g, const attend_place *p, int tile_rows)
{
    int d = g.kv.d_k, wide = round16(d), pitch = wide + PAD;

    for (int r = warp_id(); r < tile_rows; r += THREADS / 32) {
        int at = p->first + r, head = p->kv_head * g.group + at % g.group;
        const float *q = g.q.data + (int64_t)(p->span.row0 + at / g.group) * g.q.stride + (int64_t)head * d;
        float most = 0;
        for (int k = lane_id(); k < d && r < p->rows; k += 32) most = fmaxf(most, fabsf(q[k]));
        most = warp_max(most);
        int e = (int)(__float_as_uint(most) >> 23 & 255) - 127 - 9;         /* to below 2^10: products with keys stay far from a half's end */
        e = e < -100 ? -100 : e > 100 ? 100 : e;
        float inverse = __uint_as_float((unsigned)(127 - e) << 23);
        for (int k = lane_id(); k < wide; k += 32) {
            float x = r < p->rows && k < d ? q[k] * inverse : 0.0f;
            uint16_t h = float_f16(x);
            to[r * pitch + k] = h;
            if (g.fine) to[(tile_rows + r) * pitch + k] = float_f16(x - f16_float(h));
        }
        if (lane_id() == 0) mul[r] = __uint_as_float((unsigned)(e + 127) << 23);
    }
}

/* Scores of the tile's rows against this warp's quarter of the keys, to shared memory [row][KEYS + 4]. */
template <int MT, int KEYS, bool FINE> static __device__ __forceinline__ void score_keys(float *score, const uint16_t *q, const uint16_t *k, int d_k)
{
    enum { NT = KEYS / 32 };            /* tiles of 8 keys a warp */
    int wide = round16(d_k), pitch = wide + PAD, lane = lane_id(), key0 = warp_id() * 8 * NT;
    float s[MT][NT][4];

    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int j = 0; j < NT; j++) UNROLL for (int c = 0; c < 4; c++) s[i][j][c] = 0;
    for (int d = 0; d < wide; d += 16) {
        uint32_t b[4];
        /* with one tile of keys the addresses of the other half are not used */
        load_tiles(b, k + (key0 + (NT > 1 ? lane / 16 * 8 : 0) + lane % 8) * pitch + d + lane / 8 % 2 * 8);
        UNROLL for (int i = 0; i < MT; i++) {
            UNROLL for (int h = 0; h < (FINE ? 2 : 1); h++) {
                uint32_t a[4];
                load_tiles(a, q + (16 * (MT * h + i) + lane % 16) * pitch + d + lane / 16 * 8);
                UNROLL for (int j = 0; j < NT; j++) mma_f16(s[i][j], a, b + 2 * j);
            }
        }
    }
    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int j = 0; j < NT; j++) UNROLL for (int c = 0; c < 4; c++)
        score[(16 * i + lane / 4 + 8 * (c / 2)) * (KEYS + 4) + key0 + 8 * j + lane % 4 * 2 + c % 2] = s[i][j][c];
}

/* Row r's scores become weights as halves, in the same place (attend_areas); its largest score m, sum l and the factor corr of what came
 * before are brought up to date. 128 / rows threads share a row. The weights of keys that are equal mod 8 add up first, then these eight sums in a
 * tree: the same order however many threads there are. */
template <int MT, int KEYS, bool FINE> static __device__ __forceinline__ void weigh(float *score, float *corr, const float *mul, float *m, float *l, const attend_job &g,
                                                                         const attend_place *p, int pos)
{
    enum { SHARE = THREADS / (16 * MT), N = KEYS / SHARE, OWN = 8 / SHARE };
    int r = (int)threadIdx.x / SHARE, part = (int)threadIdx.x % SHARE, at = p->span.pos0 + (p->first + r) / g.group;
    float s[N], sum[OWN], most = -INFINITY;
    uint16_t *weight = (uint16_t *)(void *)(score + r * (KEYS + 4)), h;

    UNROLL for (int j = 0; j < OWN; j++) sum[j] = 0;
    UNROLL for (int i = 0; i < N; i++) {
        int key = pos + part + SHARE * i;
        float v = score[r * (KEYS + 4) + part + SHARE * i] * mul[r] * g.scale;
        if (g.softcap > 0) v = g.softcap * tanhf(v / g.softcap);
        s[i] = r < p->rows && key < p->key1 && key <= at && (g.window == 0 || at - key < g.window) ? v : -INFINITY;
        most = fmaxf(most, s[i]);
    }
    UNROLL for (int k = SHARE / 2; k > 0; k >>= 1) most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, k));
    most = fmaxf(most, *m);
    float c = *m == most ? 1.0f : expf(*m - most);
    __syncwarp();                       /* the row's scores have been read: its threads are of one warp */
    UNROLL for (int i = 0; i < N; i++) {
        float w = s[i] == -INFINITY ? 0.0f : expf(s[i] - most);
        weight[part + SHARE * i] = h = float_f16(w), sum[i % OWN] += w;
        if (FINE) weight[KEYS + part + SHARE * i] = float_f16(w - f16_float(h));
    }
    UNROLL for (int k = OWN / 2; k > 0; k >>= 1) UNROLL for (int j = 0; j < k; j++) sum[j] += sum[j + k];
    UNROLL for (int k = SHARE / 2; k > 0; k >>= 1) sum[0] += __shfl_xor_sync(FULL_WARP, sum[0], k);
    *l = fmaf(*l, c, sum[0]), *m = most;
    if (part == 0) corr[r] = c;
}

/* acc += weights times this warp's quarter of the value's width: NV tiles of 8. */
template <int MT, int NV, int KEYS, bool FINE> static __device__ __forceinline__ void add_values(float acc[MT][NV][4], const uint16_t *weight, const uint16_t *v, const float *corr,
                                                                                                            int pitch, int d_v)
{
    int lane = lane_id(), d0 = warp_id() * 8 * NV;

    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int j = 0; j < NV; j++) UNROLL for (int c = 0; c < 4; c++) acc[i][j][c] *= corr[16 * i + lane / 4 + 8 * (c / 2)];
    UNROLL for (int k = 0; k < KEYS; k += 16) {
        uint32_t a[MT][4], low[MT][4];
        UNROLL for (int i = 0; i < MT; i++) {
            const uint16_t *row = weight + (16 * i + lane % 16) * 2 * (KEYS + 4) + k + lane / 16 * 8;
            load_tiles(a[i], row);
            if constexpr (FINE) load_tiles(low[i], row + KEYS);
        }
        UNROLL for (int j = 0; j < NV; j += 2) {
            uint32_t b[4];
            if (d0 + 8 * j >= round16(d_v)) continue;
            load_tiles_turned(b, v + (k + lane / 8 % 2 * 8 + lane % 8) * pitch + d0 + 8 * j + lane / 16 * 8);
            UNROLL for (int i = 0; i < MT; i++) mma_f16(acc[i][j], a[i], b), mma_f16(acc[i][j + 1], a[i], b + 2);
            if constexpr (FINE) UNROLL for (int i = 0; i < MT; i++) mma_f16(acc[i][j], low[i], b), mma_f16(acc[i][j + 1], low[i], b + 2);
        }
    }
}

/* The factor that ends row r: 1 / l, with a sink's share. */
static __device__ __forceinline__ float ending(float m, float l, const float *sinks, int head)
{
    if (sinks == NULL) return 1.0f / l;
    float top = fmaxf(m, sinks[head]), a = expf(m - top);
    return a / fmaf(l, a, expf(sinks[head] - top));
}

/* Factors by which a running result of greatest score m0, and the next part's of m1, go into their merger, whose greatest is *m. */
static __device__ __forceinline__ void merge_factors(float m0, float m1, float *m, float *f0, float *f1)
{
    *m = fmaxf(m0, m1);
    *f0 = m0 == -INFINITY ? 0.0f : expf(m0 - *m), *f1 = m1 == -INFINITY ? 0.0f : expf(m1 - *m);
}

/* A part ends: what was added up for it goes into sum, m_sum and l_sum, and the next one begins. factor [2][rows] in shared memory. */
template <int MT, int NV> static __device__ __forceinline__ void end_part(float sum[MT][NV][4], float *m_sum, float *l_sum, float acc[MT][NV][4], float *m, float *l, float *factor)
{
    enum { ROWS = 16 * MT, SHARE = THREADS / ROWS };
    int r = (int)threadIdx.x / SHARE;
    float f0, f1;

    merge_factors(*m_sum, *m, m_sum, &f0, &f1);
    *l_sum = fmaf(*l, f1, *l_sum * f0), *m = -INFINITY, *l = 0;
    if (threadIdx.x % SHARE == 0) factor[r] = f0, factor[ROWS + r] = f1;
    __syncthreads();
    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int j = 0; j < NV; j++) UNROLL for (int c = 0; c < 4; c++) {
        int row = 16 * i + lane_id() / 4 + 8 * (c / 2);
        sum[i][j][c] = fmaf(acc[i][j][c], factor[ROWS + row], sum[i][j][c] * factor[row]), acc[i][j][c] = 0;
    }
    __syncthreads();
}

template <int MT, int NV, int KEYS> static __device__ __forceinline__ void write_rows(const attend_job &g, const attend_place *p, float acc[MT][NV][4], const float *m, const float *l)
{
    int lane = lane_id(), d_v = g.kv.d_v;

    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int c = 0; c < 4; c++) {
        int r = 16 * i + lane / 4 + 8 * (c / 2), at = p->first + r, head = p->kv_head * g.group + at % g.group;
        if (r >= p->rows) continue;
        float *o = g.o.data + (int64_t)(p->span.row0 + at / g.group) * g.o.stride + (int64_t)head * d_v, f = g.n_part > 1 ? 1.0f : ending(m[r], l[r], g.sinks, head);
        if (g.n_part > 1) o = g.partial + (((int64_t)p->kv_head * g.rows_all + p->base + r) * g.n_part + blockIdx.z) * (d_v + 2);
        UNROLL for (int j = 0; j < NV; j++) {
            int d = warp_id() * 8 * NV + 8 * j + lane % 4 * 2 + c % 2;
            if (d < d_v) o[d] = acc[i][j][c] * f;
        }
        if (g.n_part > 1 && warp_id() == 0 && lane % 4 == 0 && c % 2 == 0) o[d_v] = m[r], o[d_v + 1] = l[r];
    }
}

/* CUT: a block that has all parts to itself (g.cut, n_part 1). */
template <int MT, int NV, int KEYS, bool CUT, bool FINE> static __global__ void __launch_bounds__(THREADS) attend_kernel(attend_job g)
{
    enum { ROWS = 16 * MT, SHARE = THREADS / ROWS };
    DYNAMIC_SHARED(raw);
    attend_areas at = areas_of(g.kv, ROWS, KEYS, FINE);
    uint16_t *k = (uint16_t *)(void *)(raw + at.k), *v = (uint16_t *)(void *)(raw + at.v), *q = (uint16_t *)(void *)(raw + at.q);
    float *score = (float *)(void *)(raw + at.score), *corr = score + ROWS * (KEYS + 4), *mul = corr + ROWS, m = -INFINITY, l = 0, acc[MT][NV][4];
    float sum[CUT ? MT : 1][CUT ? NV : 1][4], m_sum = -INFINITY, l_sum = 0;
    attend_place p;

    if (!find(g, ROWS, &p)) return;
    key_range(g, &p, KEYS);
    UNROLL for (int i = 0; i < MT; i++) UNROLL for (int j = 0; j < NV; j++) UNROLL for (int c = 0; c < 4; c++) {
        acc[i][j][c] = 0;
        if constexpr (CUT) sum[i][j][c] = 0;
    }
    load_queries(q, mul, g, &p, ROWS);
    for (int pos = p.key0; pos < p.key1; pos += KEYS) {
        load_cells(k, g.kv, false, &p, pos, KEYS);
        if (!g.kv.latent) load_cells(v, g.kv, true, &p, pos, KEYS);
        __syncthreads();
        score_keys<MT, KEYS, FINE>(score, q, k, g.kv.d_k);
        __syncthreads();
        weigh<MT, KEYS, FINE>(score, corr, mul, &m, &l, g, &p, pos);
        __syncthreads();
        add_values<MT, NV, KEYS, FINE>(acc, (const uint16_t *)(const void *)score, v, corr, round16(g.kv.latent ? g.kv.d_k : g.kv.d_v) + PAD, g.kv.d_v);
        __syncthreads();
        if constexpr (CUT) if (pos + KEYS >= p.key1 || part_at(pos + KEYS) != part_at(pos)) end_part<MT, NV>(sum, &m_sum, &l_sum, acc, &m, &l, score);
    }
    if constexpr (CUT) m = m_sum, l = l_sum;
    /* every row's m and l, from the threads that keep them */
    if (threadIdx.x % SHARE == 0) score[threadIdx.x / SHARE] = m, score[ROWS + threadIdx.x / SHARE] = l;
    __syncthreads();
    if constexpr (CUT) write_rows<MT, NV, KEYS>(g, &p, sum, score, score + ROWS);
    else write_rows<MT, NV, KEYS>(g, &p, acc, score, score + ROWS);
}

/* ---- a cache of floats ---- */

enum { FLOAT_STEP = 32, FLOAT_OWN = 4 };        /* keys a step; values a thread adds up: 512 in a block */

/* Row `at` of a head's keys or values. */
static __device__ __forceinline__ const float *float_cell(const llm_kv_layer &kv, bool value, int seq, int at, int head)
{
    int d = value ? kv.d_v : kv.d_k;
    const uint8_t *base = value ? (const uint8_t *)kv.v + (size_t)seq * kv.v_seq_bytes : (const uint8_t *)kv.k + (size_t)seq * kv.k_seq_bytes;

    return (const float *)(const void *)(base + (size_t)(at % kv.n_cell) * (size_t)kv_row_size(DT_F32, kv.n_kv_head * (int64_t)d)) + (int64_t)head * d;
}

/* Keys key0 .. key1 - 1 of one query q [d_k]: acc, m and l as attend_kernel keeps them, each thread its values, all threads the same m and l. Every
 * warp scores a key in turn; score [2][FLOAT_STEP] is written in turns, so that one barrier a step is enough. weight [FLOAT_STEP] is the warp's own. */
static __device__ __forceinline__ void float_part(const attend_job &g, const float *q, float *score, float *weight, int seq, int kv_head, int key0, int key1, float acc[FLOAT_OWN], float *m, float *l)
{
    int lane = lane_id();

    *m = -INFINITY, *l = 0;
    UNROLL for (int j = 0; j < FLOAT_OWN; j++) acc[j] = 0;
    for (int key = key0, turn = 0; key < key1; key += FLOAT_STEP, turn ^= FLOAT_STEP) {
        int n = key1 - key < FLOAT_STEP ? key1 - key : FLOAT_STEP;
        for (int k = warp_id(); k < n; k += THREADS / 32) {
            const float *x = float_cell(g.kv, false, seq, key + k, kv_head);
            float s = 0;
            for (int d = lane; d < g.kv.d_k; d += 32) s = fmaf(q[d], x[d], s);
            s = warp_sum(s) * g.scale;
            if (lane == 0) score[turn + k] = g.softcap > 0 ? g.softcap * tanhf(s / g.softcap) : s;
        }
        __syncthreads();
        float s = lane < n ? score[turn + lane] : -INFINITY, top = fmaxf(*m, warp_max(s)), c = *m == -INFINITY ? 0.0f : expf(*m - top), w = lane < n ? expf(s - top) : 0.0f;
        *l = fmaf(*l, c, warp_sum(w)), *m = top;
        weight[lane] = w;               /* those of the step before have been read: the barrier is between */
        __syncwarp();
        UNROLL for (int j = 0; j < FLOAT_OWN; j++) acc[j] *= c;
        for (int k = 0; k < n; k++) {
            const float *x = float_cell(g.kv, !g.kv.latent, seq, key + k, kv_head);
            float one = weight[k];
            UNROLL for (int j = 0; j < FLOAT_OWN; j++) {
                int d = (int)threadIdx.x + THREADS * j;
                if (d < g.kv.d_v) acc[j] = fmaf(one, x[d], acc[j]);
            }
        }
    }
    __syncthreads();                    /* the next part begins with the first turn again */
}

/* Block (row, head, part). Deterministic: parts are those of part_begin, merged as merge_cut_kernel does where a block has all of them. */
static __global__ void __launch_bounds__(THREADS) attend_floats(attend_job g)
{
    DYNAMIC_SHARED(raw);
    float *q = (float *)(void *)raw, *score = q + round16(g.kv.d_k), *weight = score + FLOAT_STEP * (2 + warp_id()), acc[FLOAT_OWN], sum[FLOAT_OWN], m, l, m_sum = -INFINITY, l_sum = 0, f0, f1;
    int i = (int)blockIdx.x, head = (int)blockIdx.y, kv_head = head / g.group, pos = g.pos[i], part = (int)blockIdx.z;
    int begin = g.window > 0 && pos >= g.window ? pos - g.window + 1 : 0, per = ((pos - begin) / g.n_part / FLOAT_STEP + 1) * FLOAT_STEP;
    int first = g.cut && g.n_part == 1 ? part_at(begin) : part, last = g.cut && g.n_part == 1 ? part_at(pos) : part;

    for (int d = (int)threadIdx.x; d < g.kv.d_k; d += THREADS) q[d] = g.q.data[(int64_t)i * g.q.stride + (int64_t)head * g.kv.d_k + d];
    UNROLL for (int j = 0; j < FLOAT_OWN; j++) sum[j] = 0;
    __syncthreads();
    for (int p = first; p <= last; p++) {
        int key0 = g.cut ? part_begin(p) : begin + p * per, key1 = g.cut ? part_begin(p + 1) : key0 + per;
        float_part(g, q, score, weight, g.seq[i], kv_head, key0 > begin ? key0 : begin, key1 < pos + 1 ? key1 : pos + 1, acc, &m, &l);
        merge_factors(m_sum, m, &m_sum, &f0, &f1);
        l_sum = fmaf(l, f1, l_sum * f0);
        UNROLL for (int j = 0; j < FLOAT_OWN; j++) sum[j] = fmaf(acc[j], f1, sum[j] * f0);
    }
    float f = g.n_part > 1 ? 1.0f : ending(m_sum, l_sum, g.sinks, head), *o = g.o.data + (int64_t)i * g.o.stride + (int64_t)head * g.kv.d_v;
    if (g.n_part > 1) o = g.partial + (((int64_t)kv_head * g.rows_all + (int64_t)i * g.group + head % g.group) * g.n_part + part) * (g.kv.d_v + 2);
    UNROLL for (int j = 0; j < FLOAT_OWN; j++) {
        int d = (int)threadIdx.x + THREADS * j;
        if (d < g.kv.d_v) o[d] = sum[j] * f;
    }
    if (g.n_part > 1 && threadIdx.x == 0) o[g.kv.d_v] = m_sum, o[g.kv.d_v + 1] = l_sum;
}

static cudaError_t launch_floats(const attend_job *g, int rows, cudaStream_t s)
{
    LAUNCH(attend_floats, dim3((unsigned)rows, (unsigned)g->n_head, (unsigned)g->n_part), dim3(THREADS), (size_t)(round16(g->kv.d_k) + FLOAT_STEP * (2 + THREADS / 32)) * sizeof(float), s, *g);
    return cudaGetLastError();
}

/* Block (row, head): the parts of one query in ascending order. Parts without keys have m = -infinity and l = 0. */
static __global__ void merge_kernel(attend_job g)
{
    int head = (int)blockIdx.y, i = (int)blockIdx.x, d_v = g.kv.d_v;
    const float *part = g.partial + ((int64_t)(head / g.group) * g.rows_all + (int64_t)i * g.group + head % g.group) * g.n_part * (d_v + 2);
    float m = -INFINITY, l = 0;

    for (int s = 0; s < g.n_part; s++) m = fmaxf(m, part[(int64_t)s * (d_v + 2) + d_v]);
    for (int s = 0; s < g.n_part; s++) {
        const float *x = part + (int64_t)s * (d_v + 2);
        if (x[d_v] != -INFINITY) l = fmaf(x[d_v + 1], expf(x[d_v] - m), l);
    }
    float f = ending(m, l, g.sinks, head), *o = g.o.data + (int64_t)i * g.o.stride + (int64_t)head * d_v;
    for (int d = (int)threadIdx.x; d < d_v; d += (int)blockDim.x) {
        float sum = 0;
        for (int s = 0; s < g.n_part; s++) {
            const float *x = part + (int64_t)s * (d_v + 2);
            if (x[d_v] != -INFINITY) sum = fmaf(x[d], expf(x[d_v] - m), sum);
        }
        o[d] = sum * f;
    }
}

/* The same one after the other, as end_part merges. */
static __global__ void merge_cut_kernel(attend_job g)
{
    int head = (int)blockIdx.y, i = (int)blockIdx.x, d_v = g.kv.d_v;
    const float *part = g.partial + ((int64_t)(head / g.group) * g.rows_all + (int64_t)i * g.group + head % g.group) * g.n_part * (d_v + 2);
    float *o = g.o.data + (int64_t)i * g.o.stride + (int64_t)head * d_v;

    for (int d = (int)threadIdx.x; d < d_v; d += (int)blockDim.x) {
        float m = -INFINITY, l = 0, sum = 0, f0, f1;
        for (int s = 0; s < g.n_part; s++) {
            const float *x = part + (int64_t)s * (d_v + 2);
            merge_factors(m, x[d_v], &m, &f0, &f1);
            l = fmaf(x[d_v + 1], f1, l * f0), sum = fmaf(x[d], f1, sum * f0);
        }
        o[d] = sum * ending(m, l, g.sinks, head);
    }
}

template <int MT, int NV, int KEYS, bool FINE> static cudaError_t launch_as(const attend_job *g, dim3 grid, cudaStream_t s)
{
    attend_job j = *g;
    size_t shared = (size_t)areas_of(j.kv, 16 * MT, KEYS, FINE).total;
    auto fn = j.cut && j.n_part == 1 ? attend_kernel<MT, NV, KEYS, true, FINE> : attend_kernel<MT, NV, KEYS, false, FINE>;

    if (shared > CUDA_SHARED_MAX) return cudaErrorInvalidValue;
    cudaError_t e = cudaFuncSetAttribute(fn, cudaFuncAttributeMaxDynamicSharedMemorySize, CUDA_SHARED_MAX);
    if (e != cudaSuccess) return e;
    LAUNCH(fn, grid, dim3(THREADS), shared, s, j);
    return cudaGetLastError();
}

template <int MT, int NV, int KEYS> static cudaError_t launch_of(const attend_job *g, dim3 grid, cudaStream_t s)
{
    return g->fine ? launch_as<MT, NV, KEYS, true>(g, grid, s) : launch_as<MT, NV, KEYS, false>(g, grid, s);
}

/* The tile for a width of values: more rows where a span has them. Fine queries of more than 128 values leave room for half the keys. */
static cudaError_t launch(const attend_job *g, int tile_rows, dim3 grid, cudaStream_t s)
{
    int d = g->kv.d_v > g->kv.d_k && !g->kv.latent ? g->kv.d_v : g->kv.d_k;

    if (g->kv.d_v > 256 || d > 256) return launch_of<1, 16, 32>(g, grid, s);
    if (d > 128 && g->fine) return tile_rows == 32 ? launch_as<2, 8, 32, true>(g, grid, s) : launch_as<1, 8, 32, true>(g, grid, s);
    if (d > 128) return tile_rows == 32 ? launch_as<2, 8, 64, false>(g, grid, s) : launch_as<1, 8, 64, false>(g, grid, s);
    if (d > 64) return tile_rows == 64 ? launch_of<4, 4, 64>(g, grid, s) : launch_of<1, 4, 64>(g, grid, s);
    return tile_rows == 64 ? launch_of<4, 2, 64>(g, grid, s) : launch_of<1, 2, 64>(g, grid, s);
}

static int rows_of_tile(const llm_kv_layer *kv, int most_rows)
{
    int d = kv->d_v > kv->d_k ? kv->d_v : kv->d_k;
    return d > 256 || most_rows <= 16 ? 16 : d > 128 ? 32 : 64;
}

/* How many parts the keys are cut into: enough blocks to fill the device twice, none with fewer than PART_MIN keys, all results in
 * the scratch. Lengths count to the next power of two, so that a recorded step holds for many tokens. */
static int parts_of(const cuda_impl *impl, const attend_job *g, const llm_batch *b, int tiles)
{
    int64_t blocks = (int64_t)tiles * g->kv.n_kv_head, want = (2 * impl->n_sm + blocks - 1) / blocks;
    int64_t room = (int64_t)(impl->partial_bytes / sizeof(float)) / ((int64_t)b->n * g->n_head * (g->kv.d_v + 2)), keys = PART_MIN;

    for (int i = 0; i < b->n_span; i++) while (b->span[i].pos0 + b->span[i].n > keys) keys *= 2;
    if (g->window > 0 && keys > g->window + PART_MIN) keys = g->window + PART_MIN;
    if (want > keys / PART_MIN) want = keys / PART_MIN;
    if (want > room) want = room;
    return want < 1 ? 1 : want > 256 ? 256 : (int)want;
}

/* The same where parts lie at fixed positions: all of them, one block each, if that fills the device better and there is room; else 1. */
static int cut_parts_of(const cuda_impl *impl, const attend_job *g, const llm_batch *b, int tiles)
{
    int64_t room = (int64_t)(impl->partial_bytes / sizeof(float)) / ((int64_t)b->n * g->n_head * (g->kv.d_v + 2));
    int keys = PART_MIN, n;

    for (int i = 0; i < b->n_span; i++) while (b->span[i].pos0 + b->span[i].n > keys && keys < 1 << 30) keys *= 2;
    n = part_at(keys - 1) + 1;
    return tiles * g->kv.n_kv_head < 2 * impl->n_sm && n <= room && n < 65536 ? n : 1;
}

static void attend(llm_backend *be, llm_rows o, llm_rows q, const llm_kv_layer *kv, const llm_batch *b, const llm_attn_args *a)
{
    cuda_impl *impl = cuda_of(be);
    attend_job g = {};
    int tiles = 0, most = 0, tile_rows;

    if (!cuda_go(be) || b->n_span == 0) return;
    cuda_writes(be, o.data);
    if (kv->d_v > 512 || kv->d_k > 640 || (!kv->latent && kv->d_k > 256) || a->n_head % kv->n_kv_head != 0) {
        cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: attention of %d heads over %d, head width %d and %d; at most 256, or 640 and 512 of latents", a->n_head, kv->n_kv_head, kv->d_k, kv->d_v);
        return;
    }
    g.o = o, g.q = q, g.kv = *kv, g.n_span = b->n_span, g.n_head = a->n_head, g.group = a->n_head / kv->n_kv_head, g.window = a->window;
    g.scale = a->scale, g.softcap = a->softcap, g.partial = impl->partial, g.rows_all = b->n * g.group;
    g.sinks = a->sinks != NULL && tensor_bound(a->sinks) ? weight_of(a->sinks)->values : NULL;
    for (int i = 0; i < b->n_span; i++) if (b->span[i].n * g.group > most) most = b->span[i].n * g.group;
    tile_rows = rows_of_tile(kv, most);
    if (kv->dtype == DT_F32) tile_rows = 1;
    for (int i = 0; i < b->n_span; i++) tiles += (b->span[i].n * g.group + tile_rows - 1) / tile_rows;
    g.cut = impl->limits.deterministic, g.fine = cuda_code_group(impl->device) > 0;
    g.n_part = g.cut ? cut_parts_of(impl, &g, b, tiles) : parts_of(impl, &g, b, tiles);
    if (impl->batch == NULL || impl->batch->span != b->span) be->remote->upload(be, impl->span, b->span, (size_t)b->n_span * sizeof *b->span);
    g.span = impl->span;
    if (kv->dtype == DT_F32) g.pos = cuda_ints(be, b->pos, b->n, impl->pos), g.seq = cuda_ints(be, b->seq, b->n, impl->seq);
    if (!cuda_check(be, kv->dtype == DT_F32 ? launch_floats(&g, b->n, impl->stream) : launch(&g, tile_rows, dim3((unsigned)tiles, (unsigned)kv->n_kv_head, (unsigned)g.n_part), impl->stream), "attention", b->n, a->n_head, kv->d_k)) return;
    if (g.n_part == 1) return;
    auto merge = g.cut ? merge_cut_kernel : merge_kernel;
    LAUNCH(merge, dim3((unsigned)b->n, (unsigned)a->n_head), dim3(128), 0, impl->stream, g);
    cuda_check(be, cudaSuccess, "attention, merging", b->n, a->n_head, kv->d_v);
}

void cuda_attend_ops(llm_ops *op) { op->attend = attend; }
