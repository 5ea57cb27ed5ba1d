/* Shapes: names and their published parameter counts, types, cut layers, and weights that a session can run on. */
#include "../llm_test.h"
#include "dequant.h"
#include "measure.h"
#include "shape.h"
#include "shapes.h"
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#define CONFIGS "test/data/published_configs.jsonl"

static shape *opened(const char *text)
{
    llm_error err = { LLM_OK, "" };
    shape *s;

    ck_assert_msg(shape_open(&s, text, &err) == LLM_OK, "%s: %s", text, err.text);
    return s;
}

/* The published row whose name is that of the shape, or NULL. */
static json_t *published(const char *name)
{
    FILE *f = fopen(CONFIGS, "r");
    json_error_t why;
    json_t *row;

    ck_assert_msg(f != NULL, CONFIGS " is missing; run from the root of the tree");
    while ((row = json_loadf(f, JSON_DISABLE_EOF_CHECK, &why)) != NULL && strcasecmp(json_string_value(json_object_get(row, "name")), name) != 0) json_decref(row);
    fclose(f);
    return row;
}

START_TEST(published_parameters)
{
    int n = 0;

    for (size_t i = 0; shapes_at(i); i++, n++) {
        const char *name = shapes_at(i)->name;
        shape *s = opened(name);
        json_t *row = published(name);
        ck_assert_msg(row != NULL, "%s is not among the published configurations", name);
        ck_assert_msg(shape_params(s) == (uint64_t)json_integer_value(json_object_get(row, "params")),
                      "%s: %llu parameters", name, (unsigned long long)shape_params(s));
        json_decref(row);
        shape_close(s);
    }
    test_count("shapes with the published number of parameters", n, n);
    ck_assert_int_ge(n, 24);
}
END_TEST

START_TEST(refused)
{
    static const struct { const char *text, *says; } cases[] = {
        { "qwen3-0.7b", "no shape 'qwen3-0.7b'; there is gpt-oss-20b, " }, { "qwen3-0.6b:q9", "'q9' is no type" }, { "", "no shape" }, { ":q8_0", "no shape ''" },
        { "qwen3-0.6b:", "'' is no type" }, { "qwen3-0.6b:q8_k", "there is F32, F16, BF16" }, { "README.md", "want a file called config.json" },
    };
    llm_error err;
    shape *s;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(shape_open(&s, cases[i].text, &err) != LLM_OK, "'%s' is taken", cases[i].text);
        ck_assert_msg(strstr(err.text, cases[i].says) && s == NULL, "'%s': %s", cases[i].text, err.text);
    }
}
END_TEST

START_TEST(kinds_of_layers)
{
    static const struct { const char *name; int layers, least, period; } cases[] = {
        { "qwen3-0.6b", 28, 1, 1 }, { "gpt-oss-20b", 24, 2, 2 }, { "gemma-3-1b", 26, 6, 6 }, { "gemma-2-2b", 26, 2, 2 }, { "deepseek-v3", 61, 4, 1 },
        { "deepseek-v2-lite", 27, 2, 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shape *s = opened(cases[i].name);
        ck_assert_msg(shape_layers(s) == cases[i].layers && shape_least(s) == cases[i].least && shape_period(s) == cases[i].period,
                      "%s: %d layers, %d at least, period %d",
                      cases[i].name, shape_layers(s), shape_least(s), shape_period(s));
        shape_close(s);
    }
}
END_TEST

START_TEST(cuts)
{
    shape *s = opened("deepseek-v3:q4_k_m");
    uint64_t all = shape_bytes(s), four, five;
    llm_error err;

    ck_assert(shape_cut(s, 4, &err) == LLM_OK);
    four = shape_bytes(s);
    ck_assert(shape_cut(s, 5, &err) == LLM_OK);
    five = shape_bytes(s);
    ck_assert_msg(four < five && five < all / 8, "%llu, %llu of %llu bytes", (unsigned long long)four, (unsigned long long)five, (unsigned long long)all);
    ck_assert(shape_cut(s, 62, &err) == LLM_ERR_ARG && shape_cut(s, 0, &err) == LLM_ERR_ARG);
    ck_assert(shape_cut(s, 61, &err) == LLM_OK && shape_bytes(s) == all && shape_layers(s) == 61);
    shape_close(s);
}
END_TEST

/* A small model of each family, from config.json files of the tests. */
static const char *const folders[] = { "qwen1", "qwen2", "qwen3", "qwen3moe", "gpt-oss", "gemma2", "gemma3", "deepseek-moe", "deepseek-v2-lite", "deepseek-v3", "llama3",
                                       "mistral" };

static llm_model *written(const shape *s)
{
    llm_model_options o = { .size = sizeof o };
    llm_error err = { LLM_OK, "" };
    char path[64];
    llm_model *m;
    int fd;

    ck_assert_msg(shape_write(s, &fd, NULL, &err) == LLM_OK, "%s", err.text);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    o.path = path;
    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s: %s", shape_name(s), err.text);
    close(fd);
    return m;
}

static void check_finite(const llm_tensor *t, const char *what)
{
    int64_t cols = t->dim[2] > 1 ? t->dim[2] : t->dim[1] > 1 ? t->dim[1] : t->dim[0];
    float *row = malloc((size_t)cols * sizeof *row);
    double sum = 0;

    ck_assert(dequant_row(t->dtype, t->data, row, cols));
    for (int64_t i = 0; i < cols; i++) ck_assert_msg(isfinite(row[i]), "%s", what), sum += (double)row[i] * row[i];
    ck_assert_msg(sqrt(sum / (double)cols) > 0.012 && sqrt(sum / (double)cols) < 0.03, "%s: deviation %g", what, sqrt(sum / (double)cols));
    free(row);
}

START_TEST(every_type_runs)
{
    static const char *const types[] = { "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k",
                                         "q3_k_m", "q4_k_m", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs", "mxfp4",
                                         "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_m", "iq3_xxs", "iq3_s", "tq1_0", "tq2_0" };
    const measure_options o = { .repetitions = 1 };
    const bench_test t = { { .prompt = 3, .generate = 2, .batch = 512, .n_seq = 2 }, 1 };
    llm_error err = { LLM_OK, "" };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char text[64];
        measure_result r;
        shape *s;
        llm_model *m;
        snprintf(text, sizeof text, "test/data/shape/config.json:%s", types[i]);
        m = written(s = opened(text));
        ck_assert_uint_eq(m->weight_bytes, shape_bytes(s));
        check_finite(&m->layer[1].down, text);
        ck_assert_msg(measure_test(m, &t, &o, &r, &err) == LLM_OK, "%s: %s", text, err.text);
        ck_assert(r.rate > 0 && r.seconds > 0 && r.peak_mib > 1);
        llm_model_close(m);
        shape_close(s);
    }
}
END_TEST

/* Names in the file, layouts and keys of every kind of family: the file of a shape opens, and has what was counted. */
START_TEST(every_family_opens)
{
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char text[128];
        shape *s;
        llm_model *m;
        snprintf(text, sizeof text, "test/data/ref/%s/hf:f16", folders[i]);
        m = written(s = opened(text));
        ck_assert_msg(m->n_param == shape_params(s) && m->config.n_layer == shape_layers(s), "%s", text);
        ck_assert(m->weight_bytes == shape_bytes(s));
        llm_model_close(m);
        shape_close(s);
    }
}
END_TEST

START_TEST(names_of_tests)
{
    static const struct { work_test t; const char *name; } cases[] = {
        { { .prompt = 512, .n_seq = 1 }, "pp512" }, { { .generate = 128, .n_seq = 1 }, "tg128" }, { { .generate = 128, .n_seq = 8 }, "tg128 x8" },
        { { 512, 128, 4096, 512, 1 }, "pp512+tg128 @ d4096" }, { { .generate = 16, .n_seq = 2, .depth = 7 }, "tg16 x2 @ d7" },
    };
    char name[64];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        measure_name(&cases[i].t, name, sizeof name);
        ck_assert_str_eq(name, cases[i].name);
    }
}
END_TEST

LLM_TEST_MAIN("bench/shape", published_parameters, refused, kinds_of_layers, cuts, every_type_runs, every_family_opens, names_of_tests)
