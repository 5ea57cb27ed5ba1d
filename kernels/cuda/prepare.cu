/* prepare.cu - brings rows of x into the form that a weight's type multiplies with. Bound by one read of x. */
#include "prepare.h"

static __device__ __forceinline__ const float *vector_at(const x_source &s, int64_t v) { return s.x.data + v / s.parts * s.x.stride + v % s.parts * s.part_step; }

/* Codes of 32 (a warp each) or 256 values (a warp takes 8 rounds), as kernels/cpu/quantize_act.c makes them. */
static __global__ void codes_kernel(x_source s, x_codes out, int group)
{
    int64_t first = ((int64_t)blockIdx.y * (blockDim.x >> 5) + warp_id()) * group;

    if (first < out.blocks * 32) put_codes(vector_at(s, blockIdx.x), s.cols, s.perm, out, blockIdx.x, first, group);
}

bool prepare_codes(llm_backend *be, const x_source *s, int group, x_codes *out)
{
    cuda_impl *impl = cuda_of(be);
    int64_t n = (int64_t)s->x.n * s->parts, blocks = (s->cols + group - 1) / group * (group / 32);

    *out = x_codes{ impl->code, impl->code_d, impl->code_sum, blocks };
    if (impl->coded.data == s->x.data && impl->coded.n == s->x.n && impl->coded.width == s->cols && impl->coded.group == group && s->parts == 1 && s->perm == NULL) return true;
    impl->coded.data = NULL;
    if ((size_t)(n * blocks * 32) > impl->code_bytes) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: %lld rows of %lld values exceed the scratch", (long long)n, (long long)s->cols);
        return false;
    }
    LAUNCH(codes_kernel, dim3((unsigned)n, (unsigned)((blocks * 32 / group + 3) / 4)), dim3(128), 0, impl->stream, *s, *out, group);
    return cuda_check(be, cudaSuccess, "codes of x", n, 1, s->cols);
}

/* One block a vector: its largest value decides the power of two that brings it below 2^15. */
static __global__ void halves_kernel(x_source s, x_halves out)
{
    __shared__ float shared[32];
    const float *x = vector_at(s, blockIdx.x);
    uint16_t *h = out.h + (int64_t)blockIdx.x * out.stride;
    float most = 0;

    for (int64_t k = threadIdx.x; k < s.cols; k += blockDim.x) most = fmaxf(most, fabsf(x[k]));
    most = warp_max(most);
    if (lane_id() == 0) shared[warp_id()] = most;
    __syncthreads();
    most = warp_max(lane_id() < (int)(blockDim.x >> 5) ? shared[lane_id()] : 0.0f);
    int e = (int)(__float_as_uint(most) >> 23 & 255) - 127 - 14;            /* most < 2^(e + 15) */
    e = e < -100 ? -100 : e > 100 ? 100 : e;
    float mul = __uint_as_float((unsigned)(e + 127) << 23), inverse = __uint_as_float((unsigned)(127 - e) << 23);
    for (int64_t k = threadIdx.x; k < out.stride; k += blockDim.x)
        h[k] = float_f16(k < s.cols ? x[s.perm ? s.perm[k] : k] * inverse : 0.0f);
    if (threadIdx.x == 0) out.mul[blockIdx.x] = mul;
}

bool prepare_halves(llm_backend *be, const x_source *s, x_halves *out)
{
    cuda_impl *impl = cuda_of(be);
    int64_t n = (int64_t)s->x.n * s->parts, stride = (s->cols + 63) & ~(int64_t)63;

    *out = x_halves{ impl->half, impl->half_mul, stride };
    if ((size_t)(n * stride) * 2 > impl->half_bytes) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: %lld rows of %lld values exceed the scratch", (long long)n, (long long)s->cols);
        return false;
    }
    LAUNCH(halves_kernel, dim3((unsigned)n), dim3(s->cols <= 128 ? 32 : 256), 0, impl->stream, *s, *out);
    return cuda_check(be, cudaSuccess, "halves of x", n, 1, s->cols);
}

static __global__ void floats_kernel(x_source s, float *out, int64_t stride)
{
    const float *x = vector_at(s, blockIdx.x);
    int64_t k = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;

    if (k < stride) out[(int64_t)blockIdx.x * stride + k] = k < s.cols ? x[s.perm ? s.perm[k] : k] : 0.0f;
}

bool prepare_floats(llm_backend *be, const x_source *s, const float **out, int64_t *stride)
{
    cuda_impl *impl = cuda_of(be);
    int64_t n = (int64_t)s->x.n * s->parts;

    if (s->perm == NULL && s->parts == 1 && s->cols % 16 == 0 && s->x.stride % 4 == 0 && ((uintptr_t)s->x.data & 15) == 0) {
        *out = s->x.data, *stride = s->x.stride;
        return true;
    }
    *out = impl->row, *stride = (s->cols + 15) & ~(int64_t)15;
    if ((size_t)(n * *stride) * sizeof(float) > impl->row_bytes) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: %lld rows of %lld values exceed the scratch", (long long)n, (long long)s->cols);
        return false;
    }
    LAUNCH(floats_kernel, dim3((unsigned)n, (unsigned)((*stride + 127) / 128)), dim3(128), 0, impl->stream, *s, impl->row, *stride);
    return cuda_check(be, cudaSuccess, "rows of x", n, 1, s->cols);
}
