/* backend.h - the seam between the forward pass and what computes it.
 *
 * The forward pass (libllm/model/forward.c) is written in the ops below; a backend
 * fills the table. The scalar reference fills all of it, faster sets overlay entries
 * and must return the same bits. Views are plain structs; nothing here owns memory
 * unless it says so. All activations are float rows. Ops return nothing: the first
 * failure sticks in llm_backend.err and the forward pass returns it. */
#ifndef LLM_BACKEND_H
#define LLM_BACKEND_H
#include "cpu.h"
#include "dtype.h"
#include "status.h"
#include <stdbool.h>

typedef enum { ACT_SILU, ACT_GELU_TANH, ACT_SWIGLU_OAI } llm_act;
typedef enum { ROPE_HALF, ROPE_PAIRS } llm_rope_style;   /* pairs (i, i+R/2) | (2i, 2i+1) */
typedef enum { GATE_SOFTMAX, GATE_TOPK_SOFTMAX, GATE_SIGMOID } llm_gate;

/* Scales of an FP8 or FP4 weight: one value per tile of tile_rows x tile_cols elements (the last
 * ones may be partial), row-major; one value in all when both cover the matrix. */
typedef struct {
    const void *data;                   /* NULL: no scale */
    const void *const *part;            /* as llm_tensor.part */
    llm_dtype dtype;                    /* DT_F32, DT_BF16; DT_F8_E8M0 for tiles of 1 x 32 of DT_F4_E2M1 */
    int64_t tile_rows, tile_cols;
    size_t row_bytes;                   /* from a row of tiles to the next; 0: they lie side by side */
} llm_scale;

/* The same where it is 0, too, for a matrix of cols columns. */
static inline size_t scale_row_bytes(const llm_scale *s, int64_t cols)
{
    int64_t n = s->tile_cols > 0 ? (cols + s->tile_cols - 1) / s->tile_cols : 1;
    return s->row_bytes ? s->row_bytes : (size_t)n * (size_t)dtype_info(s->dtype)->block_bytes;
}

/* A weight as it lies in the file. dim is outermost first and 1 beyond the tensor's
 * own dimensions: a vector is [n,1,1], a matrix [rows, cols, 1], experts [E, rows, cols].
 * Rows are row_bytes apart; only those of DT_F4_E2M1 may have others between them. */
typedef struct {
    const void *data;                   /* NULL: absent (part is NULL too) */
    const void *const *part;            /* [dim[0]] start of each matrix of a 3-D weight whose matrices lie apart; else NULL */
    llm_dtype dtype;
    int64_t dim[3];
    size_t row_bytes;
    llm_scale scale;
    const int32_t *perm;                /* GPTQ act-order, [cols]: column k multiplies x[perm[k]]; NULL: k */
    void *packed;                       /* the backend's own form of the same weight, or NULL */
    struct llm_packed *repacked;        /* the CPU's: what of it has been put into another order so far, or NULL */
} llm_tensor;

/* Bytes from the first of n rows to the end of the last. */
static inline size_t tensor_span(const llm_tensor *t, int64_t n)
{
    size_t row = t->row_bytes;

    if (t->dtype == DT_F4_E2M1) (void)dtype_bytes(t->dtype, t->dim[t->dim[2] > 1 ? 2 : 1], &row);
    return n > 0 ? (size_t)(n - 1) * t->row_bytes + row : 0;
}

static inline bool tensor_bound(const llm_tensor *t) { return t->data != NULL || t->part != NULL; }

/* n rows of width values; row i starts at data + i * stride. */
typedef struct { float *data; int n, width; int64_t stride; } llm_rows;

static inline float *row_at(llm_rows r, int64_t i) { return r.data + i * r.stride; }

/* One y = w x (+ bias). w [rows, cols], x [n, cols], y [n, rows], bias F32/F16/BF16 [rows] or NULL. */
typedef struct { llm_rows y; const llm_tensor *w, *bias; } llm_linear;

/* The rows of one step. They are grouped by sequence: span i is n rows of one sequence at
 * consecutive positions pos0, pos0+1, ... */
typedef struct { int seq, row0, n, pos0; } llm_span;
typedef struct {
    int n, n_span;
    const int32_t *token, *pos, *seq;   /* [n] */
    const llm_span *span;               /* [n_span] */
} llm_batch;

/* Rotation angles: freq [n_rot/2] radians per position; cos and sin are both multiplied by mscale. */
typedef struct { const float *freq; int n_rot; float mscale; } llm_rope;

/* One layer's keys and values for every sequence. Cell of position p is p % n_cell; n_cell is a
 * multiple of KV_BLOCK and, with a window, at least window + n_batch - 1 rounded up. How the bytes
 * lie is the backend's choice (kernels/cpu/kv.h). latent: v is the first d_v values of k (MLA). */
enum { KV_BLOCK = 64 };
typedef struct {
    llm_dtype dtype;                    /* DT_F32, DT_F16 or, not latent, DT_F8_E4M3 or (d_k and d_v multiples of 32) DT_Q8_0 */
    int n_kv_head, d_k, d_v, n_cell, n_seq;
    bool latent;
    void *k, *v;                        /* v NULL when latent; seq s starts at s * k_seq_bytes */
    size_t k_seq_bytes, v_seq_bytes;    /* multiples of 64 */
} llm_kv_layer;

/* window: a query at p sees keys j with p - j < window (0: all j <= p). sinks [n_head] or NULL:
 * a score per head that joins the softmax without a value. */
typedef struct {
    int n_head, window;
    float scale, softcap;               /* softcap 0: none; s = cap * tanh(s / cap) after scale */
    const llm_tensor *sinks;
} llm_attn_args;

/* score [n, n_expert] are the router's logits. See facts in route_ref.c for each kind. bias: the
 * correction that enters selection only (DeepSeek-V3). group_top2: a group's score is the sum of its two best
 * (V3), else its best (V2). renorm: divide by the sum of the chosen weights. */
typedef struct {
    llm_gate gate;
    int n_expert, n_used, n_group, n_group_used;
    bool renorm, group_top2;
    float scale;
} llm_route_args;

/* Gated feed-forward of experts: y_i = sum_u weight[i][u] * (down_e (act(gate_e x_i + bgate_e, up_e x_i + bup_e)) + bdown_e)
 * with e = expert[i][u], summed in ascending u. */
typedef struct {
    const llm_tensor *gate, *up, *down; /* [E, d_ff, d_model] twice, [E, d_model, d_ff] */
    const llm_tensor *bgate, *bup, *bdown;  /* [E, rows] or NULL */
    llm_act act;
    float limit;                        /* ACT_SWIGLU_OAI's clamp */
} llm_moe_args;

/* Heads of d_head values; norms [d_head] of the heads, or NULL. */
typedef struct {
    int d_head;
    llm_rope_style style;
    const llm_tensor *q_norm, *k_norm;
    float eps, offset;
} llm_rope_store_args;

/* What a session needs at most, so that scratch is allocated once. */
typedef struct {
    int n_batch, max_cols, max_rows, n_expert, n_expert_used, d_ff_expert, d_model, n_head, max_d_head, n_ctx;
    bool deterministic;                 /* a row's bits must not depend on what else is in the batch; the CPU's never do */
} llm_limits;

typedef struct llm_backend llm_backend;
typedef struct {
    /* y_i = scale * table[token_i] */
    void (*embed)(llm_backend *be, llm_rows y, const llm_tensor *table, const int32_t *token, float scale);
    /* y_i = x_i / rms(x_i) * (w + offset); w [width]; x and y may be the same rows */
    void (*norm)(llm_backend *be, llm_rows y, llm_rows x, const llm_tensor *w, float eps, float offset);
    /* n products of the same x */
    void (*linear)(llm_backend *be, const llm_linear *l, int n, llm_rows x);
    /* cs [batch, n_rot]: n_rot/2 cosines, then n_rot/2 sines, times mscale */
    void (*rope_table)(llm_backend *be, llm_rows cs, const llm_rope *rope, const int32_t *pos);
    /* rotates n_rot values at offset of every head (heads are d_head apart) of every row, in place */
    void (*rope)(llm_backend *be, llm_rows x, llm_rows cs, int d_head, int offset, llm_rope_style style);
    /* puts the rows' keys [n, n_kv_head*d_k] and values [n, n_kv_head*d_v] (ignored when latent) into their cells */
    void (*store)(llm_backend *be, llm_kv_layer *kv, llm_rows k, llm_rows v, const llm_batch *b);
    /* o [n, n_head*d_v] from q [n, n_head*d_k]; the batch's own keys are stored already */
    void (*attend)(llm_backend *be, llm_rows o, llm_rows q, const llm_kv_layer *kv, const llm_batch *b, const llm_attn_args *a);
    /* per head h: y[h*y_step ..+rows] = w_h x[h*x_step ..+cols]; w [n_head, rows, cols] (MLA) */
    void (*absorb)(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w);
    /* per head h: y[h*y_step ..+width] = x[h*x_step ..+width]; both views start at the first head's first value */
    void (*copy_heads)(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, int n_head, int width);
    void (*scale_rows)(llm_backend *be, llm_rows x, const float *s);            /* x_i *= s[i] */
    /* y = act(gate) * up (ACT_SWIGLU_OAI: see glu_ref); y may be gate */
    void (*glu)(llm_backend *be, llm_rows y, llm_rows gate, llm_rows up, llm_act act, float limit);
    void (*add)(llm_backend *be, llm_rows x, llm_rows y);                       /* x += y */
    void (*add_gated)(llm_backend *be, llm_rows x, llm_rows y, llm_rows gate);  /* x += sigmoid(gate[i][0]) * y */
    void (*route)(llm_backend *be, llm_rows weight, int32_t *expert, llm_rows score, const llm_tensor *bias, const llm_route_args *a);
    void (*moe)(llm_backend *be, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a);
    void (*softcap)(llm_backend *be, llm_rows x, float cap);                    /* x = cap * tanh(x / cap) */
    /* bytes of one sequence's keys and values for this shape (n_cell, d_k, ... filled in; sets the two seq_bytes) */
    bool (*kv_size)(llm_kv_layer *kv);
    /* copies positions pos..pos+n-1 (n <= n_cell) of one sequence out of their cells, or into them, as plain rows of kv->dtype:
     * k [n, n_kv_head*d_k], v [n, n_kv_head*d_v] (NULL when latent). False: a device did not copy them, and what there is now is not said */
    bool (*kv_get)(const llm_kv_layer *kv, int seq, int pos, int n, void *k, void *v);
    bool (*kv_put)(llm_kv_layer *kv, int seq, int pos, int n, const void *k, const void *v);
} llm_ops;

/* Several ops in one. Each may be NULL, and stands for what its comment says. */
typedef struct {
    /* add(x, o); norm(h, x, w, eps, offset) */
    void (*add_norm)(llm_backend *be, llm_rows x, llm_rows o, llm_rows h, const llm_tensor *w, float eps, float offset);
    /* norm of every head of q and of k where a->q_norm is given; rope(q), rope(k) from offset 0; store(k, v) */
    void (*rope_store)(llm_backend *be, llm_rows q, llm_rows k, llm_rows v, llm_rows cs, const llm_rope_store_args *a, llm_kv_layer *kv, const llm_batch *b);
    /* the three products l of x: queries, keys and values; rope_store of them */
    void (*qkv_store)(llm_backend *be, const llm_linear *l, llm_rows x, llm_rows cs, const llm_rope_store_args *a, llm_kv_layer *kv, const llm_batch *b);
    /* linear of gate and up; glu(y, y, u): y = act(gate x) * up x; what u then holds is not said */
    void (*gated)(llm_backend *be, llm_rows y, llm_rows u, const llm_tensor *gate, const llm_tensor *up, llm_rows x, llm_act act, float limit);
    /* linear of l alone; beside it peak [x.n, peaks_of(rows)]: peak_of each block of the rows of y (peak.h) */
    void (*linear_peaks)(llm_backend *be, const llm_linear *l, llm_rows x, float *peak);
} llm_blocks;

/* What a pick needs of a row of logits that lies elsewhere (libllm/run/sampler.c): its k greatest values, greater ones first and of equal
 * ones the lowest place; a NaN or +infinity comes before all others. */
enum { TOP_MOST = 256, TOP_ASKED = 1024, TOP_ROWS = 64 };
typedef struct { float value; int32_t id; } llm_candidate;
typedef struct {
    const float *x;                     /* in: the row, where the backend's rows are */
    int n, k, n_asked;                  /* in: values of the row; 1 <= k <= TOP_MOST, k <= n; n_asked <= TOP_ASKED */
    int32_t asked[TOP_ASKED];           /* in: places whose values are wanted, too */
    llm_candidate best[TOP_MOST];       /* [k] */
    float value[TOP_ASKED];             /* [n_asked] */
    double sum;                         /* of exp(value - best[0].value) over the row, right to one part in 10^4; 0 where k is 1 */
} llm_top;

/* Where rows and cells live in memory that the process cannot read: what else is needed there. Failures stick in llm_backend.err. */
typedef struct {
    void *(*alloc)(llm_backend *be, size_t n);                                  /* n > 0 zeroed bytes; NULL: none left */
    void (*release)(llm_backend *be, void *p);
    void (*upload)(llm_backend *be, void *to, const void *from, size_t n);      /* from may change when it returns */
    void (*download)(llm_backend *be, void *to, const void *from, size_t n);    /* to is there when it returns */
    /* A step over b begins; b and what it points to stay until end. want [b->n]: the rows whose logits will be asked for; NULL:
     * rows are read in between, too. */
    void (*begin)(llm_backend *be, const llm_batch *b, const uint8_t *want);
    void (*end)(llm_backend *be);                           /* waits for the step; errors of its ops are known then */
    void (*top)(llm_backend *be, llm_top *t, int n);        /* of n <= TOP_ROWS rows, at once; outside steps. Each as if it were alone */
} llm_remote;

struct llm_backend {
    llm_ops op;
    llm_blocks block;
    llm_error err;                      /* status LLM_OK until the first failure */
    void *listener;                     /* of who has put ops of his own over these, which call them; NULL: nobody */
    void *impl;                         /* the backend's own state: threads, scratch */
    int layer;                          /* under way, for messages; -1 outside the layers */
    const llm_remote *remote;           /* NULL: rows and cells are the process's own memory */
    bool timed;                         /* remote: each step adds to seconds what passed on the device from its first op to its last */
    double seconds;
};

/* ---- backend.c: the one place that knows which backends there are ---- */

/* Where a layer is computed, its weights and cells lie, and bytes are counted. */
typedef enum { SITE_HOST, SITE_DEVICE, N_SITE } llm_site;

typedef struct llm_device llm_device;   /* what holds a model's weights; NULL: the process, for the CPU */

/* LLM_ERR_UNSUPPORTED where kind is not in this build or has no device here. planned > 0: a device with so many free bytes that need not be
 * here; it is good for sizes alone. */
llm_status device_open(llm_device **out, llm_backend_kind kind, uint64_t planned, llm_error *err);
/* Why d cannot hold w, as a clause; NULL: it can. */
const char *device_refuses(llm_device *d, const llm_tensor *w);
/* What device_import of these weights takes: bytes[SITE_DEVICE] there, bytes[SITE_HOST] here. LLM_ERR_UNSUPPORTED: a type it does not know. */
llm_status device_weight_bytes(llm_device *d, llm_tensor *const *w, size_t n, uint64_t bytes[N_SITE], llm_error *err);
/* Copies the weights to the device: packed of each is what its ops take. Tensors of the same data share a copy. */
llm_status device_import(llm_device *d, llm_tensor *const *w, size_t n, llm_progress_fn progress, void *user, llm_error *err);
/* Which library computes products of float weights with many rows, or why none does; NULL: there are no such weights. Known after device_import. */
const char *device_products(llm_device *d);
void device_close(llm_device *d);               /* after its backends; NULL is fine */
/* What a session may still take: of the device's memory, or of this machine's. UINT64_MAX: unknown. */
uint64_t device_available(llm_device *d);
/* What d can do at best, measured on it in less than a second: 1e9 bytes read, 8-bit and 16-bit float operations of its matrix
 * instructions (multiply and add count as two; of floats what the vendor's library does, where that is more) per second. LLM_ERR_UNSUPPORTED for
 * the CPU. */
typedef struct { double read_gbs, int8_gops, float_gflops; } llm_device_limits;
llm_status device_limits(llm_device *d, llm_device_limits *out, llm_error *err);
/* kv_size, kv_get and kv_put, which need no open backend; the other entries are NULL. */
const llm_ops *device_kv_ops(llm_device *d);
/* A backend on d (NULL: the CPU, with n_thread threads), with scratch for limits. */
llm_status backend_open(llm_backend *be, llm_device *d, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err);
void backend_close(llm_backend *be);            /* a zeroed one is fine */
/* All bytes that backend_open allocates, by where. False when a size wraps. */
bool backend_scratch(llm_device *d, const llm_limits *limits, int n_thread, uint64_t bytes[N_SITE]);
/* Memory for rows and cells: be's own, or (be NULL or the CPU's) mapped here. n > 0; zeroed. */
void *backend_alloc(llm_backend *be, size_t n);
void backend_release(llm_backend *be, void *p, size_t n);
void backend_upload(llm_backend *be, void *to, const void *from, size_t n);
/* n bytes of one backend's rows into those of the other; one of the two is the CPU's. A failure of from goes with them: it is to's then. */
void backend_copy(llm_backend *to, void *dst, llm_backend *from, const void *src, size_t n);

/* A CPU backend with n_thread threads and scratch for limits. */
llm_status backend_cpu_open(llm_backend *be, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err);
void backend_cpu_close(llm_backend *be);        /* a zeroed one is fine */
struct llm_pool *backend_cpu_pool(llm_backend *be);     /* its threads; its own; NULL: it is not open */
/* All bytes that backend_cpu_open allocates; 0 when it wraps. */
size_t backend_cpu_scratch(const llm_limits *limits, int n_thread);
const llm_ops *backend_cpu_cell_ops(void);      /* for device_kv_ops */
#endif
