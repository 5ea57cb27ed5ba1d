/* The matrix products on the device (or its shim) against the scalar reference: every type, few and many columns, biases, tiles of FP8
 * scales, permutations, joined products, heads and experts. */
#include "cuda_case.h"
#include "quantize_act.h"

static const llm_limits limits = { .n_batch = 80, .max_cols = 4096, .max_rows = 4096, .n_expert = 9, .n_expert_used = 3, .d_ff_expert = 288, .d_model = 512, .n_head = 8, .max_d_head = 64, .n_ctx = 256 };

static const llm_dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_IQ4_NL, DT_MXFP4, DT_Q4_G,
                                   DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_XS,
                                   DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ1_S, DT_IQ1_M, DT_TQ1_0, DT_TQ2_0 };
#define COUNT(a) (int)(sizeof (a) / sizeof (a)[0])

static bool has_block(llm_dtype t) { return dtype_info(t)->block > 1; }

/* Types whose x the CPU leaves as it is; the device makes codes of it. */
static bool float_on_cpu(llm_dtype t) { return t == DT_IQ1_S || t == DT_IQ1_M || t == DT_IQ2_XXS || t == DT_IQ2_XS || t == DT_IQ2_S || t == DT_IQ3_XXS || t == DT_IQ3_S || t == DT_TQ1_0 || t == DT_TQ2_0; }

/* x as the codes say it, of groups of 256. */
static llm_rows coded_rows(llm_rows x)
{
    x_layout at = x_layout_of(X_Q256, x.width);
    llm_rows out = case_rows(x.n, x.width);
    uint8_t *record = aligned_alloc(64, at.bytes);

    for (int i = 0; i < x.n; i++) {
        quantize_act_ref(X_Q256, row_at(x, i), x.width, record);
        for (int k = 0; k < x.width; k++) row_at(out, i)[k] = ((const float *)(void *)(record + at.d))[k / 256] * (float)((const int8_t *)record)[k];
    }
    free(record);
    return out;
}

/* Blocks take the same codes of x as the reference; floats the matrix units' own rounding when there are many columns. */
static double tolerance_of(llm_dtype t, int n) { return has_block(t) || t == DT_F32 || n <= 8 ? 2e-6 : 5e-4; }

static void fp8_scale(llm_tensor *w, int64_t rows, int64_t cols, int tile)
{
    int64_t n = tile ? ((rows + tile - 1) / tile) * ((cols + tile - 1) / tile) : 1;
    float *s = malloc((size_t)n * sizeof *s);
    for (int64_t i = 0; i < n; i++) s[i] = 1.0f + case_float() / 2;
    w->scale = (llm_scale){ .data = s, .dtype = DT_F32, .tile_rows = tile ? tile : rows, .tile_cols = tile ? tile : cols };
}

static void drop(llm_tensor *t) { free((void *)(uintptr_t)t->data), free((void *)(uintptr_t)t->scale.data); }

static void one_product(pair *p, llm_dtype type, int rows, int cols, int n, bool with_bias, int tile)
{
    llm_tensor w = case_tensor(type, 0, rows, cols), bias = case_tensor(rows % 2 ? DT_F32 : DT_BF16, 0, rows, 1), *all[2] = { &w, &bias };
    llm_rows x = case_rows(n, cols), want = blank_rows(n, rows, rows + 1), dx, got;
    llm_device *d;

    if (tile >= 0) fp8_scale(&w, rows, cols, tile);
    d = put_weights(all, 2), dx = put_rows(&p->be, x), got = put_rows(&p->be, want);
    llm_linear lw = { want, &w, with_bias ? &bias : NULL }, lg = { got, &w, lw.bias };
    llm_rows met = float_on_cpu(type) ? coded_rows(x) : x;
    p->ref.op.linear(&p->ref, &lw, 1, met);
    p->be.op.linear(&p->be, &lg, 1, dx);
    check_rows(p, got, want, tolerance_of(type, n), "%s rows %d cols %d n %d tile %d", dtype_name(type), rows, cols, n, tile);
    p->be.remote->release(&p->be, dx.data), device_close(d);
    if (met.data != x.data) free(met.data);
    free(x.data), free(want.data), drop(&w), drop(&bias);
}

START_TEST(every_type_equals_the_reference)
{
    static const int n_counts[] = { 1, 2, 3, 8, 9, 70 }, block_cols[] = { 256, 768, 2816 }, small_cols[] = { 32, 96, 2880 }, float_cols[] = { 3, 17, 100, 512 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/linear")) return;
    for (int t = 0; t < COUNT(types); t++)
        for (int ic = 0; ic < 3; ic++) for (int in = 0; in < COUNT(n_counts); in++) {
            int block = dtype_info(types[t])->block, cols = block == 256 ? block_cols[ic] : block == 32 ? small_cols[ic] : float_cols[ic + (in & 1)];
            int rows = ic == 2 ? 5 : in % 2 ? 131 : 33;
            case_state = (uint64_t)(t * 100 + ic * 10 + in);
            one_product(&p, types[t], rows, cols, n_counts[in], in % 3 != 0, -1);
            if (types[t] == DT_F8_E4M3) one_product(&p, types[t], rows, cols, n_counts[in], false, ic == 0 ? 0 : ic == 1 ? 16 : 24);
        }
    pair_close(&p);
}
END_TEST

START_TEST(joined_and_permuted_products)
{
    static const llm_dtype mix[] = { DT_Q4_0, DT_Q4_0, DT_Q6_K, DT_F16, DT_Q4_G, DT_Q4_G, DT_Q8_0, DT_F32, DT_Q4_K, DT_BF16 };
    enum { N = COUNT(mix), COLS = 512, ROWS = 21 };
    int32_t perm[2][COLS];
    pair p;

    if (!pair_open(&p, &limits, "cuda/joined")) return;
    for (int k = 0; k < COLS; k++) perm[0][k] = (k * 37 + 5) % COLS, perm[1][k] = COLS - 1 - k;
    for (int n = 1; n <= 40; n += 39) {
        llm_tensor w[N], *all[N];
        llm_linear lw[N], lg[N];
        llm_rows x = case_rows(n, COLS), dx = put_rows(&p.be, x);
        for (int i = 0; i < N; i++) {
            w[i] = case_tensor(mix[i], 0, ROWS + i, COLS), all[i] = &w[i];
            if (i == 4 || i == 5 || i == 7) w[i].perm = perm[i % 2];
        }
        llm_device *d = put_weights(all, N);
        for (int i = 0; i < N; i++) lw[i] = (llm_linear){ blank_rows(n, ROWS + i, ROWS + i), &w[i], NULL }, lg[i] = (llm_linear){ put_rows(&p.be, lw[i].y), &w[i], NULL };
        p.ref.op.linear(&p.ref, lw, N, x);
        p.be.op.linear(&p.be, lg, N, dx);
        for (int i = 0; i < N; i++) check_rows(&p, lg[i].y, lw[i].y, tolerance_of(mix[i], n), "product %d of %d columns", i, n), free(lw[i].y.data), drop(&w[i]);
        p.be.remote->release(&p.be, dx.data), device_close(d), free(x.data);
    }
    pair_close(&p);
}
END_TEST

/* gate, up and the activation in one, of few columns and of many, of one type and of two. */
START_TEST(gated_products)
{
    static const llm_dtype kind[][2] = { { DT_Q4_K, DT_Q4_K }, { DT_Q8_0, DT_Q8_0 }, { DT_BF16, DT_BF16 }, { DT_F32, DT_F32 }, { DT_Q4_0, DT_Q5_1 } };
    enum { ROWS = 37, COLS = 512 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/gated")) return;
    for (int t = 0; t < COUNT(kind); t++) for (int n = 1; n < 12; n += 1 + 2 * n) {
        llm_tensor g = case_tensor(kind[t][0], 0, ROWS, COLS), u = case_tensor(kind[t][1], 0, ROWS, COLS), *all[2] = { &g, &u };
        llm_rows x = case_rows(n, COLS), want = blank_rows(n, ROWS, ROWS), more = blank_rows(n, ROWS, ROWS), dx = put_rows(&p.be, x), dy = put_rows(&p.be, want), du = put_rows(&p.be, more);
        llm_linear both[2] = { { want, &g, NULL }, { more, &u, NULL } };
        llm_device *d = put_weights(all, 2);
        p.ref.op.linear(&p.ref, both, 2, x), p.ref.op.glu(&p.ref, want, want, more, ACT_SILU, 0);
        p.be.block.gated(&p.be, dy, du, &g, &u, dx, ACT_SILU, 0);
        check_rows(&p, dy, want, 2 * tolerance_of(kind[t][0], n) + 2e-6, "gated %s %s n %d", dtype_name(kind[t][0]), dtype_name(kind[t][1]), n);
        p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, du.data), device_close(d);
        free(x.data), free(want.data), free(more.data), drop(&g), drop(&u);
    }
    pair_close(&p);
}
END_TEST

/* A norm leaves the codes of its rows for the product that follows; whatever writes to the rows in between takes them back. */
START_TEST(codes_left_by_a_norm)
{
    static const llm_dtype kind[] = { DT_Q8_0, DT_Q4_K };
    enum { ROWS = 33, COLS = 512 };
    pair p;

    for (int t = 0; t < 2; t++) for (int n = 1; n < 20; n += 11) for (int change = 0; change < 3; change++) {
        llm_tensor w = case_tensor(kind[t], 0, ROWS, COLS), t1 = case_tensor(DT_F32, 0, COLS, 1), *all[2] = { &w, &t1 };
        llm_rows x = case_rows(n, COLS), o = case_rows(n, COLS), h = blank_rows(n, COLS, COLS), want = blank_rows(n, ROWS, ROWS);
        llm_error err;
        if (!pair_open(&p, &limits, "cuda/codes of a norm")) return;
        ck_assert_msg(device_import(p.d, all, 2, NULL, NULL, &err) == LLM_OK, "%s", err.text);
        llm_rows dx = put_rows(&p.be, x), dof = put_rows(&p.be, o), dh = put_rows(&p.be, h), got = put_rows(&p.be, want);
        llm_linear lw = { want, &w, NULL }, lg = { got, &w, NULL };
        p.ref.op.add(&p.ref, x, o), p.ref.op.norm(&p.ref, h, x, &t1, 1e-6f, 0), p.be.block.add_norm(&p.be, dx, dof, dh, &t1, 1e-6f, 0);
        if (change == 1) p.ref.op.add(&p.ref, h, o), p.be.op.add(&p.be, dh, dof);
        if (change == 2) p.ref.op.norm(&p.ref, h, o, &t1, 1e-6f, 1), p.be.op.norm(&p.be, dh, dof, &t1, 1e-6f, 1);
        p.ref.op.linear(&p.ref, &lw, 1, h), p.be.op.linear(&p.be, &lg, 1, dh);
        /* single codes may round either way */
        check_rows(&p, got, want, 1e-3, "%s after a norm, %d rows, change %d", dtype_name(kind[t]), n, change);
        p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, dof.data), p.be.remote->release(&p.be, dh.data);
        free(x.data), free(o.data), free(h.data), free(want.data), drop(&w), drop(&t1), pair_close(&p);
    }
}
END_TEST

START_TEST(one_matrix_a_head)
{
    static const llm_dtype kind[] = { DT_F32, DT_BF16, DT_Q8_0, DT_F8_E4M3 };
    enum { HEADS = 5, ROWS = 48, COLS = 64 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/absorb")) return;
    for (int t = 0; t < COUNT(kind); t++) for (int n = 1; n < 30; n += 13) {
        llm_tensor w = case_tensor(kind[t], HEADS, ROWS, COLS), *all[1] = { &w };
        llm_rows x = case_rows(n, HEADS * (COLS + 8)), want = blank_rows(n, HEADS * (ROWS + 3), HEADS * (ROWS + 3)), dx = put_rows(&p.be, x), got;
        memset(want.data, 0, rows_bytes(want)), got = put_rows(&p.be, want);
        llm_device *d = put_weights(all, 1);
        p.ref.op.absorb(&p.ref, want, ROWS + 3, x, COLS + 8, &w);
        p.be.op.absorb(&p.be, got, ROWS + 3, dx, COLS + 8, &w);
        check_rows(&p, got, want, tolerance_of(kind[t], n), "absorb %s n %d", dtype_name(kind[t]), n);
        p.be.remote->release(&p.be, dx.data), device_close(d), free(x.data), free(want.data), drop(&w);
    }
    pair_close(&p);
}
END_TEST

static void experts(pair *p, llm_dtype gate, llm_dtype up, llm_dtype down, int n, int d_model, int d_ff, llm_act act)
{
    enum { E = 9, USED = 3 };
    llm_tensor w[3] = { case_tensor(gate, E, d_ff, d_model), case_tensor(up, E, d_ff, d_model), case_tensor(down, E, d_model, d_ff) };
    llm_tensor b[3] = { case_tensor(DT_F32, 0, E, d_ff), case_tensor(DT_BF16, 0, E, d_ff), case_tensor(DT_F32, 0, E, d_model) }, *all[6];
    llm_rows x = case_rows(n, d_model), weight = case_rows(n, USED), want = blank_rows(n, d_model, d_model), dx = put_rows(&p->be, x), dw = put_rows(&p->be, weight), got;
    int32_t *expert = malloc((size_t)n * USED * sizeof *expert), *de;
    llm_moe_args a = { &w[0], &w[1], &w[2], &b[0], n % 2 ? &b[1] : NULL, &b[2], act, 7 };
    llm_device *d;

    for (int i = 0; i < n; i++) for (int u = 0; u < USED; u++) expert[i * USED + u] = (i % E * i % E + u * (1 + i % 4)) % E;
    for (int i = 0; i < 3; i++) all[i] = &w[i], all[3 + i] = &b[i];
    d = put_weights(all, 6), de = put_bytes(&p->be, expert, (size_t)n * USED * sizeof *expert), got = put_rows(&p->be, want);
    p->ref.op.moe(&p->ref, want, x, weight, expert, &a);
    p->be.op.moe(&p->be, got, dx, dw, de, &a);
    /* a value of the activations near the border of two codes may round either way, so that single codes of h differ; x has 8 bits where the CPU leaves it */
    check_rows(p, got, want, float_on_cpu(gate) ? 2e-2 : 2e-3, "experts %s %s %s n %d", dtype_name(gate), dtype_name(up), dtype_name(down), n);
    p->be.remote->release(&p->be, dx.data), p->be.remote->release(&p->be, dw.data), p->be.remote->release(&p->be, de), device_close(d);
    for (int i = 0; i < 3; i++) drop(&w[i]), drop(&b[i]);
    free(x.data), free(weight.data), free(want.data), free(expert);
}

START_TEST(experts_equal_the_reference)
{
    pair p;

    if (!pair_open(&p, &limits, "cuda/experts")) return;
    for (int n = 1; n <= 80; n = n == 1 ? 4 : n * 4 + n) {
        experts(&p, DT_MXFP4, DT_MXFP4, DT_MXFP4, n, 64, 96, ACT_SWIGLU_OAI);
        experts(&p, DT_Q4_K, DT_Q4_K, DT_Q6_K, n, 512, 256, ACT_SILU);
        experts(&p, DT_Q8_0, DT_Q5_0, DT_Q8_0, n, 64, 64, ACT_GELU_TANH);
        experts(&p, DT_BF16, DT_BF16, DT_BF16, n, 80, 40, ACT_SILU);
        experts(&p, DT_F32, DT_F32, DT_F32, n, 40, 24, ACT_SILU);
        if (n > 1) experts(&p, DT_IQ2_XXS, DT_IQ3_S, DT_IQ4_XS, n, 512, 256, ACT_SILU);
    }
    pair_close(&p);
}
END_TEST

/* Float experts take one column a pair, whatever the number of pairs: more than the second dimension of a grid has. */
START_TEST(more_pairs_than_a_launch_takes)
{
    enum { N = 21846, WIDE = 8 };
    llm_limits many = limits;
    pair p;

    many.n_batch = N;
    if (!pair_open(&p, &many, "cuda/many pairs")) return;
    experts(&p, DT_F32, DT_F32, DT_F32, N, WIDE, WIDE, ACT_SILU);
    pair_close(&p);
}
END_TEST

LLM_TEST_MAIN("cuda/linear", every_type_equals_the_reference, joined_and_permuted_products, gated_products, codes_left_by_a_norm, one_matrix_a_head, experts_equal_the_reference, more_pairs_than_a_launch_takes)
