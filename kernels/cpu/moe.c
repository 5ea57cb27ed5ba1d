/* moe.c - op.moe over a kernel set: rows are grouped by expert, so that each expert's weights are read once
 * and multiply all of its rows; then gate, up and activation of a tile of outputs, down, and the weighted sum. */
#include "matrix.h"
#include <string.h>

/* Pair p = i * n_used + u is row i's u-th expert. Sorted by expert (stable), pair p is at place[p], and
 * expert active[a] owns the places start[a] .. start[a+1]-1. */
typedef struct {
    llm_backend *be;
    const linear_set *set;
    const llm_moe_args *a;
    llm_rows x, y, weight;
    int n_used, n_active;
    bool single;                                    /* one row, each of its experts once */
    int64_t n_pair, d_model, d_ff;
    int32_t *start, *active, *place, *row;          /* row[place]: the row of x there */
    x_rows xg, xu, xh;                              /* by row: for gate, for up; by place: for down */
    uint8_t *gathered;                              /* xg by place, when n > 1 */
    float *h, *d;                                   /* [n_pair, d_ff], [n_pair, d_model] by place */
} moe_job;

typedef struct { size_t index, wide, h, hq, total; } moe_areas;

static size_t widest(int64_t n)
{
    size_t record = x_layout_of(X_Q256, (n + 255) & ~(int64_t)255).bytes, row = (size_t)n * sizeof(float);
    return record > row ? record : row;
}

static bool measure(moe_areas *m, size_t n_pair, size_t n_expert, int64_t d_model, int64_t d_ff)
{
    size_t n;

    return ck_mul(n_pair, 2, &n) && ck_add(n, 2 * n_expert + 2, &n) && ck_mul(n, sizeof(int32_t), &m->index) && ck_align(m->index, 64, &m->index)
        && ck_mul(n_pair, widest(d_model), &m->wide) && ck_align(m->wide, 64, &m->wide)
        && ck_mul(n_pair, (size_t)d_ff * sizeof(float), &m->h) && ck_align(m->h, 64, &m->h)
        && ck_mul(n_pair, widest(d_ff), &m->hq) && ck_align(m->hq, 64, &m->hq)
        && ck_add(m->index, m->wide, &m->total) && ck_add(m->total, m->h, &m->total) && ck_add(m->total, m->hq, &m->total);
}

bool moe_measure(const llm_limits *l, size_t *bytes)
{
    moe_areas m = { 0 };
    size_t n_pair;

    *bytes = 0;
    if (l->n_expert <= 0 || l->n_expert_used <= 0) return true;
    if (!ck_mul((size_t)l->n_batch, (size_t)l->n_expert_used, &n_pair)) return false;
    if (!measure(&m, n_pair, (size_t)l->n_expert, l->d_model, l->d_ff_expert)) return false;
    *bytes = m.total;
    return true;
}

/* Counting sort of the pairs; false when an expert's number is out of range. */
static bool group(moe_job *m, const int32_t *expert, int64_t n_expert)
{
    int32_t *count = m->start, at = 0;

    memset(count, 0, (size_t)(n_expert + 1) * sizeof *count);
    for (int64_t p = 0; p < m->n_pair; p++) {
        if (expert[p] < 0 || expert[p] >= n_expert) {
            backend_fail(m->be, LLM_ERR_INTERNAL, "moe: expert %d, want 0..%lld", expert[p], (long long)n_expert - 1);
            return false;
        }
        count[expert[p]]++;
    }
    for (int64_t e = 0; e < n_expert; e++) {
        int32_t n = count[e];
        count[e] = at, at += n;
    }
    for (int64_t p = 0; p < m->n_pair; p++) {
        m->place[p] = count[expert[p]]++;
        m->row[m->place[p]] = (int32_t)(p / m->n_used);
    }
    /* count[e] is now the end of e; keep the experts that own places */
    m->n_active = 0, at = 0;
    for (int32_t e = 0; e < n_expert; e++) {
        int32_t end = count[e];
        if (end == at) continue;
        m->active[m->n_active] = e;
        m->start[m->n_active++] = at;               /* n_active <= e: overwrites only what was read */
        at = end;
    }
    m->start[m->n_active] = at;
    return true;
}

static void gather(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    size_t bytes = m->xg.form == X_F32 ? (size_t)m->d_model * sizeof(float) : m->xg.stride;

    (void)thread;
    for (int64_t p = begin; p < end; p++)
        memcpy(m->gathered + (size_t)p * bytes, m->xg.data + (size_t)m->row[p] * m->xg.stride, bytes);
}

/* y[c] = w x[row of place c], row by row: x is not gathered. */
static void product_by_row(const moe_job *m, const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t place0, int64_t n,
                           float *y, int64_t y_stride, uint8_t *scratch)
{
    for (int64_t c = 0; c < n; c++) {
        x_rows one = { x->form, x->data + (size_t)m->row[place0 + c] * x->stride, x->stride };
        m->set->product(w, row0, n_row, &one, 1, y + c * y_stride, y_stride, scratch);
    }
}

/* Tiles t .. end-1 are of several experts: how many are of t's own. */
static int64_t same_expert(int64_t t, int64_t end, int64_t tiles)
{
    int64_t own = tiles - t % tiles;
    return own < end - t ? own : end - t;
}

static const uint8_t *rows_from(const matrix *w, int64_t row) { return w->data + (size_t)row * w->row_bytes; }

/* Tiles t .. end-1 of d_ff outputs for a single row of x, each expert's in one go: a stretch of gate, then one of up. */
static void gate_up_one(const moe_job *m, int64_t t, int64_t end, int thread)
{
    const llm_moe_args *a = m->a;
    int64_t tiles = (m->d_ff + TILE_ROWS - 1) / TILE_ROWS, n;
    uint8_t *scratch = thread_scratch(m->be, thread);
    float *up = thread_tile(m->be, thread);

    for (; t < end; t += n) {
        int64_t i = t / tiles, row0 = t % tiles * TILE_ROWS;
        matrix wg = matrix_of(a->gate, a->bgate, m->active[i]), wu = matrix_of(a->up, a->bup, m->active[i]);
        float *h = m->h + m->start[i] * m->d_ff + row0;
        n = same_expert(t, end, tiles);
        int64_t n_row = m->d_ff - row0 < n * TILE_ROWS ? m->d_ff - row0 : n * TILE_ROWS;
        m->set->matvec(&wg, row0, n_row, &m->xg, h, scratch, rows_from(&wu, row0));
        m->set->matvec(&wu, row0, n_row, &m->xu, up, scratch, row0 + n_row < m->d_ff ? rows_from(&wg, row0 + n_row) : NULL);
        cpu_of(m->be)->row->glu(h, h, up, (int)n_row, a->act, a->limit);
    }
}

/* Items are tiles of d_ff outputs, expert after expert. */
static void gate_up_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    const llm_moe_args *a = m->a;
    int64_t tiles = (m->d_ff + TILE_ROWS - 1) / TILE_ROWS;
    uint8_t *scratch = thread_scratch(m->be, thread);
    float *up = thread_tile(m->be, thread);
    size_t bytes = m->xg.form == X_F32 ? (size_t)m->d_model * sizeof(float) : m->xg.stride;

    if (m->single) { gate_up_one(m, begin, end, thread); return; }
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / tiles, row0 = t % tiles * TILE_ROWS, place0 = m->start[i], n = m->start[i + 1] - place0;
        int64_t n_row = m->d_ff - row0 < TILE_ROWS ? m->d_ff - row0 : TILE_ROWS;
        matrix wg = matrix_of(a->gate, a->bgate, m->active[i]), wu = matrix_of(a->up, a->bup, m->active[i]);
        float *h = m->h + place0 * m->d_ff + row0;

        if (m->gathered != NULL) {
            x_rows x = { m->xg.form, m->gathered + (size_t)place0 * bytes, bytes };
            m->set->product(&wg, row0, n_row, &x, n, h, m->d_ff, scratch);
            if (m->xu.data == m->xg.data) m->set->product(&wu, row0, n_row, &x, n, up, TILE_ROWS, scratch);
        } else {
            product_by_row(m, &wg, row0, n_row, &m->xg, place0, n, h, m->d_ff, scratch);
        }
        if (m->gathered == NULL || m->xu.data != m->xg.data)
            product_by_row(m, &wu, row0, n_row, &m->xu, place0, n, up, TILE_ROWS, scratch);
        for (int64_t c = 0; c < n; c++)
            cpu_of(m->be)->row->glu(h + c * m->d_ff, h + c * m->d_ff, up + c * TILE_ROWS, (int)n_row, a->act, a->limit);
    }
}

static void quantize_h(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;

    (void)thread;
    for (int64_t p = begin; p < end; p++)
        m->set->quantize(m->xh.form, m->h + p * m->d_ff, m->d_ff, (uint8_t *)(uintptr_t)m->xh.data + (size_t)p * m->xh.stride);
}

static void down_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    int64_t tiles = (m->d_model + TILE_ROWS - 1) / TILE_ROWS;
    uint8_t *scratch = thread_scratch(m->be, thread);

    for (int64_t t = begin, n_tile = 1; t < end; t += n_tile) {
        int64_t i = t / tiles, row0 = t % tiles * TILE_ROWS, place0 = m->start[i], n = m->start[i + 1] - place0;
        matrix w = matrix_of(m->a->down, m->a->bdown, m->active[i]);
        x_rows x = { m->xh.form, m->xh.data + (size_t)place0 * m->xh.stride, m->xh.stride };
        float *y = m->d + place0 * m->d_model + row0;
        if (m->single) n_tile = same_expert(t, end, tiles);
        int64_t n_row = m->d_model - row0 < n_tile * TILE_ROWS ? m->d_model - row0 : n_tile * TILE_ROWS;
        if (m->single) m->set->matvec(&w, row0, n_row, &x, y, scratch, row0 + n_row < m->d_model ? rows_from(&w, row0 + n_row) : NULL);
        else m->set->product(&w, row0, n_row, &x, n, y, m->d_model, scratch);
    }
}

static void combine(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *y = row_at(m->y, i);
        const float *w = row_at(m->weight, i);
        memset(y, 0, (size_t)m->d_model * sizeof *y);
        for (int u = 0; u < m->n_used; u++)
            cpu_of(m->be)->row->add_scaled(y, m->d + m->place[i * m->n_used + u] * m->d_model, w[u], (int)m->d_model);
    }
}

static bool lay_out(moe_job *m, int64_t n_expert)
{
    moe_areas at = { 0 };
    size_t have;
    uint8_t *base = moe_scratch(m->be, &have);

    if (!measure(&at, (size_t)m->n_pair, (size_t)n_expert, m->d_model, m->d_ff) || at.total > have) {
        backend_fail(m->be, LLM_ERR_INTERNAL, "moe: %d rows for %d experts each exceed the scratch", m->x.n, m->n_used);
        return false;
    }
    m->start = (int32_t *)(void *)base;
    m->active = m->start + n_expert + 1;
    m->place = m->active + n_expert + 1;
    m->row = m->place + m->n_pair;
    m->gathered = base + at.index;
    m->d = (float *)(void *)m->gathered;            /* the gathered rows are done with by then */
    m->h = (float *)(void *)(base + at.index + at.wide);
    m->xh.data = base + at.index + at.wide + at.h;
    return true;
}

/* A stretch of tiles for one thread: enough of them to balance, long enough to read in sequence. */
static int64_t grain_of(const moe_job *m, int64_t n)
{
    int64_t g = n / (16 * (int64_t)cpu_of(m->be)->n_thread);
    return g < 1 ? 1 : g > 8 ? 8 : g;
}

void moe_run(llm_backend *be, const linear_set *set, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a)
{
    moe_job m = { .be = be, .set = set, .a = a, .x = x, .y = y, .weight = weight, .n_used = weight.width };
    x_form up = matrix_form(a->up->dtype), gate = matrix_form(a->gate->dtype), down = matrix_form(a->down->dtype);
    llm_pool *pool = cpu_of(be)->pool;
    int64_t tiles;

    if (!backend_ok(be)) return;
    m.d_ff = a->gate->dim[1], m.d_model = a->gate->dim[2], m.n_pair = (int64_t)x.n * m.n_used;
    if (a->gate->perm != NULL || a->up->perm != NULL || a->down->perm != NULL) {
        backend_fail(be, LLM_ERR_UNSUPPORTED, "moe: permuted expert weights");
        return;
    }
    if (!lay_out(&m, a->gate->dim[0]) || !group(&m, expert, a->gate->dim[0])) return;
    m.single = x.n == 1 && m.n_active == m.n_pair;
    if (!x_prepare(be, set, &m.xg, 0, gate, NULL, m.d_model, x)) return;
    m.xu = m.xg;
    if (up != gate && !x_prepare(be, set, &m.xu, 1, up, NULL, m.d_model, x)) return;
    if (x.n > 1) pool_run(pool, m.n_pair, 8, gather, &m);
    else m.gathered = NULL;

    tiles = m.n_active * ((m.d_ff + TILE_ROWS - 1) / TILE_ROWS);
    pool_run(pool, tiles, grain_of(&m, tiles), gate_up_tiles, &m);

    m.xh.form = down, m.xh.stride = x_layout_of(down, m.d_ff).bytes;
    if (down == X_F32) m.xh.data = (const uint8_t *)m.h;
    else pool_run(pool, m.n_pair, m.n_pair > 16 ? 4 : m.n_pair, quantize_h, &m);

    tiles = m.n_active * ((m.d_model + TILE_ROWS - 1) / TILE_ROWS);
    pool_run(pool, tiles, grain_of(&m, tiles), down_tiles, &m);
    pool_run(pool, x.n, 4, combine, &m);
}
