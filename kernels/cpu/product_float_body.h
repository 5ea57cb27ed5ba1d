/* product_float_body.h - products with float weights, and with types that become floats first: 16 partial sums of every
 * output (linear.h, 1). Included by product_body.h.
 *
 * Few columns: the partial sums are the lanes of H vectors; F32, F16, BF16 and FP8 are used as they lie, anything else becomes a
 * row of floats in scratch. Bound by memory: four rows go together, with the next four prefetched in the order they lie in; two and four
 * columns meet two of them and one at a time.
 * FP8: bound by its conversion, some seven instructions for VN values. Of E4M3 they do not tell NaN: rows that have any, or scales that are as good
 * as infinite, are computed once more by the instructions that do.
 *
 * Many columns: each partial sum is a product of its own, over every sixteenth value. Rows become a panel that has those values
 * side by side, a row in each lane; a tile of PANEL_ROWS by MOST_COLUMNS sums in registers runs over one of the sixteen at a
 * time, in the order that lets the tree of linear.h be added up on a stack. Bound by multiply-adds (97 % of their peak with x in L2) and
 * by x, which comes from L3 once for every BAND_ROWS rows. */

enum { H = 16 / VN, ROWS_OF_ONE = 4, X_PIECE = 512, COLUMNS = 128, SUMS = 16, STACK = 5, MOST_PIECE = 160 };

typedef enum { W_F32, W_F16, W_BF16, W_E4M3, W_E5M2, W_OTHER, W_E4M3_LOW } float_kind;       /* the last: W_E4M3 without NaN (v_load16_e4m3_low) */

SIMD_INLINE bool is_fp8(float_kind kind) { return kind == W_E4M3 || kind == W_E5M2 || kind == W_E4M3_LOW; }
SIMD_INLINE int bytes_of_value(float_kind kind) { return kind == W_F32 ? 4 : is_fp8(kind) ? 1 : 2; }

static float_kind float_kind_of(const matrix *w)
{
    bool whole = w->scale == NULL || w->scale_cols == 1 || w->tile_cols % 16 == 0;      /* 16 values share a scale */

    if (w->dtype == DT_F8_E4M3 || w->dtype == DT_F8_E5M2) return !whole ? W_OTHER : w->dtype == DT_F8_E4M3 ? W_E4M3 : W_E5M2;
    if (w->scale != NULL) return W_OTHER;
    return w->dtype == DT_F32 ? W_F32 : w->dtype == DT_F16 ? W_F16 : w->dtype == DT_BF16 ? W_BF16 : W_OTHER;
}

/* Scales of FP8 weights as floats: those of row r lie at value + (r / tile_rows - first) * n, one for each tile_cols values. */
typedef struct { float *value; int64_t first, n, tile_rows, tile_cols; } fp8_scales;

static const float *scales_at(const fp8_scales *s, int64_t r) { return s->value + (r / s->tile_rows - s->first) * s->n; }

/* Of rows row0 .. row0+n_row-1, in room for as many as there are; all 1 where there are none. */
static fp8_scales fp8_scales_of(const matrix *w, int64_t row0, int64_t n_row, float *room)
{
    bool one = w->scale == NULL;
    fp8_scales s = { room, 0, one ? 1 : w->scale_cols, one || w->tile_rows <= 0 ? w->rows : w->tile_rows, one || w->scale_cols == 1 ? w->cols : w->tile_cols };
    int64_t last = (row0 + n_row - 1) / s.tile_rows;

    s.first = row0 / s.tile_rows;
    room[0] = 1.0f;
    for (int64_t t = s.first; t <= last && !one; t++, room += s.n) dequant_row(w->scale_dtype, w->scale + (size_t)t * w->scale_row_bytes, room, s.n);
    return s;
}

/* -------------------------------------------------------------- few columns */

/* row: the number of the first, for its scales. ahead: the rows ROWS_OF_ONE further on will be read next. */
typedef struct { const uint8_t *w, *x[ROWS_OF_ONE]; size_t w_stride; int64_t k, row, y_stride; const fp8_scales *scale; bool ahead; } float_args;
typedef struct { float of[ROWS_OF_ONE][ROWS_OF_ONE][16]; } float_sums;         /* by row, column */

/* Values k .. k+15; scale: FP8 alone. most: W_E4M3_LOW's. */
SIMD_INLINE void load_weights(float_kind kind, const uint8_t *w, int64_t k, vf scale, vf out[H], e4m3_codes *most)
{
    if (kind == W_E4M3) v_load16_e4m3(w + k, out);
    if (kind == W_E4M3_LOW) v_load16_e4m3_low(w + k, out, most);
    UNROLL
    for (int h = 0; h < H; h++) {
        if (kind == W_F32) out[h] = v_load((const float *)(const void *)w + k + h * VN);
        if (kind == W_F16) out[h] = v_load_f16((const uint16_t *)(const void *)w + k + h * VN);
        if (kind == W_BF16) out[h] = v_load_bf16((const uint16_t *)(const void *)w + k + h * VN);
        if (kind == W_E5M2) out[h] = v_load_e5m2(w + k + h * VN);
        if (is_fp8(kind)) out[h] = v_mul(out[h], scale);
    }
}

/* The n values from k on, then zeros to 16. */
static void pad_weight(float_kind kind, const uint8_t *w, int64_t k, int n, float scale, float out[16])
{
    static const llm_dtype type[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, [W_E4M3_LOW] = DT_F8_E4M3 };

    memset(out, 0, 16 * sizeof *out);
    dequant_row(type[kind], w + bytes_of_value(kind) * k, out, n);
    for (int i = 0; i < n && is_fp8(kind); i++) out[i] *= scale;
}

/* Sums of rows rows from number r on and n_col columns, values k .. k1-1 added; no more than ROWS_OF_ONE of both together, so that they stay in registers.
 * False: W_E4M3_LOW cannot tell what they are. */
SIMD_INLINE bool float_run(float_kind kind, int rows, int n_col, const float_args *a, int r0, int64_t k, int64_t k1, float_sums *sums)
{
    const int64_t tile = is_fp8(kind) ? a->scale->tile_cols : k1;
    const int lines = (rows * bytes_of_value(kind) + 3) / 4;            /* of the next rows, with 16 values of these */
    const uint8_t *w = a->w + (size_t)r0 * a->w_stride;
    vf acc[ROWS_OF_ONE][ROWS_OF_ONE][H], s[ROWS_OF_ONE];
    e4m3_codes most = { 0 };
    bool known = true;

    UNROLL
    for (int r = 0; r < rows; r++) {
        s[r] = v_set(0.0f);
        UNROLL for (int c = 0; c < n_col; c++) UNROLL for (int h = 0; h < H; h++) acc[r][c][h] = v_load(sums->of[r0 + r][c] + h * VN);
    }
    for (int64_t end; k < k1; ) {               /* tile after tile */
        end = (k / tile + 1) * tile;
        if (end > k1) end = k1;
        if (is_fp8(kind)) {
            UNROLL
            for (int r = 0; r < rows; r++) {
                float scale = scales_at(a->scale, a->row + r0 + r)[k / tile];
                if (kind == W_E4M3_LOW) scale *= 256.0f, known = known && fabsf(scale) <= FLT_MAX;
                s[r] = v_set(scale);
            }
        }
        for (; k < end; k += 16) {
            vf v[ROWS_OF_ONE][H];
            UNROLL
            for (int r = 0; r < rows; r++) load_weights(kind, w + (size_t)r * a->w_stride, k, s[r], v[r], &most);
            UNROLL
            for (int c = 0; c < n_col; c++) {
                vf x[H];
                UNROLL
                for (int h = 0; h < H; h++) x[h] = v_load((const float *)(const void *)a->x[c] + k + h * VN);
                UNROLL
                for (int r = 0; r < rows; r++) UNROLL for (int h = 0; h < H; h++) acc[r][c][h] = v_fma(v[r][h], x[h], acc[r][c][h]);
            }
            if (a->ahead) {
                const uint8_t *next = w + ROWS_OF_ONE * a->w_stride + (size_t)rows * (size_t)k * (size_t)bytes_of_value(kind);
                UNROLL
                for (int i = 0; i < lines; i++) __builtin_prefetch(next + 64 * i);
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL for (int c = 0; c < n_col; c++) UNROLL for (int h = 0; h < H; h++) v_store(sums->of[r0 + r][c] + h * VN, acc[r][c][h]);
    return kind != W_E4M3_LOW || (known && !e4m3_nan(most));
}

/* The last values of each row, and y[r + c * y_stride]. */
static void float_end(float_kind kind, int n_row, int n_col, const float_args *a, float_sums *sums, float *y)
{
    const int64_t tail = a->k % 16, k = a->k - tail;
    float wt[16], xt[16];

    for (int r = 0; r < n_row; r++) {
        const uint8_t *w = a->w + (size_t)r * a->w_stride;
        if (tail) pad_weight(kind, w, k, (int)tail, is_fp8(kind) ? scales_at(a->scale, a->row + r)[k / a->scale->tile_cols] : 0, wt);
        for (int c = 0; c < n_col; c++) {
            vf acc[H];
            if (tail) pad_weight(W_F32, a->x[c], k, (int)tail, 0, xt);
            UNROLL
            for (int h = 0; h < H; h++) {
                acc[h] = v_load(sums->of[r][c] + h * VN);
                if (tail) acc[h] = v_fma(v_load(wt + h * VN), v_load(xt + h * VN), acc[h]);
            }
            y[r + c * a->y_stride] = v_tree(acc);
        }
    }
}

/* n_row rows, up to ROWS_OF_ONE, and 1, 2 or ROWS_OF_ONE columns. Those of x are met by all rows a piece at a time, which stays in L1. */
#define FLOAT_SWEEP(name, kind) \
    static bool name(const float_args *a, int n_row, int n_col, float *y) \
    { \
        const int64_t whole = a->k - a->k % 16, step = n_col == 1 ? whole : X_PIECE; \
        float_sums sums; \
        bool known = true; \
        memset(&sums, 0, sizeof sums); \
        for (int64_t k = 0, k1; k < whole; k = k1) { \
            k1 = whole - k < step ? whole : k + step; \
            if (n_col == 1 && n_row == ROWS_OF_ONE) { known &= float_run(kind, ROWS_OF_ONE, 1, a, 0, k, k1, &sums); continue; } \
            for (int r = 0; r < n_row; r++) { \
                if (n_col == 1) known &= float_run(kind, 1, 1, a, r, k, k1, &sums); \
                else if (n_col > 2) known &= float_run(kind, 1, ROWS_OF_ONE, a, r, k, k1, &sums); \
                else if (n_row - r > 1) known &= float_run(kind, 2, 2, a, r++, k, k1, &sums); \
                else known &= float_run(kind, 1, 2, a, r, k, k1, &sums); \
            } \
        } \
        if (known) float_end(kind, n_row, n_col, a, &sums, y); \
        return known; \
    }
FLOAT_SWEEP(sweep_f32, W_F32)
FLOAT_SWEEP(sweep_f16, W_F16)
FLOAT_SWEEP(sweep_bf16, W_BF16)
FLOAT_SWEEP(sweep_e4m3_low, W_E4M3_LOW)
FLOAT_SWEEP(sweep_e4m3_any, W_E4M3)
FLOAT_SWEEP(sweep_e5m2, W_E5M2)

static bool sweep_e4m3(const float_args *a, int n_row, int n_col, float *y)
{
    return sweep_e4m3_low(a, n_row, n_col, y) || sweep_e4m3_any(a, n_row, n_col, y);
}

typedef bool (*sweep_fn)(const float_args *a, int n_row, int n_col, float *y);

/* n_row rows from a->w on for all columns, several at a time while the rows are in the cache. */
static void sweep_columns(sweep_fn sweep, float_args *a, int n_row, const x_rows *x, int n_col, float *y)
{
    for (int c = 0, n; c < n_col; c += n) {
        n = n_col - c >= ROWS_OF_ONE ? ROWS_OF_ONE : n_col - c >= 2 ? 2 : 1;
        for (int i = 0; i < n; i++) a->x[i] = x_record(x, c + i);
        a->ahead = c == 0 && n_row == ROWS_OF_ONE && a->w_stride > 0;
        sweep(a, n_row, n, y + c * a->y_stride);
    }
}

enum { SCALE_ROWS = 32 };       /* FP8: so many rows' scales in scratch at once; each may have scales of its own, of up to every 16 values */

static void float_rows(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    float_args a = { .w = w->data + (size_t)row0 * w->row_bytes, .w_stride = w->row_bytes, .k = w->cols, .row = row0, .y_stride = y_stride };
    float_kind kind = float_kind_of(w);
    sweep_fn sweep = kind == W_F16 ? sweep_f16 : kind == W_BF16 ? sweep_bf16 : kind == W_E4M3 ? sweep_e4m3 : kind == W_E5M2 ? sweep_e5m2 : sweep_f32;
    fp8_scales s;

    for (int64_t r = 0; r < n_row; ) {
        int n = kind == W_OTHER ? 1 : n_row - r < ROWS_OF_ONE ? (int)(n_row - r) : ROWS_OF_ONE;
        if (is_fp8(kind) && r % SCALE_ROWS == 0)
            s = fp8_scales_of(w, row0 + r, n_row - r < SCALE_ROWS ? n_row - r : SCALE_ROWS, (float *)(void *)scratch), a.scale = &s;
        if (kind == W_OTHER) matrix_row(w, row0 + r, (float *)(void *)scratch), a.w = scratch, a.w_stride = 0;
        sweep_columns(sweep, &a, n, x, n_col, y + r);
        r += n, a.row += n, a.w += (size_t)n * a.w_stride;
    }
    for (int64_t r = 0; r < n_row && w->bias; r++) {
        float bias = matrix_bias(w, row0 + r);
        for (int c = 0; c < n_col; c++) y[r + c * y_stride] += bias;
    }
}

static void float_matvec(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    for (int64_t r = 0, n; r < n_row; r += n) {
        n = n_row - r;
        matrix part = matrix_part(w, row0 + r, &n);
        float_rows(&part, row0 + r, n, x, n_col, y + r, y_stride, scratch);
    }
}

/* ------------------------------------------------------------- many columns */

/* A panel: float [SUMS][n][PANEL_ROWS], n = cols / 16 rounded up, and one line more between sums so that they do not meet in
 * one set of the cache. */
static size_t panel_chain(int64_t cols) { return (size_t)((cols + 15) / 16) * PANEL_ROWS + 16; }

/* Values k .. k+15 of VN rows at w, to lane h on of the panel. */
SIMD_INLINE void float_block(float_kind kind, const uint8_t *w, steps step, size_t chain, float *to)
{
    const int n_field = kind == W_F32 ? 4 : 2;
    vi v[4];

    for (int q = 0; q < n_field; q++) {
        field16(w + 16 * q, step, v);
        UNROLL
        for (int i = 0; i < 4; i++) {
            if (kind == W_F32) { v_store(to + (size_t)(4 * q + i) * chain, i_as_float(v[i])); continue; }
            v_store(to + (size_t)(8 * q + 2 * i) * chain, kind == W_F16 ? i_half(i_and(v[i], i_dwords(0xffff))) : i_as_float(i_shl(v[i], 16)));
            v_store(to + (size_t)(8 * q + 2 * i + 1) * chain, kind == W_F16 ? i_half(i_shr(v[i], 16)) : i_as_float(i_and(v[i], i_dwords(0xffff0000))));
        }
    }
}

#define FLOAT_BLOCKS(name, kind, size) \
    static void name(const uint8_t *w, size_t row_bytes, int64_t n, size_t chain, float *to) \
    { \
        const steps step = steps_of(row_bytes); \
        for (int64_t i = 0; i < n; i++) \
            for (int h = 0; h < PANEL_ROWS; h += VN) float_block(kind, w + (size_t)h * row_bytes + (size_t)i * (16 * (size)), step, chain, to + i * PANEL_ROWS + h); \
    }
FLOAT_BLOCKS(blocks_f32, W_F32, 4)
FLOAT_BLOCKS(blocks_f16, W_F16, 2)
FLOAT_BLOCKS(blocks_bf16, W_BF16, 2)

enum { PIECE = 256 };           /* so many FP8 values of each row become floats, then their panel */

/* Values k .. k+n-1 of row r, n up to PIECE, then zeros to a multiple of 16. */
static void fp8_values(const matrix *w, float_kind kind, const fp8_scales *scale, int64_t r, int64_t k, int n, float *y)
{
    const uint8_t *from = w->data + (size_t)r * w->row_bytes;
    const float *s = scales_at(scale, r);

    for (; n >= 16; n -= 16, k += 16, y += 16) {
        vf v[H], by = v_set(s[k / scale->tile_cols]);
        if (kind == W_E4M3) load_weights(W_E4M3, from, k, by, v, NULL); else load_weights(W_E5M2, from, k, by, v, NULL);
        UNROLL
        for (int h = 0; h < H; h++) v_store(y + h * VN, v[h]);
    }
    if (n > 0) pad_weight(kind, from, k, n, s[k / scale->tile_cols], y);
}

static void fp8_panel(const matrix *w, float_kind kind, int64_t row0, size_t chain, float *to, float *room)
{
    const fp8_scales scale = fp8_scales_of(w, row0, PANEL_ROWS, room);
    float rows[PANEL_ROWS][PIECE];

    for (int64_t k = 0; k < w->cols; k += PIECE, to += PIECE / 16 * PANEL_ROWS) {
        int n = w->cols - k < PIECE ? (int)(w->cols - k) : PIECE;
        for (int r = 0; r < PANEL_ROWS; r++) fp8_values(w, kind, &scale, row0 + r, k, n, rows[r]);
        blocks_f32((const uint8_t *)rows, sizeof *rows, (n + 15) / 16, chain, to);
    }
}

/* Rows row0 .. row0+n_row-1 and zeros up to PANEL_ROWS. row: room for one, or for the scales of all. */
static void float_panel(const matrix *w, int64_t row0, int n_row, float *panel_, float *row)
{
    const size_t chain = panel_chain(w->cols);
    const uint8_t *from = w->data + (size_t)row0 * w->row_bytes;
    float_kind kind = n_row == PANEL_ROWS ? float_kind_of(w) : W_OTHER;
    int64_t done = kind == W_OTHER ? 0 : w->cols & ~(int64_t)15, end = (w->cols + 15) & ~(int64_t)15;

    if (is_fp8(kind)) { fp8_panel(w, kind, row0, chain, panel_, row); return; }
    if (kind == W_F32) blocks_f32(from, w->row_bytes, done / 16, chain, panel_);
    else if (kind == W_F16) blocks_f16(from, w->row_bytes, done / 16, chain, panel_);
    else if (kind == W_BF16) blocks_bf16(from, w->row_bytes, done / 16, chain, panel_);
    for (int r = 0; r < PANEL_ROWS && done < end; r++) {
        if (r < n_row) matrix_row(w, row0 + r, row);
        for (int64_t k = done; k < end; k++) panel_[(size_t)(k % 16) * chain + (size_t)(k / 16) * PANEL_ROWS + (size_t)r] = r < n_row && k < w->cols ? row[k] : 0.0f;
    }
}

/* n more values of one partial sum of a tile, of which those so far are at top (begun) or there are none, then plus n_add of those on the stack below
 * it, in whose place the result goes. The distance between two on the stack is level. */
SIMD_INLINE void float_tile(const float *w, const float *x, int64_t n, int n_col, bool begun, int n_add, float *top, size_t level)
{
    vf a[ROW_VECTORS][MOST_COLUMNS];

    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) a[r][j] = begun ? v_load(top + j * BAND_ROWS + r * VN) : v_set(0.0f);
    for (int64_t k = 0; k < n; k++, w += PANEL_ROWS, x += GROUP) {
        vf v[ROW_VECTORS];
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) v[r] = v_load(w + r * VN);
        UNROLL
        for (int j = 0; j < n_col; j++) {
            vf xj = v_set(x[j]);
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) a[r][j] = v_fma(v[r], xj, a[r][j]);
        }
    }
    for (; n_add > 0; n_add--) {
        top -= level;
        UNROLL
        for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) a[r][j] = v_add(v_load(top + j * BAND_ROWS + r * VN), a[r][j]);
    }
    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) v_store(top + j * BAND_ROWS + r * VN, a[r][j]);
}

static __attribute__((noinline)) void float_group(const float *w, const float *x, int64_t n, int n_col, bool begun, int n_add, float *top, size_t level)
{
    for (int c = 0; c < n_col; c += MOST_COLUMNS) {
        float *to = top + c * BAND_ROWS;
        if (n_col - c > MOST_COLUMNS / 2) float_tile(w, x + c, n, MOST_COLUMNS, begun, n_add, to, level);
        else if (n_col - c > 2) float_tile(w, x + c, n, 4, begun, n_add, to, level);
        else float_tile(w, x + c, n, 2, begun, n_add, to, level);
    }
}

/* n_col columns, at most COLUMNS, of n_panel panels from w on. */
typedef struct { const float *w; int n_panel, n_col; int64_t cols, col0; const x_rows *x; float *stack; line_fetch *next; } panel_columns;

/* Values k .. k+n-1 of partial sum i. */
static void float_piece(const panel_columns *b, int i, int64_t k, int64_t n, int n_add, float *top)
{
    const size_t chain = panel_chain(b->cols), level = (size_t)COLUMNS * BAND_ROWS;

    for (int c = 0; c < b->n_col; c += GROUP) {
        const float *w = b->w + (size_t)i * chain + (size_t)k * PANEL_ROWS;
        const float *x = (const float *)(const void *)(b->x->data + (size_t)((b->col0 + c) / GROUP) * b->x->stride) + (size_t)(i * ((b->cols + 15) / 16) + k) * GROUP;
        fetch_lines(b->next);
        for (int p = 0; p < b->n_panel; p++, w += SUMS * chain)
            float_group(w, x, n, b->n_col - c < GROUP ? b->n_col - c : GROUP, k > 0, n_add, top + c * BAND_ROWS + p * PANEL_ROWS, level);
    }
}

/* The results are the lowest on the stack. Pieces of the panels stay in L1 while one group of x after the other comes from L3 and meets them. */
static void float_columns(const panel_columns *b)
{
    static const uint8_t order[SUMS] = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 };
    const int64_t n = (b->cols + 15) / 16, n_piece = (n + MOST_PIECE - 1) / MOST_PIECE, piece = (n + n_piece - 1) / n_piece;
    float *top = b->stack;

    for (int i = 0; i < SUMS; i++) {
        int n_add = 0;
        while (i >> n_add & 1) n_add++;
        for (int64_t k = 0; k < n; k += piece) {
            bool last = n - k <= piece;
            float_piece(b, order[i], k, last ? n - k : piece, last ? n_add : 0, top);
        }
        top += (1 - n_add) * COLUMNS * BAND_ROWS;
    }
}

static void float_bands(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    const size_t one = SUMS * panel_chain(w->cols);
    const int most = n_col > COLUMNS / 2 ? BAND_ROWS : PANEL_ROWS;              /* few columns: one panel at a time, which is still in L2 when it is read */
    float *stack = (float *)(void *)scratch, *panels = stack + STACK * COLUMNS * BAND_ROWS, *row = panels + BAND_ROWS / PANEL_ROWS * one, bias[BAND_ROWS] = { 0 };

    for (int64_t r = 0, rows; r < n_row; r += rows) {
        rows = n_row - r < most ? n_row - r : most;
        panel_columns b = { .w = panels, .cols = w->cols, .x = x, .stack = stack, .next = &(line_fetch){ 0 } };
        *b.next = fetch_rows(w->data + (size_t)(row0 + r + rows) * w->row_bytes, (int)rows, w->row_bytes, w->row_bytes, (size_t)(SUMS * x_groups_of(n_col)));
        for (int i = 0; i < rows && w->bias; i++) bias[i] = matrix_bias(w, row0 + r + i);
        for (int i = 0; i < rows; i += PANEL_ROWS)
            float_panel(w, row0 + r + i, rows - i < PANEL_ROWS ? (int)rows - i : PANEL_ROWS, panels + (size_t)b.n_panel++ * one, row);
        for (; b.col0 < n_col; b.col0 += COLUMNS) {
            b.n_col = n_col - b.col0 < COLUMNS ? (int)(n_col - b.col0) : COLUMNS;
            float_columns(&b);
            finish(stack, BAND_ROWS, b.n_col, w->bias ? bias : NULL, (int)rows, y + b.col0 * y_stride + r, y_stride);
        }
    }
}

static void product_float(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    for (int64_t r = 0, n; r < n_row; r += n) {
        n = n_row - r;
        matrix part = matrix_part(w, row0 + r, &n);
        float_bands(&part, row0 + r, n, x, n_col, y + r, y_stride, scratch);
    }
}
