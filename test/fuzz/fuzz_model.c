/* Bytes as a GGUF file of a model: opened, and where that works asked for everything and run for two tokens. */
#include "fuzz_model.h"
#include "llm.h"

enum { MAX_BYTES = 64 << 20 };

static void use(llm_model *m)
{
    llm_session_options so = { .size = sizeof so, .n_ctx = 4, .n_seq = 1, .n_batch = 2, .n_threads = 1 };
    llm_memory_plan plan = { .size = sizeof plan };
    llm_tensor_info tensor = { .size = sizeof tensor };
    llm_token t[8] = { 0, 1 };
    llm_sampler *p = NULL;
    llm_session *s = NULL;
    llm_error err;
    size_t n = 0;

    for (size_t i = 0; llm_model_get_tensor(m, i, &tensor) == LLM_OK; i++)
        if (tensor.name == NULL) abort();
    if (llm_tokenize(m, "a b", 3, LLM_TOKENIZE_BOS, t + 2, 6, &n, &err) == LLM_OK)
        for (size_t i = 0; i < n && i < 6; i++) llm_token_bytes(m, t[2 + i], NULL);
    llm_chat_format(m);
    if (llm_session_plan(m, &so, &plan, &err) != LLM_OK || plan.kv_bytes + plan.scratch_bytes > MAX_BYTES) return;
    if (llm_session_open(&s, m, &so, &err) == LLM_OK && llm_session_decode(s, t, 2, &err) == LLM_OK
        && llm_sampler_open(&p, m, NULL, &err) == LLM_OK)
        llm_sampler_pick(p, llm_session_logits(s), 2, &err);
    llm_sampler_close(p);
    llm_session_close(s);
}

FUZZ_TARGET(model)
{
    char path[64];
    llm_model_options mo = { .size = sizeof mo, .path = path, .n_threads = 1 };
    llm_model *m = NULL;
    llm_error err = { LLM_OK, "" };
    int fd = fuzz_file(data, size, path);

    if (fd < 0) return;
    if (llm_model_open(&m, &mo, &err) == LLM_OK) use(m);
    else if (m != NULL || err.status == LLM_OK || err.text[0] == '\0') abort();
    llm_model_close(m);
    close(fd);
}
