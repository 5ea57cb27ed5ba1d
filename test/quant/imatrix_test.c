/* Importance matrices: collected, written, read in both forms, used; broken ones are refused by name. */
#include "../llm_test.h"
#include "imatrix.h"
#include "llm.h"
#include <math.h>
#include <string.h>

static char dir[64], file[128], out[128];

static void begin(void)
{
    strcpy(dir, "/tmp/llm-imatrix-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/m.imatrix", dir), snprintf(out, sizeof out, "%s/out.gguf", dir);
}

static void end(void)
{
    unlink(file), unlink(out);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Collects over n tokens of the demo model in pieces of n_batch rows. */
static void collect(int n, int n_batch, int n_threads)
{
    llm_model_options mo = { .size = sizeof mo, .path = "tools/demo/demo-gpt-oss.gguf" };
    llm_session_options so = { .size = sizeof so, .n_ctx = 256, .n_batch = n_batch, .n_threads = n_threads };
    llm_token id[256];
    llm_model *m;
    llm_session *s;
    llm_collector *c, *second;
    llm_error err = { LLM_OK, "" };

    for (int i = 0; i < n; i++) id[i] = 100 + i * 37 % 3000;
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_session_open(&s, m, &so, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_collector_open(&c, s, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq(llm_collector_open(&second, s, &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_collector_save(c, file, "x", 1, 256, &err), LLM_ERR_ARG);
    ck_assert_msg(llm_session_decode(s, id, (size_t)n, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_collector_save(c, file, "the text", 1, 256, &err) == LLM_OK, "%s", err.text);
    llm_collector_close(c);
    ck_assert_msg(llm_session_decode(s, id, 1, &err) == LLM_OK, "%s", err.text);
    llm_session_close(s);
    llm_model_close(m);
}

START_TEST(collected_and_used)
{
    llm_quantize_options o = { .size = sizeof o, .in = "tools/demo/demo-gpt-oss.gguf", .out = out, .type = "Q4_K_M", .imatrix = file };
    llm_quantize_result r = { .size = sizeof r };
    imatrix a, b;
    llm_error err = { LLM_OK, "" };

    begin();
    collect(200, 200, 1);
    ck_assert_msg(imatrix_read(&a, file, &err) == LLM_OK, "%s", err.text);
    ck_assert_uint_eq(a.n, 6 * 7 + 1);
    ck_assert_str_eq(a.dataset, "the text");
    ck_assert_int_eq(a.chunks, 1);
    ck_assert_int_eq(imatrix_find(&a, "blk.5.ffn_down_exps.weight")->matrices, 16);
    ck_assert_int_eq(imatrix_find(&a, "blk.5.ffn_down_exps.weight")->cols, 96);
    ck_assert(imatrix_find(&a, "blk.6.attn_q.weight") == NULL);
    collect(200, 64, 3);
    ck_assert_msg(imatrix_read(&b, file, &err) == LLM_OK, "%s", err.text);
    for (size_t i = 0; i < a.n; i++)
        ck_assert_msg(memcmp(a.entry[i].value, b.entry[i].value, (size_t)(a.entry[i].matrices * a.entry[i].cols) * 4) == 0, "%s depends on how the text was cut",
                      a.entry[i].name);
    imatrix_free(&a), imatrix_free(&b);
    ck_assert_msg(llm_quantize(&o, &r, &err) == LLM_OK, "%s", err.text);
    ck_assert_uint_gt(r.n_weighted, 20);
    end();
}
END_TEST

static void put_i32(FILE *f, int32_t v) { fwrite(&v, 4, 1, f); }

/* The older form: one weight of n values. */
static void write_old(const char *name, int n, float value, int cut)
{
    FILE *f = fopen(file, "wb");
    put_i32(f, 1), put_i32(f, (int)strlen(name)), fputs(name, f), put_i32(f, 4), put_i32(f, n);
    for (int i = 0; i < n - cut; i++) { float v = i == 3 ? value : 2; fwrite(&v, 4, 1, f); }
    if (!cut) put_i32(f, 7), put_i32(f, 5), fputs("a.txt", f);
    fclose(f);
}

START_TEST(the_older_form)
{
    imatrix m;
    llm_error err = { LLM_OK, "" };

    begin();
    write_old("blk.0.attn_q.weight", 256, 8, 0);
    ck_assert_msg(imatrix_read(&m, file, &err) == LLM_OK, "%s", err.text);
    const imatrix_entry *e = imatrix_find(&m, "blk.0.attn_q.weight");
    ck_assert_ptr_nonnull(e);
    ck_assert(e->cols == 256 && e->value[3] == 2 && e->value[4] == 0.5f);
    ck_assert_int_eq(m.chunks, 7);
    ck_assert_str_eq(m.dataset, "a.txt");
    imatrix_free(&m);
    write_old("w", 16, NAN, 0);
    ck_assert_int_eq(imatrix_read(&m, file, &err), LLM_ERR_FORMAT);
    ck_assert_msg(strstr(err.text, "importance 3 of 'w'"), "%s", err.text);
    write_old("w", 16, -1, 0);
    ck_assert_int_eq(imatrix_read(&m, file, &err), LLM_ERR_FORMAT);
    write_old("w", 16, 1, 5);
    ck_assert_int_eq(imatrix_read(&m, file, &err), LLM_ERR_FORMAT);
    ck_assert_msg(strstr(err.text, "breaks off"), "%s", err.text);
    end();
}
END_TEST

START_TEST(one_that_does_not_fit)
{
    llm_quantize_options o = { .size = sizeof o, .in = "tools/demo/demo-gpt-oss.gguf", .out = out, .type = "Q4_0", .imatrix = file };
    llm_error err = { LLM_OK, "" };

    begin();
    write_old("blk.0.attn_q.weight", 128, 1, 0);
    ck_assert_int_eq(llm_quantize(&o, NULL, &err), LLM_ERR_FORMAT);
    ck_assert_msg(strstr(err.text, "128 columns for 'blk.0.attn_q.weight', which has 256"), "%s", err.text);
    end();
}
END_TEST

START_TEST(cut_anywhere)
{
    static char data[70000];
    const float sum[24] = { 1, 2, 3 }, count[2] = { 5, 0 };
    const imatrix_sums s = { "blk.0.ffn_up_exps.weight", 2, 12, sum, count };
    imatrix m;
    llm_error err = { LLM_OK, "" };

    begin();
    ck_assert_msg(imatrix_write(file, &s, 1, "t", 1, 8, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(imatrix_read(&m, file, &err) == LLM_OK, "%s", err.text);
    ck_assert(m.entry[0].value[0] == 0.2f && m.entry[0].value[12] == 1 && m.entry[0].value[5] > 0);
    imatrix_free(&m);
    FILE *f = fopen(file, "rb");
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    for (size_t cut = 0; cut + 64 < n; cut++) {
        f = fopen(file, "wb"), fwrite(data, 1, cut, f), fclose(f);
        ck_assert_int_ne(imatrix_read(&m, file, &err), LLM_OK);
    }
    end();
}
END_TEST

LLM_TEST_MAIN("quant/imatrix", collected_and_used, the_older_form, one_that_does_not_fit, cut_anywhere)
