/* elementwise.cu - norm, rotation, activation, sums and moves of rows. Bound by memory: each reads and writes its rows once;
 * a block takes a row (norm) or a thread an element. Orders and formulas: kernels/cpu/elementwise_body.h. */
#include "cuda_impl.h"
#include "blocks.h"
#include "activate.h"
#include "prepare.h"

enum { BLOCK = 256 };

static dim3 grid_of(int64_t width, int n) { return dim3((unsigned)n, (unsigned)((width + BLOCK - 1) / BLOCK)); }

/* ---- norm ---- */

/* Codes of the row that the block has just written, for the products that follow. out.blocks 0: none. */
static __device__ __forceinline__ void row_codes(const float *row, int width, const x_codes &out, int group)
{
    if (out.blocks == 0) return;
    __syncthreads();
    for (int64_t first = (int64_t)warp_id() * group; first < out.blocks * 32; first += (int64_t)(blockDim.x >> 5) * group)
        put_codes(row, width, NULL, out, blockIdx.x, first, group);
}

static __global__ void norm_kernel(llm_rows y, llm_rows x, const float *w, float eps, float offset, x_codes code, int group)
{
    __shared__ float shared[32];
    const float *in = x.data + (int64_t)blockIdx.x * x.stride;
    float *out = y.data + (int64_t)blockIdx.x * y.stride, sum = 0;

    for (int k = (int)threadIdx.x; k < y.width; k += (int)blockDim.x) sum = fmaf(in[k], in[k], sum);
    sum = block_sum(sum, shared);
    float r = 1.0f / sqrtf(sum / (float)y.width + eps);
    for (int k = (int)threadIdx.x; k < y.width; k += (int)blockDim.x) out[k] = in[k] * r * (w[k] + offset);
    row_codes(out, y.width, code, group);
}

/* Where a norm puts the codes of y; with no blocks when y is not of the kind that products take. */
static x_codes codes_for(llm_backend *be, llm_rows y, int *group)
{
    cuda_impl *impl = cuda_of(be);
    x_codes none = {}, c = { impl->code, impl->code_d, impl->code_sum, 0 };

    *group = cuda_code_group(impl->device);
    if (*group == 0 || y.stride != y.width || y.width != impl->limits.d_model) { cuda_writes(be, y.data); return none; }
    c.blocks = (y.width + *group - 1) / *group * (*group / 32);
    if ((size_t)(y.n * c.blocks * 32) > impl->code_bytes) { cuda_writes(be, y.data); return none; }
    impl->coded.data = y.data, impl->coded.n = y.n, impl->coded.width = y.width, impl->coded.group = *group;
    return c;
}

static unsigned norm_threads(int width) { return width <= 64 ? 32 : width <= 1024 ? 128 : 512; }

static void norm(llm_backend *be, llm_rows y, llm_rows x, const llm_tensor *w, float eps, float offset)
{
    const cuda_weight *c = weight_of(w);

    if (!cuda_go(be) || y.n == 0) return;
    if (c->values == NULL) { cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: a norm of %d values stored as %s", y.width, dtype_name(c->dtype)); return; }
    int group;
    x_codes code = codes_for(be, y, &group);
    LAUNCH(norm_kernel, dim3((unsigned)y.n), dim3(norm_threads(y.width)), 0, cuda_of(be)->stream, y, x, c->values, eps, offset, code, group);
    cuda_check(be, cudaSuccess, "norm", y.n, 1, y.width);
}

/* x += o, then the norm of it. A thread reads again what it has written itself. */
static __global__ void add_norm_kernel(llm_rows x, llm_rows o, llm_rows h, const float *w, float eps, float offset, x_codes code, int group)
{
    __shared__ float shared[32];
    const float *more = o.data + (int64_t)blockIdx.x * o.stride;
    float *in = x.data + (int64_t)blockIdx.x * x.stride, *out = h.data + (int64_t)blockIdx.x * h.stride, sum = 0;

    for (int k = (int)threadIdx.x; k < x.width; k += (int)blockDim.x) {
        float v = in[k] + more[k];
        in[k] = v, sum = fmaf(v, v, sum);
    }
    sum = block_sum(sum, shared);
    float r = 1.0f / sqrtf(sum / (float)x.width + eps);
    for (int k = (int)threadIdx.x; k < x.width; k += (int)blockDim.x) out[k] = in[k] * r * (w[k] + offset);
    row_codes(out, x.width, code, group);
}

static void add_norm(llm_backend *be, llm_rows x, llm_rows o, llm_rows h, const llm_tensor *w, float eps, float offset)
{
    const cuda_weight *c = weight_of(w);

    if (!cuda_go(be) || x.n == 0) return;
    if (c->values == NULL) { cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: a norm of %d values stored as %s", x.width, dtype_name(c->dtype)); return; }
    int group;
    cuda_writes(be, x.data);
    x_codes code = codes_for(be, h, &group);
    LAUNCH(add_norm_kernel, dim3((unsigned)x.n), dim3(norm_threads(x.width)), 0, cuda_of(be)->stream, x, o, h, c->values, eps, offset, code, group);
    cuda_check(be, cudaSuccess, "sum and norm", x.n, 1, x.width);
}

/* ---- rotation ---- */

/* As sin_cos of kernels/cpu/elementwise.c: the error is at most 0.5001 ulp for |x| < 1e6. */
static __device__ void sin_cos(double x, float *s, float *c)
{
    const double hi = 0x1.921fb544p+0, lo = 0x1.0b4611a626331p-34;
    double n = floor(x * 0x1.45f306dc9c883p-1 + 0.5), r = (x - n * hi) - n * lo, z = r * r;
    double sine = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z * (1.0 / 39916800)))));
    double cosine = 1 - z / 2 + z * z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600)))));
    int quarter = (int)((int64_t)n & 3);

    *s = (float)(quarter == 0 ? sine : quarter == 1 ? cosine : quarter == 2 ? -sine : -cosine);
    *c = (float)(quarter == 0 ? cosine : quarter == 1 ? -sine : quarter == 2 ? -cosine : sine);
}

static __global__ void angle_kernel(llm_rows cs, const float *freq, int half, float mscale, const int32_t *pos)
{
    int k = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    float *out = cs.data + (int64_t)blockIdx.x * cs.stride, s, c;

    if (k >= half) return;
    sin_cos((double)((float)pos[blockIdx.x] * freq[k]), &s, &c);
    out[k] = c * mscale, out[half + k] = s * mscale;
}

static void rope_table(llm_backend *be, llm_rows cs, const llm_rope *rope, const int32_t *pos)
{
    cuda_impl *impl = cuda_of(be);
    int half = rope->n_rot / 2;

    if (!cuda_go(be) || cs.n == 0 || half == 0) return;
    cuda_writes(be, cs.data);
    const float *freq = cuda_frequencies(be, rope->freq, half);
    if (freq == NULL) return;
    const int32_t *at = cuda_ints(be, pos, cs.n, impl->pos);
    LAUNCH(angle_kernel, grid_of(half, cs.n), dim3(BLOCK), 0, impl->stream, cs, freq, half, rope->mscale, at);
    cuda_check(be, cudaSuccess, "rope table", cs.n, 1, rope->n_rot);
}

static __global__ void rope_kernel(llm_rows x, llm_rows cs, int d_head, int offset, int half, int pairs)
{
    int i = (int)(blockIdx.y * blockDim.x + threadIdx.x), head = i / half, k = i % half;
    const float *c = cs.data + (int64_t)blockIdx.x * cs.stride;
    float *h = x.data + (int64_t)blockIdx.x * x.stride + (int64_t)head * d_head + offset;

    if (offset + head * d_head + 2 * half > x.width) return;
    float *pa = pairs ? h + 2 * k : h + k, *pb = pairs ? pa + 1 : h + half + k, a = *pa, b = *pb;
    *pa = fmaf(-b, c[half + k], a * c[k]);
    *pb = fmaf(a, c[half + k], b * c[k]);
}

static void rope(llm_backend *be, llm_rows x, llm_rows cs, int d_head, int offset, llm_rope_style style)
{
    int half = cs.width / 2;
    int64_t heads = d_head > 0 ? (x.width + d_head - 1) / d_head : 0;

    if (!cuda_go(be) || x.n == 0 || half == 0) return;
    cuda_writes(be, x.data);
    LAUNCH(rope_kernel, grid_of(heads * half, x.n), dim3(BLOCK), 0, cuda_of(be)->stream, x, cs, d_head, offset, half, style == ROPE_PAIRS);
    cuda_check(be, cudaSuccess, "rope", x.n, 1, x.width);
}

/* ---- one element each ---- */

typedef enum { DO_ADD, DO_ADD_GATED, DO_GLU, DO_SOFTCAP, DO_SCALE } element_op;

static __global__ void element_kernel(llm_rows x, llm_rows a, llm_rows b, const float *s, int what, int act, float f)
{
    int k = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    int64_t i = blockIdx.x;

    if (k >= x.width) return;
    float *p = x.data + i * x.stride + k;
    if (what == DO_ADD) *p += a.data[i * a.stride + k];
    else if (what == DO_ADD_GATED) *p = fmaf(sigmoid(b.data[i * b.stride]), a.data[i * a.stride + k], *p);
    else if (what == DO_GLU) *p = activate(a.data[i * a.stride + k], b.data[i * b.stride + k], act, f);
    else if (what == DO_SOFTCAP) *p = f * tanhf(*p / f);
    else *p *= s[i];
}

static void elements(llm_backend *be, const char *op, llm_rows x, llm_rows a, llm_rows b, const float *s, element_op what, int act, float f)
{
    if (!cuda_go(be) || x.n == 0 || x.width == 0) return;
    cuda_writes(be, x.data);
    LAUNCH(element_kernel, grid_of(x.width, x.n), dim3(BLOCK), 0, cuda_of(be)->stream, x, a, b, s, (int)what, act, f);
    cuda_check(be, cudaSuccess, op, x.n, 1, x.width);
}

static void add(llm_backend *be, llm_rows x, llm_rows y) { elements(be, "add", x, y, x, NULL, DO_ADD, 0, 0); }
static void add_gated(llm_backend *be, llm_rows x, llm_rows y, llm_rows gate) { elements(be, "add_gated", x, y, gate, NULL, DO_ADD_GATED, 0, 0); }
static void glu(llm_backend *be, llm_rows y, llm_rows gate, llm_rows up, llm_act act, float limit) { elements(be, "glu", y, gate, up, NULL, DO_GLU, (int)act, limit); }
static void softcap(llm_backend *be, llm_rows x, float cap) { elements(be, "softcap", x, x, x, NULL, DO_SOFTCAP, 0, cap); }
static void scale_rows(llm_backend *be, llm_rows x, const float *s) { elements(be, "scale_rows", x, x, x, s, DO_SCALE, 0, 0); }

static __global__ void copy_kernel(llm_rows y, int y_step, llm_rows x, int x_step, int n, int width)
{
    int k = (int)(blockIdx.y * blockDim.x + threadIdx.x), h = k / width;

    if (k >= n) return;
    y.data[(int64_t)blockIdx.x * y.stride + (int64_t)h * y_step + k % width] = x.data[(int64_t)blockIdx.x * x.stride + (int64_t)h * x_step + k % width];
}

static void copy_heads(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, int n_head, int width)
{
    if (!cuda_go(be) || x.n == 0 || width == 0) return;
    cuda_writes(be, y.data);
    LAUNCH(copy_kernel, grid_of((int64_t)n_head * width, x.n), dim3(BLOCK), 0, cuda_of(be)->stream, y, y_step, x, x_step, n_head * width, width);
    cuda_check(be, cudaSuccess, "copy_heads", x.n, n_head, width);
}

/* ---- embedding ---- */

template <int DT> static __global__ void embed_blocks(llm_rows y, cuda_weight w, const int32_t *token, float scale)
{
    int i = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    int64_t row = token[blockIdx.x];
    float *out = y.data + (int64_t)blockIdx.x * y.stride + 32 * (int64_t)i, s[2] = { 0, 0 }, m[2] = { 0, 0 };
    uint32_t code[8];

    if (32 * (int64_t)i >= w.cols) return;
    block_of<DT>::codes(w.a + row * w.a_row, w.b + row * w.b_row, i, code);
    block_of<DT>::scales(w.a + row * w.a_row, w.b + row * w.b_row, i, s, m);
    UNROLL for (int k = 0; k < 32; k++) {
        int h = block_of<DT>::SUB16 ? k / 16 : 0;
        float v = s[h] * (float)((int)(int8_t)(code[k / 4] >> 8 * (k % 4)) - block_of<DT>::OFF);
        out[k] = scale * (block_of<DT>::MIN ? v + m[h] : v);
    }
}

template <int DT> static __global__ void embed_values(llm_rows y, cuda_weight w, const int32_t *token, float scale)
{
    int k = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    int64_t row = token[blockIdx.x];

    if (k >= w.cols) return;
    float v = value_of<DT>::at(w.a + row * w.a_row + (int64_t)k * value_of<DT>::BYTES, 1);
    if (w.scale) v *= w.scale[row / w.tile_rows * w.scale_cols + k / w.tile_cols];
    y.data[(int64_t)blockIdx.x * y.stride + k] = scale * v;
}

static void embed(llm_backend *be, llm_rows y, const llm_tensor *table, const int32_t *token, float scale)
{
    cuda_impl *impl = cuda_of(be);
    const cuda_weight *w = weight_of(table);

    if (be->err.status != LLM_OK || y.n == 0) return;
    for (int i = 0; i < y.n; i++)
        if (token[i] < 0 || token[i] >= w->rows) { cuda_fail(be, LLM_ERR_ARG, "embed: token %d, want 0..%lld", token[i], (long long)w->rows - 1); return; }
    if (w->perm != NULL) { cuda_fail(be, LLM_ERR_UNSUPPORTED, "embed: a permuted table"); return; }
    if (!cuda_go(be)) return;
    cuda_writes(be, y.data);
    const int32_t *id = cuda_ints(be, token, y.n, impl->token);
    switch (w->dtype) {
#define CASE(dt) case dt: { auto fn = embed_blocks<dt>; LAUNCH(fn, grid_of((w->cols + 31) / 32, y.n), dim3(BLOCK), 0, impl->stream, y, *w, id, scale); break; }
    BLOCK_TYPES(CASE)
#undef CASE
#define CASE(dt) case dt: { auto fn = embed_values<dt>; LAUNCH(fn, grid_of(w->cols, y.n), dim3(BLOCK), 0, impl->stream, y, *w, id, scale); break; }
    VALUE_TYPES(CASE)
#undef CASE
    default: cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: a table of %s", dtype_name(w->dtype)); return;
    }
    cuda_check(be, cudaSuccess, "embed", y.n, w->rows, w->cols);
}

void cuda_elementwise_ops(llm_ops *op, llm_blocks *block)
{
    op->embed = embed, op->norm = norm, op->rope_table = rope_table, op->rope = rope, op->glu = glu, op->add = add;
    op->add_gated = add_gated, op->softcap = softcap, op->copy_heads = copy_heads, op->scale_rows = scale_rows, block->add_norm = add_norm;
}
