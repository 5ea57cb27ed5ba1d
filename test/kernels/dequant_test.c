/* Every stored type against the format owners' own dequantizers (tools/reference/make_quant_cases.py). */
#include "../llm_test.h"
#include "dequant.h"
#include "narrow.h"
#include <math.h>

static const llm_dtype types[] = {
    DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ2_XXS, DT_IQ2_XS,
    DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ1_S, DT_IQ1_M, DT_IQ4_NL, DT_IQ4_XS, DT_TQ1_0, DT_TQ2_0, DT_MXFP4, DT_Q4_G,
    DT_F8_E4M3, DT_F8_E5M2,
};
enum { N_TYPE = sizeof types / sizeof types[0] };

static bool same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

START_TEST(equals_the_format_owners)
{
    for (int t = 0; t < N_TYPE; t++) {
        const llm_dtype_info *info = dtype_info(types[t]);
        char path[128];
        int32_t head[3];
        snprintf(path, sizeof path, "test/data/quant/%s.bin", info->name);
        FILE *f = fopen(path, "rb");
        ck_assert_msg(f != NULL, "%s is missing", path);
        ck_assert_uint_eq(fread(head, 4, 3, f), 3);
        ck_assert_int_eq(head[1], info->block_bytes);
        ck_assert_int_eq(head[2], info->block);
        size_t bytes = (size_t)(head[0] * head[1]), n = (size_t)(head[0] * head[2]);
        uint8_t *block = malloc(bytes);
        float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
        ck_assert_uint_eq(fread(block, 1, bytes, f), bytes);
        ck_assert_uint_eq(fread(want, 4, n, f), n);
        ck_assert(dequant_row(types[t], block, got, (int64_t)n));
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(same(got[i], want[i]), "%s value %zu: got %a want %a", info->name, i, (double)got[i], (double)want[i]);
        fclose(f);
        free(block), free(want), free(got);
    }
}
END_TEST

START_TEST(one_value_formats)
{
    static const struct { llm_dtype dtype; const char *bytes; float want; } rows[] = {
        { DT_F32, "\x00\x00\xc0\x3f", 1.5f }, { DT_F16, "\x00\xc2", -3.0f }, { DT_F16, "\x01\x00", 0x1p-24f },
        { DT_BF16, "\xc0\xbf", -1.5f }, { DT_F64, "\0\0\0\0\0\0\x04\x40", 2.5f }, { DT_I8, "\xfe", -2 }, { DT_I16, "\xff\xff", -1 },
        { DT_I32, "\x00\x01\x00\x00", 256 }, { DT_I64, "\xff\xff\xff\xff\xff\xff\xff\xff", -1 }, { DT_U8, "\xff", 255 },
        { DT_U16, "\xff\xff", 65535 }, { DT_U32, "\xff\xff\xff\xff", 0x1p32f }, { DT_U64, "\0\0\0\0\0\0\0\x80", 0x1p63f }, { DT_BOOL, "\1", 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float got;
        ck_assert(dequant_row(rows[i].dtype, rows[i].bytes, &got, 1));
        ck_assert_msg(got == rows[i].want, "row %zu: got %a", i, (double)got);
    }
    ck_assert(!dequant_row((llm_dtype)5, "", NULL, 0));
}
END_TEST

START_TEST(half_round_trips_and_rounds_to_even)
{
    for (int h = 0; h < 65536; h++) {
        float f = f16_to_float((uint16_t)h);
        if (isnan(f)) ck_assert(isnan(f16_to_float(float_to_f16(f))));
        else ck_assert_int_eq(float_to_f16(f), h);
    }
    ck_assert_int_eq(float_to_f16(65519.0f), 0x7bff);
    ck_assert_int_eq(float_to_f16(65520.0f), 0x7c00);
    ck_assert_int_eq(float_to_f16(0x1p-25f), 0);              /* half of the least subnormal: to even */
    ck_assert_int_eq(float_to_f16(0x1.8p-24f), 2);
    ck_assert_int_eq(float_to_f16(1.0f + 0x1p-11f), 0x3c00);
    ck_assert_int_eq(float_to_f16(1.0f + 0x1.8p-10f), 0x3c02);
}
END_TEST

/* A NaN, infinite or reserved scale in block 2 of 3 is found there, wherever the type keeps its scale. */
START_TEST(finds_bad_scales)
{
    static const struct { llm_dtype dtype; int at; const char *bytes; int n; } rows[] = {
        { DT_Q4_0, 0, "\x00\x7c", 2 }, { DT_Q4_1, 2, "\x01\xfc", 2 }, { DT_Q5_0, 0, "\x00\xfc", 2 }, { DT_Q5_1, 2, "\x00\x7e", 2 },
        { DT_Q8_0, 0, "\x00\x7e", 2 }, { DT_Q2_K, 82, "\x00\x7c", 2 }, { DT_Q3_K, 108, "\x00\x7c", 2 }, { DT_Q4_K, 2, "\x00\x7c", 2 },
        { DT_Q5_K, 0, "\x00\x7c", 2 }, { DT_Q6_K, 208, "\x00\x7c", 2 }, { DT_Q8_K, 0, "\x00\x00\xc0\x7f", 4 },
        { DT_IQ2_XXS, 0, "\x00\x7c", 2 }, { DT_IQ2_XS, 0, "\x00\x7c", 2 }, { DT_IQ2_S, 0, "\x00\x7c", 2 }, { DT_IQ3_XXS, 0, "\x00\x7c", 2 },
        { DT_IQ3_S, 0, "\x00\x7c", 2 }, { DT_IQ1_S, 0, "\x00\x7c", 2 }, { DT_IQ1_M, 52, "\x00\xc0\x00\x70", 4 }, { DT_IQ4_NL, 0, "\x00\x7c", 2 },
        { DT_IQ4_XS, 0, "\x00\x7c", 2 }, { DT_TQ1_0, 52, "\x00\x7c", 2 }, { DT_TQ2_0, 64, "\x00\x7c", 2 }, { DT_MXFP4, 0, "\xff", 1 },
        { DT_Q4_G, 2, "\x11", 1 }, { DT_F32, 0, "\x00\x00\x80\xff", 4 }, { DT_F16, 0, "\x01\x7c", 2 }, { DT_BF16, 0, "\x80\x7f", 2 },
        { DT_F8_E4M3, 0, "\x7f", 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const llm_dtype_info *info = dtype_info(rows[i].dtype);
        uint8_t *b = calloc(3, (size_t)info->block_bytes);
        int64_t bad = -1;
        ck_assert_msg(dtype_check(rows[i].dtype, b, 3 * info->block, &bad), "%s: zeros", info->name);
        memcpy(b + 2 * info->block_bytes + rows[i].at, rows[i].bytes, (size_t)rows[i].n);
        ck_assert_msg(!dtype_check(rows[i].dtype, b, 3 * info->block, &bad), "%s: not found", info->name);
        ck_assert_int_eq(bad, 2);
        free(b);
    }
}
END_TEST

LLM_TEST_MAIN("kernels/dequant", equals_the_format_owners, one_value_formats, half_round_trips_and_rounds_to_even, finds_bad_scales)
