/* Cache layout: what store puts in comes back by kv_get; kv_put of that gives the same cells; sizes and their limits. */
#include "kernel_test.h"
#include "kv.h"

static const llm_kv_layer layouts[] = {
    { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 128 },
    { .dtype = DT_F32, .n_kv_head = 3, .d_k = 19, .d_v = 37, .n_cell = 192 },
    { .dtype = DT_F16, .n_kv_head = 1, .d_k = 600, .d_v = 8, .n_cell = 64 },
    { .dtype = DT_F16, .n_kv_head = 1, .d_k = 72, .d_v = 40, .n_cell = 128, .latent = true },
    { .dtype = DT_Q8_0, .n_kv_head = 2, .d_k = 64, .d_v = 96, .n_cell = 128 },
    { .dtype = DT_F8_E4M3, .n_kv_head = 3, .d_k = 19, .d_v = 37, .n_cell = 128 },
    { .dtype = DT_F32, .n_kv_head = 1, .d_k = 33, .d_v = 33, .n_cell = 64, .latent = true },
};
enum { N_LAYOUT = sizeof layouts / sizeof layouts[0], N_SEQ = 2 };

static void take(llm_backend *be, llm_kv_layer *kv)
{
    ck_assert(be->op.kv_size(kv));
    kv->n_seq = N_SEQ;
    kv->k = calloc(N_SEQ, kv->k_seq_bytes), kv->v = kv->latent ? NULL : calloc(N_SEQ, kv->v_seq_bytes);
}

/* Plain rows of a type hold x: exactly as it rounds, or within half a step of a Q8_0 group. */
static void same_values(llm_dtype type, const uint8_t *row, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        uint16_t h;
        float f, d;
        if (type == DT_F32) memcpy(&f, row + 4 * i, 4), ck_assert(f == x[i]);
        if (type == DT_F16) memcpy(&h, row + 2 * i, 2), ck_assert(h == float_to_f16(x[i]));
        if (type == DT_F8_E4M3) ck_assert(row[i] == f32_to_e4m3(x[i]));
        if (type != DT_Q8_0) continue;
        memcpy(&h, row + i / 32 * 34, 2), d = f16_to_float(h);
        ck_assert(fabsf(d * (float)(int8_t)row[i / 32 * 34 + 2 + i % 32] - x[i]) <= 0.56f * d);
    }
}

START_TEST(rows_come_back_as_they_went_in)
{
    for (int i = 0; i < N_LAYOUT; i++)
        for (int isa = 0; isa < N_ISA; isa++) {
            if (!cpu_has_isa(all_isas[isa])) continue;
            enum { POS = 100, N = 60 };
            llm_backend be;
            open_cpu(&be, all_isas[isa], 2, 16);
            llm_kv_layer kv = layouts[i], copy = layouts[i];
            take(&be, &kv), take(&be, &copy);
            int wk = kv.n_kv_head * kv.d_k, wv = kv.n_kv_head * kv.d_v;
            float *k = rnd_floats(1, (size_t)(N * wk), 9), *v = rnd_floats(2, (size_t)(N * wv), 9);
            int32_t pos[N], seq[N];
            llm_span span = { 1, 0, N, POS };
            llm_batch b = { N, 1, NULL, pos, seq, &span };
            for (int p = 0; p < N; p++) pos[p] = POS + p, seq[p] = 1;
            be.op.store(&be, &kv, rows_of(k, N, wk), rows_of(v, N, wv), &b);
            size_t rk, rv;
            ck_assert(dtype_bytes((int)kv.dtype, wk, &rk) && dtype_bytes((int)kv.dtype, wv, &rv));
            uint8_t *gk = malloc(N * rk), *gv = malloc(N * rv);
            be.op.kv_get(&kv, 1, POS, N, gk, kv.latent ? NULL : gv);
            same_values(kv.dtype, gk, k, N * wk);
            if (!kv.latent) same_values(kv.dtype, gv, v, N * wv);
            be.op.kv_put(&copy, 1, POS, 25, gk, kv.latent ? NULL : gv);
            be.op.kv_put(&copy, 1, POS + 25, N - 25, gk + 25 * rk, kv.latent ? NULL : gv + 25 * rv);
            ck_assert_msg(memcmp(kv.k, copy.k, N_SEQ * kv.k_seq_bytes) == 0, "layout %d", i);
            ck_assert(kv.latent || memcmp(kv.v, copy.v, N_SEQ * kv.v_seq_bytes) == 0);
            for (size_t x = 0; x < kv.k_seq_bytes; x++) if (((uint8_t *)kv.k)[x] != 0) ck_abort_msg("another sequence was written");
            free(k), free(v), free(gk), free(gv), free(kv.k), free(kv.v), free(copy.k), free(copy.v);
            backend_cpu_close(&be);
        }
}
END_TEST

/* Every E4M3 comes back as itself; between neighbours the nearer one wins and of two equally near the even one; beyond 448 is 448. */
START_TEST(e4m3_rounds_to_nearest_even)
{
    for (int b = 0; b < 0x7f; b++) {
        float low = e4m3_to_f32((uint8_t)b), high = e4m3_to_f32((uint8_t)(b + 1)), middle = b < 0x7e ? (low + high) / 2 : 464;
        int even = b < 0x7e && b % 2 ? b + 1 : b;
        ck_assert_int_eq(f32_to_e4m3(low), b);
        ck_assert_int_eq(f32_to_e4m3(-low), b | 0x80);
        ck_assert_int_eq(f32_to_e4m3(middle), even);
        ck_assert_int_eq(f32_to_e4m3(nextafterf(middle, 0)), b);
        ck_assert_int_eq(f32_to_e4m3(-nextafterf(middle, 1e9f)), (b < 0x7e ? b + 1 : b) | 0x80);
    }
    ck_assert(f32_to_e4m3(1e30f) == 0x7e && f32_to_e4m3(-INFINITY) == 0xfe);
    ck_assert(f32_to_e4m3(NAN) == 0x7f && f32_to_e4m3(-NAN) == 0x7f && isnan(e4m3_to_f32(0x7f)) && isnan(e4m3_to_f32(0xff)));
}
END_TEST

START_TEST(sizes_are_checked)
{
    static const llm_kv_layer bad[] = {
        { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 100 },
        { .dtype = DT_Q4_0, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 64 },
        { .dtype = DT_Q8_0, .n_kv_head = 2, .d_k = 64, .d_v = 48, .n_cell = 64 },
        { .dtype = DT_Q8_0, .n_kv_head = 1, .d_k = 64, .d_v = 64, .n_cell = 64, .latent = true },
        { .dtype = DT_F8_E4M3, .n_kv_head = 1, .d_k = 64, .d_v = 64, .n_cell = 64, .latent = true },
        { .dtype = DT_F16, .n_kv_head = 0, .d_k = 64, .d_v = 64, .n_cell = 64 },
        { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 64, .latent = true },
        { .dtype = DT_F16, .n_kv_head = 1, .d_k = 64, .d_v = 65, .n_cell = 64, .latent = true },
        { .dtype = DT_F32, .n_kv_head = INT32_MAX, .d_k = INT32_MAX, .d_v = 1, .n_cell = INT32_MAX / 64 * 64 },
    };
    llm_kv_layer good = { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 40, .n_cell = 128 };
    llm_backend be;

    open_cpu(&be, ISA_SCALAR, 1, 16);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        llm_kv_layer kv = bad[i];
        ck_assert_msg(!be.op.kv_size(&kv), "case %d", (int)i);
    }
    ck_assert(be.op.kv_size(&good) && good.k_seq_bytes == 2 * 64 * 128 * 2 && good.v_seq_bytes == 2 * 48 * 128 * 2);
    backend_cpu_close(&be);
}
END_TEST

LLM_TEST_MAIN("kernels/kv", rows_come_back_as_they_went_in, e4m3_rounds_to_nearest_even, sizes_are_checked)
