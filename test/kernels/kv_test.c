/* Cache layout: what store puts in comes back by kv_get; kv_put of that gives the same cells; sizes and their limits. */
#include "kernel_test.h"
#include "kv.h"

static const llm_kv_layer layouts[] = {
    { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 128 },
    { .dtype = DT_F32, .n_kv_head = 3, .d_k = 19, .d_v = 37, .n_cell = 192 },
    { .dtype = DT_F16, .n_kv_head = 1, .d_k = 600, .d_v = 8, .n_cell = 64 },
    { .dtype = DT_F16, .n_kv_head = 1, .d_k = 72, .d_v = 40, .n_cell = 128, .latent = true },
    { .dtype = DT_F32, .n_kv_head = 1, .d_k = 33, .d_v = 33, .n_cell = 64, .latent = true },
};
enum { N_LAYOUT = sizeof layouts / sizeof layouts[0], N_SEQ = 2 };

static void take(llm_backend *be, llm_kv_layer *kv)
{
    ck_assert(be->op.kv_size(kv));
    kv->n_seq = N_SEQ;
    kv->k = calloc(N_SEQ, kv->k_seq_bytes), kv->v = kv->latent ? NULL : calloc(N_SEQ, kv->v_seq_bytes);
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
            size_t e = kv_element(&kv);
            uint8_t *gk = malloc((size_t)(N * wk) * e), *gv = malloc((size_t)(N * wv) * e);
            be.op.kv_get(&kv, 1, POS, N, gk, kv.latent ? NULL : gv);
            for (int x = 0; x < N * wk; x++) {
                float got = e == 2 ? f16_to_float(((uint16_t *)(void *)gk)[x]) : ((float *)(void *)gk)[x];
                ck_assert(got == (e == 2 ? f16_to_float(float_to_f16(k[x])) : k[x]));
            }
            for (int x = 0; x < N * wv && !kv.latent; x++) {
                float got = e == 2 ? f16_to_float(((uint16_t *)(void *)gv)[x]) : ((float *)(void *)gv)[x];
                ck_assert(got == (e == 2 ? f16_to_float(float_to_f16(v[x])) : v[x]));
            }
            be.op.kv_put(&copy, 1, POS, 25, gk, kv.latent ? NULL : gv);
            be.op.kv_put(&copy, 1, POS + 25, N - 25, gk + (size_t)(25 * wk) * e, kv.latent ? NULL : gv + (size_t)(25 * wv) * e);
            ck_assert_msg(memcmp(kv.k, copy.k, N_SEQ * kv.k_seq_bytes) == 0, "layout %d", i);
            ck_assert(kv.latent || memcmp(kv.v, copy.v, N_SEQ * kv.v_seq_bytes) == 0);
            for (size_t x = 0; x < kv.k_seq_bytes; x++) if (((uint8_t *)kv.k)[x] != 0) ck_abort_msg("another sequence was written");
            free(k), free(v), free(gk), free(gv), free(kv.k), free(kv.v), free(copy.k), free(copy.v);
            backend_cpu_close(&be);
        }
}
END_TEST

START_TEST(sizes_are_checked)
{
    static const llm_kv_layer bad[] = {
        { .dtype = DT_F16, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 100 },
        { .dtype = DT_Q4_0, .n_kv_head = 2, .d_k = 64, .d_v = 64, .n_cell = 64 },
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

LLM_TEST_MAIN("kernels/kv", rows_come_back_as_they_went_in, sizes_are_checked)
