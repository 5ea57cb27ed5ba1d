/* The whole way, from the file to a picked token and a saved session, while the n-th allocation fails, for every n. */
#include "alloc_fail.h"
#include "llm.h"
#include <string.h>
#include <sys/stat.h>

static char folder[] = "/tmp/llm-hard-XXXXXX", state[64];

/* Prompt, two sequences, a save and what it restores; a picked token; stop strings. */
static llm_status use(llm_model *m, llm_session *s, llm_error *err)
{
    static const llm_row row[] = { { 1, 0, 1 }, { 2, 1, 1 }, { 3, 0, 1 }, { 4, 1, 1 }, { 5, 0, 1 } };
    llm_sampler_options o = { .size = sizeof o, .temperature = 1, .top_p = 0.9f, .repeat_penalty = 1.1f };
    llm_sampler *p = NULL;
    llm_stop *stop = NULL;
    llm_detok *d = NULL;
    const char *const strings[] = { "ab", "c" }, *text;
    size_t len, n;
    int hit;
    llm_token t = 0, token[8];
    llm_status st = llm_session_decode_rows(s, row, 5, err);

    if (st == LLM_OK) st = llm_session_copy(s, 0, 1, err);
    if (st == LLM_OK) st = llm_session_save(s, state, err);
    if (st == LLM_OK) st = llm_session_restore(s, state, err);
    if (st == LLM_OK) st = llm_session_decode(s, &row[0].token, 1, err);
    if (st == LLM_OK) st = llm_sampler_open(&p, m, &o, err);
    if (st == LLM_OK) st = llm_sampler_accept(p, 1, err);
    if (st == LLM_OK && (t = llm_sampler_pick(p, llm_session_logits(s), 6, err)) < 0) st = err->status;
    if (st == LLM_OK) st = llm_stop_open(&stop, strings, NULL, 2, err);
    if (st == LLM_OK) st = llm_stop_push(stop, "xa", 2, &text, &len, &hit, err);
    if (st == LLM_OK && llm_token_find(m, "a", 1) >= 0) {           /* where there is a tokenizer */
        st = llm_tokenize(m, "Some text, 12 \xed\x95\x9c", 17, LLM_TOKENIZE_BOS, token, 8, &n, err);
        if (st == LLM_OK) st = llm_detok_open(&d, m, 0, err);
        if (st == LLM_OK) st = llm_detok_push(d, t, &text, &len, err);
    }
    llm_detok_close(d), llm_stop_close(stop), llm_sampler_close(p);
    return st;
}

/* Weights stay where they lie if there is no room to put them in order, and the log says so: as good as an error. */
static void hear(void *user, llm_log_level level, const char *line)
{
    llm_error *said = user;

    if (level != LLM_LOG_INFO || strncmp(line, "weights are read where they lie", 31) != 0) return;
    said->status = LLM_ERR_MEMORY;
    snprintf(said->text, sizeof said->text, "%s", line);
}

static llm_status whole_way(void *arg, llm_error *err)
{
    llm_error said = { 0 };
    llm_model_options mo = { .size = sizeof mo, .path = arg, .n_threads = 1, .log = hear, .user = &said };
    llm_session_options so = { .size = sizeof so, .n_ctx = 64, .n_seq = 2, .n_batch = 4 };
    llm_memory_plan plan = { .size = sizeof plan };
    llm_model *m;
    llm_session *s = NULL;
    llm_status st = llm_model_open(&m, &mo, err);

    if (st == LLM_OK) st = llm_session_plan(m, &so, &plan, err);
    if (st == LLM_OK) st = llm_session_open(&s, m, &so, err);
    if (st == LLM_OK) st = use(m, s, err);
    llm_session_close(s), llm_model_close(m);
    if (st == LLM_OK && said.status != LLM_OK) *err = said, st = said.status;
    return st;
}

static void try_model(const char *path)
{
    char name[256];

    if (access(path, R_OK) != 0) { test_skip(path, "not here"); return; }
    snprintf(name, sizeof name, "%s", path);
    printf("%s: %ld allocations\n", path, alloc_fail_each(whole_way, name));
}

START_TEST(one_model_of_each_kind)
{
    static const char *const name[] = { "llama3/model.gguf", "gpt-oss/hf", "gpt-oss/model.gguf", "deepseek-v3/hf", "deepseek-v2/model.gguf",
                                        "gemma3/hf", "qwen1/hf", "qwen2moe/hf", "qwen2-gptq-act/hf", "qwen2-awq/hf", "deepseek-v3-fp8/hf" };
    char path[128];

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        snprintf(path, sizeof path, "test/data/ref/%s", name[i]);
        try_model(path);
    }
    try_model("tools/demo/demo-gpt-oss.gguf");
    unlink(state);
    ck_assert_int_eq(rmdir(folder), 0);         /* no temporary file was left behind */
}
END_TEST

int main(void)
{
    static const TTest *tests[1];

    tests[0] = one_model_of_each_kind;
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(state, sizeof state, "%s/state", folder);
    return test_main("hard/generate", tests, 1);
}
