/* linear.c - op.linear, op.absorb and op.embed over a kernel set: brings x into the form each weight needs,
 * then shares tiles of output rows among the threads (linear.h has the order of the sums). */
#include "linear.h"
#include "dequant.h"
#include "product.h"
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
    size_t cols = (size_t)(l->max_cols > l->d_model ? l->max_cols : l->d_model), batch = (size_t)l->n_batch;
    size_t record = x_layout_of(X_Q256, (int64_t)(cols + 255) & ~(int64_t)255).bytes;

    memset(a, 0, sizeof *a);
    if (l->max_cols < 0 || l->n_batch < 1 || n_thread < 1) return false;
    a->thread = (product_scratch((int64_t)cols) + 4095) & ~(size_t)4095;
    return add_aligned(&a->tile, batch, TILE_ROWS * sizeof(float))          /* moe.c: one tile of up products */
        && ck_add(a->thread, a->tile, &a->thread)
        && add_aligned(&a->gather, batch, cols * sizeof(float))
        && add_aligned(&a->rows, batch, record)
        && moe_measure(l, &a->moe)
        && add_aligned(&a->total, a->gather, 1)
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
    return base + a.gather + MAX_FORM * a.rows + a.moe + (size_t)thread * a.thread;
}

float *thread_tile(llm_backend *be, int thread)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    size_t tile = a.thread - a.tile;
    return (float *)(void *)(base + a.gather + MAX_FORM * a.rows + a.moe + (size_t)thread * a.thread + tile);
}

uint8_t *moe_scratch(llm_backend *be, size_t *bytes)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    *bytes = a.moe;
    return base + a.gather + MAX_FORM * a.rows;
}

/* --------------------------------------------------------------- forms of x */

typedef struct { const linear_set *set; x_form form; const int32_t *perm; int64_t cols; llm_rows x; float *gather; uint8_t *out; size_t stride; } prepare_arg;

static void prepare_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const prepare_arg *p = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = row_at(p->x, i);
        if (p->perm != NULL) {
            float *g = p->gather + i * p->cols;
            for (int64_t k = 0; k < p->cols; k++) g[k] = x[p->perm[k]];
            x = g;
        }
        if (p->form != X_F32) p->set->quantize(p->form, x, p->cols, p->out + (size_t)i * p->stride);
    }
}

bool x_prepare(llm_backend *be, const linear_set *set, x_rows *out, int slot, x_form form, const int32_t *perm, int64_t cols, llm_rows x)
{
    linear_areas a;
    uint8_t *base = area(be, &a);
    prepare_arg p = { set, form, perm, cols, x, (float *)(void *)base, base + a.gather + (size_t)slot * a.rows, x_layout_of(form, cols).bytes };
    size_t n = (size_t)x.n;

    *out = (x_rows){ form, (const uint8_t *)x.data, (size_t)x.stride * sizeof(float) };
    if (form == X_F32 && perm == NULL) return true;
    if (n * p.stride > a.rows && form != X_F32) {
        backend_fail(be, LLM_ERR_INTERNAL, "linear: %d rows of %lld values exceed the scratch", x.n, (long long)cols);
        return false;
    }
    if (perm != NULL && n * (size_t)cols * sizeof(float) > a.gather) {
        backend_fail(be, LLM_ERR_INTERNAL, "linear: %d permuted rows of %lld values exceed the scratch", x.n, (long long)cols);
        return false;
    }
    pool_run(cpu_of(be)->pool, x.n, 1, prepare_rows, &p);
    if (form == X_F32) out->data = (const uint8_t *)p.gather, out->stride = (size_t)cols * sizeof(float);
    else out->data = p.out, out->stride = p.stride;
    return true;
}

/* ------------------------------------------------------------------- linear */

enum { MAX_JOINED = 8 };

/* Up to MAX_JOINED products that run as one loop: item t is tile t - first[i] of product i. */
typedef struct { matrix w; x_rows x; llm_rows y; } product_job;
typedef struct { llm_backend *be; const linear_set *set; product_job job[MAX_JOINED]; int64_t first[MAX_JOINED + 1]; int n; } product_arg;

/* Where tile t lies; NULL behind the last. */
static const uint8_t *tile_at(const product_arg *p, int64_t t)
{
    int i = 0;

    if (t >= p->first[p->n]) return NULL;
    while (t >= p->first[i + 1]) i++;
    return p->job[i].w.data + (size_t)((t - p->first[i]) * TILE_ROWS) * p->job[i].w.row_bytes;
}

static void run_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    const product_arg *p = arg;
    uint8_t *scratch = thread_scratch(p->be, thread);
    bool goes_on = pool_goes_on(cpu_of(p->be)->pool, thread, end);
    int i = 0;

    for (int64_t t = begin, n; t < end; t += n) {
        while (t >= p->first[i + 1]) i++;
        const product_job *j = &p->job[i];
        int64_t row0 = (t - p->first[i]) * TILE_ROWS, left = j->w.rows - row0;
        n = j->y.n > 1 ? 1 : (p->first[i + 1] < end ? p->first[i + 1] : end) - t;
        if (left > n * TILE_ROWS) left = n * TILE_ROWS;
        if (j->y.n > 1) p->set->product(&j->w, row0, left, &j->x, j->y.n, j->y.data + row0, j->y.stride, scratch);
        else p->set->matvec(&j->w, row0, left, &j->x, j->y.data + row0, scratch, t + n < end || goes_on ? tile_at(p, t + n) : NULL);
    }
}

/* Runs and empties the list. A chunk is a stretch of rows that one thread reads in sequence. */
static void run_joined(product_arg *p)
{
    int64_t n = p->first[p->n], work = 0, grain;
    cpu_impl *impl = cpu_of(p->be);

    for (int i = 0; i < p->n; i++) work += p->job[i].w.rows * p->job[i].w.cols * p->job[i].y.n;
    grain = n / (8 * (int64_t)impl->n_thread);
    if (work < small_work) grain = n;
    pool_run(impl->pool, n, grain < 1 ? 1 : grain > 16 && work >= small_work ? 16 : grain, run_tiles, p);
    p->n = 0;
}

static void join(product_arg *p, const matrix *w, const x_rows *x, llm_rows y)
{
    if (p->n == MAX_JOINED) run_joined(p);
    p->job[p->n] = (product_job){ *w, *x, y };
    p->first[0] = 0;
    p->first[p->n + 1] = p->first[p->n] + (w->rows + TILE_ROWS - 1) / TILE_ROWS;
    p->n++;
}

static bool same_perm(const int32_t *a, const int32_t *b, int64_t n)
{
    return a == b || (a != NULL && b != NULL && memcmp(a, b, (size_t)n * sizeof *a) == 0);
}

void linear_run(llm_backend *be, const linear_set *set, const llm_linear *l, int n, llm_rows x)
{
    struct { x_rows rows; const int32_t *perm; bool used; } form[X_Q256 + 1] = { 0 };
    product_arg p = { be, set, { { .y = { 0 } } }, { 0 }, 0 };

    if (!backend_ok(be)) return;
    for (int i = 0; i < n; i++) {
        const llm_tensor *t = l[i].w;
        matrix w = matrix_of(t, l[i].bias, -1);
        x_form f = matrix_form(w.dtype);
        if (!form[f].used || !same_perm(form[f].perm, t->perm, w.cols)) {
            /* the gather area and a form's slot may be in use by products that wait */
            if (p.n > 0 && (form[f].used || t->perm != NULL)) run_joined(&p);
            if (!x_prepare(be, set, &form[f].rows, f == X_Q32 ? 0 : 1, f, t->perm, w.cols, x)) return;
            form[f].perm = t->perm, form[f].used = true;
            if (t->perm != NULL) form[X_F32].used = f == X_F32;
        }
        join(&p, &w, &form[f].rows, l[i].y);
    }
    if (p.n > 0) run_joined(&p);
}

/* ------------------------------------------------------------------- absorb */

/* Heads head0 .. head0+n_head-1: item t is tile t % tiles of head t / tiles, or (prepare) row t % n of that head. */
typedef struct {
    llm_backend *be;
    const linear_set *set;
    const llm_tensor *w;
    llm_rows y, x;
    int64_t y_step, x_step, head0, tiles, cols;
    x_form form;
    uint8_t *record;
    size_t stride;
} absorb_job;

static void absorb_prepare(void *arg, int64_t begin, int64_t end, int thread)
{
    const absorb_job *a = arg;

    (void)thread;
    for (int64_t t = begin; t < end; t++)
        a->set->quantize(a->form, row_at(a->x, t % a->x.n) + (a->head0 + t / a->x.n) * a->x_step, a->cols, a->record + (size_t)t * a->stride);
}

static void absorb_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    const absorb_job *a = arg;
    uint8_t *scratch = thread_scratch(a->be, thread);

    for (int64_t t = begin; t < end; t++) {
        int64_t i = t / a->tiles, h = a->head0 + i, row0 = t % a->tiles * TILE_ROWS;
        matrix w = matrix_of(a->w, NULL, h);
        x_rows x = { a->form, a->record + (size_t)(i * a->x.n) * a->stride, a->stride };
        if (a->form == X_F32) x = (x_rows){ X_F32, (const uint8_t *)(a->x.data + h * a->x_step), (size_t)a->x.stride * sizeof(float) };
        a->set->product(&w, row0, w.rows - row0 < TILE_ROWS ? w.rows - row0 : TILE_ROWS, &x, a->x.n, a->y.data + h * a->y_step + row0, a->y.stride, scratch);
    }
}

void absorb_run(llm_backend *be, const linear_set *set, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w)
{
    int64_t cols = w->dim[2], n_head = w->dim[0], most = n_head;
    linear_areas at;
    uint8_t *base = area(be, &at);
    absorb_job a = { be, set, w, y, x, y_step, x_step, 0, (w->dim[1] + TILE_ROWS - 1) / TILE_ROWS, cols, matrix_form(w->dtype),
                     base + at.gather, x_layout_of(matrix_form(w->dtype), cols).bytes };

    if (!backend_ok(be) || x.n == 0) return;
    if (a.form != X_F32) most = (int64_t)(MAX_FORM * at.rows / (a.stride * (size_t)x.n));
    if (most < 1) { backend_fail(be, LLM_ERR_INTERNAL, "absorb: %d rows of %lld values exceed the scratch", x.n, (long long)cols); return; }
    for (; a.head0 < n_head; a.head0 += most) {
        int64_t n = n_head - a.head0 < most ? n_head - a.head0 : most;
        if (a.form != X_F32) pool_run(cpu_of(be)->pool, n * x.n, 8, absorb_prepare, &a);
        pool_run(cpu_of(be)->pool, n * a.tiles, x.n > 8 ? 1 : 8, absorb_tiles, &a);
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
    static void linear_##isa(llm_backend *be, const llm_linear *l, int n, llm_rows x) { linear_run(be, &linear_set_##isa, l, n, x); } \
    static void absorb_##isa(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w) \
    { absorb_run(be, &linear_set_##isa, y, y_step, x, x_step, w); } \
    static void moe_##isa(llm_backend *be, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a) \
    { moe_run(be, &linear_set_##isa, y, x, weight, expert, a); } \
    void linear_ops_##isa(llm_ops *op) { op->embed = embed_run, op->linear = linear_##isa, op->absorb = absorb_##isa, op->moe = moe_##isa; }

LINEAR_OPS(ref)
#if defined(__x86_64__)
LINEAR_OPS(avx2)
LINEAR_OPS(avx512)
#elif defined(__aarch64__)
LINEAR_OPS(neon)
#endif
