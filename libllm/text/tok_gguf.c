/* tok_gguf.c - a tokenizer from the tokenizer.ggml.* keys of a GGUF file. */
#include "tokenizer_parts.h"
#include <math.h>

#define KEY(name) "tokenizer.ggml." name

static const char *const NFC_PRE[] = { "qwen2", "deepseek-r1-qwen", "qwen35" };
static const char *const WHOLE_PRE[] = { "llama3", "llama-v3", "llama-bpe", "falcon3" };  /* a word that is a token is it, and BOS is added */

static bool is_in(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

bool tok_pre_nfc(const char *pre) { return is_in(pre, NFC_PRE, sizeof NFC_PRE / sizeof NFC_PRE[0]); }
bool tok_pre_whole(const char *pre) { return is_in(pre, WHOLE_PRE, sizeof WHOLE_PRE / sizeof WHOLE_PRE[0]); }

/* [n] types, all normal where the key is not there. *out is the caller's. */
static llm_status read_types(llm_meta *m, size_t n, int **out, llm_error *err)
{
    size_t k = n;

    if ((*out = malloc((n + 1) * sizeof **out)) == NULL) return llm_fail_memory(err, n * sizeof **out, "token types");
    for (size_t i = 0; i < n; i++) (*out)[i] = TOK_NORMAL;
    if (meta_ints(m, KEY("token_type"), NULL, *out, n, &k) && k != n)
        return llm_fail(err, LLM_ERR_FORMAT, KEY("token_type") ": %zu entries for %zu tokens", k, n);
    for (size_t i = 0; i < n; i++)
        if ((*out)[i] < TOK_NORMAL || (*out)[i] > TOK_BYTE)
            return llm_fail(err, LLM_ERR_FORMAT, KEY("token_type") "[%zu] is %d, wanted 1..6", i, (*out)[i]);
    return meta_error(m, err);
}

/* One token of the list; control and user-defined ones are plain text in every kind of vocabulary. */
static llm_status set_token(llm_tokenizer *t, int64_t id, const char *s, size_t n, int type, text_buf *b, llm_error *err)
{
    bool turn = t->model == MODEL_CHARS && ((n == 15 && memcmp(s, "<start_of_turn>", n) == 0) || (n == 13 && memcmp(s, "<end_of_turn>", n) == 0));
    llm_status st;

    if (turn) type = TOK_CONTROL;                           /* old Gemma files have them as normal or user-defined */
    switch (type) {
    case TOK_CONTROL: case TOK_UNKNOWN:
        if (n == 0 || n > ADDED_MAX_BYTES) return vocab_set(&t->vocab, id, s, n, (tok_type)type, err);
        return tok_add_special(t, id, s, n, ADDED_CONTROL, false, err);
    case TOK_USER:
        if (n == 0) return vocab_set(&t->vocab, id, s, n, TOK_UNUSED, err);
        if (t->model == MODEL_BYTES) return tok_add_special(t, id, s, n, 0, false, err);
        if ((st = tok_set_spelled(t, id, s, n, b, err)) != LLM_OK) return st;
        t->vocab.type[id] = TOK_USER;
        return added_put(&t->own, t->vocab.pool.data + t->vocab.off[id], t->vocab.len[id], (int32_t)id, 0, err);
    case TOK_BYTE:
        if (byte_token(s, n) < 0)
            return llm_fail(err, LLM_ERR_FORMAT, KEY("tokens") "[%lld], \"%.*s\", is a byte token and not <0x00>..<0xFF>", (long long)id,
                            (int)(n < 40 ? n : 40), s);
        return tok_set_spelled(t, id, s, n, b, err);
    case TOK_UNUSED:
        if (t->model == MODEL_BYTES) return vocab_set(&t->vocab, id, s, n, TOK_UNUSED, err);
        if ((st = tok_set_spelled(t, id, s, n, b, err)) == LLM_OK && t->vocab.type[id] == TOK_NORMAL) t->vocab.type[id] = TOK_UNUSED;
        return st;
    default:
        return tok_set_spelled(t, id, s, n, b, err);
    }
}

enum { BLOCK = 256 };                   /* strings asked for at a time */

static llm_status unread(const llm_meta *m, const char *key, size_t i, llm_error *err)
{
    llm_status st = meta_error(m, err);

    return st != LLM_OK ? st : llm_fail(err, LLM_ERR_FORMAT, "%s[%zu] cannot be read", key, i);
}

static llm_status read_tokens(llm_tokenizer *t, llm_meta *m, size_t *n, llm_error *err)
{
    text_buf b = { 0 };
    int *type = NULL;
    llm_status st;

    if (!meta_strs(m, KEY("tokens"), NULL, n))
        return meta_error(m, err) != LLM_OK ? meta_error(m, err) : llm_fail(err, LLM_ERR_FORMAT, KEY("tokens") " is missing");
    if (*n == 0 || *n > VOCAB_MAX) return llm_fail(err, LLM_ERR_FORMAT, KEY("tokens") " has %zu entries, wanted 1..%d", *n, VOCAB_MAX);
    st = read_types(m, *n, &type, err);
    for (size_t i = 0, got; st == LLM_OK && i < *n; i += got) {
        const char *s[BLOCK];
        size_t len[BLOCK];

        if ((got = meta_strs_at(m, KEY("tokens"), NULL, i, s, len, BLOCK)) == 0) { st = unread(m, KEY("tokens"), i, err); break; }
        for (size_t k = 0; st == LLM_OK && k < got; k++) st = set_token(t, (int64_t)(i + k), s[k], len[k], type[i + k], &b, err);
    }
    buf_free(&b);
    free(type);
    return st;
}

static llm_status read_merges(llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    merge_queue q = { 0 };
    size_t n = 0;
    llm_status st;

    if (!meta_strs(m, KEY("merges"), NULL, &n))
        return meta_error(m, err) != LLM_OK ? meta_error(m, err) : llm_fail(err, LLM_ERR_FORMAT, KEY("merges") " is missing");
    if (n > 4u * VOCAB_MAX) return llm_fail(err, LLM_ERR_FORMAT, KEY("merges") " has %zu entries, at most %d are read", n, 4 * VOCAB_MAX);
    st = tok_begin_merges(t, n, false, &q, err);
    for (size_t i = 0, got; st == LLM_OK && i < n; i += got) {
        const char *s[BLOCK];
        size_t len[BLOCK];

        if ((got = meta_strs_at(m, KEY("merges"), NULL, i, s, len, BLOCK)) == 0) { st = unread(m, KEY("merges"), i, err); break; }
        for (size_t k = 0; st == LLM_OK && k < got; k++) st = tok_add_merge(t, s[k], len[k], NULL, 0, &q, err);
    }
    return tok_end_merges(t, &q, st, err);
}

static llm_status load_bytes(llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    const char *pre = NULL;
    size_t n;
    llm_status st;

    t->model = MODEL_BYTES;
    if (!meta_str(m, KEY("pre"), NULL, &pre)) {
        /* Files from before there was such a key: Qwen 1's split is known, any other is not. */
        if (strcmp(meta_arch(m), "qwen") != 0)
            return llm_fail(err, LLM_ERR_UNSUPPORTED, KEY("pre") " is missing: how text is split cannot be known");
        pre = "qwen2";
    }
    if ((st = pretok_by_name(&t->pre, pre, err)) != LLM_OK) return st;
    if (tok_pre_nfc(pre) && (st = tok_add_norm(t, NORM_NFC, NULL, 0, NULL, 0, err)) != LLM_OK) return st;
    t->ignore_merges = t->adds_bos = tok_pre_whole(pre);
    if ((st = read_tokens(t, m, &n, err)) != LLM_OK) return st;
    return read_merges(t, m, err);
}

static llm_status load_spm(llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    size_t n, k = 0;
    float *score;
    llm_status st;

    t->model = MODEL_CHARS;
    t->byte_fallback = t->escape = t->fuse_unk = t->dummy_prefix = t->adds_bos = true;
    t->bos = 1, t->eos = 2, t->unk = 0;
    meta_bool(m, KEY("add_space_prefix"), NULL, &t->dummy_prefix);
    meta_bool(m, KEY("remove_extra_whitespaces"), NULL, &t->trim);
    t->strip_first = t->dummy_prefix;
    if ((st = read_tokens(t, m, &n, err)) != LLM_OK) return st;
    if ((score = malloc((n + 1) * sizeof *score)) == NULL) return llm_fail_memory(err, n * sizeof *score, "token scores");
    if (!meta_f32s(m, KEY("scores"), NULL, score, n, &k)) st = llm_fail(err, LLM_ERR_FORMAT, KEY("scores") " is missing");
    else if (k != n) st = llm_fail(err, LLM_ERR_FORMAT, KEY("scores") ": %zu entries for %zu tokens", k, n);
    for (size_t i = 0; st == LLM_OK && i < n; i++)
        if (isnan(score[i])) st = llm_fail(err, LLM_ERR_FORMAT, KEY("scores") "[%zu] is not a number", i);
    if (st == LLM_OK) st = meta_error(m, err);
    if (st == LLM_OK) st = tok_build_chars_by_score(t, score, err);
    free(score);
    return st;
}

static llm_status load_gemma4(llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    size_t n;
    llm_status st;

    t->model = MODEL_CHARS;
    t->byte_fallback = t->escape = t->fuse_unk = t->newline_whole = t->adds_bos = true;
    if ((st = pretok_by_name(&t->pre, "gemma4", err)) != LLM_OK) return st;
    if ((st = read_tokens(t, m, &n, err)) != LLM_OK) return st;
    if ((st = read_merges(t, m, err)) != LLM_OK) return st;
    return tok_build_joins(t, err);
}

static void read_id(llm_meta *m, const char *key, llm_token *id)
{
    int v;

    if (meta_int(m, key, NULL, &v)) *id = v;
}

llm_status tok_load_gguf(llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    static const char *const lists[] = { KEY("tokens"), KEY("merges"), KEY("scores"), KEY("token_type") };
    const char *model = "";
    llm_status st;

    meta_str(m, KEY("model"), NULL, &model);
    if (strcmp(model, "gpt2") == 0) st = load_bytes(t, m, err);
    else if (strcmp(model, "llama") == 0) st = load_spm(t, m, err);
    else if (strcmp(model, "gemma4") == 0) st = load_gemma4(t, m, err);
    else return llm_fail(err, LLM_ERR_UNSUPPORTED, KEY("model") ": \"%s\" is none of gpt2, llama, gemma4", model);
    if (st != LLM_OK) return st;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) meta_release(m, lists[i]);      /* what is needed of them is in the tables now */
    read_id(m, KEY("bos_token_id"), &t->bos), read_id(m, KEY("eos_token_id"), &t->eos);
    read_id(m, KEY("unknown_token_id"), &t->unk);
    if (t->bos < 0) t->adds_bos = false;
    meta_bool(m, KEY("add_bos_token"), NULL, &t->adds_bos), meta_bool(m, KEY("add_eos_token"), NULL, &t->adds_eos);
    return meta_error(m, err);
}
