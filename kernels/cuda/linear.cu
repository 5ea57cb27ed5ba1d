/* linear.cu - op.linear, op.absorb and op.moe: brings x into the form a weight wants and chooses the kernel: matvec.h for up to MV_MOST
 * columns and for types without matrix units, matmul.h beyond, cuBLAS (blas.h) for float weights and many rows where it is there. They add up in
 * different orders; where results must not depend on the number of columns (limits.deterministic) all go through matmul.h that can. */
#include "blas.h"
#include "matmul.h"
#include "matvec.h"
#include "prepare.h"

enum { MV_MOST = 8, PAIRS_MOST = 32 };

/* True for the kernels of matmul.h. n: columns, most: how many of them the other kernels take. */
static bool takes_matmul(const llm_backend *be, const cuda_weight *w, int n, int most)
{
    return (n > most || ((const cuda_impl *)be->impl)->limits.deterministic) && matmul_has(w);
}

/* cuBLAS, for such a product; else NULL. */
static cuda_blas *blas_for(const llm_backend *be, const cuda_weight *w, int n)
{
    const cuda_impl *impl = (const cuda_impl *)be->impl;
    return n >= BLAS_FEWEST && !impl->limits.deterministic && blas_has(w) ? cuda_device_blas(impl->device) : NULL;
}

static int columns_at_once(int n) { return n <= 1 ? 1 : n == 2 ? 2 : n <= 4 ? 4 : 8; }
static const float *bias_values(const llm_tensor *bias) { return bias != NULL && tensor_bound(bias) ? weight_of(bias)->values : NULL; }

/* A bias that is too long to be held as floats cannot be added. */
static bool bias_good(llm_backend *be, const llm_tensor *bias)
{
    if (bias == NULL || !tensor_bound(bias) || weight_of(bias)->values != NULL) return true;
    cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: a bias of %lld by %lld values stored as %s", (long long)bias->dim[0], (long long)bias->dim[1], dtype_name((int)bias->dtype));
    return false;
}

/* ---- one x in the form of a type ---- */

typedef struct { x_codes codes; x_halves halves; const float *f; int64_t f_stride; } x_forms;

static bool prepare(llm_backend *be, const x_source *s, const cuda_weight *w, bool many, x_forms *out)
{
    *out = x_forms{};
    if (type_has_codes(w->dtype)) return prepare_codes(be, s, type_code_group(w->dtype), &out->codes);
    if (many) return prepare_halves(be, s, &out->halves);
    return prepare_floats(be, s, &out->f, &out->f_stride);
}

/* ---- linear ---- */

static void run_matvec(llm_backend *be, mv_job *g, unsigned rows_of_y)
{
    cuda_impl *impl = cuda_of(be);
    bool single = g->e.expert != NULL || g->e.heads != 0;
    int nc = single ? 1 : columns_at_once(g->n), per = MV_WARPS * mv_rows(nc) / (g->glu ? 2 : 1);
    cudaError_t e;

    g->first[0] = 0;
    for (int i = 0; i < g->n_matrix; i++) g->first[i + 1] = g->first[i] + (int)((g->m[i].w.rows + per - 1) / per);
    dim3 grid((unsigned)g->first[g->n_matrix], rows_of_y);
    e = type_has_codes(g->m[0].w.dtype) ? matvec_codes_launch(g, grid, nc, impl->stream) : matvec_values_launch(g, grid, nc, impl->stream);
    for (int i = 0; i < g->n_matrix; i++) cuda_writes(be, g->m[i].y);
    cuda_check(be, e, "matrix times vectors", g->n, g->m[0].w.rows, g->m[0].w.cols);
}

static void run_matmul(llm_backend *be, const llm_linear *l, const x_forms *x, int n)
{
    mm_job g = {};

    g.w = *weight_of(l->w), g.bias = bias_values(l->bias), g.x = x->codes, g.h = x->halves;
    g.y = l->y.data, g.y_stride = l->y.stride, g.n = n;
    dim3 grid((unsigned)((g.w.rows + MM_ROWS - 1) / MM_ROWS), (unsigned)((n + MM_COLS - 1) / MM_COLS));
    cudaStream_t s = cuda_of(be)->stream;
    cuda_check(be, type_has_codes(g.w.dtype) ? matmul_codes_launch(&g, grid, s) : matmul_values_launch(&g, grid, s), "matrix times matrix", n, g.w.rows, g.w.cols);
    cuda_writes(be, g.y);
}

static bool same_form(const cuda_weight *a, const cuda_weight *b)
{
    return a->perm == b->perm && a->cols == b->cols && type_has_codes(a->dtype) == type_has_codes(b->dtype)
        && (!type_has_codes(a->dtype) || type_code_group(a->dtype) == type_code_group(b->dtype));
}

/* The products l[0..n-1], all of one type, of a few columns. */
static void join(llm_backend *be, const llm_linear *l, int n, const x_forms *x, int columns)
{
    mv_job g = {};
    int nc = columns_at_once(columns);

    g.n_matrix = n, g.x = x->codes, g.f = x->f, g.f_stride = x->f_stride, g.n = columns;
    for (int i = 0; i < n; i++) g.m[i].w = *weight_of(l[i].w), g.m[i].bias = bias_values(l[i].bias), g.m[i].y = l[i].y.data, g.m[i].y_stride = l[i].y.stride;
    run_matvec(be, &g, (unsigned)((columns + nc - 1) / nc));
}

static void linear(llm_backend *be, const llm_linear *l, int n, llm_rows x)
{
    const cuda_weight *had = NULL, *had_blas = NULL;    /* whose form x is in */
    bool had_many = false;
    x_forms form;
    blas_x bx;

    if (!cuda_go(be) || x.n == 0) return;
    for (int i = 0, k; i < n; i += k) {
        const cuda_weight *w = weight_of(l[i].w);
        bool many = takes_matmul(be, w, x.n, MV_MOST);
        k = 1;
        if (w->a == NULL) { cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: a product with a vector of %lld values", (long long)w->rows); return; }
        if (!bias_good(be, l[i].bias)) return;
        x_source s = { x, 1, 0, w->cols, w->perm };
        if (cuda_blas *blas = blas_for(be, w, x.n)) {
            if ((had_blas == NULL || had_blas->dtype != w->dtype || had_blas->cols != w->cols || had_blas->perm != w->perm) && !blas_prepare(be, &s, w, &bx)) return;
            had = NULL, had_blas = w;
            blas_product(be, blas, w, l[i].y, &bx, bias_values(l[i].bias));
            continue;
        }
        had_blas = NULL;
        if (had == NULL || had_many != many || !same_form(had, w)) {
            if (!prepare(be, &s, w, many, &form)) return;
            had = w, had_many = many;
        }
        if (many) { run_matmul(be, &l[i], &form, x.n); continue; }
        while (i + k < n && k < MV_JOINED && weight_of(l[i + k].w)->dtype == w->dtype && same_form(weight_of(l[i + k].w), w) && bias_good(be, l[i + k].bias)) k++;
        join(be, l + i, k, &form, x.n);
    }
}

/* Few columns of one type: the two products and their activation in one kernel. */
static void gated(llm_backend *be, llm_rows y, llm_rows u, const llm_tensor *gate, const llm_tensor *up, llm_rows x, llm_act act, float limit)
{
    const cuda_weight *w = weight_of(gate), *wu = weight_of(up);
    llm_linear both[2] = { { y, gate, NULL }, { u, up, NULL } };
    x_source s = { x, 1, 0, w->cols, w->perm };
    x_forms form;
    mv_job g = {};

    if (!cuda_go(be) || x.n == 0) return;
    if (w->dtype != wu->dtype || !same_form(w, wu) || w->rows != wu->rows || takes_matmul(be, w, x.n, MV_MOST) || blas_for(be, w, x.n)) {
        linear(be, both, 2, x);
        be->op.glu(be, y, y, u, act, limit);
        return;
    }
    if (!prepare(be, &s, w, false, &form)) return;
    int nc = columns_at_once(x.n);
    g.n_matrix = 1, g.x = form.codes, g.f = form.f, g.f_stride = form.f_stride, g.n = x.n;
    g.glu = true, g.act = (int)act, g.limit = limit;
    g.m[0].w = *w, g.m[1].w = *wu, g.m[0].y = y.data, g.m[0].y_stride = y.stride;
    run_matvec(be, &g, (unsigned)((x.n + nc - 1) / nc));
}

/* Few columns of one type, heads that are whole numbers of a block's rows: queries, keys and values, and what becomes of their heads, in one kernel. */
static bool heads_fit(const llm_backend *be, const llm_linear *l, int n, int d)
{
    const cuda_weight *w = weight_of(l[0].w);

    if (n > MV_MOST || d > HEAD_MAX || d % (MV_WARPS * mv_rows(columns_at_once(n))) != 0) return false;
    for (int i = 0; i < 3; i++) {
        const cuda_weight *t = weight_of(l[i].w);
        if (t->a == NULL || t->dtype != w->dtype || !same_form(t, w) || t->rows % d != 0 || takes_matmul(be, t, n, MV_MOST)) return false;
    }
    return true;
}

static void qkv_store(llm_backend *be, const llm_linear *l, llm_rows x, llm_rows cs, const llm_rope_store_args *a, llm_kv_layer *kv, const llm_batch *b)
{
    const cuda_weight *w = weight_of(l[0].w);
    x_source s = { x, 1, 0, w->cols, w->perm };
    x_forms form;
    mv_job g = {};

    if (!cuda_go(be) || x.n == 0) return;
    if (!heads_fit(be, l, x.n, a->d_head)) {
        linear(be, l, 3, x);
        be->block.rope_store(be, l[0].y, l[1].y, l[2].y, cs, a, kv, b);
        return;
    }
    for (int i = 0; i < 3; i++) if (!bias_good(be, l[i].bias)) return;
    if (!head_job_of(be, l[0].y, l[1].y, l[2].y, cs, a, kv, b, &g.h) || !prepare(be, &s, w, false, &form)) return;
    g.n_matrix = 3, g.x = form.codes, g.f = form.f, g.f_stride = form.f_stride, g.n = x.n, g.count = cuda_of(be)->head_count;
    for (int i = 0; i < 3; i++) g.m[i].w = *weight_of(l[i].w), g.m[i].bias = bias_values(l[i].bias), g.m[i].y = l[i].y.data, g.m[i].y_stride = l[i].y.stride;
    run_matvec(be, &g, 1);
}

/* ---- absorb: one matrix a head ---- */

static void absorb_rows(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const cuda_weight *w)
{
    bool many = takes_matmul(be, w, x.n, MV_MOST);
    x_source s = { x, (int)w->n, x_step, w->cols, NULL };
    x_forms form;

    if (!prepare(be, &s, w, many, &form)) return;
    cuda_writes(be, y.data);
    if (many) {
        mm_job g = {};
        g.w = *w, g.x = form.codes, g.h = form.halves, g.y = y.data, g.y_stride = y.stride, g.y_step = y_step, g.n = x.n, g.heads = (int)w->n;
        dim3 grid((unsigned)((w->rows + MM_ROWS - 1) / MM_ROWS), (unsigned)((x.n + MM_COLS - 1) / MM_COLS), (unsigned)w->n);
        cudaStream_t st = cuda_of(be)->stream;
        cuda_check(be, type_has_codes(w->dtype) ? matmul_codes_launch(&g, grid, st) : matmul_values_launch(&g, grid, st), "absorb", x.n, w->rows, w->cols);
        return;
    }
    mv_job g = {};
    g.n_matrix = 1, g.x = form.codes, g.f = form.f, g.f_stride = form.f_stride, g.n = x.n * (int)w->n;
    g.m[0].w = *w, g.m[0].y = y.data, g.m[0].y_stride = y.stride, g.e.heads = (int)w->n, g.e.n_used = y_step;
    run_matvec(be, &g, (unsigned)g.n);
}

static void absorb(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *t)
{
    const cuda_weight *w = weight_of(t);
    int64_t each = w->n * ((w->cols + 255) & ~(int64_t)255), at_once = (int64_t)cuda_of(be)->code_bytes / each;

    if (at_once < 1) { cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: absorb: %lld heads of %lld values exceed the scratch", (long long)w->n, (long long)w->cols); return; }
    if (at_once > 60000 / w->n) at_once = 60000 / w->n > 0 ? 60000 / w->n : 1;
    for (int i = 0, n; i < x.n && cuda_go(be); i += n) {
        n = x.n - i < at_once ? x.n - i : (int)at_once;
        absorb_rows(be, llm_rows{ y.data + i * y.stride, n, y.width, y.stride }, y_step, llm_rows{ x.data + i * x.stride, n, x.width, x.stride }, x_step, w);
    }
}

/* ---- experts ---- */

/* Pair p of row p / n_used with its expert. Places are pairs in the order of experts; moe_index holds, for n_pair pairs and n_expert experts:
 * row [n_pair] of x at a place, place [n_pair] of a pair, self [n_pair] = 0, 1, 2 ..., tile [n_tile][4], start [n_expert + 1]. */
typedef struct { int32_t *row, *place, *tile, *start; int n_tile; } moe_lists;

static moe_lists lists_of(const cuda_impl *impl, int n_pair, int n_expert)
{
    moe_lists m;

    m.n_tile = n_pair / MM_COLS + (n_pair < n_expert ? n_pair : n_expert);
    m.tile = impl->moe_index, m.row = m.tile + 4 * (int64_t)m.n_tile, m.place = m.row + n_pair, m.start = m.place + n_pair;
    return m;
}

/* The lanes whose pair, p0 + lane, goes to expert e. */
static __device__ __forceinline__ unsigned pairs_of(const int32_t *expert, int n_pair, int p0, int e)
{
    int p = p0 + lane_id();
    return __ballot_sync(FULL_WARP, p < n_pair && expert[p] == e);
}

/* One block. A warp counts and then places the pairs of one expert after the other: in ascending order, so that every run gives
 * the same lists. */
static __global__ void moe_lists_kernel(moe_lists m, const int32_t *expert, int n_pair, int n_used, int n_expert)
{
    int warps = (int)(blockDim.x >> 5), lane = lane_id();

    for (int e = warp_id(); e < n_expert; e += warps) {
        int n = 0;
        for (int p0 = 0; p0 < n_pair; p0 += 32) n += __popc(pairs_of(expert, n_pair, p0, e));
        if (lane == 0) m.start[e + 1] = n;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int at = 0, t = 0;
        m.start[0] = 0;
        for (int e = 0; e < n_expert; e++) {
            int n = m.start[e + 1];
            for (int i = 0; i < n; i += MM_COLS, t++)
                m.tile[4 * t] = e, m.tile[4 * t + 1] = at + i, m.tile[4 * t + 2] = n - i < MM_COLS ? n - i : MM_COLS, m.tile[4 * t + 3] = 0;
            m.start[e + 1] = at += n;
        }
        for (; t < m.n_tile; t++) m.tile[4 * t] = m.tile[4 * t + 1] = m.tile[4 * t + 2] = m.tile[4 * t + 3] = 0;
    }
    __syncthreads();
    for (int e = warp_id(); e < n_expert; e += warps) {
        int at = m.start[e];
        for (int p0 = 0; p0 < n_pair; p0 += 32) {
            unsigned mine = pairs_of(expert, n_pair, p0, e);
            int p = p0 + lane, to = at + __popc(mine & ((1u << lane) - 1));
            if (mine >> lane & 1) m.row[to] = p / n_used, m.place[p] = to;
            at += __popc(mine);
        }
    }
}

/* y_i = sum of weight[i][u] * d[place of pair]; u ascending. */
static __global__ void combine_kernel(llm_rows y, llm_rows weight, const float *d, const int32_t *place, int n_used)
{
    int64_t i = blockIdx.x, k = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;
    float sum = 0;

    if (k >= y.width) return;
    for (int u = 0; u < n_used; u++) {
        int64_t p = i * n_used + u;
        sum = fmaf(weight.data[i * weight.stride + u], d[(place ? place[p] : p) * y.width + k], sum);
    }
    y.data[i * y.stride + k] = sum;
}

typedef struct { llm_backend *be; const llm_moe_args *a; const cuda_weight *gate, *up, *down; const int32_t *expert; int n_pair, n_used; moe_lists m; } moe_run;

/* One column for each pair: out [n_pair, rows] of w (with up: activated). x is rows of the batch, or with by_pair of the pairs. */
static bool by_pairs(const moe_run *r, const cuda_weight *w, const llm_tensor *bias, const cuda_weight *up, llm_rows x, bool by_pair, float *out)
{
    x_source s = { x, 1, 0, w->cols, NULL };
    x_forms form;
    mv_job g = {};

    if (!bias_good(r->be, bias) || !bias_good(r->be, up ? r->a->bup : NULL) || !prepare(r->be, &s, w, false, &form)) return false;
    g.n_matrix = 1, g.x = form.codes, g.f = form.f, g.f_stride = form.f_stride, g.n = r->n_pair;
    g.m[0].w = *w, g.m[0].bias = bias_values(bias), g.m[0].y = out, g.m[0].y_stride = w->rows;
    if (up) g.glu = true, g.m[1].w = *up, g.m[1].bias = bias_values(r->a->bup), g.act = (int)r->a->act, g.limit = r->a->limit;
    g.e = pairs{ r->expert, r->n_pair, r->n_used, by_pair, 0, 0 };
    for (int n; g.e.first < r->n_pair; g.e.first += n) {
        n = r->n_pair - g.e.first < GRID_Y_MOST ? r->n_pair - g.e.first : GRID_Y_MOST;
        run_matvec(r->be, &g, (unsigned)n);
    }
    return r->be->err.status == LLM_OK;
}

/* The pairs of an expert side by side: out [place, rows]. */
static bool by_experts(const moe_run *r, const cuda_weight *w, const llm_tensor *bias, llm_rows x, bool by_place, float *out)
{
    x_source s = { x, 1, 0, w->cols, NULL };
    x_forms form;
    mm_job g = {};
    cudaStream_t st = cuda_of(r->be)->stream;

    if (!bias_good(r->be, bias) || !prepare(r->be, &s, w, true, &form)) return false;
    g.w = *w, g.bias = bias_values(bias), g.x = form.codes, g.h = form.halves, g.y = out, g.y_stride = w->rows, g.n = r->n_pair;
    g.tile = r->m.tile, g.index = by_place ? NULL : r->m.row;
    dim3 grid((unsigned)((w->rows + MM_ROWS - 1) / MM_ROWS), (unsigned)r->m.n_tile);
    return cuda_check(r->be, type_has_codes(w->dtype) ? matmul_codes_launch(&g, grid, st) : matmul_values_launch(&g, grid, st), "experts", r->n_pair, w->rows, w->cols);
}

static bool experts(moe_run *r, llm_rows x)
{
    cuda_impl *impl = cuda_of(r->be);
    llm_rows h = { impl->pair_h, r->n_pair, (int)r->gate->rows, r->gate->rows }, u = { impl->pair_up, r->n_pair, (int)r->gate->rows, r->gate->rows };
    bool few = !takes_matmul(r->be, r->gate, r->n_pair, PAIRS_MOST) || !matmul_has(r->up) || !matmul_has(r->down);

    if (few && r->gate->dtype == r->up->dtype) {
        r->m.place = NULL;
        return by_pairs(r, r->gate, r->a->bgate, r->up, x, false, h.data) && by_pairs(r, r->down, r->a->bdown, NULL, h, true, impl->pair_y);
    }
    if (few) {
        r->m.place = NULL;
        if (!by_pairs(r, r->gate, r->a->bgate, NULL, x, false, h.data) || !by_pairs(r, r->up, r->a->bup, NULL, x, false, u.data)) return false;
        r->be->op.glu(r->be, h, h, u, r->a->act, r->a->limit);
        return by_pairs(r, r->down, r->a->bdown, NULL, h, true, impl->pair_y);
    }
    LAUNCH(moe_lists_kernel, dim3(1), dim3(512), 0, impl->stream, r->m, r->expert, r->n_pair, r->n_used, (int)r->gate->n);
    if (!cuda_check(r->be, cudaSuccess, "lists of experts", r->n_pair, r->gate->n, 1)) return false;
    if (!by_experts(r, r->gate, r->a->bgate, x, false, h.data) || !by_experts(r, r->up, r->a->bup, x, false, u.data)) return false;
    r->be->op.glu(r->be, h, h, u, r->a->act, r->a->limit);
    return by_experts(r, r->down, r->a->bdown, h, true, impl->pair_y);
}

static void moe(llm_backend *be, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a)
{
    cuda_impl *impl = cuda_of(be);
    moe_run r = { be, a, weight_of(a->gate), weight_of(a->up), weight_of(a->down), expert, x.n * weight.width, weight.width, {} };

    if (!cuda_go(be) || x.n == 0) return;
    if (r.gate->perm || r.up->perm || r.down->perm) { cuda_fail(be, LLM_ERR_UNSUPPORTED, "moe: permuted expert weights"); return; }
    if (x.n > impl->limits.n_batch || weight.width > impl->limits.n_expert_used || r.gate->rows > impl->limits.d_ff_expert || r.gate->n > impl->limits.n_expert) {
        cuda_fail(be, LLM_ERR_INTERNAL, "moe: %d rows for %d experts each exceed the scratch", x.n, weight.width);
        return;
    }
    r.m = lists_of(impl, r.n_pair, (int)r.gate->n);
    if (!experts(&r, x)) return;
    cuda_writes(be, y.data);
    LAUNCH(combine_kernel, dim3((unsigned)y.n, (unsigned)((y.width + 127) / 128)), dim3(128), 0, impl->stream, y, weight, impl->pair_y, r.m.place, r.n_used);
    cuda_check(be, cudaSuccess, "sum of experts", y.n, r.n_used, y.width);
}

void cuda_linear_ops(llm_ops *op, llm_blocks *block) { op->linear = linear, op->absorb = absorb, op->moe = moe, block->gated = gated, block->qkv_store = qkv_store; }
