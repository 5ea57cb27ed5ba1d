#include "work.h"
#include "matrix.h"
#include "weights.h"
#include <math.h>

static double elements(const llm_tensor *t) { return (double)t->dim[0] * (double)t->dim[1] * (double)t->dim[2]; }

static double bytes_of(const llm_tensor *t)
{
    int64_t cols = t->dim[2] > 1 ? t->dim[2] : t->dim[1] > 1 ? t->dim[1] : t->dim[0];
    const llm_dtype_info *info = dtype_info(t->dtype);
    double bytes = elements(t) / info->block * info->block_bytes, tiles;

    if (t->scale.data == NULL && t->scale.part == NULL) return bytes;
    tiles = ceil((double)t->dim[t->dim[2] > 1] / (double)t->scale.tile_rows) * ceil((double)cols / (double)t->scale.tile_cols)
            * (t->dim[2] > 1 ? (double)t->dim[0] : 1);
    return bytes + tiles * dtype_info(t->scale.dtype)->block_bytes;
}

static bool is_expert(int slot)
{
    return slot == W_gate_x || slot == W_up_x || slot == W_down_x || slot == W_bgate_x || slot == W_bup_x || slot == W_bdown_x;
}

static bool is_matrix(int slot, const llm_tensor *t)
{
    return t->dim[1] > 1 && slot != W_bgate_x && slot != W_bup_x && slot != W_bdown_x;
}

static void add_weight(model_work *w, int slot, const llm_tensor *t)
{
    double share = is_expert(slot) ? (double)w->config->n_expert_used / w->config->n_expert : 1;

    *(is_expert(slot) ? &w->expert_bytes : &w->dense_bytes) += bytes_of(t);
    if (is_matrix(slot, t)) *(matrix_form(t->dtype) == X_F32 ? &w->float_macs : &w->int8_macs) += share * elements(t);
}

model_work work_of(const llm_model *m, llm_dtype kv_type)
{
    model_work w = { .config = &m->config, .n_layer = m->config.n_layer, .kv_type = kv_type };

    for (int il = 0; il < m->config.n_layer; il++)
        for (int s = 0; s < W_COUNT; s++) {
            const llm_tensor *t = weights_slot(&m->layer[il], (llm_slot)s);
            if (tensor_bound(t)) add_weight(&w, s, t);
        }
    w.dense_bytes += bytes_of(&m->out_norm) + bytes_of(&m->head);
    w.embed_row = (double)m->embed.row_bytes;
    *(matrix_form(m->head.dtype) == X_F32 ? &w.head_float : &w.head_int8) = elements(&m->head);
    return w;
}

/* Of all experts, the part that n rows choose among them where each expert is as likely. */
static double chosen(const llm_config *c, double n)
{
    return c->n_expert < 1 ? 0 : 1 - pow(1 - (double)c->n_expert_used / c->n_expert, n);
}

static double step_bytes(const model_work *w, double n) { return w->dense_bytes + chosen(w->config, n) * w->expert_bytes + n * w->embed_row; }

double work_token_bytes(const model_work *w) { return step_bytes(w, 1); }

/* ---- keys and values -------------------------------------------------------------- */

/* Bytes of one position's keys and values. Latents are never kept in Q8_0 or E4M3. */
static double cell_bytes(const model_work *w, int il)
{
    const llm_layer_config *l = &w->config->layer[il];
    bool latent = l->mixer == MIX_MLA;
    llm_dtype type = latent && (w->kv_type == DT_Q8_0 || w->kv_type == DT_F8_E4M3) ? DT_F16 : w->kv_type;
    double values = latent ? w->config->kv_lora + w->config->d_rope : 2.0 * l->n_kv_head * l->head_dim;

    return values * dtype_info(type)->block_bytes / dtype_info(type)->block;
}

/* Keys that n rows from pos on read together, and the pairs of queries and keys. */
static double keys_read(int window, int pos, int n) { return window > 0 && pos >= window ? window + n - 1 : pos + n; }

static double pairs_to(double n, double window)
{
    return window < 1 || n <= window ? n * (n + 1) / 2 : window * (window + 1) / 2 + (n - window) * window;
}

static double kv_bytes(const model_work *w, int pos, int n)
{
    double bytes = 0;

    for (int il = 0; il < w->n_layer; il++) bytes += cell_bytes(w, il) * keys_read(w->config->layer[il].window, pos, n);
    return bytes;
}

double work_kv_bytes(const model_work *w, int pos) { return kv_bytes(w, pos, 1); }

/* Multiplications of scores and sums for n rows from pos on. MLA in its expanded form, which is the cheaper one for prompts. */
static double attention_macs(const model_work *w, int pos, int n)
{
    const llm_config *c = w->config;
    double macs = 0;

    for (int il = 0; il < w->n_layer; il++) {
        const llm_layer_config *l = &c->layer[il];
        double width = l->mixer == MIX_MLA ? c->d_nope + c->d_rope + c->d_v : 2.0 * l->head_dim;
        macs += c->n_head * width * (pairs_to(pos + n, l->window) - pairs_to(pos, l->window));
    }
    return macs;
}

/* ---- the least time ------------------------------------------------------------------ */

static double seconds_of(work_floor *f, const machine_limits *m)
{
    double compute = f->int8_ops / (m->int8_gops * 1e9) + f->float_ops / (m->f32_gflops * 1e9), read = f->bytes / (m->read_gbs * 1e9);

    return compute > read ? compute : read;
}

static work_floor prompt_floor(const model_work *w, const work_test *t)
{
    work_floor f = { 0 };

    for (int at = 0, n; at < t->prompt; at += n) {
        n = t->prompt - at < t->batch ? t->prompt - at : t->batch;
        f.bytes += step_bytes(w, n) + kv_bytes(w, t->depth + at, n);
    }
    f.int8_ops = 2 * (w->int8_macs * t->prompt + w->head_int8);
    f.float_ops = 2 * (w->float_macs * t->prompt + w->head_float + attention_macs(w, t->depth, t->prompt));
    f.bytes *= t->n_seq, f.int8_ops *= t->n_seq, f.float_ops *= t->n_seq;
    return f;
}

static work_floor generate_floor(const model_work *w, const work_test *t)
{
    double rows = (double)t->generate * t->n_seq;
    work_floor f = { 0 };
    int pos = t->depth + t->prompt;

    f.bytes = t->generate * step_bytes(w, t->n_seq);
    for (int i = 0; i < t->generate; i++) f.bytes += t->n_seq * kv_bytes(w, pos + i, 1);
    f.int8_ops = 2 * rows * (w->int8_macs + w->head_int8);
    f.float_ops = 2 * (rows * (w->float_macs + w->head_float) + t->n_seq * attention_macs(w, pos, t->generate));
    return f;
}

work_floor work_least(const model_work *w, const work_test *t, const machine_limits *m)
{
    work_floor p = { 0 }, g = { 0 };

    if (t->prompt > 0) p = prompt_floor(w, t), p.seconds = seconds_of(&p, m);
    if (t->generate > 0) g = generate_floor(w, t), g.seconds = seconds_of(&g, m);
    return (work_floor){ p.seconds + g.seconds, p.bytes + g.bytes, p.int8_ops + g.int8_ops, p.float_ops + g.float_ops };
}
