/* session.h - what changes from request to request: sequences, their cache, the buffers of a step. */
#ifndef LLM_SESSION_H
#define LLM_SESSION_H
#include "forward.h"

/* ---- kv.c: which cells of the cache belong to whom ---- */

typedef struct {
    int length;                         /* tokens held */
    int top;                            /* greatest length so far: a layer of n_cell cells holds positions top - n_cell .. length - 1 */
    int restored;                       /* length that came from a file, with one window of the sliding layers */
} kv_seq;

typedef struct {
    int n_layer, n_seq, n_ctx, n_batch;
    llm_dtype dtype;
    llm_kv_layer *layer;                /* [n_layer] */
    int *window;                        /* [n_layer] 0: all */
    llm_site *site;                     /* [n_layer] whose memory its cells are in */
    kv_seq *seq;                        /* [n_seq] */
    int *n_large;                       /* [n_seq] layers whose cells of the sequence are in large pages */
    llm_token *token;                   /* [n_seq, n_ctx] */
    const llm_ops *op[N_SITE];          /* kv_size, kv_get, kv_put */
    llm_backend *be[N_SITE];            /* whose memory it is; NULL: the process's own */
    void *map[N_SITE];                  /* keys and values of all sequences */
    size_t map_bytes[N_SITE], token_bytes;
} llm_kv;

/* Shapes and sizes; nothing is mapped. n_ctx, n_seq, n_batch, dtype and op of kv are set by the caller. */
llm_status kv_plan(llm_kv *kv, const llm_model *m, llm_error *err);
llm_status kv_map(llm_kv *kv, llm_error *err);          /* after kv_plan */
void kv_close(llm_kv *kv);                              /* half-made ones too */

int kv_room(const llm_kv *kv, int seq);                 /* tokens that still fit */
llm_token *kv_tokens(const llm_kv *kv, int seq);        /* [n_ctx] */
/* Rows for positions length .. length + n - 1 are about to be written: what they push out is gone. */
void kv_reserve(llm_kv *kv, int seq, int n);
void kv_commit(llm_kv *kv, int seq, int n);             /* they are complete: the sequence has grown */
void kv_clear(llm_kv *kv, int seq);
llm_status kv_truncate(llm_kv *kv, int seq, int n, llm_error *err);
/* First position that layer il must hold so that a sequence of n tokens can go on. */
int kv_first(const llm_kv *kv, int il, int n);
size_t kv_row_bytes(const llm_kv_layer *l, bool value); /* one position's keys, or values */
/* Greatest of (keys + values) of KV_BLOCK positions over all layers: a buffer for moving cells. */
size_t kv_block_bytes(const llm_kv *kv);
llm_status kv_copy(llm_kv *kv, int from, int to, llm_error *err);
/* Layer il's cells of positions pos .. pos + n - 1 as plain rows, out of the cache or into it (kv_get, kv_put of kernels/backend.h). */
llm_status kv_read(const llm_kv *kv, int il, int seq, int pos, int n, void *k, void *v, llm_error *err);
llm_status kv_write(const llm_kv *kv, int il, int seq, int pos, int n, const void *k, const void *v, llm_error *err);
/* The ops on layer il's cells. */
static inline const llm_ops *kv_op(const llm_kv *kv, int il) { return kv->op[kv->site[il]]; }

/* ---- session.c, batch.c ---- */

struct llm_session {
    llm_model *model;
    llm_kv kv;
    llm_backend be[N_SITE];             /* zeroed: nothing runs there */
    llm_run run[N_SITE], *first;        /* first: one that is used */
    float *logits;                      /* [cap_logits, n_vocab] */
    float *peak;                        /* [cap_logits, n_peak] of their blocks (peak.h), where peaked */
    size_t n_peak;
    bool peaked;
    size_t n_logits, cap_logits;
    float *row;                         /* [n_vocab] while rows change places */
    int32_t *token, *pos, *seq;         /* [n_batch] the current piece */
    int32_t *origin;                    /* [n_batch] which row of the piece each of them was */
    uint8_t *want;                      /* [n_batch] */
    llm_span *span;                     /* [n_batch] */
    int *n_row_seq;                     /* [n_seq] rows of a step or a piece, per sequence */
    llm_progress_fn progress;
    void *progress_user;
    size_t rows_done, rows_all;         /* of the decode under way */
    uint64_t claimed[N_SITE];           /* bytes that this session has in model->claimed */
    size_t n_held;                      /* rows of logits that are still on the device, all of n_logits or 0 */
    llm_top *top;                       /* [n_top] what picks want of them, where the head is on a device */
    int n_top;
};

/* The run that makes the logits. */
static inline llm_run *session_head(const llm_session *s) { return run_at(s->first, site_of_ends(s->model)); }

/* Rows as the two public calls give them: row, or token for sequence 0 with the logits of the last. */
typedef struct { const llm_row *row; const llm_token *token; size_t n; } batch_input;

llm_status batch_decode(llm_session *s, const batch_input *in, llm_error *err);
bool session_logits_reserve(llm_session *s, size_t n);  /* room for n rows */
/* How many rows picks look at at once: 0 where the logits are made by the CPU. */
int session_top_rows(const llm_model *m, int n_seq);
/* Brings the logits that are on a device to s->logits. */
llm_status session_fetch(llm_session *s, llm_error *err);
/* Rows first .. first + n - 1 of the logits: out [n], from the first failure on -1. */
llm_status session_pick(llm_session *s, size_t first, size_t n, llm_sampler *const *p, const uint64_t *pos, llm_token *out, llm_error *err);

/* state.c */
llm_status state_save(const llm_session *s, const char *path, llm_error *err);
llm_status state_restore(llm_session *s, const char *path, llm_error *err);

/* Options with their defaults filled in and checked. */
llm_status session_options(llm_session_options *o, const llm_model *m, llm_error *err);
llm_status session_open(llm_session **out, llm_model *m, const llm_session_options *o, llm_error *err);
#endif
