/* product_float_body.h - products with float weights: 16 partial sums of every output, the lanes of H vectors (linear.h, 1).
 * Included by product_body.h.
 *
 * A tile is FLOAT_ROWS rows by FLOAT_COLS columns of accumulators in registers. F32 weights are used as they lie, F16 and
 * BF16 too where columns are few; anything else becomes 16 float rows in scratch. Bound by multiply-adds with many columns,
 * by memory with one: four rows then go together, with the next four prefetched in the order they lie in. */

enum { H = 16 / VN };
#if defined(SIMD_AVX512)
enum { FLOAT_ROWS = 4, FLOAT_COLS = 6 };    /* 24 accumulators of 32 registers */
#else
enum { FLOAT_ROWS = 2, FLOAT_COLS = 3 };    /* 12 of 16 */
#endif
enum { ROWS_OF_ONE = 4, HALF_DIRECT = 6, X_BLOCK_BYTES = 384 * 1024 };

typedef enum { W_F32, W_F16, W_BF16 } float_kind;
typedef struct { const uint8_t *w, *x; size_t w_stride, x_stride; int64_t k; } float_args;

SIMD_INLINE vf load_weight(float_kind kind, const uint8_t *w, int64_t k)
{
    if (kind == W_F32) return v_load((const float *)(const void *)w + k);
    return kind == W_F16 ? v_load_f16((const uint16_t *)(const void *)w + k) : v_load_bf16((const uint16_t *)(const void *)w + k);
}

/* The n values from k on, then zeros to 16. */
static void pad_weight(float_kind kind, const uint8_t *w, int64_t k, int n, float out[16])
{
    memset(out, 0, 16 * sizeof *out);
    if (kind == W_F32) memcpy(out, w + 4 * k, (size_t)n * 4);
    else dequant_row(kind == W_F16 ? DT_F16 : DT_BF16, w + 2 * k, out, n);
}

/* out[r][j] = row r times column j. */
SIMD_INLINE void float_tile(float_kind kind, int rows, int cols, const float_args *a, float (*out)[TILE_ROWS])
{
    vf acc[4][6][H];
    int64_t k = 0, tail = a->k % 16;
    float wt[4][16], xt[16];

    UNROLL
    for (int r = 0; r < rows; r++) UNROLL for (int j = 0; j < cols; j++) UNROLL for (int h = 0; h < H; h++) acc[r][j][h] = v_set(0.0f);
    for (; k < a->k - tail; k += 16) {
        UNROLL
        for (int h = 0; h < H; h++) {
            vf w[4];
            UNROLL
            for (int r = 0; r < rows; r++) w[r] = load_weight(kind, a->w + (size_t)r * a->w_stride, k + h * VN);
            UNROLL
            for (int j = 0; j < cols; j++) {
                vf x = v_load((const float *)(const void *)(a->x + (size_t)j * a->x_stride) + k + h * VN);
                UNROLL
                for (int r = 0; r < rows; r++) acc[r][j][h] = v_fma(w[r], x, acc[r][j][h]);
            }
        }
        if (cols == 1 && rows == ROWS_OF_ONE) {
            const uint8_t *next = a->w + ROWS_OF_ONE * a->w_stride + k * (kind == W_F32 ? 16 : 8);
            __builtin_prefetch(next), __builtin_prefetch(next + 64);
            if (kind == W_F32) __builtin_prefetch(next + 128), __builtin_prefetch(next + 192);
        }
    }
    for (int r = 0; r < rows && tail; r++) pad_weight(kind, a->w + (size_t)r * a->w_stride, k, (int)tail, wt[r]);
    UNROLL
    for (int j = 0; j < cols; j++) {
        if (tail) pad_weight(W_F32, a->x + (size_t)j * a->x_stride, k, (int)tail, xt);
        UNROLL
        for (int r = 0; r < rows; r++) {
            if (tail) UNROLL for (int h = 0; h < H; h++) acc[r][j][h] = v_fma(v_load(wt[r] + h * VN), v_load(xt + h * VN), acc[r][j][h]);
            out[j][r] = v_tree(acc[r][j]);
        }
    }
}

/* out[c][r] for n_row rows and n_col columns. */
#define FLOAT_SWEEP(name, kind) \
    static void name(float_args a, int n_row, int n_col, float (*out)[TILE_ROWS]) \
    { \
        for (int c = 0; c < n_col;) { \
            int n = n_col - c >= FLOAT_COLS ? FLOAT_COLS : n_col - c >= 3 ? 3 : 1, step = n == 1 ? ROWS_OF_ONE : FLOAT_ROWS; \
            float_args t = a; \
            for (int r = 0; r < n_row;) { \
                int m = n_row - r >= step ? step : 1; \
                float (*to)[TILE_ROWS] = (float (*)[TILE_ROWS])(void *)(&out[c][r]); \
                if (n == FLOAT_COLS && m > 1) float_tile(kind, FLOAT_ROWS, FLOAT_COLS, &t, to); \
                else if (n == FLOAT_COLS) float_tile(kind, 1, FLOAT_COLS, &t, to); \
                else if (n == 3 && m > 1) float_tile(kind, FLOAT_ROWS, 3, &t, to); \
                else if (n == 3) float_tile(kind, 1, 3, &t, to); \
                else if (m > 1) float_tile(kind, ROWS_OF_ONE, 1, &t, to); \
                else float_tile(kind, 1, 1, &t, to); \
                r += m, t.w += (size_t)m * t.w_stride; \
            } \
            c += n, a.x += (size_t)n * a.x_stride; \
        } \
    }
FLOAT_SWEEP(sweep_f32, W_F32)
FLOAT_SWEEP(sweep_f16, W_F16)
FLOAT_SWEEP(sweep_bf16, W_BF16)

static void float_row(const matrix *w, int64_t r, float *y)
{
    const uint16_t *p = (const uint16_t *)(const void *)(w->data + (size_t)r * w->row_bytes);
    int64_t k = 0;

    if (w->scale == NULL && (w->dtype == DT_F16 || w->dtype == DT_BF16)) {
        for (; k + VN <= w->cols; k += VN) v_store(y + k, w->dtype == DT_F16 ? v_load_f16(p + k) : v_load_bf16(p + k));
        dequant_row(w->dtype, p + k, y + k, w->cols - k);
    } else {
        matrix_row(w, r, y);
    }
}

static void product_float(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    float (*out)[TILE_ROWS] = (float (*)[TILE_ROWS])(void *)scratch, *rows = (float *)(void *)(scratch + 32 * 1024), bias[TILE_ROWS];
    float_args a = { w->data + (size_t)row0 * w->row_bytes, x->data, w->row_bytes, x->stride, w->cols };
    float_kind kind = W_F32;
    int64_t block = X_BLOCK_BYTES / (4 * w->cols + 1) / FLOAT_COLS * FLOAT_COLS;

    block = block < FLOAT_COLS ? FLOAT_COLS : block > 256 ? 252 : block;
    if (w->scale == NULL && n_col < HALF_DIRECT && w->dtype == DT_F16) kind = W_F16;
    else if (w->scale == NULL && n_col < HALF_DIRECT && w->dtype == DT_BF16) kind = W_BF16;
    else if (w->dtype != DT_F32 || w->scale != NULL) {
        for (int64_t r = 0; r < n_row; r++) float_row(w, row0 + r, rows + r * w->cols);
        a.w = (const uint8_t *)rows, a.w_stride = (size_t)w->cols * sizeof *rows;
    }
    for (int64_t r = 0; r < n_row && w->bias; r++) bias[r] = matrix_bias(w, row0 + r);
    for (int64_t c = 0; c < n_col; c += block, a.x += (size_t)block * a.x_stride) {
        int n = (int)(n_col - c < block ? n_col - c : block);
        if (kind == W_F16) sweep_f16(a, (int)n_row, n, out);
        else if (kind == W_BF16) sweep_bf16(a, (int)n_row, n, out);
        else sweep_f32(a, (int)n_row, n, out);
        for (int j = 0; j < n; j++)
            for (int r = 0; r < n_row; r++) y[(c + j) * y_stride + r] = w->bias ? out[j][r] + bias[r] : out[j][r];
    }
}
