/* forward.h - the one forward pass and the buffers it works in.
 *
 * A layer runs on the backend that holds its weights. A session of a model that is partly on a device has two runs, one on each
 * backend with its own buffers; the rows go from one to the other where the layers do. */
#ifndef LLM_FORWARD_H
#define LLM_FORWARD_H
#include "model.h"

typedef struct llm_run {
    const llm_model *m;
    llm_backend *be;
    llm_site site;                      /* of be */
    struct llm_run *other;              /* on the other backend; NULL: one does everything */
    llm_kv_layer *kv;                   /* [n_layer] */
    llm_tap_fn tap;                     /* NULL: off */
    void *tap_user;
    bool (*stop)(void *user);           /* asked before every layer: shall the step be given up? NULL: never */
    void *stop_user;
    void *arena;                        /* all buffers below, sized for n_batch rows */
    size_t arena_bytes;
    int n_batch;
    int normed;                         /* h has the norm that layer normed - 1 begins with */
    bool keep;                          /* set by the caller: logits may stay in out; held: so many do after the step */
    int held;
    float *peak;                        /* set by the caller: NULL, or where peaks of the logits' blocks go, row by row; peaked: they are there */
    bool peaked;
    llm_rows x, h, o;                   /* residual, normed input, mixer or feed-forward output: d_model */
    llm_rows q, k, v, a;                /* attention's query, keys, values and result */
    llm_rows lat, qa;                   /* MLA: compressed query; query and result against the latent */
    llm_rows gate, up;                  /* feed-forward */
    llm_rows score, shared, shared_gate;    /* experts; their choice lies behind h: run_choice */
    int n_used;
    llm_rows cs[N_ROPE];                /* cosines and sines of the rows' positions */
    llm_rows out;                       /* where rows live elsewhere: logits on their way to the host; else n is 0 */
    llm_rows grow;                      /* [1, n_batch] Qwen 1: how much each row's query grows */
} llm_run;

/* For what of m runs there: limits for backend_open and the bytes run_open allocates. False when a size wraps. */
bool run_limits(const llm_model *m, llm_site site, int n_batch, int n_ctx, llm_limits *out);
bool run_bytes(const llm_model *m, llm_site site, int n_batch, size_t *out);
llm_status run_open(llm_run *r, const llm_model *m, llm_site site, llm_backend *be, llm_kv_layer *kv, int n_batch, llm_error *err);
void run_close(llm_run *r);             /* a zeroed one is fine */

/* Runs b (b->n <= n_batch, cells reserved) through every layer, beginning with r or the other. Rows whose want[i] is nonzero leave their
 * logits, in row order, in logits [n_want, n_vocab], which the caller owns; or, with keep, in out of the run that has the head where that is on
 * a device and has room (held). Rows of the vocabulary's padding are not masked here.
 * LLM_ERR_CANCELLED when r->stop says so. */
llm_status llm_forward(llm_run *r, const llm_batch *b, const uint8_t *want, float *logits, llm_error *err);

/* ---- the steps of a layer, one file each (attention.c, mla.c, moe.c) ---- */

/* h [n, d_model] -> o [n, d_model] */
void run_attention(llm_run *r, const llm_batch *b, int il);
void run_mla(llm_run *r, const llm_batch *b, int il);
void run_moe(llm_run *r, const llm_batch *b, int il);

/* r or the other: the one on that backend. */
static inline llm_run *run_at(llm_run *r, llm_site site) { return r->site == site ? r : r->other; }
/* Rows of one run, which lie close together, into a buffer of the other. */
void run_copy(llm_run *to, llm_rows dst, llm_run *from, llm_rows src);
/* The first n rows and width values of a buffer, lying close together. */
static inline llm_rows run_rows_of(llm_rows buf, int n, int width) { return (llm_rows){ buf.data, n, width, width }; }
/* Where the routing of n rows lies: right behind their normed input in h, so that all three cross to another backend as one. weight [n, n_used],
 * expert [n * n_used]. */
typedef struct { llm_rows weight; int32_t *expert; } llm_choice;
static inline llm_choice run_choice(const llm_run *r, int n)
{
    float *at = r->h.data + (int64_t)n * r->h.width;
    return (llm_choice){ { at, n, r->n_used, r->n_used }, (int32_t *)(void *)(at + (int64_t)n * r->n_used) };
}
void run_tap(llm_run *r, const char *name, int il, llm_rows rows);
void run_linear(llm_run *r, llm_rows y, llm_rows x, const llm_tensor *w, const llm_tensor *bias);    /* bias may be unbound */
llm_linear run_product(llm_rows y, const llm_tensor *w, const llm_tensor *bias);
/* o = down(act(gate h) * up h) */
void run_gated(llm_run *r, llm_rows o, llm_rows h, const llm_tensor *gate, const llm_tensor *up, const llm_tensor *down);
#endif
