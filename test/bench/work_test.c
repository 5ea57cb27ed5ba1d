/* Bytes and multiplications of models against numbers worked out by hand, and floors of tests against the same. */
#include "../llm_test.h"
#include "shape.h"
#include "work.h"
#include <math.h>

static shape *opened(const char *text)
{
    llm_error err = { LLM_OK, "" };
    shape *s;

    ck_assert_msg(shape_open(&s, text, &err) == LLM_OK, "%s: %s", text, err.text);
    return s;
}

/* value within a part in 10000 of want, which has five digits. */
static void check_near(const char *what, double value, double want)
{
    ck_assert_msg(fabs(value - want) <= 1e-4 * want, "%s: %.7g, want %.7g", what, value, want);
}

/* Megabytes that a token reads: the sums over the tensors of files of these shapes that an independent program wrote. */
START_TEST(bytes_of_a_token)
{
    static const struct { const char *shape; double mb; } cases[] = {
        { "qwen3-0.6b:q8_0", 633.5 },  { "qwen3-0.6b:q4_0", 375.6 },     { "qwen3-4b:q4_0", 2363.6 },        { "qwen3-4b:q4_k_m", 2491.3 },
        { "gemma-3-270m:q4_0", 234.9 }, { "gemma-3-270m:q8_0", 285.0 },  { "gemma-3-1b:q4_0", 713.9 },       { "gpt-oss-20b:mxfp4", 2574.7 },
        { "deepseek-v2-lite:q4_k_m", 1611.8 }, { "qwen3-30b-a3b:q4_k_m", 1919.6 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shape *s = opened(cases[i].shape);
        model_work w = work_of(shape_model(s), DT_F16);
        double mb = (work_token_bytes(&w) - w.embed_row) / 1e6;
        printf("  %s: %.1f MB, want %.1f\n", cases[i].shape, mb, cases[i].mb);
        ck_assert_msg(fabs(mb - cases[i].mb) < 0.001 * cases[i].mb, "%s: a token reads %.1f MB, want %.1f", cases[i].shape, mb, cases[i].mb);
        shape_close(s);
    }
}
END_TEST

/* One position of Qwen3 0.6B: 28 layers of 8 heads of 128 values, twice. */
START_TEST(bytes_of_the_cache)
{
    shape *s = opened("qwen3-0.6b:q8_0");
    model_work f16 = work_of(shape_model(s), DT_F16), q8 = work_of(shape_model(s), DT_Q8_0);
    double cell = 28.0 * 2 * 8 * 128;

    ck_assert(work_kv_bytes(&f16, 0) == 2 * cell);
    ck_assert(work_kv_bytes(&f16, 4095) == 4096 * 2 * cell);
    ck_assert(work_kv_bytes(&q8, 99) == 100 * cell * 34 / 32);
    shape_close(s);

    s = opened("gemma-3-1b:q4_0");          /* 26 layers, each sixth sees all, the others 512 keys; one head of 256 */
    f16 = work_of(shape_model(s), DT_F16);
    ck_assert(work_kv_bytes(&f16, 100) == 26 * 101 * 1024.0);
    ck_assert(work_kv_bytes(&f16, 4095) == (4 * 4096 + 22 * 512) * 1024.0);
    shape_close(s);

    s = opened("deepseek-v2-lite:q4_k_m");  /* 27 latents of 512 + 64 values, never in Q8_0 */
    f16 = work_of(shape_model(s), DT_F16), q8 = work_of(shape_model(s), DT_Q8_0);
    ck_assert(work_kv_bytes(&f16, 999) == 1000 * 27 * 576 * 2.0);
    ck_assert(work_kv_bytes(&q8, 999) == work_kv_bytes(&f16, 999));
    shape_close(s);
}
END_TEST

/* Multiplications of Qwen3 0.6B's layer: q 1024 x 2048, k and v 1024 x 1024, o 2048 x 1024, three of 1024 x 3072. */
START_TEST(multiplications)
{
    static const double layer = 1024.0 * 2048 * 2 + 1024.0 * 1024 * 2 + 3 * 1024.0 * 3072;
    shape *s = opened("qwen3-0.6b:q8_0");
    model_work w = work_of(shape_model(s), DT_F16);

    ck_assert(w.int8_macs == 28 * layer && w.float_macs == 0);
    ck_assert(w.head_int8 == 151936.0 * 1024 && w.head_float == 0);
    shape_close(s);

    s = opened("qwen3-0.6b:bf16");
    w = work_of(shape_model(s), DT_F16);
    ck_assert(w.float_macs == 28 * layer && w.int8_macs == 0 && w.head_float == 151936.0 * 1024);
    shape_close(s);

    s = opened("qwen3-30b-a3b:q8_0");       /* 8 of 128 experts of 768; the routers are floats */
    w = work_of(shape_model(s), DT_F16);
    ck_assert(w.int8_macs == 48 * (2048.0 * 4096 * 2 + 2048.0 * 512 * 2 + 8 * 3 * 2048.0 * 768));
    ck_assert(w.float_macs == 48 * 2048.0 * 128);
    shape_close(s);
}
END_TEST

START_TEST(floors)
{
    const machine_limits m = { .read_gbs = 10, .int8_gops = 100, .f32_gflops = 50 };
    shape *s = opened("qwen3-0.6b:q8_0");
    model_work w = work_of(shape_model(s), DT_F16);
    work_floor f = work_least(&w, &(work_test){ .generate = 2, .depth = 1000, .batch = 512, .n_seq = 1 }, &m);
    double kv = work_kv_bytes(&w, 1000) + work_kv_bytes(&w, 1001), pairs = 512.0 * 513 / 2 * 28 * 16 * 256;

    check_near("tg2 @ d1000", f.seconds, (2 * work_token_bytes(&w) + kv) / 10e9);
    f = work_least(&w, &(work_test){ .prompt = 512, .batch = 512, .n_seq = 1 }, &m);
    check_near("pp512", f.seconds, 2 * (w.int8_macs * 512 + w.head_int8) / 100e9 + 2 * pairs / 50e9);
    f = work_least(&w, &(work_test){ .prompt = 1, .batch = 512, .n_seq = 1 }, &m);              /* a prompt of one token reads */
    check_near("pp1", f.seconds, (work_token_bytes(&w) + work_kv_bytes(&w, 0)) / 10e9);
    f = work_least(&w, &(work_test){ .generate = 1, .batch = 512, .n_seq = 8 }, &m);            /* weights once for all eight */
    check_near("tg1 x8", f.bytes, work_token_bytes(&w) + 7 * w.embed_row + 8 * work_kv_bytes(&w, 0));
    shape_close(s);

    s = opened("gpt-oss-20b:mxfp4");                                                            /* two rows choose 1 - (7/8)^2 of the experts */
    w = work_of(shape_model(s), DT_F16);
    f = work_least(&w, &(work_test){ .generate = 1, .batch = 512, .n_seq = 2 }, &m);
    check_near("tg1 x2 of experts", f.bytes, w.dense_bytes + w.expert_bytes * 15 / 64 + 2 * w.embed_row + 2 * work_kv_bytes(&w, 0));
    shape_close(s);
}
END_TEST

LLM_TEST_MAIN("bench/work", bytes_of_a_token, bytes_of_the_cache, multiplications, floors)
