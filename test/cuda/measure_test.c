/* llm-bench's measuring on the device (or its shim): sequences from 1 to 64, a prompt, a depth; tokens are picked where the logits lie. And the
 * sizes of the sessions that only a GPU computes in reasonable time. */
#include "../llm_test.h"
#include "measure.h"
#include <string.h>

#define MODEL "test/data/ref/gpt-oss/model.gguf"

#ifdef LLM_CUDA_SHIM
extern size_t shim_downloaded;
#endif

static int open_model(llm_model **m, const char *path, uint64_t planned)
{
    llm_model_options o = { .size = sizeof o, .path = path, .backend = LLM_BACKEND_CUDA, .n_threads = 1, .gpu_layers = LLM_GPU_ALL, .device_memory = planned, .plan_only = planned > 0 };
    llm_error err;
    llm_status st = llm_model_open(m, &o, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/measure", err.text); return 0; }
    ck_assert_msg(st == LLM_OK, "%s", err.text);
    return 1;
}

static size_t measured(llm_model *m, work_test w, llm_kv_type kv_type, int pick)
{
    bench_test t = { w, 1 };
    measure_options o = { .kv_type = kv_type, .repetitions = 1, .pick = pick };
    measure_result r = { 0 };
    llm_error err;
    char name[64];
    size_t before = 0;

#ifdef LLM_CUDA_SHIM
    before = shim_downloaded;
#endif
    measure_name(&w, name, sizeof name);
    ck_assert_msg(measure_test(m, &t, &o, &r, &err) == LLM_OK, "%s: %s", name, err.text);
    ck_assert_msg(r.seconds > 0 && r.rate > 0, "%s", name);
    ck_assert_msg(r.device_share > 0 && r.device_share <= 1, "%s: %g of the time on the device", name, r.device_share);
#ifdef LLM_CUDA_SHIM
    return (shim_downloaded - before) / 2;     /* a run that counts, and one by the device's clock */
#else
    return before;
#endif
}

/* What a pick brings here: the record of the greatest, of a fixed size, not the logits. */
START_TEST(sequences_from_1_to_64)
{
    llm_model_info i = { .size = sizeof i };
    llm_model *m;

    if (!open_model(&m, "tools/demo/demo-gpt-oss.gguf", 0)) return;
    llm_model_get_info(m, &i);
    for (int n = 1; n <= 64; n *= 8) {
        size_t bytes = measured(m, (work_test){ .generate = 2, .batch = 64, .n_seq = n }, LLM_KV_F16, 1), logits = (size_t)i.n_vocab * sizeof(float);
#ifdef LLM_CUDA_SHIM
        ck_assert_msg(bytes > 0 && bytes <= (size_t)(2 * n) * 8192 && logits > 8192, "%d sequences: %zu bytes of %zu come back a step", n, bytes / 2, (size_t)n * logits);
#endif
        (void)bytes, (void)logits;
    }
    llm_model_close(m);
}
END_TEST

START_TEST(prompts_and_depths)
{
    llm_model *m;

    if (!open_model(&m, MODEL, 0)) return;
    measured(m, (work_test){ .prompt = 65, .batch = 64, .n_seq = 1 }, LLM_KV_F16, 1);
    measured(m, (work_test){ .generate = 2, .depth = 700, .batch = 128, .n_seq = 2 }, LLM_KV_F8_E4M3, 1);
    measured(m, (work_test){ .prompt = 5, .generate = 2, .batch = 16, .n_seq = 3 }, LLM_KV_F32, 0);
    llm_model_close(m);
}
END_TEST

/* 64 sequences, and one of 128k tokens: planned to the byte on a GPU that is not here. */
START_TEST(sessions_of_large_tests_are_planned)
{
    static const work_test tests[] = { { .generate = 128, .batch = 512, .n_seq = 64 }, { .generate = 128, .depth = 131072, .batch = 2048, .n_seq = 1 } };
    llm_model *m;

    if (!open_model(&m, MODEL, (uint64_t)1 << 40)) return;
    for (size_t i = 0; i < 2; i++) {
        bench_test t = { tests[i], 1 };
        measure_options o = { .kv_type = LLM_KV_F16 };
        llm_session_options so = measure_session(&t, &o);
        llm_memory_plan p = { .size = sizeof p };
        llm_error err;
        ck_assert_msg(llm_session_plan(m, &so, &p, &err) == LLM_OK, "%s", err.text);
        ck_assert(so.n_ctx >= tests[i].depth + 129 && p.device_kv_bytes > 0 && p.device_scratch_bytes > 0);
    }
    llm_model_close(m);
}
END_TEST

LLM_TEST_MAIN("cuda/measure", sequences_from_1_to_64, prompts_and_depths, sessions_of_large_tests_are_planned)
