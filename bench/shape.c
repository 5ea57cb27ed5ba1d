#include "shape.h"
#include "encode.h"
#include "file.h"
#include "memory.h"
#include "quant_parts.h"
#include "random_blocks.h"
#include "shapes.h"
#include "threads.h"
#include "weights.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct shape {
    char name[96];
    int n_layer;                        /* of the whole model */
    llm_mix mix;
    llm_store *store;
    llm_meta *meta;
    llm_model m;                        /* config.n_layer is what it is cut to */
    quant_plan plan;
    uint64_t params, bytes;
};

const char *shape_name(const shape *s) { return s->name; }
const char *shape_type(const shape *s) { return mix_info(s->mix)->name; }
const llm_model *shape_model(const shape *s) { return &s->m; }
uint64_t shape_params(const shape *s) { return s->params; }
uint64_t shape_bytes(const shape *s) { return s->bytes; }
int shape_layers(const shape *s) { return s->n_layer; }

/* ---- which model, which types ---------------------------------------------------- */

/* A folder with this config.json for as long as it takes to read it. */
static llm_status open_text(shape *s, const char *config, llm_error *err)
{
    const char *base = getenv("TMPDIR");
    size_t n = strlen(config);
    char dir[4096], *path = NULL;
    llm_status st = LLM_OK;
    FILE *f = NULL;

    if (snprintf(dir, sizeof dir, "%s/llm-bench-XXXXXX", base && *base ? base : "/tmp") >= (int)sizeof dir || mkdtemp(dir) == NULL)
        return llm_fail(err, LLM_ERR_IO, "no temporary folder for a config.json: %s (TMPDIR names the place)", strerror(errno));
    if ((path = file_join(dir, "config.json")) == NULL) st = llm_fail_memory(err, n, "a path");
    if (path && (f = fopen(path, "we")) != NULL) {
        fputc('{', f);
        for (size_t i = 0; i + 1 < n; i++) fputc(config[i] == '\'' ? '"' : config[i], f);      /* all but the comma at the end */
        fputc('}', f);
    }
    if (path && (f == NULL || fclose(f) != 0)) st = llm_fail(err, LLM_ERR_IO, "%s: %s", file_label(path), strerror(errno));
    if (st == LLM_OK) st = store_open(&s->store, dir, true, err);
    if (st == LLM_OK) st = meta_open(&s->meta, s->store, err);
    if (path) unlink(path);
    rmdir(dir);
    free(path);
    return st;
}

/* The folder of a config.json, which must be called that. */
static llm_status open_path(shape *s, const char *path, llm_error *err)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    char dir[4096];
    llm_status st;

    if (file_is_dir(path)) snprintf(dir, sizeof dir, "%s", path);
    else if (strcmp(file, "config.json") != 0) return llm_fail(err, LLM_ERR_ARG, "--shape: %s: want a file called config.json, or a folder with one", file_label(path));
    else snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    if ((st = store_open(&s->store, dir, true, err)) != LLM_OK) return st;
    if (store_kind(s->store) != STORE_HF) return llm_fail(err, LLM_ERR_ARG, "--shape: %s holds no config.json", file_label(path));
    return meta_open(&s->meta, s->store, err);
}

static llm_status unknown_name(const char *name, size_t len, llm_error *err)
{
    char have[440];

    if (memchr(name, '/', len)) return llm_fail(err, LLM_ERR_IO, "--shape: %s: there is no such file or folder", file_label(name));
    shapes_names(have, sizeof have);
    return llm_fail(err, LLM_ERR_ARG, "--shape: no shape '%.*s'; there is %s", len < 60 ? (int)len : 60, name, have);
}

static bool can_make(llm_dtype dtype) { return encode_known(dtype) || random_blocks_known(dtype); }

static llm_status read_type(shape *s, const char *type, llm_error *err)
{
    char have[400] = "";

    if (type == NULL) type = s->m.arch->hf_name && strcmp(s->m.arch->hf_name, "gpt_oss") == 0 ? "MXFP4" : "Q4_K_M";
    if (mix_find(type, &s->mix) && can_make(mix_info(s->mix)->base)) return LLM_OK;
    for (int i = 0; i < N_MIX; i++)
        if (can_make(mix_info((llm_mix)i)->base)) snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? ", " : "", mix_info((llm_mix)i)->name);
    return llm_fail(err, LLM_ERR_ARG, "--shape: '%.40s' is no type of weights that can be made; there is %s", type, have);
}

/* Folder or file of a config, as the model's name: the folder's own. */
static void name_of_path(shape *s, const char *path)
{
    char whole[PATH_MAX];
    char *end;

    if (realpath(path, whole) == NULL) snprintf(whole, sizeof whole, "%s", path);
    if ((end = strrchr(whole, '/')) != NULL && strcmp(end, "/config.json") == 0) *end = '\0';
    snprintf(s->name, sizeof s->name, "%.90s", strrchr(whole, '/') ? strrchr(whole, '/') + 1 : whole);
}

static llm_status open_config(shape *s, const char *text, llm_error *err)
{
    const char *colon = strrchr(text, ':'), *type = colon && strchr(colon, '/') == NULL ? colon + 1 : NULL;
    size_t len = type ? (size_t)(colon - text) : strlen(text);
    const shape_row *row = shapes_find(text, len);
    char path[4096];
    llm_status st;

    snprintf(path, sizeof path, "%.*s", len < sizeof path ? (int)len : (int)sizeof path - 1, text);
    if (row) snprintf(s->name, sizeof s->name, "%s", row->name);
    else if (!file_exists(path)) return unknown_name(text, len, err);
    else name_of_path(s, path);
    if ((st = row ? open_text(s, row->config, err) : open_path(s, path, err)) != LLM_OK) return st;
    if ((s->m.arch = arch_find(s->meta, err)) == NULL) return LLM_ERR_UNSUPPORTED;
    if ((st = config_read(&s->m.config, s->m.arch, s->meta, err)) != LLM_OK) return st;
    if (s->m.config.n_vocab < 1) return llm_fail(err, LLM_ERR_FORMAT, "%s: vocab_size is missing", file_label(path));
    return read_type(s, type, err);
}

/* ---- tensors ------------------------------------------------------------------------ */

static const char there[2];             /* what tensors without bytes point at: they are bound */

static llm_tensor absent(const llm_config *c, int il, const llm_sym sym[3], const char *at)
{
    llm_tensor t = { .data = at, .dtype = DT_F32 };

    for (int i = 0; i < 3; i++) t.dim[i] = config_dim(c, il, sym[i]);
    return t;
}

static llm_status bind(shape *s, llm_error *err)
{
    static const llm_sym table[3] = { D_VOCAB, D_MODEL, _1 }, width[3] = { D_MODEL, _1, _1 };
    llm_model *m = &s->m;
    const llm_config *c = &m->config;

    free(m->layer);
    if ((m->layer = calloc((size_t)c->n_layer, sizeof *m->layer)) == NULL) return llm_fail_memory(err, (size_t)c->n_layer * sizeof *m->layer, "the table of weights");
    m->embed = absent(c, -1, table, there), m->out_norm = absent(c, -1, width, there), m->head = absent(c, -1, table, c->tied ? there : there + 1);
    for (int il = 0; il < c->n_layer; il++) {
        uint64_t need = m->arch->weights(c, il).need;
        for (int slot = 0; slot < W_COUNT; slot++)
            if (need >> slot & 1) *weights_slot(&m->layer[il], (llm_slot)slot) = absent(c, il, llm_weight_table[slot].dim, there);
    }
    return LLM_OK;
}

static int64_t cols_of(const llm_tensor *t) { return t->dim[2] > 1 ? t->dim[2] : t->dim[1] > 1 ? t->dim[1] : t->dim[0]; }

/* The type that the file has for a weight. */
static void take_type(llm_tensor *t, llm_dtype dtype)
{
    t->dtype = dtype;
    if (!dtype_bytes(dtype, cols_of(t), &t->row_bytes)) t->row_bytes = 0;
}

static void take_types(shape *s)
{
    for (size_t i = 0; i < s->plan.n; i++) {
        const quant_item *it = &s->plan.item[i];
        if (it->whole) take_type(it->whole == &s->m.embed ? &s->m.embed : it->whole == &s->m.head ? &s->m.head : &s->m.out_norm, it->dtype);
        for (int k = 0; k < it->n_slot; k++) take_type(weights_slot(&s->m.layer[it->il], it->slot[k]), it->dtype);
    }
    if (s->m.config.tied) s->m.head = s->m.embed;
}

static llm_status count(shape *s, llm_error *err)
{
    s->params = s->bytes = 0;
    for (size_t i = 0; i < s->plan.n; i++) {
        const quant_item *it = &s->plan.item[i];
        int64_t n = 1;
        size_t bytes;
        for (int d = 0; d < it->n_dim; d++)
            if (__builtin_mul_overflow(n, it->dim[d], &n)) n = -1;
        if (!dtype_bytes(it->dtype, n, &bytes) || !gguf_out_tensor(&s->plan.out, it->name, it->dtype, it->dim, it->n_dim))
            return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.120s' cannot be stored as %s", s->name, it->name, dtype_name(it->dtype));
        if (it->values == NULL) s->params += (uint64_t)n;
        s->bytes += bytes;
    }
    s->m.weight_bytes = s->bytes, s->m.n_param = s->params;
    return LLM_OK;
}

static llm_status plan(shape *s, llm_error *err)
{
    llm_status st;

    plan_free(&s->plan);
    if ((st = bind(s, err)) != LLM_OK || (st = convert_plan(&s->plan, &s->m, err)) != LLM_OK || (st = plan_types(&s->plan, s->mix, err)) != LLM_OK) return st;
    take_types(s);
    return count(s, err);
}

llm_status shape_cut(shape *s, int n_layer, llm_error *err)
{
    if (n_layer < 1 || n_layer > s->n_layer) return llm_fail(err, LLM_ERR_ARG, "%s has %d layers, got %d", s->name, s->n_layer, n_layer);
    s->m.config.n_layer = n_layer;
    return plan(s, err);
}

void shape_close(shape *s)
{
    if (s == NULL) return;
    plan_free(&s->plan);
    free(s->m.layer);
    config_free(&s->m.config);
    meta_close(s->meta);
    store_close(s->store);
    free(s);
}

llm_status shape_open(shape **out, const char *text, llm_error *err)
{
    shape *s = calloc(1, sizeof *s);
    llm_status st;

    *out = NULL;
    if (s == NULL) return llm_fail_memory(err, sizeof *s, "a shape");
    st = open_config(s, text, err);
    s->m.store = s->store, s->m.meta = s->meta, s->m.name = s->name, s->n_layer = s->m.config.n_layer;
    if (st == LLM_OK) st = plan(s, err);
    if (st != LLM_OK) { shape_close(s); return st; }
    *out = s;
    return LLM_OK;
}

/* ---- layers that stand for others ------------------------------------------------------ */

static bool same_kind(const llm_layer_config *a, const llm_layer_config *b)
{
    return a->mixer == b->mixer && a->ffn == b->ffn && a->window == b->window && a->n_kv_head == b->n_kv_head && a->d_ff == b->d_ff;
}

/* Where the kinds of the last layers begin: those before are of kinds that do not come again. */
static int repeats_from(const shape *s)
{
    const llm_layer_config *l = s->m.config.layer;
    int from = 0;

    for (int il = 1; il < s->n_layer; il++)
        if (l[il].ffn != l[il - 1].ffn) from = il;
    return from;
}

int shape_period(const shape *s)
{
    const llm_layer_config *l = s->m.config.layer;
    int from = repeats_from(s);

    for (int p = 1; p < s->n_layer - from; p++) {
        bool same = true;
        for (int il = from + p; il < s->n_layer && same; il++) same = same_kind(&l[il], &l[il - p]);
        if (same) return p;
    }
    return s->n_layer - from;
}

int shape_least(const shape *s) { return repeats_from(s) + shape_period(s); }

/* ---- weights ------------------------------------------------------------------------------ */

/* Numbers of one type that all tensors of that type are cut from. wide: of deviation 1 (the table of tokens, so that rows differ),
 * else 0.02, as models are initialised. */
enum { POOL_BYTES = 8 << 20, POOL_ROW = 4096, N_POOL = 2 * DT_F8_E4M3 };
typedef struct { uint8_t *data; size_t n; llm_dtype dtype; float deviation; size_t row_bytes; llm_isa isa; } pool;

static uint32_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

/* Nearly normal: a sum of eight bytes, twice. */
static float normal(uint64_t *state)
{
    uint32_t a = next(state), b = next(state), sum = 0;

    for (int i = 0; i < 4; i++) sum += (a >> 8 * i & 255) + (b >> 8 * i & 255);
    return ((float)sum - 1020) / 209.0f;
}

static void fill_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    pool *p = arg;
    float x[POOL_ROW];

    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        uint64_t state = (uint64_t)r * 7919 + (uint64_t)p->dtype + 1;
        if (random_blocks_known(p->dtype)) { random_blocks(p->dtype, p->deviation, state, POOL_ROW, p->data + (size_t)r * p->row_bytes); continue; }
        for (int i = 0; i < POOL_ROW; i++) x[i] = p->deviation * normal(&state);
        encode_row(p->isa, p->dtype, x, NULL, POOL_ROW, p->data + (size_t)r * p->row_bytes);
    }
}

typedef struct { const shape *s; gguf_writer out; llm_pool *threads; llm_isa isa; pool pools[N_POOL]; uint64_t state, done; llm_error *err; } filler;

/* No more than the largest matrix of that type takes. */
static size_t pool_bytes_for(const filler *f, llm_dtype dtype)
{
    size_t most = 1, bytes;

    for (size_t i = 0; i < f->s->plan.n; i++) {
        const quant_item *it = &f->s->plan.item[i];
        int64_t n = 1;
        for (int d = 0; d < it->n_dim; d++) n *= it->dim[d];
        if (it->dtype == dtype && dtype_bytes(dtype, n, &bytes) && bytes > most) most = bytes;
    }
    return most < POOL_BYTES ? most : POOL_BYTES;
}

static llm_status pool_of(filler *f, llm_dtype dtype, bool wide, const pool **out)
{
    pool *p = &f->pools[2 * dtype + wide];
    int64_t rows;

    *out = p;
    if (p->data) return LLM_OK;
    *p = (pool){ .dtype = dtype, .deviation = wide ? 1.0f : 0.02f, .isa = f->isa };
    if (!can_make(dtype) || !dtype_bytes(dtype, POOL_ROW, &p->row_bytes)) return llm_fail(f->err, LLM_ERR_INTERNAL, "%s cannot be made", dtype_name(dtype));
    rows = (int64_t)((pool_bytes_for(f, dtype) + p->row_bytes - 1) / p->row_bytes), p->n = (size_t)rows * p->row_bytes;
    if ((p->data = malloc(p->n)) == NULL) return llm_fail_memory(f->err, p->n, "random weights");
    pool_run(f->threads, rows, 8, fill_rows, p);
    return LLM_OK;
}

/* bytes of a matrix, each stretch from another place of the pool. */
static llm_status put_matrix(filler *f, const quant_item *it, size_t bytes)
{
    size_t block = (size_t)dtype_info(it->dtype)->block_bytes, n;
    bool table = it->whole == &f->s->m.embed;
    const pool *p;
    llm_status st = pool_of(f, it->dtype, table, &p);

    for (; bytes > 0 && st == LLM_OK; bytes -= n) {
        size_t at = bytes < p->n ? next(&f->state) % ((p->n - bytes) / block + 1) : next(&f->state) % (p->n / block / 4 + 1);
        n = p->n - at * block < bytes ? p->n - at * block : bytes;
        st = gguf_writer_put(&f->out, p->data + at * block, n);
    }
    return st;
}

/* Norms are ones; biases, sinks and corrections zeros. */
static llm_status put_vector(filler *f, const quant_item *it, size_t n)
{
    const char *end = strrchr(it->name, '.');
    bool norm = end && end - it->name >= 5 && strncmp(end - 5, "_norm", 5) == 0;
    float *x = calloc(n, sizeof *x);
    llm_status st;

    if (x == NULL) return llm_fail_memory(f->err, n * sizeof *x, "a vector");
    for (size_t i = 0; i < n; i++) x[i] = it->values ? it->values[i] : norm ? 1.0f : 0.0f;
    st = gguf_writer_put(&f->out, x, n * sizeof *x);
    free(x);
    return st;
}

static bool is_vector(const quant_item *it)
{
    size_t n = strlen(it->name);
    return it->n_dim == 1 || (n > 5 && strcmp(it->name + n - 5, ".bias") == 0);
}

static llm_status put_all(filler *f, llm_progress_fn progress)
{
    llm_status st = LLM_OK;

    for (size_t i = 0; i < f->s->plan.n && st == LLM_OK; i++) {
        const quant_item *it = &f->s->plan.item[i];
        int64_t n = 1;
        size_t bytes = 0;
        for (int d = 0; d < it->n_dim; d++) n *= it->dim[d];
        if (!dtype_bytes(it->dtype, n, &bytes)) return llm_fail(f->err, LLM_ERR_INTERNAL, "tensor '%.120s' has no whole blocks", it->name);
        st = is_vector(it) && it->dtype == DT_F32 ? put_vector(f, it, (size_t)n) : put_matrix(f, it, bytes);
        if (st == LLM_OK) st = gguf_writer_pad(&f->out);
        f->done += bytes;
        if (st == LLM_OK && progress && progress(NULL, "making weights", f->done, f->s->bytes))
            st = llm_fail(f->err, LLM_ERR_CANCELLED, "%s: stopped while weights were made", f->s->name);
    }
    return st;
}

/* A file without a name on a disk that has room for n bytes; -1: there is none. */
static int disk_file(const char *dir, uint64_t n)
{
    struct statvfs room;
    struct statfs kind;
    int fd;

    if (dir == NULL || statfs(dir, &kind) != 0 || kind.f_type == TMPFS_MAGIC || statvfs(dir, &room) != 0) return -1;
    if ((uint64_t)room.f_bavail * room.f_frsize < n + n / 8 || (fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) < 0) return -1;
    return fd;
}

/* In memory, if there is room for a second copy in the order of the kernels; else on disk, whose pages the system lets go for it. */
static int weights_file(const shape *s)
{
    int fd = -1;

    if (memory_available() / 2 < s->bytes + ((uint64_t)1 << 29)) {
        fd = disk_file(getenv("TMPDIR"), s->bytes);
        if (fd < 0) fd = disk_file("/var/tmp", s->bytes);
        if (fd < 0) fd = disk_file("/tmp", s->bytes);
    }
    return fd >= 0 ? fd : memfd_create("llm-bench weights", MFD_CLOEXEC);
}

llm_status shape_write(const shape *s, int *fd, llm_progress_fn progress, llm_error *err)
{
    filler *f = calloc(1, sizeof *f);
    llm_status st;

    *fd = -1;
    if (f == NULL) return llm_fail_memory(err, sizeof *f, "random weights");
    f->s = s, f->state = 1, f->err = err, f->out.fd = -1, f->isa = cpu_best_isa();
    if ((*fd = weights_file(s)) < 0) st = llm_fail(err, LLM_ERR_IO, "%s: no file in memory: %s", s->name, strerror(errno));
    else st = pool_open(&f->threads, threads_available(), err);
    if (st == LLM_OK) st = gguf_writer_into(&f->out, &s->plan.out, *fd, s->name, err);
    if (st == LLM_OK) st = put_all(f, progress);
    gguf_writer_close(&f->out);
    if (st == LLM_OK) (void)fdatasync(*fd);             /* on a disk: it is to be quiet when speed is measured */
    pool_close(f->threads);
    for (int i = 0; i < N_POOL; i++) free(f->pools[i].data);
    free(f);
    if (st != LLM_OK && *fd >= 0) close(*fd), *fd = -1;
    return st;
}
