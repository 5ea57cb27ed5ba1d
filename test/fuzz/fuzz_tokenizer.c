/* Vocabulary files: the first byte says which kind, the rest is the file. What opens must encode, decode and answer questions. */
#include "fuzz_model.h"
#include "tokenizer_parts.h"

static void use(const llm_tokenizer *t, const uint8_t *data, size_t size)
{
    static const char text[] = "Hello  world\n\n 123 \xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 <s><think>\xe2\x96\x81\xff e\xcc\x81 don't";
    llm_token ids[256];
    llm_error err;
    size_t n, len;
    char *back;

    for (int i = 0; i < 2; i++) {
        const char *s = i ? (const char *)data : text;
        size_t n_text = i ? (size > 400 ? 400 : size) : sizeof text - 1;

        if (tokenizer_encode(t, s, n_text, LLM_TOKENIZE_BOS | LLM_TOKENIZE_SPECIAL, ids, 256, &n, &err) != LLM_OK) continue;
        n = n < 256 ? n : 256;
        for (size_t k = 0; k < n; k++)
            if (ids[k] < 0 || ids[k] >= tokenizer_n_vocab(t)) abort();
        if (tokenizer_decode(t, ids, n, true, &back, &len, &err) == LLM_OK) free(back);
    }
    for (int id = -1; id <= tokenizer_n_vocab(t) && id < 600; id++) {
        const char *s = tokenizer_bytes(t, id, &len);
        if (tokenizer_find(t, s, len) >= tokenizer_n_vocab(t)) abort();
        tokenizer_is_control(t, id), tokenizer_is_end(t, id);
    }
}

FUZZ_TARGET(tokenizer)
{
    llm_tokenizer *t = NULL;
    llm_store *s = NULL;
    llm_meta *m = NULL;
    llm_error err;
    llm_status st = LLM_OK;
    char path[64];
    int fd;

    if (size < 1 || (fd = fuzz_file(data + 1, size - 1, path)) < 0) return;
    if (data[0] % 4 == 'g' % 4) {
        if (store_open(&s, path, true, &err) == LLM_OK && meta_open(&m, s, &err) == LLM_OK && tokenizer_open(&t, m, s, 0, &err) == LLM_OK && t)
            use(t, data, size);
        tokenizer_close(t), meta_close(m), store_close(s);
    } else {
        if (tok_new(&t, &err) != LLM_OK) abort();
        if (data[0] % 4 == 'j' % 4) st = tok_load_hf(t, path, NULL, &err);
        if (data[0] % 4 == 'm' % 4) st = tok_load_spm(t, path, NULL, &err);
        if (data[0] % 4 == 't' % 4) st = tok_load_tiktoken(t, path, NULL, &err);
        if (st == LLM_OK && tok_finish(t, &err) == LLM_OK) use(t, data, size);
        tokenizer_close(t);
    }
    close(fd);
}
