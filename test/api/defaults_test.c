/* What a model's own files say about sampling and about the end of an answer. */
#include "../llm_test.h"
#include "llm.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

static const char *const from = "test/data/ref/llama3/hf";
static char dir[64];

static void put(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text == NULL) { unlink(path); return; }
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    fputs(text, f), fclose(f);
}

static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":5,\"content\":\"<end>\",\"special\":true},{\"id\":6,\"content\":\"<turn>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"ab\":4},\"merges\":[\"a b\"]}}";

/* A folder with the reference's config and weights, to which files can be added. */
static bool ready(void)
{
    static const char *const file[] = { "config.json", "model.safetensors" };

    if (access(from, R_OK) != 0) { test_skip("defaults", "no reference models"); return false; }
    strcpy(dir, "/tmp/llm-defaults-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        char src[128], dst[128], *here = realpath(from, NULL), full[4300];
        snprintf(src, sizeof src, "%s", file[i]), snprintf(dst, sizeof dst, "%s/%s", dir, file[i]);
        snprintf(full, sizeof full, "%.4096s/%s", here, src);
        free(here);
        ck_assert_int_eq(symlink(full, dst), 0);
    }
    put("tokenizer.json", tokenizer);
    return true;
}

static void done(void)
{
    put("config.json", NULL), put("model.safetensors", NULL), put("tokenizer.json", NULL), put("generation_config.json", NULL);
    ck_assert_int_eq(rmdir(dir), 0);
}

static llm_status open_dir(llm_model **m, llm_error *err)
{
    return llm_model_open(m, &(llm_model_options){ .size = sizeof(llm_model_options), .path = dir, .n_threads = 1 }, err);
}

START_TEST(generation_config_is_the_default)
{
    static const struct { const char *text; llm_sampler_options want; } c[] = {
        { "{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.95,\"top_k\":20,\"min_p\":0.01,\"repetition_penalty\":1.05}",
          { .temperature = 0.6f, .top_p = 0.95f, .top_k = 20, .min_p = 0.01f, .repeat_penalty = 1.05f, .penalty_last_n = -1 } },
        { "{\"do_sample\":true}", { .temperature = 1 } },
        { "{\"temperature\":0.6}", { .temperature = 0 } },                  /* transformers does not sample unless told to */
        { "{\"do_sample\":true,\"temperature\":null,\"top_k\":-1}", { .temperature = 1 } },
        { "{}", { .temperature = 0 } },
        { NULL, { .temperature = 0 } },
    };

    if (!ready()) return;
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        llm_sampler_options got = { .size = sizeof got }, want = c[i].want;
        llm_sampler *p;
        llm_model *m;
        llm_error err;
        put("generation_config.json", c[i].text);
        ck_assert_msg(open_dir(&m, &err) == LLM_OK, "%s", err.text);
        ck_assert_int_eq(llm_sampler_defaults(m, &got), LLM_OK);
        want.size = sizeof want;
        ck_assert_msg(memcmp(&got, &want, sizeof got) == 0, "case %zu", i);
        ck_assert_int_eq(llm_sampler_open(&p, m, NULL, &err), LLM_OK);
        llm_sampler_close(p), llm_model_close(m);
    }
    done();
}
END_TEST

START_TEST(wrong_values_are_refused)
{
    static const struct { const char *text, *word; } c[] = {
        { "{\"temperature\":\"hot\"}", "temperature" }, { "{\"top_k\":1e30}", "top_k" }, { "{\"do_sample\":3}", "do_sample" },
        { "{\"eos_token_id\":\"x\"}", "eos_token_id" }, { "{\"eos_token_id\":", "generation_config.json" }, { "[]", "generation_config.json" },
    };
    llm_model *m;
    llm_sampler *p;
    llm_error err;

    if (!ready()) return;
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        put("generation_config.json", c[i].text);
        ck_assert_msg(open_dir(&m, &err) == LLM_ERR_FORMAT, "%s: %s", c[i].text, err.text);
        ck_assert_msg(strstr(err.text, c[i].word) != NULL, "%s: %s", c[i].text, err.text);
    }
    put("generation_config.json", "{\"do_sample\":true,\"top_p\":7}");          /* a number, but not one to sample with */
    ck_assert_msg(open_dir(&m, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq(llm_sampler_open(&p, m, NULL, &err), LLM_ERR_ARG);
    ck_assert_ptr_nonnull(strstr(err.text, "top_p is 7"));
    llm_model_close(m);
    done();
}
END_TEST

START_TEST(every_end_token_ends)
{
    llm_model *m;
    llm_error err;
    llm_sampler *p;
    float logits[131] = { 0 };

    if (!ready()) return;
    put("generation_config.json", "{\"eos_token_id\":[5,6,100000,-1]}");        /* the last two are no tokens */
    ck_assert_msg(open_dir(&m, &err) == LLM_OK, "%s", err.text);
    ck_assert(llm_token_is_end(m, 5) && llm_token_is_end(m, 6) && llm_token_is_end(m, 2));  /* 2: config.json */
    ck_assert(!llm_token_is_end(m, 0) && !llm_token_is_end(m, 100000) && !llm_token_is_end(m, -1));
    ck_assert_int_eq(llm_token_find(m, "ab", 2), 4);
    logits[100] = 5, logits[3] = 1;         /* the vocabulary has 7 tokens, the head 131 rows */
    ck_assert_int_eq(llm_sampler_open(&p, m, NULL, &err), LLM_OK);
    ck_assert_int_eq(llm_sampler_pick(p, logits, 0, &err), 3);
    llm_sampler_close(p), llm_model_close(m);
    done();
}
END_TEST

LLM_TEST_MAIN("api/defaults", generation_config_is_the_default, wrong_values_are_refused, every_end_token_ends)
