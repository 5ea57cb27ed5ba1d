/* attend-bench - how close attention comes to what the machine can do.
 *
 *     attend-bench [-t THREADS] [-k SET] [-y F16,Q8_0,F8_E4M3,F32] [-m NAME] [-d DEPTH[,...]] [-n ROWS[,...]] [-r REPEATS]
 *
 * Each line: the heads of a model, positions in the cache before the rows, rows, GB/s of keys and values read once for each step,
 * GFLOPS of the scores and sums that the rows may see (multiply and add count as two), and the share of the limit that binds:
 * streaming read for one row, float peak for many. Limits are measured first, in the same run. */
#include "backend.h"
#include "cpu.h"
#include "list.h"
#include "machine.h"
#include "memory.h"
#include "threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct { const char *name; int n_head, n_kv_head, d_k, d_v, window; bool latent, sinks; float softcap; } shape;

static const shape shapes[] = {
    { "qwen3-0.6b",     16, 8, 128, 128,   0, false, false, 0 },
    { "qwen3-4b",       32, 8, 128, 128,   0, false, false, 0 },
    { "gpt-oss",        64, 8,  64,  64,   0, false, true, 0 },
    { "gpt-oss-window", 64, 8,  64,  64, 128, false, true, 0 },
    { "gemma2-2b",       8, 4, 256, 256,   0, false, false, 50 },
    { "gemma3-1b",       4, 1, 256, 256,   0, false, false, 0 },
    { "llama-96",       32, 32, 96,  96,   0, false, false, 0 },
    { "mla-192",        16, 16, 192, 128,  0, false, false, 0 },
    { "mla-576",        16, 1, 576, 512,   0, true, false, 0 },
};
enum { N_SHAPE = sizeof shapes / sizeof shapes[0], MAX_LAYER = 64, CACHE_BYTES = 640 << 20 };

typedef struct { int n_thread, repeats; const char *set, *only, *types, *depths, *rows; } options;

/* Number i of a list, or -1. */
static int number(const char *list, int i)
{
    char text[64];
    return list_item(list, i, text) ? atoi(text) : -1;
}

/* Every type is one that there is. */
static bool types_known(const char *list)
{
    char name[64];

    for (int i = 0; list_item(list, i, name); i++)
        if (dtype_find(name) == NULL) { fprintf(stderr, "attend-bench: there is no type %s\n", name); return false; }
    return true;
}

typedef struct { llm_backend be; llm_kv_layer kv[MAX_LAYER]; int n_layer; llm_rows q, o, k; int32_t *pos, *seq; } rig;

static float *values(size_t n)
{
    float *x = malloc(n * sizeof *x);
    uint32_t s = 1;
    for (size_t i = 0; x && i < n; i++) s = s * 1664525u + 1013904223u, x[i] = (float)(s >> 8) * 0x1p-23f - 1;
    return x;
}

/* Stores n positions from pos on in every layer. */
static void store(rig *r, int pos, int n)
{
    llm_span span = { 0, 0, n, pos };
    llm_batch b = { n, 1, NULL, r->pos, r->seq, &span };

    for (int i = 0; i < r->n_layer; i++)
        r->be.op.store(&r->be, &r->kv[i], r->k, r->k, &b);
}

/* Enough layers that none is in a cache when its turn comes again. */
static bool rig_open(rig *r, const options *o, llm_dtype dtype, const shape *s, int depth, int n)
{
    int d = s->d_k > s->d_v ? s->d_k : s->d_v, cells = depth + n;
    llm_limits l = { .n_batch = n, .max_cols = s->n_head * d, .max_rows = s->n_head * d, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1,
                     .d_model = s->n_head * d, .n_head = s->n_head, .max_d_head = d, .n_ctx = cells };
    llm_error err = { 0 };
    llm_isa isa;

    if (cpu_choose_isa(&isa, o->set, &err) != LLM_OK || backend_cpu_open(&r->be, isa, o->n_thread, &l, &err) != LLM_OK) {
        fprintf(stderr, "attend-bench: %s\n", err.text);
        return false;
    }
    r->k = (llm_rows){ values((size_t)64 * (size_t)(s->n_kv_head * d)), 64, s->n_kv_head * d, s->n_kv_head * d };
    r->q = (llm_rows){ values((size_t)n * (size_t)(s->n_head * s->d_k)), n, s->n_head * s->d_k, s->n_head * s->d_k };
    r->o = (llm_rows){ values((size_t)n * (size_t)(s->n_head * s->d_v)), n, s->n_head * s->d_v, s->n_head * s->d_v };
    r->pos = calloc((size_t)cells, sizeof *r->pos), r->seq = calloc((size_t)cells, sizeof *r->seq);
    if (!r->k.data || !r->q.data || !r->o.data || !r->pos || !r->seq) return false;
    for (size_t bytes = 0; r->n_layer < MAX_LAYER && bytes < CACHE_BYTES; r->n_layer++) {
        llm_kv_layer *kv = &r->kv[r->n_layer];
        *kv = (llm_kv_layer){ .dtype = dtype, .n_kv_head = s->n_kv_head, .d_k = s->d_k, .d_v = s->d_v,
                              .n_cell = (cells + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK, .n_seq = 1, .latent = s->latent };
        if (!r->be.op.kv_size(kv) || (kv->k = memory_map(kv->k_seq_bytes)) == NULL) return false;
        if (!s->latent && (kv->v = memory_map(kv->v_seq_bytes)) == NULL) return false;
        memory_large(kv->k, kv->k_seq_bytes), memory_large(kv->v, kv->v_seq_bytes);      /* as those of long sequences are */
        bytes += kv->k_seq_bytes + kv->v_seq_bytes;
    }
    for (int at = 0; at < cells; at += 64) store(r, at, cells - at < 64 ? cells - at : 64);
    for (int i = 0; i < n; i++) r->pos[i] = depth + i;
    return true;
}

static void rig_close(rig *r)
{
    for (int i = 0; i < MAX_LAYER; i++) memory_unmap(r->kv[i].k, r->kv[i].k_seq_bytes), memory_unmap(r->kv[i].v, r->kv[i].v_seq_bytes);
    free(r->k.data), free(r->q.data), free(r->o.data), free(r->pos), free(r->seq);
    backend_cpu_close(&r->be);
}

/* Least seconds of one layer. */
static double time_layers(rig *r, const shape *s, int repeats, int depth, int n)
{
    llm_span span = { 0, 0, n, depth };
    llm_batch b = { n, 1, NULL, r->pos, r->seq, &span };
    static const float ones[64] = { 1, 1, 1, 1 };
    llm_tensor sinks = { .data = ones, .dtype = DT_F32, .dim = { s->n_head, 1, 1 }, .row_bytes = (size_t)s->n_head * sizeof(float) };
    llm_attn_args a = { .n_head = s->n_head, .window = s->window, .scale = 0.1f, .softcap = s->softcap, .sinks = s->sinks ? &sinks : NULL };
    double best = 1e30, t;
    int layers = n > 16 ? 1 : r->n_layer;

    for (int k = -1; k < repeats; k++) {
        double start = machine_seconds();
        for (int i = 0; i < layers; i++) r->be.op.attend(&r->be, r->o, r->q, &r->kv[i], &b, &a);
        t = (machine_seconds() - start) / layers;
        if (k >= 0 && t < best) best = t;
    }
    return best;
}

static void line(const options *o, const machine_limits *m, llm_dtype dtype, const shape *s, int depth, int n)
{
    rig r = { 0 };
    double seconds, pairs = 0, keys, bytes, gbs, gflops;

    if (rig_open(&r, o, dtype, s, depth, n)) {
        seconds = time_layers(&r, s, o->repeats, depth, n);
        for (int p = depth; p < depth + n; p++) pairs += s->window && p >= s->window ? s->window : p + 1;
        keys = s->window && depth >= s->window ? s->window + n - 1 : depth + n;
        bytes = keys * (double)(r.kv[0].k_seq_bytes + r.kv[0].v_seq_bytes) / r.kv[0].n_cell;
        gbs = bytes / seconds / 1e9, gflops = 2 * pairs * s->n_head * (s->d_k + s->d_v) / seconds / 1e9;
        printf("%-15s %-4s depth %-6d n %-5d %10.1f us %7.1f GB/s (%3.0f %% of read) %8.1f GFLOPS (%3.0f %% of f32)\n", s->name,
               dtype_name(r.kv[0].dtype), depth, n, seconds * 1e6, gbs, 100 * gbs / m->read_gbs, gflops, 100 * gflops / m->f32_gflops);
        fflush(stdout);
    } else fprintf(stderr, "attend-bench: no memory for %s\n", s->name);
    rig_close(&r);
}

/* Latents are never kept in eight bits, and there is nothing to see for the first token. */
static bool happens(const shape *s, llm_dtype type, int depth, int n)
{
    return !(n == 1 && depth == 0) && !(s->latent && (type == DT_Q8_0 || type == DT_F8_E4M3));
}

static void all_lines(const options *o, const machine_limits *m, llm_dtype type, const shape *s)
{
    for (int in = 0, n; (n = number(o->rows, in)) > 0; in++)
        for (int id = 0, depth; (depth = number(o->depths, id)) >= 0; id++)
            if (happens(s, type, depth, n)) line(o, m, type, s, depth, n);
}

static int usage(void)
{
    fprintf(stderr, "usage: attend-bench [-t threads] [-k set] [-y type,...] [-m model] [-d depth,...] [-n rows,...] [-r repeats]\n");
    return 2;
}

int main(int argc, char **argv)
{
    options o = { threads_available(), 3, NULL, NULL, "F16,Q8_0", "0,4096", "1,512" };
    machine_limits m;
    char name[64];

    for (int c; (c = getopt(argc, argv, "t:k:y:m:d:n:r:")) != -1;) {
        switch (c) {
        case 't': o.n_thread = atoi(optarg); break;
        case 'k': o.set = optarg; break;
        case 'y': o.types = optarg; break;
        case 'm': o.only = optarg; break;
        case 'd': o.depths = optarg; break;
        case 'n': o.rows = optarg; break;
        case 'r': o.repeats = atoi(optarg) < 1 ? 1 : atoi(optarg); break;
        default:  return usage();
        }
    }
    if (o.n_thread < 1 || o.n_thread > 1024) return usage();
    if (!types_known(o.types)) return 2;
    m = limits_measure(o.n_thread);
    printf("limits of %d threads: read %.1f GB/s, f32 %.0f GFLOPS\n", o.n_thread, m.read_gbs, m.f32_gflops);
    for (int it = 0; list_item(o.types, it, name); it++)
        for (int i = 0; i < N_SHAPE; i++)
            if (o.only == NULL || strcmp(o.only, shapes[i].name) == 0) all_lines(&o, &m, dtype_find(name)->dtype, &shapes[i]);
    return 0;
}
