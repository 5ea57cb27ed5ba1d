/* attend.c - the attend op: cuts the work into tiles of queries, and tiles into chunks of keys when there are few of them. */
#include "attend.h"
#include "checked.h"
#include "ops.h"
#include <string.h>

enum {
    FEW = 4,                            /* tiles per thread below which chunks are handed out one by one */
    LEAST_ROWS = 48,                    /* of a tile that is cut for the sake of more threads */
    SLOTS = 2 * FEW                     /* full-sized results per thread that wait to be merged, the tiles' totals among them */
};

static size_t tile_rows(size_t d, bool latent) { return d > ATTEND_NARROW || latent ? ATTEND_WIDE_TILE : ATTEND_TILE; }
static size_t state_floats(size_t rows, size_t width) { return rows * (width + 2); }

/* Floats of one thread's working memory for that many rows and heads of width d. */
static size_t work_floats(size_t rows, size_t d)
{
    return rows * (d + KV_BLOCK + 17) + 2 * KV_BLOCK * d + 2 * d + 2 * state_floats(rows, d);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Heads' widths rounded up to whole panels (attend_body.h). */
static size_t room_for(int d) { return (size_t)(d + 31) & ~(size_t)31; }

bool attend_scratch(const llm_limits *l, int n_thread, size_t *partial, size_t *thread)
{
    size_t d = l->max_d_head < 1 ? 32 : l->max_d_head > ATTEND_MAX_D ? ATTEND_MAX_D : room_for(l->max_d_head);
    size_t narrow = d < ATTEND_NARROW ? d : ATTEND_NARROW, rows = tile_rows(d, false);      /* other layers may be narrower, and have more rows */
    size_t state = larger(state_floats(ATTEND_TILE, narrow), state_floats(rows, d));

    *thread = larger(work_floats(ATTEND_TILE, narrow), work_floats(rows, d)) * sizeof(float);
    return ck_align(*thread, 64, thread)
        && ck_mul(state * sizeof(float), n_thread > 1 ? (size_t)n_thread * SLOTS : 0, partial);
}

static attend_state state_at(float *at, int rows, int width)
{
    return (attend_state){ at, at + rows, at + 2 * rows, width };
}

static attend_work work_of(const cpu_impl *impl, const llm_kv_layer *kv, int thread)
{
    int d_v = kv_round16(kv->d_v), d_most = kv->d_k > kv->d_v ? kv->d_k : kv->d_v;
    size_t d = room_for(d_most), rows = tile_rows((size_t)d_most, kv->latent);
    attend_work w;
    float *at = (float *)(void *)(impl->thread + (size_t)thread * impl->thread_bytes);

    w.q = at,    at += rows * d;
    w.p = at,    at += rows * KV_BLOCK;
    w.k = at,    at += KV_BLOCK * d;
    w.v = at,    at += KV_BLOCK * d;
    w.unit = at, at += 2 * d;
    w.lane = at, at += rows * 16;
    w.corr = at, at += rows;
    w.chunk = state_at(at, (int)rows, d_v), at += state_floats(rows, (size_t)d_v);
    w.total = state_at(at, (int)rows, d_v);
    return w;
}

/* How the rows of a batch are cut: every span into groups of `pos` positions, every kv head's queries into `parts` of `heads`. */
typedef struct {
    const attend_job *j;
    const attend_fns *fn;
    cpu_impl *impl;
    int pos, heads, parts, rows;        /* rows: most that a tile has, rounded up to 16 */
    int64_t n_group, n_tile;            /* groups of all spans; tiles in all: n_group * parts * n_kv_head */
    int64_t wave, n_wave;               /* first chunk (from each tile's first), chunks of this wave */
} plan;

static plan cut(cpu_impl *impl, const attend_fns *fn, const attend_job *j, int most)
{
    int group = j->a->n_head / j->kv->n_kv_head, longest = 0;
    plan p = { .j = j, .fn = fn, .impl = impl };

    p.parts = (group + most - 1) / most;
    p.heads = (group + p.parts - 1) / p.parts;
    p.parts = (group + p.heads - 1) / p.heads;
    p.pos = most / p.heads;
    for (int i = 0; i < j->b->n_span; i++) {
        int n = j->b->span[i].n;
        p.n_group += (n + p.pos - 1) / p.pos;
        longest = n > longest ? n : longest;
    }
    p.rows = kv_round16((longest < p.pos ? longest : p.pos) * p.heads);
    p.n_tile = p.n_group * p.parts * j->kv->n_kv_head;
    return p;
}

/* Tiles as large as their working memory allows; fewer positions where threads would wait for the last. */
static plan make_plan(cpu_impl *impl, const attend_fns *fn, const attend_job *j)
{
    int d = j->kv->d_k > j->kv->d_v ? j->kv->d_k : j->kv->d_v, most = (int)tile_rows((size_t)d, j->kv->latent);
    plan p = cut(impl, fn, j, most);

    while (p.n_tile < FEW * impl->n_thread && p.rows > most / 2 && p.heads <= most / 2 && most > LEAST_ROWS) p = cut(impl, fn, j, most /= 2);
    return p;
}

static attend_tile tile_at(const plan *p, int64_t i)
{
    int64_t g = i % p->n_group, part = i / p->n_group % p->parts;
    int group = p->j->a->n_head / p->j->kv->n_kv_head;
    const llm_span *s = p->j->b->span;
    attend_tile t = { .kv_head = (int)(i / p->n_group / p->parts) };

    for (; g >= (s->n + p->pos - 1) / p->pos; s++) g -= (s->n + p->pos - 1) / p->pos;
    int first = (int)g * p->pos, skip = (int)part * p->heads;
    t.seq = s->seq;
    t.head = t.kv_head * group + skip;
    t.heads = group - skip < p->heads ? group - skip : p->heads;
    t.row0 = s->row0 + first, t.pos0 = s->pos0 + first;
    t.n_pos = s->n - first < p->pos ? s->n - first : p->pos;
    return t;
}

/* Chunks that any of the tile's rows sees a key of. */
static void chunk_range(const attend_job *j, const attend_tile *t, int64_t *begin, int64_t *end)
{
    int64_t first = j->a->window > 0 ? (int64_t)t->pos0 - j->a->window + 1 : 0;

    *begin = first > 0 ? first / ATTEND_CHUNK : 0;
    *end = ((int64_t)t->pos0 + t->n_pos - 1) / ATTEND_CHUNK + 1;
}

static void empty(attend_state st, int rows)
{
    for (int i = 0; i < rows; i++) st.l[i] = 0;
}

static void tile_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const plan *p = arg;
    attend_work w = work_of(p->impl, p->j->kv, thread);

    for (int64_t i = begin; i < end; i++) {
        attend_tile t = tile_at(p, i);
        int rows = t.n_pos * t.heads;
        int64_t c, last;
        chunk_range(p->j, &t, &c, &last);
        p->fn->gather(p->j, &t, &w);
        p->fn->chunk(p->j, &t, &w, c);
        if (++c == last) { p->fn->finish(p->j, &t, w.chunk); continue; }
        attend_state first = w.chunk;
        w.chunk = w.total, w.total = first;
        for (; c < last; c++) {
            p->fn->chunk(p->j, &t, &w, c);
            p->fn->merge(w.total, w.chunk, rows, w.chunk.stride);
        }
        p->fn->finish(p->j, &t, w.total);
    }
}

/* Slot i of the partial results: the tiles' totals, then the chunks of this wave. */
static attend_state slot(const plan *p, int64_t i)
{
    int width = kv_round16(p->j->kv->d_v);
    return state_at((float *)(void *)p->impl->partial + (size_t)i * state_floats((size_t)p->rows, (size_t)width), p->rows, width);
}

static void chunk_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const plan *p = arg;
    attend_work w = work_of(p->impl, p->j->kv, thread);

    for (int64_t i = begin; i < end; i++) {
        attend_tile t = tile_at(p, i / p->n_wave);
        int64_t first, last, c;
        chunk_range(p->j, &t, &first, &last);
        c = first + p->wave + i % p->n_wave;
        w.chunk = slot(p, p->n_tile + i);
        if (c >= last) { empty(w.chunk, t.n_pos * t.heads); continue; }
        p->fn->gather(p->j, &t, &w);
        p->fn->chunk(p->j, &t, &w, c);
    }
}

static void merge_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const plan *p = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        attend_tile t = tile_at(p, i);
        attend_state total = slot(p, i);
        int64_t first, last;
        chunk_range(p->j, &t, &first, &last);
        if (p->wave == 0) empty(total, t.n_pos * t.heads);
        for (int64_t c = 0; c < p->n_wave; c++) p->fn->merge(total, slot(p, p->n_tile + i * p->n_wave + c), t.n_pos * t.heads, total.stride);
        if (p->wave < last - first && last - first <= p->wave + p->n_wave) p->fn->finish(p->j, &t, total);
    }
}

static void run(plan *p)
{
    int64_t most = 0, threads = p->impl->n_thread;
    size_t slot_bytes = state_floats((size_t)p->rows, (size_t)kv_round16(p->j->kv->d_v)) * sizeof(float);

    for (int64_t i = 0; i < p->n_tile && p->n_tile < FEW * threads; i++) {
        attend_tile t = tile_at(p, i);
        int64_t first, last;
        chunk_range(p->j, &t, &first, &last);
        if (last - first > most) most = last - first;
    }
    if (threads == 1 || most < 2) { pool_run(p->impl->pool, p->n_tile, 1, tile_items, p); return; }
    p->n_wave = (int64_t)(p->impl->partial_bytes / slot_bytes) / p->n_tile - 1;
    if (p->n_wave > most) p->n_wave = most;
    for (p->wave = 0; p->wave < most; p->wave += p->n_wave) {
        pool_run(p->impl->pool, p->n_tile * p->n_wave, 1, chunk_items, p);
        pool_run(p->impl->pool, p->n_tile, 1, merge_items, p);
    }
}

static const attend_fns *fns_for(llm_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX2:
    case ISA_AVXVNNI: return &attend_avx2;
    case ISA_AVX512: return &attend_avx512;
#elif defined(__aarch64__)
    case ISA_NEON:
    case ISA_I8MM:   return &attend_neon;
#endif
    default:         return NULL;
    }
}

static void attend(llm_backend *be, llm_rows o, llm_rows q, const llm_kv_layer *kv, const llm_batch *b, const llm_attn_args *a)
{
    cpu_impl *impl = cpu_of(be);
    attend_job j = { o, q, kv, b, a, NULL, impl->row };
    int d = kv->d_k > kv->d_v ? kv->d_k : kv->d_v;

    if (!backend_ok(be) || b->n_span == 0) return;
    if (d > ATTEND_MAX_D || kv_round16(d) > kv_round16(impl->limits.max_d_head) || a->n_head % kv->n_kv_head != 0) {
        backend_fail(be, LLM_ERR_UNSUPPORTED, "attention: %d heads over %d, head width %d and %d; scratch for %d, at most %d", a->n_head,
                     kv->n_kv_head, kv->d_k, kv->d_v, impl->limits.max_d_head, (int)ATTEND_MAX_D);
        return;
    }
    if (a->sinks != NULL && tensor_bound(a->sinks)) j.sink = cpu_floats(be, a->sinks, a->n_head);
    if (!backend_ok(be)) return;
    const attend_fns *fn = fns_for(impl->isa);
    if (fn == NULL) { attend_run_ref(impl, &j); return; }
    plan p = make_plan(impl, fn, &j);
    run(&p);
}

void attend_ops(llm_ops *op) { op->attend = attend; }
