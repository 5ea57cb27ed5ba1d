/* attend-bench - how close attention comes to what the machine, or with --device cuda the card, can do.
 *
 *     attend-bench [--device cpu|cuda [--deterministic] [-x TYPE]] [-t THREADS] [-k SET] [-y F16,Q8_0,F8_E4M3,F32] [-m NAME[,...]] [-d DEPTH[,...]]
 *                  [-n ROWS[,...]] [-r REPEATS] [-w MB]
 *
 * Each line: the heads of a model, positions in the cache before the rows, rows, GB/s of keys and values read once for each step,
 * GFLOPS of the scores and sums that the rows may see (multiply and add count as two), and the share of the limit that binds:
 * streaming read for one row, float peak for many. Limits are measured first, in the same run. Keys and values of a line fill 640 MB in at most
 * 64 layers, so that none is in a cache when its turn comes again; -w MB changes that.
 * On a device time is its own; one row is a step of generating, recorded and replayed, and how queries meet keys there depends on the type of
 * most of the model's weights: -x (Q8_0). */
#include "list.h"
#include "memory.h"
#include "target.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
enum { N_SHAPE = sizeof shapes / sizeof shapes[0], MAX_LAYER = 64, FILL_ROWS = 64, MAX_HEAD = 64 };
enum { MODEL_ROWS = 64, MODEL_COLS = 256, MODEL_BYTES = MODEL_ROWS * MODEL_COLS * 4 };    /* one weight, of the widest type */

typedef struct { llm_dtype model; const char *only, *types, *depths, *rows; } options;

/* Number i of a list, or -1. */
static int number(const char *list, int i)
{
    char text[64];
    return list_item(list, i, text) ? atoi(text) : -1;
}

static bool type_known(const char *name)
{
    if (dtype_find(name) == NULL) fprintf(stderr, "attend-bench: there is no type %s\n", name);
    return dtype_find(name) != NULL;
}

static bool types_known(const char *list)
{
    char name[64];

    for (int i = 0; list_item(list, i, name); i++)
        if (!type_known(name)) return false;
    return true;
}

static bool shapes_known(const char *list)
{
    char name[64];

    for (int i = 0, s; list && list_item(list, i, name); i++) {
        for (s = 0; s < N_SHAPE && strcmp(name, shapes[s].name) != 0; s++) { }
        if (s < N_SHAPE) continue;
        fprintf(stderr, "attend-bench: there is no model %s; there are", name);
        for (s = 0; s < N_SHAPE; s++) fprintf(stderr, "%s %s", s ? "," : "", shapes[s].name);
        fprintf(stderr, "\n");
        return false;
    }
    return true;
}

/* Without a list: any. */
static bool in_list(const char *list, const char *name)
{
    char item[64];

    for (int i = 0; list && list_item(list, i, item); i++)
        if (strcmp(item, name) == 0) return true;
    return list == NULL || *list == '\0';
}

/* What a line measures: n rows of heads s behind depth positions of a cache of type. */
typedef struct { llm_dtype type; const shape *s; int depth, n; } work;

typedef struct {
    const work *w;
    llm_device *device;
    llm_backend be;
    llm_kv_layer kv[MAX_LAYER];
    int n_layer, n_used;                /* n_used: of the layers that are measured */
    llm_tensor sinks, model;
    llm_rows q, o, k;
    target_rows rows;
} rig;

/* The model's weights as far as attention knows them: the sinks, and one of the type of most. */
static bool open_backend(rig *r, const target *t, const options *o)
{
    static const float ones[MAX_HEAD] = { 1, 1, 1, 1 };
    static const unsigned char none[MODEL_BYTES];
    const work *w = r->w;
    int width = w->s->n_head * (w->s->d_k > w->s->d_v ? w->s->d_k : w->s->d_v);
    llm_limits l = { .n_batch = w->n > FILL_ROWS ? w->n : FILL_ROWS, .max_cols = width, .max_rows = width, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1,
                     .d_model = width, .n_head = w->s->n_head, .max_d_head = width / w->s->n_head, .n_ctx = w->depth + w->n };
    llm_tensor *all[] = { &r->sinks, &r->model };

    r->sinks = (llm_tensor){ .data = ones, .dtype = DT_F32, .dim = { w->s->n_head, 1, 1 }, .row_bytes = (size_t)w->s->n_head * sizeof(float) };
    r->model = (llm_tensor){ .data = none, .dtype = o->model, .dim = { MODEL_ROWS, MODEL_COLS, 1 } };
    return dtype_bytes(o->model, MODEL_COLS, &r->model.row_bytes) && target_open(t, &r->device, &r->be, all, 2, &l);
}

static bool make_layer(rig *r, llm_kv_layer *kv)
{
    const shape *s = r->w->s;
    int cells = r->w->depth + r->w->n;

    *kv = (llm_kv_layer){ .dtype = r->w->type, .n_kv_head = s->n_kv_head, .d_k = s->d_k, .d_v = s->d_v,
                          .n_cell = (cells + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK, .n_seq = 1, .latent = s->latent };
    if (!r->be.op.kv_size(kv) || (kv->k = backend_alloc(&r->be, kv->k_seq_bytes)) == NULL) return false;
    if (!s->latent && (kv->v = backend_alloc(&r->be, kv->v_seq_bytes)) == NULL) return false;
    if (!r->device) memory_large(kv->k, kv->k_seq_bytes), memory_large(kv->v, kv->v_seq_bytes);      /* as those of long sequences are */
    return true;
}

/* Stores n positions from pos on in every layer. */
static bool store(rig *r, int pos, int n)
{
    target_rows rows = { 0 };
    bool good = target_rows_open(&rows, n, pos, false);

    for (int i = 0; good && i < r->n_layer; i++) r->be.op.store(&r->be, &r->kv[i], r->k, r->k, &rows.b);
    target_rows_close(&rows);
    return good;
}

/* Enough layers that none is in a cache when its turn comes again; many rows take the processor long, and need no more than one. */
static bool rig_open(rig *r, const target *t, const options *o)
{
    const shape *s = r->w->s;
    int n = r->w->n, cells = r->w->depth + n;

    if (!open_backend(r, t, o)) return false;
    r->k = target_values(&r->be, FILL_ROWS, s->n_kv_head * (s->d_k > s->d_v ? s->d_k : s->d_v));
    r->q = target_values(&r->be, n, s->n_head * s->d_k);
    r->o = target_values(&r->be, n, s->n_head * s->d_v);
    if (!r->k.data || !r->q.data || !r->o.data || !target_rows_open(&r->rows, n, r->w->depth, false)) return false;
    for (size_t bytes = 0; r->n_layer < 1 || (r->n_layer < MAX_LAYER && bytes < (size_t)t->mb << 20); r->n_layer++) {
        llm_kv_layer *kv = &r->kv[r->n_layer];
        if (!make_layer(r, kv)) return false;
        bytes += kv->k_seq_bytes + kv->v_seq_bytes;
    }
    r->n_used = n > 16 && !t->on_device ? 1 : r->n_layer;
    for (int at = 0; at < cells; at += FILL_ROWS)
        if (!store(r, at, cells - at < FILL_ROWS ? cells - at : FILL_ROWS)) return false;
    return true;
}

static void rig_close(rig *r)
{
    for (int i = 0; i < MAX_LAYER; i++) {
        backend_release(&r->be, r->kv[i].k, r->kv[i].k_seq_bytes);
        backend_release(&r->be, r->kv[i].v, r->kv[i].v_seq_bytes);
    }
    target_release(&r->be, r->k), target_release(&r->be, r->q), target_release(&r->be, r->o);
    target_close(r->device, &r->be), target_rows_close(&r->rows);
}

static void attend(void *arg)
{
    rig *r = arg;
    const shape *s = r->w->s;
    llm_attn_args a = { .n_head = s->n_head, .window = s->window, .scale = 0.1f, .softcap = s->softcap, .sinks = s->sinks ? &r->sinks : NULL };

    for (int i = 0; i < r->n_used; i++) r->be.op.attend(&r->be, r->o, r->q, &r->kv[i], &r->rows.b, &a);
}

static void print_line(const rig *r, const target *t, double seconds)
{
    const shape *s = r->w->s;
    int depth = r->w->depth, n = r->w->n;
    double pairs = 0, keys = s->window && depth >= s->window ? s->window + n - 1 : depth + n;
    double gbs = keys * (double)(r->kv[0].k_seq_bytes + r->kv[0].v_seq_bytes) / r->kv[0].n_cell / seconds / 1e9, gflops;

    for (int p = depth; p < depth + n; p++) pairs += s->window && p >= s->window ? s->window : p + 1;
    gflops = 2 * pairs * s->n_head * (s->d_k + s->d_v) / seconds / 1e9;
    printf("%-15s %-4s depth %-6d n %-5d %10.1f us %7.1f GB/s (%3.0f %% of read) %8.1f GFLOPS (%3.0f %% of %s)\n", s->name, dtype_name(r->kv[0].dtype), depth, n,
           seconds * 1e6, gbs, 100 * gbs / t->limits.read_gbs, gflops, 100 * gflops / t->limits.f32_gflops, target_floats(t));
    fflush(stdout);
}

/* False after a message. */
static bool line(const target *t, const options *o, const work *w)
{
    rig r = { .w = w };
    double seconds = rig_open(&r, t, o) ? target_seconds(t, &r.be, &r.rows, attend, &r) : 0;

    if (seconds > 0) print_line(&r, t, seconds / r.n_used);
    else fprintf(stderr, "attend-bench: %s %s depth %d n %d was not measured\n", w->s->name, dtype_name(w->type), w->depth, w->n);
    rig_close(&r);
    return seconds > 0;
}

/* Latents are never kept in eight bits, and there is nothing to see for the first token. */
static bool happens(const work *w)
{
    return !(w->n == 1 && w->depth == 0) && !(w->s->latent && (w->type == DT_Q8_0 || w->type == DT_F8_E4M3));
}

static bool all_lines(const target *t, const options *o, llm_dtype type, const shape *s)
{
    bool good = true;

    for (int in = 0, n; (n = number(o->rows, in)) > 0; in++)
        for (int id = 0, depth; (depth = number(o->depths, id)) >= 0; id++) {
            work w = { type, s, depth, n };
            good = (!happens(&w) || line(t, o, &w)) && good;
        }
    return good;
}

static int usage(void)
{
    fprintf(stderr, "usage: attend-bench " TARGET_USAGE " [-x type] [-y type,...] [-m model,...] [-d depth,...] [-n rows,...]\n");
    return 2;
}

int main(int argc, char **argv)
{
    target t = { .name = "attend-bench", .n_thread = limits_cores(), .repeats = 3, .mb = 640 };
    options o = { DT_NONE, NULL, "F16,Q8_0", "0,4096", "1,512" };
    bool good = true;
    char name[64];
    int code;

    for (int c; (c = target_option(&t, argc, argv, TARGET_LETTERS "x:y:m:d:n:")) != -1;) {
        switch (c) {
        case 'x': if (!type_known(optarg)) return 2; o.model = dtype_find(optarg)->dtype; break;
        case 'y': o.types = optarg; break;
        case 'm': o.only = optarg; break;
        case 'd': o.depths = optarg; break;
        case 'n': o.rows = optarg; break;
        default:  return usage();
        }
    }
    if (!types_known(o.types) || !shapes_known(o.only)) return 2;
    if (o.model != DT_NONE && !t.on_device) { fprintf(stderr, "attend-bench: -x is for a device\n"); return 2; }
    if (o.model == DT_NONE) o.model = DT_Q8_0;
    if ((code = target_start(&t)) != 0) return code;
    for (int it = 0; list_item(o.types, it, name); it++)
        for (int i = 0; i < N_SHAPE; i++)
            if (in_list(o.only, shapes[i].name)) good = all_lines(&t, &o, dtype_find(name)->dtype, &shapes[i]) && good;
    return good ? 0 : 1;
}
