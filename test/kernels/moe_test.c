/* op.moe against its definition written with op.linear, one row and one expert at a time. */
#include "../llm_test.h"
#include "kernel_case.h"

enum { E = 9, USED = 3, FF = 288, D = 512, MAX = 40 };
static const llm_limits limits = { .n_batch = MAX, .max_cols = 512, .max_rows = 512, .n_expert = E, .n_expert_used = USED, .d_ff_expert = FF, .d_model = D };

typedef struct { llm_dtype gate, up, down; int d_ff, d_model; bool bias; } shape;
static const shape shapes[] = {
    { DT_MXFP4, DT_MXFP4, DT_MXFP4, 288, 96, true },    { DT_Q4_K, DT_Q4_K, DT_Q6_K, 256, 512, false },
    { DT_Q4_K, DT_Q8_0, DT_F16, 37, 256, true },        { DT_F32, DT_F32, DT_F32, 33, 17, false },
    { DT_BF16, DT_BF16, DT_BF16, 48, 64, true },        { DT_Q8_0, DT_F32, DT_Q5_1, 64, 32, false },
    { DT_IQ2_XXS, DT_IQ2_XXS, DT_Q2_K, 256, 256, false },
};

static llm_tensor expert_of(const llm_tensor *t, int e)
{
    llm_tensor m = *t;
    m.data = (const uint8_t *)t->data + (size_t)(e * t->dim[1]) * t->row_bytes;
    m.part = NULL;
    m.dim[0] = t->dim[1], m.dim[1] = t->dim[2], m.dim[2] = 1;
    return m;
}

static llm_tensor bias_of(const llm_tensor *t, int e)
{
    llm_tensor b = *t;
    b.data = (const uint8_t *)t->data + (size_t)e * t->row_bytes;
    b.dim[0] = t->dim[1], b.dim[1] = 1;
    return b;
}

static void one_linear(case_backend *c, const llm_tensor *w, const llm_tensor *bias, int e, float *x, int cols, float *y, int rows)
{
    llm_tensor we = expert_of(w, e), be = { 0 };
    if (bias) be = bias_of(bias, e);
    llm_linear l = { { y, 1, rows, rows }, &we, bias ? &be : NULL };
    c->be.op.linear(&c->be, &l, 1, (llm_rows){ x, 1, cols, cols });
}

static void defined(case_backend *c, const shape *s, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a)
{
    float g[FF], u[FF], d[D];
    for (int i = 0; i < x.n; i++) {
        float *yi = row_at(y, i);
        memset(yi, 0, (size_t)s->d_model * sizeof *yi);
        for (int k = 0; k < USED; k++) {
            int e = expert[i * USED + k];
            one_linear(c, a->gate, a->bgate, e, row_at(x, i), s->d_model, g, s->d_ff);
            one_linear(c, a->up, a->bup, e, row_at(x, i), s->d_model, u, s->d_ff);
            plain_glu(g, g, u, s->d_ff, a->act, a->limit);
            one_linear(c, a->down, a->bdown, e, g, s->d_ff, d, s->d_model);
            plain_add_scaled(yi, d, row_at(weight, i)[k], s->d_model);
        }
    }
}

/* A bias [E, rows]: dim[1] is rows, one column after it for bias_of. */
static llm_tensor expert_bias(int rows)
{
    llm_tensor t = case_tensor(DT_F32, 0, E, rows);
    return t;
}

static void run_shape(const shape *s, llm_isa isa, int n_thread, int n)
{
    case_backend c, ref;
    llm_tensor gate = case_tensor(s->gate, E, s->d_ff, s->d_model), up = case_tensor(s->up, E, s->d_ff, s->d_model);
    llm_tensor down = case_tensor(s->down, E, s->d_model, s->d_ff);
    llm_tensor bg = expert_bias(s->d_ff), bu = expert_bias(s->d_ff), bd = expert_bias(s->d_model);
    llm_moe_args a = { &gate, &up, &down, s->bias ? &bg : NULL, s->bias ? &bu : NULL, s->bias ? &bd : NULL, ACT_SILU, 0 };
    const void *part[E];
    llm_rows x = case_rows(n, s->d_model), w = case_rows(n, USED), want = case_rows(n, s->d_model), got = case_rows(n, s->d_model);
    int32_t expert[MAX * USED];
    llm_packed p[3];
    uint8_t *memory[3] = { NULL, NULL, NULL };

    for (int i = 0; i < n; i++) for (int k = 0; k < USED; k++)
        expert[i * USED + k] = n % 2 && k == 0 ? 4 : (int32_t)((unsigned)(i * 5 + k) * 2654435761u >> 16) % (E - 1);   /* expert 8 is never chosen */
    if (n > 5) {                                                                /* matrices that lie apart */
        for (int e = 0; e < E; e++) part[e] = (const uint8_t *)down.data + (size_t)(e * s->d_model) * down.row_bytes;
        down.part = part;
    }
    case_open(&ref, ISA_SCALAR, 1, &limits), case_open(&c, isa, n_thread, &limits);
    defined(&ref, s, want, x, w, expert, &a);
    for (int packed = 0; packed < 3; packed++) {
        int some = packed == 1 ? 4 : E;                                         /* experts in order: none, half, all */
        if (packed > 0) memory[0] = case_pack(&c, &gate, &p[0], some * s->d_ff / 16 * 16), memory[1] = case_pack(&c, &up, &p[1], some * s->d_ff / 16 * 16);
        if (packed > 0) memory[2] = case_pack(&c, &down, &p[2], some * s->d_model / 16 * 16);
        c.be.op.moe(&c.be, got, x, w, expert, &a);
        ck_assert_msg(backend_ok(&c.be), "%s", c.be.err.text);
        for (int i = 0; i < n; i++) for (int j = 0; j < s->d_model; j++)
            ck_assert_msg(float_bits(row_at(got, i)[j]) == float_bits(row_at(want, i)[j]),
                          "%s %s n %d, packed %d: y[%d][%d] = %a want %a", isa_name(isa), dtype_name(s->gate), n, packed, i, j,
                          (double)row_at(got, i)[j], (double)row_at(want, i)[j]);
        for (int i = 0; i < 3; i++) free(memory[i]), memory[i] = NULL;
        gate.repacked = up.repacked = down.repacked = NULL;
    }
    expert[n - 1] = E;
    c.be.op.moe(&c.be, got, x, w, expert, &a);
    ck_assert_int_eq(c.be.err.status, LLM_ERR_INTERNAL);
    case_close(&c), case_close(&ref);
    const llm_tensor *all[] = { &gate, &up, &down, &bg, &bu, &bd };
    for (int i = 0; i < 6; i++) free((void *)(uintptr_t)all[i]->data);
    free(x.data), free(w.data), free(want.data), free(got.data);
}

START_TEST(equals_its_definition)
{
    static const int counts[] = { 1, 2, 7, 20, 40 };
    for (int isa = ISA_SCALAR; isa < N_ISA; isa++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0] && cpu_has_isa((llm_isa)isa); s++)
            for (int i = 0; i < 5; i++) {
                case_state = s * 10 + (uint64_t)i;
                run_shape(&shapes[s], (llm_isa)isa, 1 + i % 4, counts[i]);
            }
}
END_TEST

LLM_TEST_MAIN("kernels/moe", equals_its_definition)
