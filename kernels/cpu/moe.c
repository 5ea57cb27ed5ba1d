/* moe.c - op.moe over a kernel set: rows are grouped by expert, so that each expert's weights are read once
 * and multiply all of its rows; then gate, up and activation of a tile of outputs, down, and the weighted sum. */
#include "matrix.h"
#include "x_group.h"
#include <string.h>

/* Pair p = i * n_used + u is row i's u-th expert. Sorted by expert (stable), pair p is at place[p], and
 * expert active[a] owns the places start[a] .. start[a+1]-1 and the groups first[a] .. first[a+1]-1 of eight of them. few[a]: its products
 * that take their few rows as records, gate and up, or down. */
enum { FEW_X = 1, FEW_H = 2 };

typedef struct {
    llm_backend *be;
    const linear_set *set;
    const llm_moe_args *a;
    llm_rows x, y, weight;
    int n_used, n_active;
    bool single;                                    /* one row, each of its experts once */
    int64_t n_pair, d_model, d_ff, item_rows;       /* item_rows: outputs of an item, TILE_ROWS for a single row */
    int32_t *start, *active, *first, *few, *place, *row;        /* row[place]: the row of x there */
    x_rows xr[2];                                   /* by row: for gate, for up */
    x_rows xg, hg;                                  /* groups of an expert's rows of x, of h; or (few) records of h */
    size_t h_record;
    bool gate_now, up_now;                          /* which of the two products runs */
    float *h, *d;                                   /* [n_pair, d_ff], [n_pair, d_model] by place */
} moe_job;

typedef struct { size_t index, wide, h, hg, total; } moe_areas;

static size_t widest(int64_t n)
{
    size_t record = x_group_bytes(X_Q256, n), row = x_group_bytes(X_F32, n);
    return record > row ? record : row;
}

static bool measure(moe_areas *m, size_t n_pair, size_t n_expert, int64_t d_model, int64_t d_ff)
{
    size_t n, groups = n_pair / GROUP + (n_expert < n_pair ? n_expert : n_pair);

    return ck_mul(n_pair, 2, &n) && ck_add(n, 4 * n_expert + 3, &n) && ck_mul(n, sizeof(int32_t), &m->index) && ck_align(m->index, 64, &m->index)
        && ck_mul(groups, widest(d_model), &m->wide) && ck_align(m->wide, 64, &m->wide)
        && ck_mul(n_pair, (size_t)d_ff * sizeof(float), &m->h) && ck_align(m->h, 64, &m->h)
        && ck_mul(groups, widest(d_ff), &m->hg) && ck_align(m->hg, 64, &m->hg)
        && ck_add(m->index, m->wide, &m->total) && ck_add(m->total, m->h, &m->total) && ck_add(m->total, m->hg, &m->total);
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
    m->first[0] = 0;
    for (int a = 0; a < m->n_active; a++) m->first[a + 1] = m->first[a] + (int32_t)x_groups_of(m->start[a + 1] - m->start[a]);
    return true;
}

/* Once for a run: weights may be packed meanwhile. */
static void choose_few(moe_job *m)
{
    for (int i = 0; i < m->n_active; i++) {
        int64_t e = m->active[i], n = m->start[i + 1] - m->start[i];
        matrix gate = matrix_of(m->a->gate, NULL, e), up = matrix_of(m->a->up, NULL, e), down = matrix_of(m->a->down, NULL, e);
        m->few[i] = (matrix_takes_few(&gate, n) && matrix_takes_few(&up, n) ? FEW_X : 0) | (matrix_takes_few(&down, n) ? FEW_H : 0);
    }
}

/* The active expert that owns group g; a: one at or before it. */
static int expert_of_group(const moe_job *m, int64_t g, int a)
{
    while (g >= m->first[a + 1]) a++;
    return a;
}

/* Items are groups of places: their records side by side. */
static void group_x(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    const x_rows *x = &m->xr[m->gate_now ? 0 : 1];
    const uint8_t *row[GROUP];

    (void)thread;
    for (int64_t g = begin; g < end; g++) {
        int a = expert_of_group(m, g, 0);
        int64_t place = m->start[a] + (g - m->first[a]) * GROUP, n = m->start[a + 1] - place;
        if (m->few[a] & FEW_X) continue;
        for (int64_t c = 0; c < GROUP; c++) row[c] = x->data + (size_t)m->row[place + (c < n ? c : 0)] * x->stride;
        m->set->group(x->form, row, m->d_model, (uint8_t *)(uintptr_t)m->xg.data + (size_t)g * m->xg.stride);
    }
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Items are item_rows outputs of an expert. */
static int64_t items_of(const moe_job *m, int64_t rows) { return (rows + m->item_rows - 1) / m->item_rows; }

/* Items t .. end-1 are of several experts: how many are of t's own. */
static int64_t same_expert(int64_t t, int64_t end, int64_t items) { return least(items - t % items, end - t); }

static const uint8_t *rows_from(const matrix *w, int64_t row) { return row < w->rows ? w->data + (size_t)row * w->row_bytes : NULL; }

/* What is read after rows row0 .. row0+n_row-1 of gate, and of up. */
static const uint8_t *rows_behind_gate(const moe_job *m, const matrix *wg, const matrix *wu, int64_t row0, int64_t n_row)
{
    return m->up_now ? rows_from(wu, row0) : rows_from(wg, row0 + n_row);
}
static const uint8_t *rows_behind_up(const moe_job *m, const matrix *wg, const matrix *wu, int64_t row0, int64_t n_row)
{
    return rows_from(m->gate_now ? wg : wu, row0 + n_row);
}

/* Items t .. end-1 of d_ff outputs for a single row of x, each expert's in one go: a stretch of gate, then one of up. */
static void gate_up_one(const moe_job *m, int64_t t, int64_t end, int thread)
{
    const llm_moe_args *a = m->a;
    int64_t items = items_of(m, m->d_ff), n;
    uint8_t *scratch = thread_scratch(m->be, thread);
    float *up = thread_tile(m->be, thread);

    for (; t < end; t += n) {
        int64_t i = t / items, row0 = t % items * m->item_rows, n_row;
        matrix wg = matrix_of(a->gate, a->bgate, m->active[i]), wu = matrix_of(a->up, a->bup, m->active[i]);
        float *h = m->h + m->start[i] * m->d_ff + row0;
        n = same_expert(t, end, items), n_row = least(m->d_ff - row0, n * m->item_rows);
        if (m->gate_now) m->set->matvec(&wg, row0, n_row, &m->xr[0], 1, h, 0, scratch, rows_behind_gate(m, &wg, &wu, row0, n_row));
        if (!m->up_now) continue;
        m->set->matvec(&wu, row0, n_row, &m->xr[1], 1, up, 0, scratch, rows_behind_up(m, &wg, &wu, row0, n_row));
        cpu_of(m->be)->row->glu(h, h, up, (int)n_row, a->act, a->limit);
    }
}

/* Gate, up or both, and then the activation, of an item for columns c .. c+n-1 of its expert (n a multiple of a group, or the rest). */
static void gate_up_columns(const moe_job *m, int64_t i, int64_t row0, int64_t n_row, int64_t c, int64_t n, int thread)
{
    const llm_moe_args *a = m->a;
    int64_t place0 = m->start[i] + c;
    matrix wg = matrix_of(a->gate, a->bgate, m->active[i]), wu = matrix_of(a->up, a->bup, m->active[i]);
    uint8_t *scratch = thread_scratch(m->be, thread);
    float *up = thread_tile(m->be, thread), *h = m->h + place0 * m->d_ff + row0;
    x_rows x = m->xg;

    x.data += (size_t)(m->first[i] + c / GROUP) * x.stride;
    if (m->few[i] & FEW_X) {
        x_rows g = m->xr[0], u = m->xr[1];
        g.pick = u.pick = m->row + place0;
        if (m->gate_now) m->set->matvec(&wg, row0, n_row, &g, (int)n, h, m->d_ff, scratch, rows_behind_gate(m, &wg, &wu, row0, n_row));
        if (m->up_now) m->set->matvec(&wu, row0, n_row, &u, (int)n, up, ITEM_ROWS, scratch, rows_behind_up(m, &wg, &wu, row0, n_row));
    } else {
        if (m->gate_now) m->set->product(&wg, row0, n_row, &x, n, h, m->d_ff, scratch);
        if (m->up_now) m->set->product(&wu, row0, n_row, &x, n, up, ITEM_ROWS, scratch);
    }
    for (int64_t k = 0; k < n && m->up_now; k++)
        cpu_of(m->be)->row->glu(h + k * m->d_ff, h + k * m->d_ff, up + k * ITEM_ROWS, (int)n_row, a->act, a->limit);
}

static void gate_up_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    int64_t items = items_of(m, m->d_ff), most = x_groups_of(cpu_of(m->be)->limits.n_batch) * GROUP;

    if (m->single) { gate_up_one(m, begin, end, thread); return; }
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / items, row0 = t % items * m->item_rows, n = m->start[i + 1] - m->start[i];
        for (int64_t c = 0; c < n; c += most)
            gate_up_columns(m, i, row0, least(m->d_ff - row0, m->item_rows), c, least(n - c, most), thread);
    }
}

static void group_h(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    const float *row[GROUP];

    for (int64_t g = begin; g < end; g++) {
        int a = expert_of_group(m, g, 0);
        int64_t place = m->start[a] + (g - m->first[a]) * GROUP, n = m->start[a + 1] - place;
        uint8_t *to = (uint8_t *)(uintptr_t)m->hg.data + (size_t)g * m->hg.stride;
        for (int64_t c = 0; c < n && c < GROUP; c++) row[c] = m->h + (place + c) * m->d_ff;
        if (!(m->few[a] & FEW_H)) x_group(m->set, m->hg.form, row, least(n, GROUP), m->d_ff, thread_scratch(m->be, thread), to);
        else for (int64_t c = 0; c < n && m->hg.form != X_F32; c++) m->set->quantize(m->hg.form, row[c], m->d_ff, to + (size_t)c * m->h_record);
    }
}

static void down_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *m = arg;
    int64_t items = items_of(m, m->d_model);
    uint8_t *scratch = thread_scratch(m->be, thread);

    for (int64_t t = begin, n_item = 1; t < end; t += n_item) {
        int64_t i = t / items, row0 = t % items * m->item_rows, place0 = m->start[i], n = m->start[i + 1] - place0;
        if (m->single) n_item = same_expert(t, end, items);
        int64_t n_row = least(m->d_model - row0, n_item * m->item_rows);
        matrix w = matrix_of(m->a->down, m->a->bdown, m->active[i]);
        float *d = m->d + place0 * m->d_model + row0;
        x_rows x = { .form = m->hg.form, .data = m->hg.data + (size_t)m->first[i] * m->hg.stride, .stride = m->few[i] & FEW_H ? m->h_record : m->hg.stride };
        if (m->few[i] & FEW_H && x.form == X_F32) x.data = (const uint8_t *)(m->h + place0 * m->d_ff);
        if (m->few[i] & FEW_H) m->set->matvec(&w, row0, n_row, &x, (int)n, d, m->d_model, scratch, rows_from(&w, row0 + n_row));
        else m->set->product(&w, row0, n_row, &x, n, d, m->d_model, scratch);
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
    m->first = m->active + n_expert + 1;
    m->few = m->first + n_expert + 1;
    m->place = m->few + n_expert;
    m->row = m->place + m->n_pair;
    m->xg.data = base + at.index;
    m->d = (float *)(void *)(base + at.index);      /* the groups of x are done with by then */
    m->h = (float *)(void *)(base + at.index + at.wide);
    m->hg.data = base + at.index + at.wide + at.h;
    return true;
}

/* A stretch of items for one thread: enough of them to balance, long enough to read in sequence. */
static int64_t grain_of(const moe_job *m, int64_t n)
{
    int64_t g = n / (16 * (int64_t)cpu_of(m->be)->n_thread), most = m->n_pair > 8 * m->n_active ? 1 : 8;
    return g < 1 ? 1 : g > most ? most : g;
}

/* One of the products with gate and up, or both where they take x in the same form. */
static void gate_up(moe_job *m, bool gate, bool up)
{
    llm_pool *pool = cpu_of(m->be)->pool;
    int64_t items = m->n_active * items_of(m, m->d_ff);

    m->gate_now = gate, m->up_now = up;
    m->xg.form = m->xr[gate ? 0 : 1].form, m->xg.stride = x_group_bytes(m->xg.form, m->d_model);
    if (m->n_pair > m->n_active) pool_run(pool, m->first[m->n_active], 1, group_x, m);
    pool_run(pool, items, grain_of(m, items), gate_up_items, m);
}

void moe_run(llm_backend *be, const linear_set *set, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a)
{
    moe_job m = { .be = be, .set = set, .a = a, .x = x, .y = y, .weight = weight, .n_used = weight.width };
    x_form up = matrix_form(a->up->dtype), gate = matrix_form(a->gate->dtype), down = matrix_form(a->down->dtype);
    llm_pool *pool = cpu_of(be)->pool;
    int64_t items;

    if (!backend_ok(be)) return;
    m.d_ff = a->gate->dim[1], m.d_model = a->gate->dim[2], m.n_pair = (int64_t)x.n * m.n_used;
    if (a->gate->perm != NULL || a->up->perm != NULL || a->down->perm != NULL) {
        backend_fail(be, LLM_ERR_UNSUPPORTED, "moe: permuted expert weights");
        return;
    }
    if (!lay_out(&m, a->gate->dim[0]) || !group(&m, expert, a->gate->dim[0])) return;
    choose_few(&m);
    m.single = x.n == 1 && m.n_active == m.n_pair, m.item_rows = m.single ? TILE_ROWS : ITEM_ROWS;
    if (!x_records(be, set, &m.xr[0], 0, gate, NULL, m.d_model, x)) return;
    m.xr[1] = m.xr[0];
    if (up != gate && !x_records(be, set, &m.xr[1], 1, up, NULL, m.d_model, x)) return;
    if (up == gate) gate_up(&m, true, true);
    else gate_up(&m, true, false), gate_up(&m, false, true);

    m.hg.form = down, m.hg.stride = x_group_bytes(down, m.d_ff), m.h_record = x_layout_of(down, m.d_ff).bytes;
    if (down != X_F32 || m.n_pair > m.n_active) pool_run(pool, m.first[m.n_active], x.n > 1 ? 1 : m.n_pair, group_h, &m);
    items = m.n_active * items_of(&m, m.d_model);
    pool_run(pool, items, grain_of(&m, items), down_items, &m);
    pool_run(pool, x.n, 4, combine, &m);
}
