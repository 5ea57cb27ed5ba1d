/* Routing: every kind against its definition in double precision, ties, groups, odd counts, NaN. */
#include "kernel_test.h"

static void run(llm_isa isa, int threads, float *weight, int32_t *expert, float *score, int n, const float *bias, const llm_route_args *a)
{
    llm_backend be;
    llm_tensor tb = f32_vector(bias, a->n_expert);

    open_cpu(&be, isa, threads, 16);
    be.op.route(&be, rows_of(weight, n, a->n_used), expert, rows_of(score, n, a->n_expert), bias ? &tb : NULL, a);
    ck_assert_msg(be.err.status == LLM_OK, "%s", be.err.text);
    backend_cpu_close(&be);
}

/* What the header of route.c says, the slow way, for one row. */
static void model(double *weight, int32_t *expert, const float *score, const float *bias, const llm_route_args *a)
{
    double p[256], by[256], group[64], sum = 0, max = -1e300;
    bool out[256] = { false }, used[64] = { false };
    int n = a->n_expert, size = a->n_group > 1 ? n / a->n_group : n;

    for (int i = 0; i < n; i++) max = (double)score[i] > max ? (double)score[i] : max;
    for (int i = 0; i < n; i++) sum += exp((double)score[i] - max);
    for (int i = 0; i < n; i++) {
        p[i] = a->gate == GATE_SOFTMAX ? exp((double)score[i] - max) / sum : a->gate == GATE_SIGMOID ? 1 / (1 + exp(-(double)score[i])) : (double)score[i];
        by[i] = p[i] + (bias ? (double)bias[i] : 0);
    }
    for (int g = 0; g < n / size; g++) {
        double first = -1e300, second = -1e300;
        for (int i = g * size; i < (g + 1) * size; i++)
            if (by[i] > first) second = first, first = by[i]; else if (by[i] > second) second = by[i];
        group[g] = a->group_top2 && size > 1 ? first + second : first;
    }
    for (int k = 0; a->n_group > 1 && k < a->n_group - a->n_group_used; k++) {
        int worst = -1;                                         /* of equal ones the last goes */
        for (int g = a->n_group - 1; g >= 0; g--)
            if (!used[g] && (worst < 0 || group[g] < group[worst])) worst = g;
        used[worst] = true;
        for (int i = worst * size; i < (worst + 1) * size; i++) out[i] = true;
    }
    for (int u = 0; u < a->n_used; u++) {
        int at = -1;
        for (int i = 0; i < n; i++) if (!out[i] && (at < 0 || by[i] > by[at])) at = i;
        out[at] = true, expert[u] = at, weight[u] = p[at];
    }
    sum = 0;
    if (a->gate == GATE_TOPK_SOFTMAX) for (int u = a->n_used - 1; u >= 0; u--) weight[u] = exp(weight[u] - (double)score[expert[0]]);
    for (int u = 0; u < a->n_used; u++) sum += weight[u];
    for (int u = 0; u < a->n_used; u++) weight[u] *= (a->renorm || a->gate == GATE_TOPK_SOFTMAX ? 1 / sum : 1) * (double)a->scale;
}

static const struct { const char *name; llm_route_args a; bool bias; float range; } cases[] = {
    { "qwen3",         { GATE_SOFTMAX,      128, 8, 1, 1, true,  false, 1 },     false, 4 },
    { "qwen2-moe",     { GATE_SOFTMAX,       60, 4, 0, 0, false, false, 1 },     false, 4 },
    { "deepseek-v2",   { GATE_SOFTMAX,      160, 6, 8, 3, false, false, 16 },    false, 3 },
    { "deepseek-v3",   { GATE_SIGMOID,      256, 8, 8, 4, true,  true,  2.5f },  true,  3 },
    { "no bias",       { GATE_SIGMOID,       12, 3, 4, 2, true,  true,  1 },     false, 3 },
    { "gpt-oss",       { GATE_TOPK_SOFTMAX,  32, 4, 1, 1, false, false, 1 },     false, 9 },
    { "one of one",    { GATE_SOFTMAX,        1, 1, 1, 1, true,  false, 1 },     false, 9 },
    { "all of them",   { GATE_TOPK_SOFTMAX,   7, 7, 1, 1, false, false, 1 },     false, 90 },
    { "groups of one", { GATE_SIGMOID,        8, 3, 8, 4, true,  true,  1 },     true,  2 },
};
enum { N_CASE = sizeof cases / sizeof cases[0], ROWS = 41 };

START_TEST(every_kind_follows_its_definition)
{
    for (int c = 0; c < N_CASE; c++) {
        const llm_route_args *a = &cases[c].a;
        float *score = rnd_floats(70, (size_t)(ROWS * a->n_expert), cases[c].range), *bias = cases[c].bias ? rnd_floats(71, 256, 0.3f) : NULL;
        float want[ROWS * 8], got[ROWS * 8];
        int32_t want_e[ROWS * 8], got_e[ROWS * 8];
        run(ISA_SCALAR, 1, want, want_e, score, ROWS, bias, a);
        for (int r = 0; r < ROWS; r++) {
            double w[8];
            int32_t e[8];
            model(w, e, score + r * a->n_expert, bias, a);
            for (int u = 0; u < a->n_used; u++) {
                ck_assert_msg(e[u] == want_e[r * a->n_used + u], "%s, row %d, place %d: expert %d, want %d", cases[c].name, r, u, want_e[r * a->n_used + u], e[u]);
                ck_assert_msg(fabs(w[u] - (double)want[r * a->n_used + u]) <= (1e-6 + 3e-7 * (double)cases[c].range) * w[u] + 1e-40,
                              "%s, row %d, place %d: %g, want %g", cases[c].name, r, u,
                              (double)want[r * a->n_used + u], w[u]);
            }
        }
        for (int s = 0; s < N_ISA; s++)
            for (int threads = 1; threads <= 4 && cpu_has_isa(all_isas[s]); threads++) {
                run(all_isas[s], threads, got, got_e, score, ROWS, bias, a);
                size_t n = (size_t)(ROWS * a->n_used);
                ck_assert_msg(memcmp(want, got, n * 4) == 0 && memcmp(want_e, got_e, n * 4) == 0, "%s, %s, %d threads", cases[c].name, isa_name(all_isas[s]), threads);
            }
        free(score), free(bias);
    }
}
END_TEST

START_TEST(ties_go_to_the_lowest_index)
{
    llm_route_args a = { GATE_SIGMOID, 16, 3, 4, 2, true, true, 1 };
    float score[16] = { 0 }, weight[3];
    int32_t expert[3];

    run(ISA_SCALAR, 1, weight, expert, score, 1, NULL, &a);
    ck_assert(expert[0] == 0 && expert[1] == 1 && expert[2] == 2);
    score[9] = score[14] = 1;                                   /* groups 2 and 3 tie, both above group 0 */
    run(ISA_SCALAR, 1, weight, expert, score, 1, NULL, &a);
    ck_assert(expert[0] == 9 && expert[1] == 14 && expert[2] == 8);
}
END_TEST

START_TEST(nan_scores_still_pick_distinct_experts)
{
    static const llm_gate gates[] = { GATE_SOFTMAX, GATE_TOPK_SOFTMAX, GATE_SIGMOID };

    for (int g = 0; g < 3; g++) {
        llm_route_args a = { gates[g], 8, 4, 2, 1, true, g == 2, 1 };
        float score[8], weight[4];
        int32_t expert[4];
        for (int i = 0; i < 8; i++) score[i] = NAN;
        run(cpu_best_isa(), 1, weight, expert, score, 1, NULL, &a);
        for (int u = 0; u < 4; u++) {
            ck_assert(expert[u] >= 0 && expert[u] < 8);
            for (int v = 0; v < u; v++) ck_assert(expert[u] != expert[v]);
        }
    }
}
END_TEST

START_TEST(refuses_impossible_counts)
{
    static const llm_route_args bad[] = {
        { GATE_SOFTMAX, 8, 9, 1, 1, false, false, 1 }, { GATE_SOFTMAX, 8, 0, 1, 1, false, false, 1 }, { GATE_SOFTMAX, 0, 1, 1, 1, false, false, 1 },
        { GATE_SIGMOID, 9, 2, 2, 1, false, true, 1 }, { GATE_SIGMOID, 8, 3, 4, 1, false, true, 1 }, { GATE_SOFTMAX, 100000, 2, 1, 1, false, false, 1 },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float x[16] = { 0 };
        int32_t e[16];
        llm_backend be;
        open_cpu(&be, ISA_SCALAR, 1, 16);
        be.op.route(&be, rows_of(x, 1, bad[i].n_used), e, rows_of(x, 1, bad[i].n_expert), NULL, &bad[i]);
        ck_assert_msg(be.err.status == LLM_ERR_UNSUPPORTED, "case %d", (int)i);
        backend_cpu_close(&be);
    }
}
END_TEST

LLM_TEST_MAIN("kernels/route", every_kind_follows_its_definition, ties_go_to_the_lowest_index, nan_scores_still_pick_distinct_experts,
              refuses_impossible_counts)
