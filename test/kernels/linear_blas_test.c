/* Products through OpenBLAS (BLAS=1) against double precision, over awkward sizes; and everything else against the kernel set's own, bit for bit. */
#include "../llm_test.h"
#include "kernel_case.h"
#ifdef LLM_BLAS
#include "linear_blas.h"
#include "matrix.h"

static const llm_limits limits = { .n_batch = 64, .max_cols = 4096, .max_rows = 4096, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 288, .d_model = 512 };

static llm_rows blank(int n, int width)
{
    llm_rows r = case_rows(n, width);
    memset(r.data, 0, (size_t)n * (size_t)r.stride * sizeof(float));
    return r;
}

static void check_near(const llm_tensor *w, const llm_tensor *bias, llm_rows x, llm_rows y)
{
    int rows = (int)w->dim[0], cols = (int)w->dim[1];
    float row[4096], b = 0;

    for (int r = 0; r < rows; r++) {
        dequant_row(w->dtype, (const uint8_t *)w->data + (size_t)r * w->row_bytes, row, cols);
        if (bias) dequant_row(bias->dtype, (const uint8_t *)bias->data + (size_t)r * (bias->dtype == DT_F32 ? 4 : 2), &b, 1);
        for (int i = 0; i < x.n; i++) {
            double sum = (double)b, size = fabs((double)b);
            for (int k = 0; k < cols; k++) sum += (double)row[k] * (double)row_at(x, i)[k], size += fabs((double)row[k] * (double)row_at(x, i)[k]);
            ck_assert_msg(fabs((double)row_at(y, i)[r] - sum) <= 2e-6 * size,
                          "%s rows %d cols %d n %d: y[%d][%d] = %g, want %g", dtype_name(w->dtype), rows, cols, x.n, i, r,
                          (double)row_at(y, i)[r], sum);
        }
    }
}

START_TEST(near_double_precision)
{
    static const llm_dtype types[] = { DT_F32, DT_F16, DT_BF16 };
    static const int rows[] = { 1, 33, 700 }, cols[] = { 1, 31, 512 }, ns[] = { 2, 7, 64 };
    case_backend c;

    case_open(&c, cpu_best_isa(), 2, &limits);
    linear_ops_blas(&c.be.op, &c.be.block, &c.impl);
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 27; i++) {
            int r = rows[i / 9], k = cols[i / 3 % 3], n = ns[i % 3];
            llm_tensor w = case_tensor(types[t], 0, r, k), bias = case_tensor(DT_F32, 0, 1, r);
            llm_rows x = case_rows(n, k), y = blank(n, r);
            llm_linear l = { y, &w, i % 2 ? &bias : NULL };
            bias.dim[0] = r, bias.dim[1] = 1;
            c.be.op.linear(&c.be, &l, 1, x);
            ck_assert(backend_ok(&c.be));
            check_near(&w, l.bias, x, y);
            free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)bias.data), free(x.data), free(y.data);
        }
    case_close(&c);
}
END_TEST

/* Blocks, and one row of x: the bits of the kernel set. */
START_TEST(others_are_unchanged)
{
    static const struct { llm_dtype type; int n; } cases[] = { { DT_Q8_0, 9 }, { DT_Q4_K, 9 }, { DT_F16, 1 }, { DT_F32, 1 } };
    case_backend c;

    case_open(&c, cpu_best_isa(), 2, &limits);
    linear_ops_blas(&c.be.op, &c.be.block, &c.impl);
    for (int i = 0; i < 4; i++) {
        llm_tensor w = case_tensor(cases[i].type, 0, 100, 512), f = case_tensor(DT_F16, 0, 40, 512);
        llm_rows x = case_rows(cases[i].n, 512), y = blank(cases[i].n, 100), z = blank(cases[i].n, 40), own = blank(cases[i].n, 100);
        llm_linear both[3] = { { y, &w, NULL }, { z, &f, NULL }, { y, &w, NULL } }, one = { own, &w, NULL };
        c.be.op.linear(&c.be, both, 3, x);
        cpu_of(&c.be)->linear_own(&c.be, &one, 1, x);
        ck_assert(backend_ok(&c.be));
        ck_assert_mem_eq(y.data, own.data, (size_t)cases[i].n * (size_t)y.stride * sizeof(float));
        free((void *)(uintptr_t)w.data), free((void *)(uintptr_t)f.data), free(x.data), free(y.data), free(z.data), free(own.data);
    }
    case_close(&c);
}
END_TEST
#else
START_TEST(near_double_precision) { test_skip("products through OpenBLAS", "built without BLAS=1"); } END_TEST
START_TEST(others_are_unchanged) { test_skip("products beside OpenBLAS", "built without BLAS=1"); } END_TEST
#endif

LLM_TEST_MAIN("kernels/linear_blas", near_double_precision, others_are_unchanged)
