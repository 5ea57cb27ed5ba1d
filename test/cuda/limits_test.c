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

/* What fits into a cache says nothing of the memory. */
START_TEST(too_little_memory_is_said)
{
#ifdef LLM_CUDA_SHIM
    extern size_t shim_memory_left;
    size_t all = shim_memory_left;
    llm_device_limits l;
    llm_device *d;
    llm_error err;

    ck_assert(device_open(&d, LLM_BACKEND_CUDA, 0, &err) == LLM_OK);
    shim_memory_left = (128 << 20) + 4096;
    ck_assert(device_limits(d, &l, &err) == LLM_ERR_MEMORY && shim_memory_left == (128 << 20) + 4096);
    ck_assert_msg(strstr(err.text, "MiB of its memory are free") != NULL, "%s", err.text);
    shim_memory_left = all;
    device_close(d);
#else
    test_skip("cuda/limits memory", "the memory of a real device is not taken away");
#endif
}
END_TEST

START_TEST(none_of_the_processor)
{
    llm_device_limits l;
    llm_error err;

    ck_assert(device_limits(NULL, &l, &err) == LLM_ERR_UNSUPPORTED);
}
END_TEST

LLM_TEST_MAIN("cuda/limits", every_limit_is_measured, too_little_memory_is_said, none_of_the_processor)
