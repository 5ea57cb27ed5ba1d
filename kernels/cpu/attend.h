/* attend.h - attention on the CPU: what its files share. The order of every sum is written in attend_ref.c. */
#ifndef LLM_CPU_ATTEND_H
#define LLM_CPU_ATTEND_H
#include "cpu_impl.h"
#include "kv.h"

enum {
    ATTEND_CHUNK = 512,                 /* positions whose result is computed on its own */
    ATTEND_TILE = 192,                  /* query rows that share a load of K and V: sixteen times the micro-kernel's twelve */
    ATTEND_NARROW = 128,                /* heads wider than this, */
    ATTEND_WIDE_TILE = 96,              /* and latent caches, take fewer rows, so that they stay in the second cache */
    ATTEND_MAX_D = 1024                 /* widest head */
};

typedef struct {
    llm_rows o, q;
    const llm_kv_layer *kv;
    const llm_batch *b;
    const llm_attn_args *a;
    const float *sink;                  /* [n_head] or NULL */
    const cpu_rows *row;
} attend_job;

/* The query rows of one piece of work: `heads` heads from `head` on (all of one kv head) of n_pos consecutive positions;
 * row i is head i % heads of position i / heads. */
typedef struct { int seq, kv_head, head, heads, row0, pos0, n_pos; } attend_tile;

/* A softmax on its way: for each of a tile's rows the largest score, the sum of the exponentials, and the sum of the
 * weighted values [ATTEND_TILE, stride]. l is 0 for a row that has seen no key. */
typedef struct { float *m, *l, *acc; int stride; } attend_state;

/* One thread's working memory. */
typedef struct {
    float *q;                           /* times scale, [tile, d_k], or for a latent cache [d_k, wide tile]; Q8_0: attend_dots_body.h */
    float *p;                           /* [tile, 64] scores, then weights; [64, wide tile] for a latent cache */
    float *k, *v;                       /* a block as floats, in panels; rows of a latent cache */
    float *unit;                        /* [64, d_v / 32] factors of Q8_0 values */
    float *lane, *corr;                 /* [tile, 16], or for a latent cache [16, wide tile]; [tile] */
    attend_state chunk, total;
} attend_work;

/* The loops that come once per instruction set. */
typedef struct {
    void (*gather)(const attend_job *j, const attend_tile *t, attend_work *w);  /* the tile's queries into w->q */
    /* the keys of positions c * 512 .. +511 for the tile's rows into w->chunk, which is emptied first; w->q is ready */
    void (*chunk)(const attend_job *j, const attend_tile *t, attend_work *w, int64_t c);
    void (*merge)(attend_state to, attend_state st, int rows, int width);       /* width: d_v rounded up to 16 */
    void (*finish)(const attend_job *j, const attend_tile *t, attend_state st); /* divides, writes j->o */
} attend_fns;

extern const attend_fns attend_avx2, attend_avx512, attend_neon;

void attend_run_ref(cpu_impl *impl, attend_job *j);
#endif
