/* elementwise.c - the reference rows, and the ops that run rows over the threads. */
#define SIMD_SCALAR
#define SIMD_NAME(x) x##_ref
#include "ops.h"
#include <string.h>
#include "elementwise_body.h"

enum { PIECE = 8192 };                  /* floats one thread takes at a time: some microseconds */

const float *cpu_floats(llm_backend *be, const llm_tensor *t, int64_t n)
{
    cpu_impl *impl = cpu_of(be);
    const uint16_t *h = t->data;

    if (t->dtype == DT_F32 && ((uintptr_t)t->data & 3) == 0) return t->data;
    if (n > impl->vector_n) {
        backend_fail(be, LLM_ERR_INTERNAL, "cpu backend: a vector of %lld values, scratch for %d", (long long)n, impl->vector_n);
        return NULL;
    }
    switch (t->dtype) {
    case DT_F32: memcpy(impl->vector, t->data, (size_t)n * sizeof(float)); break;
    case DT_F16: case DT_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t x;
            memcpy(&x, h + i, sizeof x);
            impl->vector[i] = t->dtype == DT_F16 ? f16_to_float(x) : bf16_to_float(x);
        }
        break;
    default:
        backend_fail(be, LLM_ERR_UNSUPPORTED, "cpu backend: a vector stored as %s; F32, F16 and BF16 work", dtype_name(t->dtype));
        return NULL;
    }
    return impl->vector;
}

/* What one loop over rows needs. Columns are cut into pieces of `piece`; item i is piece i % n_piece of row i / n_piece. */
typedef struct {
    const cpu_rows *row;
    llm_rows y, a, b;
    const float *w;
    const int32_t *pos;
    const llm_rope *rope;
    float f, g;
    int piece, n_piece, offset, d_head, style;
} job;

static void run_rows(llm_backend *be, job *j, int width, bool whole, pool_fn fn)
{
    cpu_impl *impl = cpu_of(be);
    int64_t grain;

    if (!backend_ok(be) || width <= 0) return;
    j->row = impl->row;
    j->piece = whole || width < PIECE ? width : PIECE;
    j->n_piece = (width + j->piece - 1) / j->piece;
    grain = PIECE / j->piece;
    pool_run(impl->pool, (int64_t)j->y.n * j->n_piece, grain, fn, j);
}

/* Row, first column and length of item i. */
static inline int piece_of(const job *j, int64_t i, int width, int64_t *row, int64_t *col)
{
    *row = i / j->n_piece, *col = i % j->n_piece * j->piece;
    return width - *col < j->piece ? (int)(width - *col) : j->piece;
}

static void norm_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) j->row->norm(row_at(j->y, i), row_at(j->a, i), j->w, j->y.width, j->f, j->g);
}

static void norm(llm_backend *be, llm_rows y, llm_rows x, const llm_tensor *w, float eps, float offset)
{
    job j = { .y = y, .a = x, .w = cpu_floats(be, w, y.width), .f = eps, .g = offset };

    run_rows(be, &j, y.width, true, norm_items);
}

/* cos and sin of x by Taylor's series about the nearest multiple of pi/2, in double: after rounding to float the error is
 * at most 0.5001 ulp for |x| < 1e6 (n * hi is exact for n < 2^20). */
static void sin_cos(double x, float *s, float *c)
{
    const double hi = 0x1.921fb544p+0, lo = 0x1.0b4611a626331p-34;

    if (!(fabs(x) < 1e9)) { *s = *c = NAN; return; }
    double n = floor(x * 0x1.45f306dc9c883p-1 + 0.5), r = (x - n * hi) - n * lo, z = r * r;
    double sine = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z * (1.0 / 39916800)))));
    double cosine = 1 - z / 2 + z * z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600)))));

    switch ((int)((int64_t)n & 3)) {
    case 0:  *s = (float)sine,    *c = (float)cosine;  break;
    case 1:  *s = (float)cosine,  *c = (float)-sine;   break;
    case 2:  *s = (float)-sine,   *c = (float)-cosine; break;
    default: *s = (float)-cosine, *c = (float)sine;    break;
    }
}

/* The angle is the float product of position and frequency, as in the reference implementations. */
static void angle_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    int half = j->rope->n_rot / 2;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *cs = row_at(j->y, i);
        for (int k = 0; k < half; k++) {
            float s, c;
            sin_cos((float)j->pos[i] * j->rope->freq[k], &s, &c);
            cs[k] = c * j->rope->mscale;
            cs[half + k] = s * j->rope->mscale;
        }
    }
}

static void rope_table(llm_backend *be, llm_rows cs, const llm_rope *rope, const int32_t *pos)
{
    job j = { .y = cs, .rope = rope, .pos = pos };

    run_rows(be, &j, rope->n_rot * 8, true, angle_items);
}

static void rope_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++)
        for (int at = j->offset; at + j->a.width <= j->y.width; at += j->d_head)
            j->row->rope(row_at(j->y, i) + at, row_at(j->a, i), j->a.width, (llm_rope_style)j->style);
}

static void rope(llm_backend *be, llm_rows x, llm_rows cs, int d_head, int offset, llm_rope_style style)
{
    job j = { .y = x, .a = cs, .d_head = d_head, .offset = offset, .style = (int)style };

    run_rows(be, &j, x.width, true, rope_items);
}

static void glu_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    int64_t r, k;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int n = piece_of(j, i, j->y.width, &r, &k);
        j->row->glu(row_at(j->y, r) + k, row_at(j->a, r) + k, row_at(j->b, r) + k, n, (llm_act)j->style, j->f);
    }
}

static void glu(llm_backend *be, llm_rows y, llm_rows gate, llm_rows up, llm_act act, float limit)
{
    job j = { .y = y, .a = gate, .b = up, .style = (int)act, .f = limit };

    run_rows(be, &j, y.width, false, glu_items);
}

static void add_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    int64_t r, k;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int n = piece_of(j, i, j->y.width, &r, &k);
        j->row->add(row_at(j->y, r) + k, row_at(j->a, r) + k, n);
    }
}

static void add(llm_backend *be, llm_rows x, llm_rows y)
{
    job j = { .y = x, .a = y };

    run_rows(be, &j, x.width, false, add_items);
}

static void add_gated_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    int64_t r, k;
    float s;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int n = piece_of(j, i, j->y.width, &r, &k);
        j->row->sigmoid(&s, row_at(j->b, r), 1);
        j->row->add_scaled(row_at(j->y, r) + k, row_at(j->a, r) + k, s, n);
    }
}

static void add_gated(llm_backend *be, llm_rows x, llm_rows y, llm_rows gate)
{
    job j = { .y = x, .a = y, .b = gate };

    run_rows(be, &j, x.width, false, add_gated_items);
}

static void softcap_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    int64_t r, k;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int n = piece_of(j, i, j->y.width, &r, &k);
        j->row->softcap(row_at(j->y, r) + k, j->f, n);
    }
}

static void softcap(llm_backend *be, llm_rows x, float cap)
{
    job j = { .y = x, .f = cap };

    run_rows(be, &j, x.width, false, softcap_items);
}

/* Moving and scaling a row is a loop that compilers vectorise without changing a bit. */
static void copy_heads(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, int n_head, int width)
{
    (void)be;
    for (int i = 0; i < x.n; i++)
        for (int h = 0; h < n_head; h++)
            memcpy(row_at(y, i) + (int64_t)h * y_step, row_at(x, i) + (int64_t)h * x_step, (size_t)width * sizeof(float));
}

static void scale_rows(llm_backend *be, llm_rows x, const float *s)
{
    (void)be;
    for (int i = 0; i < x.n; i++)
        for (int k = 0; k < x.width; k++) row_at(x, i)[k] *= s[i];
}

void elementwise_ops(llm_ops *op)
{
    op->norm = norm, op->rope_table = rope_table, op->rope = rope;
    op->glu = glu, op->add = add, op->add_gated = add_gated, op->softcap = softcap;
    op->copy_heads = copy_heads, op->scale_rows = scale_rows;
}
