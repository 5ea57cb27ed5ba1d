/* route.c - which experts a row goes to, and with what weight. One row, one thread, every sum in ascending order.
 *
 * GATE_SOFTMAX       p = softmax of all scores; the n_used largest p (Qwen, Gemma, DeepSeek V1 and V2)
 * GATE_TOPK_SOFTMAX  the n_used largest scores; weight = softmax of these (gpt-oss)
 * GATE_SIGMOID       p = sigmoid(score); the n_used largest p + bias; weight = p (DeepSeek-V3, section 2.1.2)
 *
 * With n_group > 1 only experts of the n_group_used best groups take part: a group's value is the sum of its two largest
 * p + bias (V3) or its largest (V2). Equal values: the lowest index first. The order of the output is best first. renorm
 * divides by the sum of the chosen weights (plus 1e-20 for GATE_SIGMOID, as DeepSeek's code has it); scale comes last.
 *
 * softmax: exp(s - max) each divided by their sum. */
#include "ops.h"
#include <math.h>
#include <string.h>

enum { MAX_EXPERT = 1024, MAX_GROUP = 64, MAX_USED = 64 };

typedef struct { const cpu_rows *row; llm_rows weight, score; int32_t *expert; const float *bias; const llm_route_args *a; } job;

/* The n largest of v[0..n_v-1] that are not in skip, which gains them: out, best first. A NaN loses to what comes before it. */
static void best(int32_t *out, int n, const float *v, int n_v, bool *skip)
{
    for (int u = 0; u < n; u++) {
        int at = -1;
        for (int i = 0; i < n_v; i++)
            if (!skip[i] && (at < 0 || v[i] > v[at])) at = i;
        out[u] = at;
        skip[at] = true;
    }
}

static void softmax(const cpu_rows *row, float *p, const float *s, int n)
{
    float max = s[0], sum = 0;

    for (int i = 1; i < n; i++) max = s[i] > max ? s[i] : max;
    row->exp(p, s, max, n);
    for (int i = 0; i < n; i++) sum += p[i];
    for (int i = 0; i < n; i++) p[i] /= sum;
}

/* Marks the experts outside the best groups. */
static void skip_groups(bool *skip, const float *v, const llm_route_args *a)
{
    int size = a->n_expert / a->n_group;
    float value[MAX_GROUP];
    int32_t kept[MAX_GROUP];
    bool taken[MAX_GROUP] = { false };

    for (int g = 0; g < a->n_group; g++) {
        const float *x = v + (size_t)g * (size_t)size;
        float first = x[0], second = -INFINITY;
        for (int i = 1; i < size; i++) {
            if (x[i] > first) second = first, first = x[i];
            else if (x[i] > second) second = x[i];
        }
        value[g] = a->group_top2 && size > 1 ? first + second : first;
    }
    best(kept, a->n_group_used, value, a->n_group, taken);
    for (int i = 0; i < a->n_expert; i++) skip[i] = !taken[i / size];
}

static void route_row(const job *j, float *weight, int32_t *expert, const float *score)
{
    const llm_route_args *a = j->a;
    float p[MAX_EXPERT], chosen_by[MAX_EXPERT];
    bool skip[MAX_EXPERT] = { false };
    int n = a->n_expert;

    if (a->gate == GATE_SOFTMAX) softmax(j->row, p, score, n);
    else if (a->gate == GATE_SIGMOID) j->row->sigmoid(p, score, n);
    else memcpy(p, score, (size_t)n * sizeof *p);
    for (int i = 0; i < n; i++) chosen_by[i] = j->bias ? p[i] + j->bias[i] : p[i];
    if (a->n_group > 1) skip_groups(skip, chosen_by, a);
    best(expert, a->n_used, chosen_by, n, skip);
    for (int u = 0; u < a->n_used; u++) weight[u] = p[expert[u]];
    if (a->gate == GATE_TOPK_SOFTMAX) softmax(j->row, weight, weight, a->n_used);
    if (a->renorm) {
        float sum = 0;
        for (int u = 0; u < a->n_used; u++) sum += weight[u];
        if (a->gate == GATE_SIGMOID) sum += 1e-20f;
        for (int u = 0; u < a->n_used; u++) weight[u] /= sum;
    }
    for (int u = 0; u < a->n_used; u++) weight[u] *= a->scale;
}

static void route_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++)
        route_row(j, row_at(j->weight, i), j->expert + i * j->a->n_used, row_at(j->score, i));
}

static void route(llm_backend *be, llm_rows weight, int32_t *expert, llm_rows score, const llm_tensor *bias, const llm_route_args *a)
{
    cpu_impl *impl = cpu_of(be);
    job j = { impl->row, weight, score, expert, NULL, a };
    int groups = a->n_group > 1 ? a->n_group : 1, kept = a->n_group > 1 ? a->n_group_used : 1;

    if (!backend_ok(be)) return;
    if (a->n_expert < 1 || a->n_expert > MAX_EXPERT || groups > MAX_GROUP || a->n_expert % groups != 0 || kept < 1 || kept > groups
        || a->n_used < 1 || a->n_used > MAX_USED || a->n_used > a->n_expert / groups * kept) {
        backend_fail(be, LLM_ERR_UNSUPPORTED, "routing: %d of %d experts, %d of %d groups; at most %d of %d, %d groups", a->n_used,
                     a->n_expert, kept, groups, (int)MAX_USED, (int)MAX_EXPERT, (int)MAX_GROUP);
        return;
    }
    if (bias != NULL && tensor_bound(bias)) j.bias = cpu_floats(be, bias, a->n_expert);
    if (!backend_ok(be)) return;
    pool_run(impl->pool, score.n, 8, route_items, &j);
}

void route_ops(llm_ops *op) { op->route = route; }
