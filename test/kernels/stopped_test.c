/* The matrix products while threads are stopped and continued at random: the same bits as one thread undisturbed. */
#include "../llm_test.h"
#include "kernel_case.h"
#include "../stopper.h"

enum { ROWS = 700, COLS = 512, THREADS = 4, ROUNDS = TEST_IS_SLOW ? 10 : 60, STOPS = 5 };
static const llm_limits limits = { .n_batch = 24, .max_cols = COLS, .max_rows = ROWS, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = COLS };

START_TEST(products_keep_their_bits)
{
    static const llm_dtype types[] = { DT_Q4_0, DT_Q8_0, DT_MXFP4, DT_Q6_K, DT_BF16 };
    static const int counts[] = { 1, 5, 24 };
    case_backend calm, c;

    case_open(&calm, ISA_SCALAR, 1, &limits), case_open(&c, cpu_best_isa(), THREADS, &limits);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        case_state = t;
        llm_tensor w = case_tensor(types[t], 0, ROWS, COLS);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            int n = counts[k];
            llm_rows x = case_rows(n, COLS), want = case_rows(n, ROWS), got = case_rows(n, ROWS);
            llm_linear l = { want, &w, NULL };
            size_t bytes = (size_t)n * (size_t)want.stride * sizeof(float);
            calm.be.op.linear(&calm.be, &l, 1, x);
            l.y = got;
            stopper_start();
            int before = atomic_load(&stopper_stops);               /* on busy cores the thread that stops the others is late itself */
            for (int round = 0; round < ROUNDS || (atomic_load(&stopper_stops) - before < STOPS && round < 100 * ROUNDS); round++) {
                memcpy(got.data, want.data, bytes);
                for (int i = 0; i < n; i++) memset(row_at(got, i), 0xff, ROWS * sizeof(float));
                c.be.op.linear(&c.be, &l, 1, x);
                ck_assert_msg(memcmp(got.data, want.data, bytes) == 0, "%s n %d round %d", dtype_name(types[t]), n, round);
            }
            stopper_end();
            free(x.data), free(want.data), free(got.data);
        }
        free((void *)(uintptr_t)w.data);
    }
    ck_assert_msg(atomic_load(&stopper_stops) >= STOPS * (int)(sizeof types / sizeof types[0] * sizeof counts / sizeof counts[0]),
                  "%d stops", atomic_load(&stopper_stops));
    case_close(&calm), case_close(&c);
}
END_TEST

LLM_TEST_MAIN("kernels/stopped", products_keep_their_bits)
