#include "../llm_test.h"
#include "dtype.h"

START_TEST(sizes_of_blocks)
{
    static const struct { int dtype; int64_t n; size_t bytes; } rows[] = {
        { DT_F32, 3, 12 }, { DT_Q4_0, 64, 36 }, { DT_Q6_K, 512, 420 }, { DT_MXFP4, 2880, 1530 }, { DT_IQ1_S, 256, 50 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t bytes = 0;
        ck_assert(dtype_bytes(rows[i].dtype, rows[i].n, &bytes));
        ck_assert_uint_eq(bytes, rows[i].bytes);
    }
}
END_TEST

START_TEST(refuses_part_of_a_block)
{
    size_t bytes;
    ck_assert(!dtype_bytes(DT_Q4_0, 33, &bytes));
    ck_assert(!dtype_bytes(DT_F32, -1, &bytes));
    ck_assert(!dtype_bytes(DT_F64, INT64_MAX, &bytes));
    ck_assert(!dtype_bytes(9999, 1, &bytes));
}
END_TEST

START_TEST(finds_by_name)
{
    ck_assert_int_eq((int)dtype_find("q4_k")->dtype, DT_Q4_K);
    ck_assert_ptr_null(dtype_find("q4"));
    ck_assert_str_eq(dtype_name(39), "MXFP4");
    ck_assert_str_eq(dtype_name(4), "?");
}
END_TEST

LLM_TEST_MAIN("base/dtype", sizes_of_blocks, refuses_part_of_a_block, finds_by_name)
