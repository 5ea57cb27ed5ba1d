/* linear.c - op.linear, op.absorb and op.embed over a kernel set: brings x into the form each weight needs,
 * then shares tiles of output rows among the threads (linear.h has the order of the sums). */
#include "linear.h"
#include "dequant.h"
#include "peak.h"
#include "product.h"
#include "x_group.h"
#include <string.h>

enum { MAX_FORM = 2 };
static const int64_t small_work = 32 * 1024;        /* multiply-adds below which waking threads costs more than it brings */

/* ------------------------------------------------------------------ scratch */

static bool add_aligned(size_t *total, size_t n, size_t count)
{
    size_t bytes;
    return ck_mul(n, count, &bytes) && ck_align(bytes, 4096, &bytes) && ck_add(*total, bytes, total);
}

bool linear_measure(linear_areas *a, const llm_limits *l, int n_thread)
{
    int64_t cols = l->max_cols > l->d_model ? l->max_cols : l->d_model, groups = x_groups_of(l->n_batch);

    memset(a, 0, sizeof *a);
    if (l->max_cols < 0 || l->n_batch < 1 || n_thread < 1) return false;
    a->thread = (product_scratch(cols, l->n_batch) + 4095) & ~(size_t)4095;
    return add_aligned(&a->tile, (size_t)groups, GROUP * ITEM_ROWS * sizeof(float))        /* moe.c: products with up */
        && ck_add(a->thread, a->tile, &a->thread)
        && add_aligned(&a->floats, (size_t)groups, x_group_bytes(X_F32, cols))
        && add_aligned(&a->rows, (size_t)groups, x_group_bytes(X_Q256, cols))
        && moe_measure(l, &a->moe)
        && add_aligned(&a->total, a->floats, 1)
        && add_aligned(&a->total, a->rows, MAX_FORM)
        && add_aligned(&a->total, a->moe, 1)
        && add_aligned(&a->total, a->thread, (size_t)n_thread);
}

size_t linear_scratch_bytes(const llm_limits *limits, int n_thread)
{
    linear_areas a;
    return linear_measure(&a, limits, n_thread) ? a.total : 0;
}

static uint8_t *area(llm_backend *be, linear_areas *a)
{
    cpu_impl *impl = cpu_of(be);
    linear_measure(a, &impl->limits, impl->n_thread);
    return impl->linear;
}

uint8_t *thread_scratch(llm_backend *be, int thread)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    return base + a.floats + MAX_FORM * a.rows + a.moe + (size_t)thread * a.thread;
}

float *thread_tile(llm_backend *be, int thread)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    size_t tile = a.thread - a.tile;
    return (float *)(void *)(base + a.floats + MAX_FORM * a.rows + a.moe + (size_t)thread * a.thread + tile);
}

uint8_t *moe_scratch(llm_backend *be, size_t *bytes)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    *bytes = a.moe;
    return base + a.floats + MAX_FORM * a.rows;
}

/* --------------------------------------------------------------- forms of x */

void x_group(const linear_set *set, x_form form, const float *const *row, int64_t n, int64_t cols, uint8_t *scratch, uint8_t *group)
{
    const uint8_t *part[GROUP];
    size_t bytes = x_layout_of(form, cols).bytes;

    for (int64_t c = 0; c < GROUP; c++) {
        if (c >= n) { part[c] = part[0]; continue; }
        part[c] = form == X_F32 ? (const uint8_t *)row[c] : scratch + (size_t)c * bytes;
        if (form != X_F32) set->quantize(form, row[c], cols, scratch + (size_t)c * bytes);
    }
    set->group(form, part, cols, group);
}

typedef struct { llm_backend *be; const linear_set *set; x_form form; const int32_t *perm; int64_t cols; llm_rows x; uint8_t *out; size_t stride; } prepare_arg;

static size_t record_bytes(x_form form, int64_t cols) { return x_layout_of(form, cols).bytes; }

static const float *permuted(const prepare_arg *p, int64_t i, float *room)
{
    const float *x = row_at(p->x, i);

    for (int64_t k = 0; k < p->cols && p->perm != NULL; k++) room[k] = x[p->perm[k]];
    return p->perm != NULL ? room : x;
}

static void prepare_groups(void *arg, int64_t begin, int64_t end, int thread)
{
    const prepare_arg *p = arg;
    uint8_t *scratch = thread_scratch(p->be, thread);
    float *room = (float *)(void *)(scratch + x_group_bytes(X_Q256, p->cols));
    const float *row[GROUP];

    for (int64_t g = begin; g < end; g++) {
        int64_t n = p->x.n - g * GROUP < GROUP ? p->x.n - g * GROUP : GROUP;
        for (int64_t c = 0; c < n; c++) row[c] = permuted(p, g * GROUP + c, room + c * p->cols);
        x_group(p->set, p->form, row, n, p->cols, scratch, p->out + (size_t)g * p->stride);
    }
}

static void prepare_records(void *arg, int64_t begin, int64_t end, int thread)
{
    const prepare_arg *p = arg;

    for (int64_t i = begin; i < end; i++) {
        uint8_t *to = p->out + (size_t)i * p->stride;
        if (p->form == X_F32) permuted(p, i, (float *)(void *)to);
        else p->set->quantize(p->form, permuted(p, i, (float *)(void *)thread_scratch(p->be, thread)), p->cols, to);
    }
}

/* Room for bytes in the area of a form. */
static uint8_t *form_area(llm_backend *be, x_form form, int slot, size_t bytes, int n)
{
    linear_areas a;
    uint8_t *base = area(be, &a);

    if (bytes > (form == X_F32 ? a.floats : a.rows)) {
        backend_fail(be, LLM_ERR_INTERNAL, "linear: %d rows exceed the scratch", n);
        return NULL;
    }
    return form == X_F32 ? base : base + a.floats + (size_t)slot * a.rows;
}

bool x_records(llm_backend *be, const linear_set *set, x_rows *out, int slot, x_form form, const int32_t *perm, int64_t cols, llm_rows x)
{
    prepare_arg p = { be, set, form, perm, cols, x, NULL, record_bytes(form, cols) };

    *out = (x_rows){ .form = form, .data = (const uint8_t *)x.data, .stride = (size_t)x.stride * sizeof(float) };
    if (form == X_F32 && perm == NULL) return true;
    if ((p.out = form_area(be, form, slot, (size_t)x.n * p.stride, x.n)) == NULL) return false;
    pool_run(cpu_of(be)->pool, x.n, x.n > FEW_COLUMNS ? 1 : x.n, prepare_records, &p);
    *out = (x_rows){ .form = form, .data = p.out, .stride = p.stride };
    return true;
}

bool x_grouped(llm_backend *be, const linear_set *set, x_rows *out, int slot, x_form form, const int32_t *perm, int64_t cols, llm_rows x)
{
    prepare_arg p = { be, set, form, perm, cols, x, NULL, x_group_bytes(form, cols) };
    int64_t n = x_groups_of(x.n);

    if ((p.out = form_area(be, form, slot, (size_t)n * p.stride, x.n)) == NULL) return false;
    pool_run(cpu_of(be)->pool, n, 1, prepare_groups, &p);
    *out = (x_rows){ .form = form, .data = p.out, .stride = p.stride };
    return true;
}

/* ------------------------------------------------------------------- linear */

enum { MAX_JOINED = 8 };

/* Up to MAX_JOINED products that run as one loop: item t is item t - first[i] of product i, item_rows rows. few: of records. */
typedef struct { matrix w; x_rows x; llm_rows y; } product_job;
typedef struct {
    llm_backend *be;
    const linear_set *set;
    product_job job[MAX_JOINED];
    int64_t first[MAX_JOINED + 1], item_rows;
    int n;
    bool few;
    float *peak;                        /* NULL, or of the only product: linear_peaks */
} product_arg;

/* Where item t lies; NULL behind the last. */
static const uint8_t *item_at(const product_arg *p, int64_t t)
{
    int i = 0;

    if (t >= p->first[p->n]) return NULL;
    while (t >= p->first[i + 1]) i++;
    return p->job[i].w.data + (size_t)((t - p->first[i]) * p->item_rows) * p->job[i].w.row_bytes;
}

/* Peaks of rows row0 .. row0+n-1 of y; both ends are borders of blocks, or the last is that of y. */
static void put_peaks(const product_job *j, int64_t row0, int64_t n, float *peak)
{
    for (int c = 0; c < j->y.n; c++) {
        const float *y = row_at(j->y, c);
        float *to = peak + (size_t)c * peaks_of((size_t)j->w.rows);
        for (int64_t r = row0; r < row0 + n; r += PEAK_OF) to[r / PEAK_OF] = row0 + n - r < PEAK_OF ? peak_of_part(y + r, (int)(row0 + n - r)) : peak_of(y + r);
    }
}

static void run_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const product_arg *p = arg;
    uint8_t *scratch = thread_scratch(p->be, thread);
    bool goes_on = pool_goes_on(cpu_of(p->be)->pool, thread, end);
    int i = 0;

    for (int64_t t = begin, n; t < end; t += n) {
        while (t >= p->first[i + 1]) i++;
        const product_job *j = &p->job[i];
        int64_t row0 = (t - p->first[i]) * p->item_rows, left = j->w.rows - row0;
        n = (p->first[i + 1] < end ? p->first[i + 1] : end) - t;
        if (left > n * p->item_rows) left = n * p->item_rows;
        if (!p->few) p->set->product(&j->w, row0, left, &j->x, j->y.n, j->y.data + row0, j->y.stride, scratch);
        else p->set->matvec(&j->w, row0, left, &j->x, j->y.n, j->y.data + row0, j->y.stride, scratch, t + n < end || goes_on ? item_at(p, t + n) : NULL);
        if (p->peak) put_peaks(j, row0, left, p->peak);
    }
}

/* Runs and empties the list. A chunk is a stretch of rows that one thread reads in sequence; where columns are many their
 * number makes up for it. */
static void run_joined(product_arg *p)
{
    int64_t n = p->first[p->n], work = 0, grain, most = p->job[0].y.n > 8 ? 1 : 16;
    cpu_impl *impl = cpu_of(p->be);

    for (int i = 0; i < p->n; i++) work += p->job[i].w.rows * p->job[i].w.cols * p->job[i].y.n;
    grain = n / (8 * (int64_t)impl->n_thread);
    grain = work < small_work ? n : grain < 1 ? 1 : grain > most ? most : grain;
    if (p->peak) grain = (grain * p->item_rows + PEAK_OF - 1) / PEAK_OF * PEAK_OF / p->item_rows;
    pool_run(impl->pool, n, grain, run_items, p);
    p->n = 0;
}

static void join(product_arg *p, const matrix *w, const x_rows *x, llm_rows y)
{
    if (p->n == MAX_JOINED) run_joined(p);
    p->job[p->n] = (product_job){ *w, *x, y };
    p->item_rows = p->few ? TILE_ROWS : ITEM_ROWS;
    p->first[0] = 0;
    p->first[p->n + 1] = p->first[p->n] + (w->rows + p->item_rows - 1) / p->item_rows;
    p->n++;
}

static bool same_perm(const int32_t *a, const int32_t *b, int64_t n)
{
    return a == b || (a != NULL && b != NULL && memcmp(a, b, (size_t)n * sizeof *a) == 0);
}

void linear_run(llm_backend *be, const linear_set *set, const llm_linear *l, int n, llm_rows x, float *peak)
{
    struct { x_rows rows; const int32_t *perm; bool used; } form[X_Q256 + 1] = { 0 };
    product_arg p = { .be = be, .set = set, .peak = peak, .few = true };

    if (!backend_ok(be) || x.n == 0) return;
    for (int i = 0; i < n; i++) {
        matrix w = matrix_of(l[i].w, NULL, -1);
        p.few = p.few && matrix_takes_few(&w, x.n);
    }
    for (int i = 0; i < n; i++) {
        const llm_tensor *t = l[i].w;
        matrix w = matrix_of(t, l[i].bias, -1);
        x_form f = matrix_form(w.dtype);
        if (!form[f].used || !same_perm(form[f].perm, t->perm, w.cols)) {
            /* the area of floats and a form's slot may be in use by products that wait */
            if (p.n > 0 && (form[f].used || t->perm != NULL)) run_joined(&p);
            if (!(p.few ? x_records : x_grouped)(be, set, &form[f].rows, f == X_Q32 ? 0 : 1, f, t->perm, w.cols, x)) return;
            form[f].perm = t->perm, form[f].used = true;
            if (t->perm != NULL) form[X_F32].used = f == X_F32;
        }
        join(&p, &w, &form[f].rows, l[i].y);
    }
    if (p.n > 0) run_joined(&p);
}

/* ------------------------------------------------------------------- absorb */

/* Heads head0 .. head0+n_head-1: item t is an item of rows, t % items of head t / items, or (prepare) a record (few) or group of x. */
typedef struct {
    llm_backend *be;
    const linear_set *set;
    const llm_tensor *w;
    llm_rows y, x;
    int64_t y_step, x_step, head0, item_rows, items, cols, n_form;      /* n_form: records or groups of a head */
    x_form form;
    bool few;
    uint8_t *out;
    size_t stride;
} absorb_job;

static void absorb_prepare(void *arg, int64_t begin, int64_t end, int thread)
{
    const absorb_job *a = arg;
    const float *row[GROUP];

    for (int64_t t = begin; t < end; t++) {
        int64_t first = t % a->n_form * (a->few ? 1 : GROUP), n = a->few ? 1 : a->x.n - first < GROUP ? a->x.n - first : GROUP;
        for (int64_t c = 0; c < n; c++) row[c] = row_at(a->x, first + c) + (a->head0 + t / a->n_form) * a->x_step;
        if (a->few) a->set->quantize(a->form, row[0], a->cols, a->out + (size_t)t * a->stride);
        else x_group(a->set, a->form, row, n, a->cols, thread_scratch(a->be, thread), a->out + (size_t)t * a->stride);
    }
}

static void absorb_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const absorb_job *a = arg;
    uint8_t *scratch = thread_scratch(a->be, thread);

    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / a->items, h = a->head0 + i, row0 = t % a->items * a->item_rows;
        matrix w = matrix_of(a->w, NULL, h);
        int64_t n_row = w.rows - row0 < a->item_rows ? w.rows - row0 : a->item_rows;
        float *y = a->y.data + h * a->y_step + row0;
        x_rows x = { .form = a->form, .data = a->out + (size_t)(i * a->n_form) * a->stride, .stride = a->stride };
        if (a->few && a->form == X_F32) x.data = (const uint8_t *)(a->x.data + h * a->x_step), x.stride = (size_t)a->x.stride * sizeof(float);
        if (a->few) a->set->matvec(&w, row0, n_row, &x, a->x.n, y, a->y.stride, scratch, NULL);
        else a->set->product(&w, row0, n_row, &x, a->x.n, y, a->y.stride, scratch);
    }
}

void absorb_run(llm_backend *be, const linear_set *set, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w)
{
    int64_t cols = w->dim[2], n_head = w->dim[0], most = n_head;
    linear_areas at;
    uint8_t *base = area(be, &at);
    absorb_job a = { .be = be, .set = set, .w = w, .y = y, .x = x, .y_step = y_step, .x_step = x_step, .cols = cols, .form = matrix_form(w->dtype) };
    matrix last = matrix_of(w, NULL, n_head - 1);
    bool as_it_lies;

    if (!backend_ok(be) || x.n == 0) return;
    a.few = matrix_takes_few(&last, x.n), as_it_lies = a.few && a.form == X_F32;
    a.item_rows = a.few ? TILE_ROWS : ITEM_ROWS, a.items = (w->dim[1] + a.item_rows - 1) / a.item_rows;
    a.n_form = a.few ? x.n : x_groups_of(x.n), a.stride = a.few ? record_bytes(a.form, cols) : x_group_bytes(a.form, cols);
    a.out = a.form == X_F32 ? base : base + at.floats;
    if (!as_it_lies) most = (int64_t)((a.form == X_F32 ? at.floats : MAX_FORM * at.rows) / (a.stride * (size_t)a.n_form));
    if (most < 1) { backend_fail(be, LLM_ERR_INTERNAL, "absorb: %d rows of %lld values exceed the scratch", x.n, (long long)cols); return; }
    for (; a.head0 < n_head; a.head0 += most) {
        int64_t n = n_head - a.head0 < most ? n_head - a.head0 : most;
        if (!as_it_lies) pool_run(cpu_of(be)->pool, n * a.n_form, a.few ? 8 : 1, absorb_prepare, &a);
        pool_run(cpu_of(be)->pool, n * a.items, x.n > 8 ? 1 : 8, absorb_items, &a);
    }
}

/* -------------------------------------------------------------------- embed */

typedef struct { matrix w; llm_rows y; const int32_t *token; float scale; } embed_arg;

static void embed_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const embed_arg *e = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *y = row_at(e->y, i);
        matrix_row(&e->w, e->token[i], y);
        for (int64_t k = 0; k < e->w.cols && e->scale != 1.0f; k++) y[k] *= e->scale;
    }
}

void embed_run(llm_backend *be, llm_rows y, const llm_tensor *table, const int32_t *token, float scale)
{
    embed_arg e = { matrix_of(table, NULL, -1), y, token, scale };

    if (!backend_ok(be)) return;
    for (int i = 0; i < y.n; i++)
        if (token[i] < 0 || token[i] >= e.w.rows) {
            backend_fail(be, LLM_ERR_ARG, "embed: token %d, want 0..%lld", token[i], (long long)e.w.rows - 1);
            return;
        }
    if (table->perm != NULL) { backend_fail(be, LLM_ERR_UNSUPPORTED, "embed: a permuted table"); return; }
    pool_run(cpu_of(be)->pool, y.n, 1, embed_rows, &e);
}

/* ---------------------------------------------------------------- the tables */

#define LINEAR_OPS(isa) \
    static void linear_##isa(llm_backend *be, const llm_linear *l, int n, llm_rows x) { linear_run(be, &linear_set_##isa, l, n, x, NULL); } \
    static void linear_peaks_##isa(llm_backend *be, const llm_linear *l, llm_rows x, float *peak) { linear_run(be, &linear_set_##isa, l, 1, x, peak); } \
    static void absorb_##isa(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w) \
    { absorb_run(be, &linear_set_##isa, y, y_step, x, x_step, w); } \
    static void moe_##isa(llm_backend *be, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a) \
    { moe_run(be, &linear_set_##isa, y, x, weight, expert, a); } \
    void linear_ops_##isa(llm_ops *op, llm_blocks *block) \
    { \
        op->embed = embed_run, op->linear = linear_##isa, op->absorb = absorb_##isa, op->moe = moe_##isa; \
        block->linear_peaks = linear_peaks_##isa; \
    }

LINEAR_OPS(ref)
#if defined(__x86_64__)
LINEAR_OPS(avx2)
LINEAR_OPS(avxvnni)
LINEAR_OPS(avx512)
#elif defined(__aarch64__)
LINEAR_OPS(neon)
LINEAR_OPS(i8mm)
#endif
