/* route.cu - which experts a row goes to (kernels/cpu/route.c has the rules). One warp a row; bound by the latency of n_used rounds of
 * finding the largest of n_expert values. */
#include "cuda_impl.h"
#include "activate.h"

enum { MAX_EXPERT = 1024, MAX_GROUP = 64, MAX_USED = 64 };

/* The place of the largest value that is not skipped, the lowest of equal ones; the same in every lane. */
static __device__ int best_of(const float *v, int n, const uint8_t *skip)
{
    float top = -INFINITY;
    int at = n;

    for (int i = lane_id(); i < n; i += 32)
        if (!skip[i] && (at == n || v[i] > top)) top = v[i], at = i;
    for (int m = 16; m > 0; m >>= 1) {
        float other = __shfl_xor_sync(FULL_WARP, top, m);
        int place = __shfl_xor_sync(FULL_WARP, at, m);
        if (place < n && (at == n || other > top || (!(top > other) && place < at))) top = other, at = place;
    }
    __syncwarp();                       /* skip is written next */
    return at;
}

static __device__ float softmax_sum(const float *v, int n, float *top)
{
    float most = -INFINITY, sum = 0;

    for (int i = lane_id(); i < n; i += 32) most = fmaxf(most, v[i]);
    *top = most = warp_max(most);
    for (int i = lane_id(); i < n; i += 32) sum += expf(v[i] - most);
    return warp_sum(sum);
}

/* Skips the experts outside the best groups. */
static __device__ void skip_groups(const float *v, uint8_t *skip, float *value, uint8_t *taken, const llm_route_args *a)
{
    int size = a->n_expert / a->n_group;

    for (int g = lane_id(); g < a->n_group; g += 32) {
        float first = v[g * size], second = -INFINITY;
        for (int i = 1; i < size; i++) {
            float x = v[g * size + i];
            if (x > first) second = first, first = x;
            else if (x > second) second = x;
        }
        value[g] = a->group_top2 && size > 1 ? first + second : first, taken[g] = 0;
    }
    __syncwarp();
    for (int u = 0; u < a->n_group_used; u++) {
        int g = best_of(value, a->n_group, taken);
        if (lane_id() == 0) taken[g] = 1;
        __syncwarp();
    }
    for (int i = lane_id(); i < a->n_expert; i += 32) skip[i] = !taken[i / size];
    __syncwarp();
}

static __global__ void route_kernel(llm_rows weight, int32_t *expert, llm_rows score, const float *bias, llm_route_args a)
{
    __shared__ float p[MAX_EXPERT], by[MAX_EXPERT], value[MAX_GROUP], w[MAX_USED];
    __shared__ uint8_t skip[MAX_EXPERT], taken[MAX_GROUP];
    const float *in = score.data + (int64_t)blockIdx.x * score.stride;
    int32_t *chosen = expert + (int64_t)blockIdx.x * a.n_used;
    float sum = 1, top = 0;

    if (a.gate == GATE_SOFTMAX) sum = softmax_sum(in, a.n_expert, &top);
    for (int i = lane_id(); i < a.n_expert; i += 32) {
        p[i] = a.gate == GATE_SOFTMAX ? expf(in[i] - top) / sum : a.gate == GATE_SIGMOID ? sigmoid(in[i]) : in[i];
        by[i] = bias ? p[i] + bias[i] : p[i], skip[i] = 0;
    }
    __syncwarp();
    if (a.n_group > 1) skip_groups(by, skip, value, taken, &a);
    for (int u = 0; u < a.n_used; u++) {
        int at = best_of(by, a.n_expert, skip);
        if (lane_id() == 0) chosen[u] = at, w[u] = p[at], skip[at] = 1;
        __syncwarp();
    }
    if (a.gate == GATE_TOPK_SOFTMAX) {
        sum = softmax_sum(w, a.n_used, &top);
        for (int u = lane_id(); u < a.n_used; u += 32) w[u] = expf(w[u] - top) / sum;
        __syncwarp();
    }
    sum = 1;
    if (a.renorm) {
        float part = 0;
        for (int u = lane_id(); u < a.n_used; u += 32) part += w[u];
        sum = warp_sum(part) + (a.gate == GATE_SIGMOID ? 1e-20f : 0.0f);
    }
    for (int u = lane_id(); u < a.n_used; u += 32) weight.data[(int64_t)blockIdx.x * weight.stride + u] = w[u] / sum * a.scale;
}

static void route(llm_backend *be, llm_rows weight, int32_t *expert, llm_rows score, const llm_tensor *bias, const llm_route_args *a)
{
    int groups = a->n_group > 1 ? a->n_group : 1, kept = a->n_group > 1 ? a->n_group_used : 1;

    if (!cuda_go(be) || score.n == 0) return;
    cuda_writes(be, weight.data);
    if (a->n_expert < 1 || a->n_expert > MAX_EXPERT || groups > MAX_GROUP || a->n_expert % groups != 0 || kept < 1 || kept > groups
        || a->n_used < 1 || a->n_used > MAX_USED || a->n_used > a->n_expert / groups * kept) {
        cuda_fail(be, LLM_ERR_UNSUPPORTED, "routing: %d of %d experts, %d of %d groups; at most %d of %d, %d groups", a->n_used, a->n_expert, kept,
                  groups, (int)MAX_USED, (int)MAX_EXPERT, (int)MAX_GROUP);
        return;
    }
    const float *fix = bias != NULL && tensor_bound(bias) ? weight_of(bias)->values : NULL;
    LAUNCH(route_kernel, dim3((unsigned)score.n), dim3(32), 0, cuda_of(be)->stream, weight, expert, score, fix, *a);
    cuda_check(be, cudaSuccess, "route", score.n, a->n_used, a->n_expert);
}

void cuda_route_ops(llm_ops *op) { op->route = route; }
