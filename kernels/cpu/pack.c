/* pack.c - rows to the tiles of pack.h. */
#include "pack.h"
#include "checked.h"
#include "codebook.h"
#include "dequant.h"
#include "narrow.h"
#include "packed.h"
#include "threads.h"
#include <string.h>

/* Bytes at .. at+n-1 of each block. */
typedef struct { uint8_t at, n; } field;
/* Blocks of a group, and their fields in packed order; n 0: no more. */
enum { MAX_FIELD = 14 };
typedef struct { int group; field f[MAX_FIELD]; } arrangement;

static arrangement arrangement_of(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0: case DT_IQ4_NL: return (arrangement){ 2, { { 0, 2 }, { 2, 16 } } };
    case DT_Q4_1: case DT_Q4_G:   return (arrangement){ 1, { { 0, 20 } } };
    case DT_Q5_0:                 return (arrangement){ 2, { { 0, 2 }, { 2, 4 }, { 6, 16 } } };
    case DT_Q5_1:                 return (arrangement){ 1, { { 0, 24 } } };
    case DT_Q8_0:                 return (arrangement){ 2, { { 0, 2 }, { 2, 32 } } };
    case DT_MXFP4:                return (arrangement){ 4, { { 0, 1 }, { 1, 16 } } };
    case DT_Q3_K:                 return (arrangement){ 1, { { 96, 14 }, { 0, 96 } } };
    case DT_Q6_K:                 return (arrangement){ 1, { { 192, 18 }, { 128, 16 }, { 0, 16 }, { 32, 16 }, { 144, 16 }, { 16, 16 }, { 48, 16 },
                                                             { 160, 16 }, { 64, 16 }, { 96, 16 }, { 176, 16 }, { 80, 16 }, { 112, 16 } } };
    default:                      return (arrangement){ 1, { { 0, (uint8_t)dtype_info(dtype)->block_bytes } } };
    }
}

/* memcpy, which a compiler makes a few instructions of where it knows n. */
static inline void move_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
    switch (n) {
    case 1:  *to = *from; break;
    case 2:  memcpy(to, from, 2); break;
    case 4:  memcpy(to, from, 4); break;
    case 16: memcpy(to, from, 16); break;
    case 20: memcpy(to, from, 20); break;
    case 24: memcpy(to, from, 24); break;
    case 32: memcpy(to, from, 32); break;
    default: memcpy(to, from, n); break;
    }
}

/* n_block blocks of one group to `to`, or (back) from there to where they came from; returns the bytes. */
static inline size_t move_group(uint8_t *to, uint8_t *b, const arrangement *a, int64_t n_block, size_t size, bool back)
{
    uint8_t *at = to;

    for (int i = 0; i < MAX_FIELD && a->f[i].n > 0; i++) {
        const size_t n = a->f[i].n;
        uint8_t *own = b + a->f[i].at;
        for (int64_t k = 0; k < n_block; k++, at += n, own += size) move_bytes(back ? own : at, back ? at : own, n);
        for (; (at - to) % 4 != 0; at++)
            if (!back) *at = 0;
    }
    return (size_t)(at - to);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* A chunk of n values of a type that lies like `a`; returns the bytes of `to`. */
static inline size_t move_chunk(uint8_t *to, uint8_t *b, llm_dtype dtype, const arrangement *a, int64_t n, bool back)
{
    const llm_dtype_info *info = dtype_info(dtype);
    const int64_t n_block = n / info->block;
    size_t bytes = 0;

    for (int64_t k = 0; k < n_block; k += a->group)
        bytes += move_group(to + bytes, b + (size_t)k * (size_t)info->block_bytes, a, least(a->group, n_block - k), (size_t)info->block_bytes, back);
    return bytes;
}
static size_t put_chunk(uint8_t *to, const uint8_t *b, llm_dtype dtype, const arrangement *a, int64_t n) { return move_chunk(to, (uint8_t *)(uintptr_t)b, dtype, a, n, false); }

/* Elements of a and b, of which those of b count on. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (words){ __VA_ARGS__ })
#endif

enum { MOST = 34 * PACK_VALUES / 32 };          /* bytes of a chunk: those of Q8_0 */

size_t pack_row_bytes(llm_dtype dtype, int64_t cols)
{
    static const uint8_t from[MOST];
    uint8_t to[MOST];

    if (matrix_form(dtype) == X_F32) return matrix_is_float(dtype) ? (size_t)cols * (size_t)dtype_info(dtype)->block_bytes : 0;
    if (codebook_sub(dtype) > 0) return 0;
    dtype = pack_dtype(dtype);
    const arrangement a = arrangement_of(dtype);
    return (size_t)(cols / PACK_VALUES) * put_chunk(to, from, dtype, &a, PACK_VALUES) + put_chunk(to, from, dtype, &a, cols % PACK_VALUES);
}

/* Values k .. k+n-1 of row r as the blocks of its packed type; room for them. */
static const uint8_t *blocks_of(const matrix *w, int64_t r, int64_t k, int64_t n, uint8_t room[MOST])
{
    const llm_dtype_info *info = dtype_info(w->dtype);
    const uint8_t *b = w->data + (size_t)r * w->row_bytes + (size_t)(k / info->block) * (size_t)info->block_bytes;

    if (w->dtype != DT_F4_E2M1) return b;
    for (int64_t i = 0; i < n / 32; i++) mxfp4_join(room + 17 * i, w->scale[(size_t)r * w->scale_row_bytes + (size_t)(k / 32 + i)], b + 16 * i);
    return room;
}

/* The words of bytes of each row, a word of all rows after the other: four words of four rows at a time, which is a transposition. Returns the end of tile. */
static uint8_t *cross_words(uint8_t *tile, uint8_t chunk[TILE_ROWS][MOST], size_t bytes)
{
    typedef uint32_t words __attribute__((vector_size(16)));
    size_t i = 0;

    for (; i + 16 <= bytes; i += 16, tile += 16 * TILE_ROWS)
        for (int r = 0; r < TILE_ROWS; r += 4) {
            words a, b, c, d;
            memcpy(&a, chunk[r] + i, 16), memcpy(&b, chunk[r + 1] + i, 16), memcpy(&c, chunk[r + 2] + i, 16), memcpy(&d, chunk[r + 3] + i, 16);
            const words ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5), AB = SHUFFLE(a, b, 2, 6, 3, 7), CD = SHUFFLE(c, d, 2, 6, 3, 7);
            const words out[4] = { SHUFFLE(ab, cd, 0, 1, 4, 5), SHUFFLE(ab, cd, 2, 3, 6, 7), SHUFFLE(AB, CD, 0, 1, 4, 5), SHUFFLE(AB, CD, 2, 3, 6, 7) };
            memcpy(tile + 4 * r, &out[0], 16), memcpy(tile + 4 * TILE_ROWS + 4 * r, &out[1], 16);
            memcpy(tile + 8 * TILE_ROWS + 4 * r, &out[2], 16), memcpy(tile + 12 * TILE_ROWS + 4 * r, &out[3], 16);
        }
    for (; i < bytes; i += 4)
        for (int r = 0; r < TILE_ROWS; r++, tile += 4) memcpy(tile, chunk[r] + i, 4);
    return tile;
}

void pack_tile(uint8_t *tile, const matrix *w, int64_t row)
{
    uint8_t chunk[TILE_ROWS][MOST], room[MOST];

    for (int64_t r = 0; matrix_form(w->dtype) == X_F32 && r < TILE_ROWS; r++)
        memcpy(tile + (size_t)r * w->packed_row_bytes, w->data + (size_t)(row + r) * w->row_bytes, w->packed_row_bytes);
    if (matrix_form(w->dtype) == X_F32) return;
    const llm_dtype dtype = pack_dtype(w->dtype);
    const arrangement a = arrangement_of(dtype);
    for (int64_t k = 0; k < w->cols; k += PACK_VALUES) {
        int64_t n = least(w->cols - k, PACK_VALUES);
        size_t bytes = 0;
        for (int r = 0; r < TILE_ROWS; r++) bytes = put_chunk(chunk[r], blocks_of(w, row + r, k, n, room), dtype, &a, n);
        tile = cross_words(tile, chunk, bytes);
    }
}

void packed_row(const matrix *w, int64_t r, float *y)
{
    const uint8_t *word = w->packed + (size_t)(r - r % TILE_ROWS) * w->packed_row_bytes + 4 * (size_t)(r % TILE_ROWS);
    const llm_dtype dtype = pack_dtype(w->dtype);
    const arrangement a = arrangement_of(dtype);
    uint8_t chunk[MOST], row[MOST];

    for (int64_t k = 0; k < w->cols; k += PACK_VALUES) {
        int64_t n = least(w->cols - k, PACK_VALUES);
        size_t bytes = n == PACK_VALUES ? pack_chunk_bytes(dtype) : pack_row_bytes(dtype, n);
        for (size_t i = 0; i < bytes; i += 4, word += 4 * TILE_ROWS) memcpy(chunk + i, word, 4);
        move_chunk(chunk, row, dtype, &a, n, true);
        dequant_row(dtype, row, y + k, n);
    }
}

/* ---- a weight, little by little -------------------------------------------------- */

size_t backend_cpu_packed(llm_packed *p, const llm_tensor *w)
{
    bool stack = w->dim[2] > 1;
    int64_t rows = w->dim[stack], cols = w->dim[1 + stack];
    size_t bytes;

    *p = (llm_packed){ .rows = rows - rows % TILE_ROWS, .n_matrix = stack ? w->dim[0] : 1 };
    if (!tensor_bound(w) || cols < 2 || p->rows == 0) return 0;
    p->row_bytes = pack_row_bytes(w->dtype, cols);
    return ck_mul((size_t)p->rows * (size_t)p->n_matrix, p->row_bytes, &bytes) ? bytes : 0;
}

typedef struct { const matrix *w; uint8_t *to; int64_t row0; } pack_job;

static void pack_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    const pack_job *j = arg;

    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = j->row0 + t * TILE_ROWS;
        pack_tile(j->to + (size_t)row * j->w->packed_row_bytes, j->w, row);
    }
}

int64_t backend_cpu_pack(llm_backend *be, llm_tensor *w, int64_t n_row, const void **from, size_t *bytes)
{
    llm_packed *p = w->repacked;
    int64_t ready = atomic_load_explicit(&p->ready, memory_order_relaxed), e = ready / p->rows, row0 = ready % p->rows;
    matrix m;

    *from = NULL, *bytes = 0;
    if (e == p->n_matrix) return 0;
    m = matrix_of(w, NULL, w->dim[2] > 1 ? e : -1);
    n_row = least((n_row + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, p->rows - row0);
    pool_run(cpu_of(be)->pool, n_row / TILE_ROWS, 1, pack_tiles, &(pack_job){ &m, p->data + (size_t)(e * p->rows) * p->row_bytes, row0 });
    atomic_store_explicit(&p->ready, ready + n_row, memory_order_release);
    *from = m.data + (size_t)row0 * m.row_bytes, *bytes = tensor_span(w, n_row);
    return n_row;
}
