/* What llm-bench measures on the device: that every probe runs; and no limits for a CPU. */
#include "cuda_case.h"

START_TEST(every_limit_is_measured)
{
    llm_device_limits l = { 0, 0, 0 };
    llm_device *d;
    llm_error err;
    llm_status st = device_open(&d, LLM_BACKEND_CUDA, 0, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip("every_limit_is_measured", err.text); return; }
    ck_assert_msg(st == LLM_OK, "%s", err.text);
    ck_assert_msg(device_limits(d, &l, &err) == LLM_OK, "%s", err.text);
    printf("  read %.1f GB/s, int8 %.0f GOPS, f16 %.0f GFLOPS\n", l.read_gbs, l.int8_gops, l.float_gflops);
    ck_assert(l.read_gbs > 0 && l.int8_gops > 0 && l.float_gflops > 0);
    device_close(d);
}
END_TEST

START_TEST(none_of_the_processor)
{
    llm_device_limits l;
    llm_error err;

    ck_assert(device_limits(NULL, &l, &err) == LLM_ERR_UNSUPPORTED);
}
END_TEST

LLM_TEST_MAIN("cuda/limits", every_limit_is_measured, none_of_the_processor)
