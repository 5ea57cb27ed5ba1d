/* quantize.c - a GGUF file of chosen types from a GGUF file or a safetensors folder, one tensor after the other: no more than a
 * layer's load transforms and some rows are in memory at a time. The bytes depend on the source and the options alone. */
#include "quantize.h"
#include "dequant.h"
#include "encode.h"
#include "file.h"
#include "half.h"
#include "quant_parts.h"
#include "store_parts.h"
#include "tensor_rows.h"
#include "threads.h"
#include "weights.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 8 << 20, MAX_PATTERN = 200 };

typedef struct { char pattern[MAX_PATTERN]; llm_dtype type; bool used; } override_rule;

typedef struct {
    const llm_quantize_options *opt;
    llm_error *err;
    llm_model *m;                       /* of a folder: opened with plan_only; of a GGUF file: its store and metadata only */
    quant_plan plan;
    llm_mix mix;
    override_rule *rule;
    imatrix im;
    bool has_im;
    llm_pool *pool;
    llm_isa isa;
    uint8_t *chunk;                     /* CHUNK_BYTES and a row */
    float *row;                         /* [threads, 2 * widest] */
    int64_t widest;
    gguf_writer out;
    uint64_t done, total;               /* values */
    llm_quantize_result result;
} job;

/* ---- options -------------------------------------------------------------------------- */

static llm_status read_rules(job *j)
{
    const llm_quantize_options *o = j->opt;

    if (o->n_tensor == 0) return LLM_OK;
    if (o->tensor == NULL) return llm_fail(j->err, LLM_ERR_ARG, "llm_quantize: tensor is NULL");
    if ((j->rule = calloc(o->n_tensor, sizeof *j->rule)) == NULL) return llm_fail_memory(j->err, o->n_tensor * sizeof *j->rule, "the types of tensors");
    for (size_t i = 0; i < o->n_tensor; i++) {
        const char *s = o->tensor[i], *eq = s ? strrchr(s, '=') : NULL;
        const llm_dtype_info *type = eq ? dtype_find(eq + 1) : NULL;
        if (eq == NULL || eq == s || eq - s >= MAX_PATTERN)
            return llm_fail(j->err, LLM_ERR_ARG, "'%.80s': wanted PATTERN=TYPE, such as blk.*.ffn_down.weight=q6_k", s ? s : "");
        if (type == NULL || !encode_known(type->dtype))
            return llm_fail(j->err, LLM_ERR_ARG, "'%.80s': '%.20s' is no type that can be written", s, eq + 1);
        snprintf(j->rule[i].pattern, sizeof j->rule[i].pattern, "%.*s", (int)(eq - s), s);
        j->rule[i].type = type->dtype;
    }
    return LLM_OK;
}

llm_status quantize_mix(const char *type, llm_mix *out, llm_error *err)
{
    char have[400] = "";

    if (mix_find(type ? type : "", out)) {
        if (encode_known(mix_info(*out)->base)) return LLM_OK;
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "type '%s' can be read, but not written", mix_info(*out)->name);
    }
    for (int i = 0; i < N_MIX; i++)
        if (encode_known(mix_info((llm_mix)i)->base)) snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? ", " : "", mix_info((llm_mix)i)->name);
    return llm_fail(err, LLM_ERR_ARG, "unknown type '%.40s'; there is %s", type ? type : "", have);
}

/* ---- the list of tensors --------------------------------------------------------------- */

static int arch_int(const job *j, const char *key)
{
    int v = 0;
    return meta_int(j->m->meta, key, NULL, &v) ? v : 0;
}

/* The keys of a GGUF source as they are, but for those that are about its own types and parts. */
static llm_status plan_gguf(job *j)
{
    static const char *const drop[] = { "general.file_type", "general.quantization_version", "general.alignment", "quantize.imatrix.file",
                                        "quantize.imatrix.dataset", "quantize.imatrix.entries_count", "quantize.imatrix.chunks_count" };
    quant_plan *p = &j->plan;
    const gguf *g = j->m->store->gguf[0];
    const char *arch = meta_arch(j->m->meta);
    llm_status st = LLM_OK;

    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        bool out = strncmp(kv->key, "split.", 6) == 0;
        for (size_t k = 0; k < sizeof drop / sizeof *drop; k++) out |= strcmp(kv->key, drop[k]) == 0;
        if (!out) gguf_out_copy(&p->out, g, kv);
    }
    p->mix = (mix_model){ .n_layer = arch_int(j, "block_count"), .n_expert = arch_int(j, "expert_count"), .tied = true };
    size_t n = 0;
    int heads[1] = { 0 };
    if (meta_ints(j->m->meta, "attention.head_count", NULL, heads, 1, &n) && n) p->mix.n_head = heads[0];
    if (meta_ints(j->m->meta, "attention.head_count_kv", NULL, heads, 1, &n) && n) p->mix.n_kv_head = heads[0];
    if (p->mix.n_kv_head == 0) p->mix.n_kv_head = p->mix.n_head;
    p->mix.eighty = p->mix.n_layer == 80 && (strcmp(arch, "qwen2") == 0 || (strcmp(arch, "llama") == 0 && p->mix.n_head != p->mix.n_kv_head));
    for (size_t i = 0; i < store_n_tensor(j->m->store) && st == LLM_OK; i++) {
        const store_tensor *t = store_tensor_at(j->m->store, i);
        quant_item it = { .stored = t, .il = -1, .n_dim = t->n_dim ? t->n_dim : 1 };
        for (int d = 0; d < it.n_dim; d++) it.dim[d] = t->n_dim ? t->dim[d] : 1;
        if (strcmp(t->name, "output.weight") == 0) p->mix.tied = false;
        st = plan_add(p, t->name, &it, j->err);
    }
    return st == LLM_OK ? meta_error(j->m->meta, j->err) : st;
}

static void override_one(job *j, quant_item *it)
{
    for (size_t i = 0; i < j->opt->n_tensor; i++) {
        if (fnmatch(j->rule[i].pattern, it->name, 0) != 0) continue;
        j->rule[i].used = true;
        it->dtype = mix_fallback(j->rule[i].type, it->dim[it->n_dim - 1]);
        it->fell_back = it->dtype != j->rule[i].type;
        return;
    }
}

static llm_status choose_types(job *j)
{
    quant_plan *p = &j->plan;
    llm_status st;

    p->mix.imatrix = j->has_im;
    if ((st = plan_types(p, j->mix, j->err)) != LLM_OK) return st;
    for (size_t i = 0; i < p->n; i++)
        if (plan_quantizes(&p->item[i])) override_one(j, &p->item[i]);
    for (size_t i = 0; i < j->opt->n_tensor; i++)
        if (!j->rule[i].used) return llm_fail(j->err, LLM_ERR_ARG, "no tensor that is quantized has a name like '%.150s'", j->rule[i].pattern);
    return LLM_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* One tensor being written. */
typedef struct {
    job *j;
    const quant_item *it;
    llm_tensor src[ITEM_PARTS];
    int n_src;
    int64_t rows, cols, matrices;       /* rows of each matrix */
    const imatrix_entry *im;
    bool copy;                          /* source and file have the same form */
    bool check;                         /* such a form has scales or values that can be no numbers */
    size_t row_bytes;
    int64_t first;                      /* of this chunk */
    int64_t bad;                        /* first row that cannot be written, INT64_MAX: none */
} task;

static llm_tensor from_store(const store_tensor *t)
{
    llm_tensor v = { .data = t->data, .dtype = t->dtype };
    int64_t cols = t->n_dim ? t->dim[t->n_dim - 1] : 1, n = 1;

    for (int i = 0; i < t->n_dim; i++) n *= t->dim[i];
    if (t->n_dim > 2) v.dim[0] = n / (cols * t->dim[t->n_dim - 2]), v.dim[1] = t->dim[t->n_dim - 2], v.dim[2] = cols;
    else if (t->n_dim == 2) v.dim[0] = t->dim[0], v.dim[1] = cols, v.dim[2] = 1;
    else v.dim[0] = cols, v.dim[1] = v.dim[2] = 1;
    if (t->n_dim > 1 && cols == 1) v.dim[0] = n, v.dim[1] = v.dim[2] = 1;       /* columns of one value: all of it is one row */
    (void)dtype_bytes(t->dtype, tensor_shape_of(&v).cols, &v.row_bytes);
    return v;
}

/* Row of the source that becomes row r of the file: Llama's heads go from halves to pairs. */
static int64_t source_row(int64_t r, int64_t rows, int heads)
{
    int64_t d = heads > 0 ? rows / heads : 0, k = d ? r % d : 0;
    return d ? r - k + (k % 2) * (d / 2) + k / 2 : r;
}

/* Where row r of the file comes from. */
static const llm_tensor *find_row(const task *t, int64_t r, int64_t *matrix, int64_t *row)
{
    int s = 0;

    *matrix = r / t->rows, *row = r % t->rows;
    while (s + 1 < t->n_src && *row >= tensor_shape_of(&t->src[s]).rows) *row -= tensor_shape_of(&t->src[s++]).rows;
    *row = source_row(*row, tensor_shape_of(&t->src[s]).rows, t->cols > 1 && t->it->n_dim > 1 ? t->it->heads[s] : 0);
    return &t->src[s];
}

/* Vectors: parts one after the other, their values in the order of the file. */
static bool read_vector(const task *t, float *x, float *spare)
{
    for (int s = 0; s < t->n_src; s++) {
        int64_t n = tensor_shape_of(&t->src[s]).cols;
        if (!tensor_rows(&t->src[s], 0, 0, 1, spare)) return false;
        for (int64_t i = 0; i < n; i++) *x++ = spare[source_row(i, n, t->it->heads[s])];
    }
    return true;
}

/* 16-bit floats as they lie: what most sources are. */
static bool is_half(const llm_tensor *t) { return (t->dtype == DT_F16 || t->dtype == DT_BF16) && !t->perm && !t->scale.data && !t->scale.part; }

static bool read_row(const task *t, int64_t r, float *x, float *spare)
{
    int64_t matrix, row;
    const llm_tensor *src;

    if (t->it->values) { memcpy(x, t->it->values, (size_t)t->cols * sizeof *x); return true; }
    if (t->it->n_dim == 1) {
        if (!read_vector(t, x, spare)) return false;
    } else {
        src = find_row(t, r, &matrix, &row);
        if (is_half(src)) encode_widen(t->j->isa, src->dtype, tensor_row(src, matrix, row), t->cols, x);
        else if (!tensor_rows(src, matrix, row, 1, x)) return false;
    }
    for (int64_t i = 0; t->it->offset != 0 && i < t->cols; i++) x[i] += t->it->offset;
    return true;
}

static void note_bad(task *t, int64_t r)
{
    int64_t seen = __atomic_load_n(&t->bad, __ATOMIC_RELAXED);
    while (r < seen && !__atomic_compare_exchange_n(&t->bad, &seen, r, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { }
}

/* One row to out; false: it holds what its type cannot. x [2, widest] is work space. */
static bool write_row(const task *t, int64_t r, float *x, uint8_t *out, int64_t *bad)
{
    int64_t matrix, row;

    if (t->copy) {
        const llm_tensor *src = find_row(t, r, &matrix, &row);
        memcpy(out, tensor_row(src, matrix, row), t->row_bytes);
        return !t->check || dtype_check(t->it->dtype, out, t->cols, bad);
    }
    if (!read_row(t, r, x, x + t->j->widest)) { *bad = 0; return false; }
    encode_row(t->j->isa, t->it->dtype, x, t->im ? t->im->value + (r / t->rows) % t->im->matrices * t->cols : NULL, t->cols, out);
    return encode_check(t->j->isa, t->it->dtype, x, out, t->cols, bad);
}

static void run_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    task *t = arg;
    int64_t bad;

    for (int64_t i = begin; i < end; i++)
        if (!write_row(t, t->first + i, t->j->row + (int64_t)thread * 2 * t->j->widest, t->j->chunk + (size_t)i * t->row_bytes, &bad)) note_bad(t, t->first + i);
}

static llm_status fail_row(const task *t)
{
    job *j = t->j;
    int64_t bad = 0;

    write_row(t, t->bad, j->row, j->chunk, &bad);
    if (t->copy) return llm_fail(j->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': row %" PRId64 " holds a value or scale that is not finite",
                                 file_label(store_path(j->m->store)), t->it->name, t->bad);
    if (!isfinite(j->row[bad]))
        return llm_fail(j->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': row %" PRId64 ", column %" PRId64 " is %g", file_label(store_path(j->m->store)), t->it->name,
                        t->bad, bad, (double)j->row[bad]);
    return llm_fail(j->err, LLM_ERR_UNSUPPORTED, "%s: tensor '%.120s': row %" PRId64 ", column %" PRId64 " is %g, more than %s can hold",
                    file_label(store_path(j->m->store)), t->it->name, t->bad, bad, (double)j->row[bad], dtype_name(t->it->dtype));
}

/* ---- tensors ------------------------------------------------------------------------------------ */

static llm_status set_sources(task *t)
{
    const quant_item *it = t->it;
    llm_model *m = t->j->m;

    if (it->stored) t->src[0] = from_store(it->stored), t->n_src = 1;
    else if (it->whole) t->src[0] = *it->whole, t->n_src = 1;
    for (int i = 0; i < it->n_slot; i++) t->src[t->n_src++] = *weights_slot(&m->layer[it->il], it->slot[i]);
    t->cols = it->dim[it->n_dim - 1], t->rows = it->n_dim > 1 ? it->dim[it->n_dim - 2] : 1, t->matrices = 1;
    for (int i = 0; i < it->n_dim - 2; i++) t->matrices *= it->dim[i];
    if (it->stored && t->cols == 1) {                                   /* as from_store sees it */
        for (int i = 0; i + 1 < it->n_dim; i++) t->cols *= it->dim[i];
        t->rows = t->matrices = 1;
    }
    t->copy = it->n_dim > 1 || t->n_src == 1;
    for (int i = 0; i < t->n_src; i++)
        t->copy &= t->src[i].dtype == it->dtype && !t->src[i].scale.data && !t->src[i].scale.part && !t->src[i].perm && (it->n_dim > 1 || it->heads[i] == 0);
    t->copy &= t->n_src > 0 && it->offset == 0;
    t->check = encode_known(it->dtype) || dtype_info(it->dtype)->block > 1;
    if (!dtype_bytes(it->dtype, t->cols, &t->row_bytes)) return llm_fail(t->j->err, LLM_ERR_INTERNAL, "tensor '%.120s' has no whole blocks", it->name);
    if (!t->copy && !encode_known(it->dtype)) return llm_fail(t->j->err, LLM_ERR_UNSUPPORTED, "tensor '%.120s': %s cannot be written", it->name, dtype_name(it->dtype));
    return LLM_OK;
}

static llm_status find_importance(task *t)
{
    const imatrix_entry *e = t->j->has_im && encode_weighted(t->it->dtype) && !t->copy ? imatrix_find(&t->j->im, t->it->name) : NULL;

    t->im = NULL;
    if (e == NULL) return LLM_OK;
    if (e->matrices == 1 && e->cols != t->cols && e->cols != t->cols * t->matrices)
        return llm_fail(t->j->err, LLM_ERR_FORMAT, "the importance matrix has %" PRId64 " columns for '%.120s', which has %" PRId64, e->cols, t->it->name, t->cols);
    if (e->matrices > 1 && (e->cols != t->cols || e->matrices != t->matrices))
        return llm_fail(t->j->err, LLM_ERR_FORMAT, "the importance matrix has %" PRId64 " x %" PRId64 " values for '%.120s', which has %" PRId64 " x %" PRId64,
                        e->matrices, e->cols, t->it->name, t->matrices, t->cols);
    t->im = e, t->j->result.n_weighted++;
    return LLM_OK;
}

/* What was read is not needed in memory any more. */
static void release(const task *t)
{
    for (int i = 0; i < t->n_src; i++) {
        const llm_tensor *s = &t->src[i];
        tensor_shape d = tensor_shape_of(s);
        size_t one = (size_t)d.rows * s->row_bytes;
        if (s->data) store_release(t->j->m->store, s->data, one * (size_t)d.matrices);
        for (int64_t k = 0; s->part && k < d.matrices; k++) store_release(t->j->m->store, s->part[k], one);
    }
}

static llm_status progress(job *j)
{
    if (j->opt->progress && j->opt->progress(j->opt->user, "quantizing", j->done, j->total))
        return llm_fail(j->err, LLM_ERR_CANCELLED, "%s: stopped", file_label(j->opt->out));
    return LLM_OK;
}

static llm_status write_item(job *j, const quant_item *it)
{
    task t = { .j = j, .it = it };
    llm_status st = set_sources(&t);
    int64_t n, all;

    if (st != LLM_OK || (st = find_importance(&t)) != LLM_OK) return st;
    all = t.rows * t.matrices;
    for (t.first = 0; t.first < all && st == LLM_OK; t.first += n) {
        n = (int64_t)(CHUNK_BYTES / t.row_bytes) + 1;
        if (n > all - t.first) n = all - t.first;
        t.bad = INT64_MAX;
        pool_run(j->pool, n, 1 + 4096 / t.cols, run_rows, &t);
        if (t.bad != INT64_MAX) return fail_row(&t);
        st = gguf_writer_put(&j->out, j->chunk, (size_t)n * t.row_bytes);
        j->done += (uint64_t)(n * t.cols);
        if (st == LLM_OK) st = progress(j);
    }
    if (st == LLM_OK) st = gguf_writer_pad(&j->out);
    release(&t);
    return st;
}

/* Items follow one another layer by layer; a layer's weights are there while its items are written. */
static llm_status write_items(job *j)
{
    llm_owned *mark = NULL;
    llm_status st = progress(j);
    int il = -1;

    for (size_t i = 0; i < j->plan.n && st == LLM_OK; i++) {
        const quant_item *it = &j->plan.item[i];
        if (it->il >= 0 && it->il != il) {
            if (il >= 0) weights_layer_out(j->m, mark);
            st = weights_layer_in(j->m, il = it->il, &mark, j->err);
        }
        if (st == LLM_OK) st = write_item(j, it);
    }
    if (il >= 0) weights_layer_out(j->m, mark);
    return st;
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

/* A folder's model bound without its bytes; a GGUF file's tensors and keys. */
static llm_status open_source(job *j)
{
    llm_model *m = j->m;
    llm_status st;

    m->name = "", m->plan_only = true, m->log = j->opt->log, m->user = j->opt->user;
    if ((st = store_open(&m->store, j->opt->in, false, j->err)) != LLM_OK || (st = meta_open(&m->meta, m->store, j->err)) != LLM_OK) return st;
    if (store_kind(m->store) == STORE_GGUF) return plan_gguf(j);
    if ((m->arch = arch_find(m->meta, j->err)) == NULL) return j->err->status;
    if ((st = config_read(&m->config, m->arch, m->meta, j->err)) != LLM_OK || (st = weights_bind(m, j->err)) != LLM_OK) return st;
    if ((st = tokenizer_open(&m->tokenizer, m->meta, m->store, m->config.n_vocab, j->err)) != LLM_OK) return st;
    meta_str(m->meta, NULL, "_name_or_path", &m->name);
    return convert_plan(&j->plan, m, j->err);
}

/* What is written about how the file was made. */
static void own_keys(job *j)
{
    gguf_out *o = &j->plan.out;
    const char *file;

    gguf_out_u32(o, "general.file_type", (uint32_t)mix_info(j->mix)->file_type);
    gguf_out_u32(o, "general.quantization_version", 2);
    if (!j->has_im) return;
    file = strrchr(j->opt->imatrix, '/');
    file = file ? file + 1 : j->opt->imatrix;
    gguf_out_str(o, "quantize.imatrix.file", file, strlen(file));
    gguf_out_str(o, "quantize.imatrix.dataset", j->im.dataset, strlen(j->im.dataset));
    gguf_out_u32(o, "quantize.imatrix.entries_count", (uint32_t)j->im.n);
    if (j->im.chunks > 0) gguf_out_u32(o, "quantize.imatrix.chunks_count", (uint32_t)j->im.chunks);
}

/* The keys alone, read back before anything is computed. */
static llm_status check_header(job *j)
{
    gguf_writer w;
    llm_status st;

    if (store_kind(j->m->store) == STORE_GGUF) return LLM_OK;
    st = gguf_writer_begin(&w, &j->plan.out, j->opt->out, j->err);
    if (st == LLM_OK) st = convert_check(j->m, w.temporary, j->err);
    gguf_writer_close(&w);
    return st;
}

static llm_status add_tensors(job *j)
{
    quant_plan *p = &j->plan;
    char fell[160] = "";

    for (size_t i = 0; i < p->n; i++) {
        const quant_item *it = &p->item[i];
        int64_t n = 1;
        if (!gguf_out_tensor(&p->out, it->name, it->dtype, it->dim, it->n_dim))
            return llm_fail(j->err, LLM_ERR_FORMAT, "tensor '%.120s' cannot be stored as %s", it->name, dtype_name(it->dtype));
        for (int d = 0; d < it->n_dim; d++) n *= it->dim[d];
        if (it->dim[it->n_dim - 1] > j->widest) j->widest = it->dim[it->n_dim - 1];
        if (it->stored && it->dim[it->n_dim - 1] == 1 && n > j->widest) j->widest = n;
        j->total += (uint64_t)n, j->result.n_tensor++;
        if (it->fell_back && j->result.n_fallback++ < 2)
            snprintf(fell + strlen(fell), sizeof fell - strlen(fell), "%s%.50s as %s", *fell ? ", " : "", it->name, dtype_name(it->dtype));
    }
    j->result.n_value = j->total, j->result.bytes = p->out.data_bytes + p->out.kv.n + p->out.info.n;
    if (j->result.n_fallback > 0 && j->opt->log) {
        char line[400];
        snprintf(line, sizeof line, "%" PRIu64 " tensors have rows that are not whole blocks of their type and get another (%s%s)", j->result.n_fallback, fell,
                 j->result.n_fallback > 2 ? ", ..." : "");
        j->opt->log(j->opt->user, LLM_LOG_WARN, line);
    }
    return LLM_OK;
}

static llm_status take_memory(job *j)
{
    size_t chunk = 0, row;

    for (size_t i = 0; i < j->plan.n; i++)
        if (dtype_bytes(j->plan.item[i].dtype, j->plan.item[i].dim[j->plan.item[i].n_dim - 1], &row) && row > chunk) chunk = row;
    if (chunk < (size_t)j->widest * 8) chunk = (size_t)j->widest * 8;
    if (!ck_mul((size_t)j->widest * 2 * sizeof(float), (size_t)pool_size(j->pool), &row) || !ck_add(chunk, CHUNK_BYTES, &chunk))
        return llm_fail(j->err, LLM_ERR_FORMAT, "rows of %" PRId64 " values are too wide", j->widest);
    j->row = malloc(row), j->chunk = malloc(chunk);
    return j->row && j->chunk ? LLM_OK : llm_fail_memory(j->err, row + chunk, "rows being quantized");
}

/* The file must not be one of those it is made from. */
static llm_status check_output(const job *j)
{
    const char *out = j->opt->out;
    char *a = realpath(out, NULL), *b;
    bool same = false;

    if (file_is_dir(out)) { free(a); return llm_fail(j->err, LLM_ERR_IO, "%s: is a folder, wanted the name of a file to write", file_label(out)); }
    for (size_t i = 0; a && i < store_n_file(j->m->store); i++) {
        b = realpath(store_file_name(j->m->store, (int)i), NULL);
        same |= b && strcmp(a, b) == 0;
        free(b);
    }
    free(a);
    return same ? llm_fail(j->err, LLM_ERR_ARG, "%s: is the file to be read", file_label(out)) : LLM_OK;
}

static llm_status run(job *j)
{
    llm_status st;

    if ((st = quantize_mix(j->opt->type, &j->mix, j->err)) != LLM_OK || (st = read_rules(j)) != LLM_OK
        || (st = cpu_choose_isa(&j->isa, j->opt->cpu, j->err)) != LLM_OK) return st;
    if (j->opt->imatrix) {
        if ((st = imatrix_read(&j->im, j->opt->imatrix, j->err)) != LLM_OK) return st;
        j->has_im = true;
    }
    if ((st = open_source(j)) != LLM_OK || (st = check_output(j)) != LLM_OK) return st;
    own_keys(j);
    if ((st = choose_types(j)) != LLM_OK || (st = check_header(j)) != LLM_OK || (st = add_tensors(j)) != LLM_OK) return st;
    if ((st = pool_open(&j->pool, j->opt->n_threads ? j->opt->n_threads : threads_available(), j->err)) != LLM_OK || (st = take_memory(j)) != LLM_OK) return st;
    if ((st = gguf_writer_begin(&j->out, &j->plan.out, j->opt->out, j->err)) != LLM_OK || (st = write_items(j)) != LLM_OK) return st;
    return gguf_writer_finish(&j->out, &j->plan.out);
}

llm_status quantize_run(const llm_quantize_options *opt, llm_quantize_result *result, llm_error *err)
{
    llm_error mine;
    llm_model m = { 0 };
    job j = { .opt = opt, .err = err ? err : &mine, .m = &m, .out.fd = -1, .result.size = sizeof j.result };
    llm_status st = run(&j);

    gguf_writer_close(&j.out);
    pool_close(j.pool);
    plan_free(&j.plan), imatrix_free(&j.im);
    free(j.rule), free(j.row), free(j.chunk);
    tokenizer_close(m.tokenizer);
    weights_free(&m);
    config_free(&m.config);
    meta_close(m.meta);
    store_close(m.store);
    *result = j.result;
    return st;
}
