/* tiktoken.c - rank files: lines of base64(token), blank, rank. The rank is the id and the merge order.
 *
 * The files do not say how text is split or which control tokens there are. Both are known for the published ones,
 * told apart by their number of ranks; control tokens are read from tokenizer_config.json or special_tokens.json where one lies beside
 * the file. DeepSeek-V3's file spells tokens in GPT-2's byte alphabet; the others hold raw bytes. */
#include "file.h"
#include "json.h"
#include "tokenizer_parts.h"
#include <stdio.h>
#include <unistd.h>

enum { MAX_FILE = 512 << 20 };

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes s [n] into out [3 n / 4]; -1: not base64. */
static long base64_decode(const char *s, size_t n, char *out)
{
    long len = 0;

    if (n % 4) return -1;
    while (n && s[n - 1] == '=' && n % 4 != 2) n--;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t w = 0;
        size_t k = n - i < 4 ? n - i : 4;

        for (size_t j = 0; j < k; j++) {
            int d = base64_digit(s[i + j]);
            if (d < 0) return -1;
            w |= (uint32_t)d << (18 - 6 * j);
        }
        for (size_t j = 0; j + 1 < k; j++) out[len++] = (char)(w >> (16 - 8 * j));
    }
    return len;
}

/* One line "base64 rank" at s; *s moves behind it. */
static llm_status line(llm_tokenizer *t, const char *path, const char **s, size_t number, text_buf *token, llm_error *err)
{
    const char *p = *s, *digits;
    size_t n = strcspn(p, " \n");
    long len;
    int64_t rank = 0;

    if (p[n] != ' ' || n == 0 || n > 2 * TOKEN_MAX_BYTES)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: line %zu is not \"base64 rank\"", path, number);
    token->len = 0;
    if (!buf_room(token, n)) return llm_fail_memory(err, n, "a token");
    if ((len = base64_decode(p, n, token->data)) <= 0)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: line %zu: \"%.*s\" is not base64", path, number, (int)(n < 40 ? n : 40), p);
    for (digits = p + n + 1, p = digits; *p >= '0' && *p <= '9'; p++)
        if ((rank = rank * 10 + (*p - '0')) > VOCAB_MAX) break;
    if (p == digits || (*p != '\n' && *p != '\r' && *p != 0))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: line %zu has no rank in 0..%d behind the token", path, number, VOCAB_MAX - 1);
    while (*p == '\r') p++;
    if (*p == '\n') p++;
    *s = p;
    if (rank < t->vocab.n && t->vocab.type[rank] != TOK_HOLE)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: line %zu: rank %lld is there twice", path, number, (long long)rank);
    return vocab_set(&t->vocab, rank, token->data, (size_t)len, TOK_NORMAL, err);
}

static llm_status read_ranks(llm_tokenizer *t, const char *path, llm_error *err)
{
    char *data;
    size_t len, number = 0;
    const char *s;
    text_buf token = { 0 };
    llm_status st = file_read(&data, &len, path, MAX_FILE, err);

    if (st != LLM_OK) return st;
    if (memchr(data, 0, len)) st = llm_fail(err, LLM_ERR_FORMAT, "%s: not a text file", path);
    for (s = data; st == LLM_OK && *s;) st = line(t, path, &s, ++number, &token, err);
    buf_free(&token);
    free(data);
    if (st == LLM_OK && t->vocab.n == 0) st = llm_fail(err, LLM_ERR_FORMAT, "%s: no tokens", path);
    return st;
}

static bool has_all_bytes(const llm_vocab *v)
{
    bool seen[256] = { 0 };
    int n = 0;

    for (int id = 0; id < v->n; id++) {
        if (v->type[id] != TOK_NORMAL || v->len[id] != 1) continue;
        n += !seen[(uint8_t)v->pool.data[v->off[id]]];
        seen[(uint8_t)v->pool.data[v->off[id]]] = true;
    }
    return n == 256;
}

/* Turns byte-level spelling into bytes; tokens that are not spelled so are control tokens. */
static llm_status respell(llm_tokenizer *t, const char *path, llm_error *err)
{
    llm_vocab old = t->vocab;
    text_buf token = { 0 };
    llm_status st = LLM_OK;

    t->vocab = (llm_vocab){ 0 };
    for (int id = 0; st == LLM_OK && id < old.n; id++) {
        size_t len;
        const char *s = vocab_bytes(&old, id, &len);

        if (old.type[id] == TOK_HOLE) continue;
        token.len = 0;
        if (byte_level_decode(s, len, &token)) st = vocab_set(&t->vocab, id, token.data, token.len, TOK_NORMAL, err);
        else st = token.failed ? llm_fail_memory(err, len, "a token") : tok_add_special(t, id, s, len, ADDED_CONTROL, false, err);
    }
    buf_free(&token);
    vocab_free(&old);
    if (st == LLM_OK && !has_all_bytes(&t->vocab))
        st = llm_fail(err, LLM_ERR_FORMAT, "%s: the 256 single bytes are not all there, neither as bytes nor in GPT-2's spelling", path);
    return st;
}

typedef struct { int id; const char *text; } known_token;
typedef struct {
    int n_rank;
    const char *pre;
    bool nfc, spelled;
    const known_token *token;
    const char *series;                 /* names the ids from series_first to series_last that have none, by printf; NULL: none */
    int series_first, series_last, series_base;
    int beyond;                         /* one more of the series, which no model has a row for; 0: none */
    const char *bos, *eos;
} known_file;

static const known_token O200K[] = {    /* o200k_harmony: openai/harmony, src/tiktoken_ext */
    { 199998, "<|startoftext|>" }, { 199999, "<|endoftext|>" }, { 200002, "<|return|>" }, { 200003, "<|constrain|>" },
    { 200005, "<|channel|>" }, { 200006, "<|start|>" }, { 200007, "<|end|>" }, { 200008, "<|message|>" }, { 200012, "<|call|>" },
    { 200018, "<|endofprompt|>" }, { 0, NULL },
};
static const known_token QWEN[] = {     /* QwenLM/Qwen: tokenization_note.md */
    { 151643, "<|endoftext|>" }, { 151644, "<|im_start|>" }, { 151645, "<|im_end|>" }, { 0, NULL },
};
static const known_token LLAMA3[] = {   /* meta-llama/llama-models: models/llama3/tokenizer.py */
    { 128000, "<|begin_of_text|>" }, { 128001, "<|end_of_text|>" }, { 128004, "<|finetune_right_pad_id|>" },
    { 128006, "<|start_header_id|>" }, { 128007, "<|end_header_id|>" }, { 128008, "<|eom_id|>" }, { 128009, "<|eot_id|>" },
    { 128010, "<|python_tag|>" }, { 0, NULL },
};
static const known_token CL100K[] = {
    { 100257, "<|endoftext|>" }, { 100258, "<|fim_prefix|>" }, { 100259, "<|fim_middle|>" }, { 100260, "<|fim_suffix|>" },
    { 100276, "<|endofprompt|>" }, { 0, NULL },
};
static const known_token NONE[] = { { 0, NULL } };
#define BOS_DEEPSEEK "<\xef\xbd\x9c" "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"
#define EOS_DEEPSEEK "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"

static const known_file KNOWN[] = {
    { 199998, "gpt-4o", false, false, O200K, "<|reserved_%d|>", 200000, 201087, 0, 201088, NULL, "<|return|>" },
    { 151643, "qwen2", true, false, QWEN, "<|extra_%d|>", 151646, 151850, 151646, 0, NULL, "<|endoftext|>" },
    { 128000, "llama3", false, false, LLAMA3, NULL, 0, 0, 0, 0, "<|begin_of_text|>", "<|end_of_text|>" },
    { 128000, "deepseek-v3", false, true, NONE, NULL, 0, 0, 0, 0, BOS_DEEPSEEK, EOS_DEEPSEEK },
    { 100256, "llama3", false, false, CL100K, NULL, 0, 0, 0, 0, NULL, "<|endoftext|>" },
};

static bool id_taken(const llm_tokenizer *t, int id) { return id < t->vocab.n && t->vocab.type[id] != TOK_HOLE; }

/* Control tokens that no companion named. */
static llm_status add_known(llm_tokenizer *t, const known_file *k, llm_error *err)
{
    llm_status st;
    char name[64];

    for (const known_token *p = k->token; p->text; p++)
        if (!id_taken(t, p->id) && (st = tok_add_special(t, p->id, p->text, strlen(p->text), ADDED_CONTROL, false, err)) != LLM_OK) return st;
    for (int id = k->series_first; k->series && id <= k->series_last; id++) {
        int n = snprintf(name, sizeof name, k->series, id - k->series_base);
        if (!id_taken(t, id) && (st = tok_add_special(t, id, name, (size_t)n, ADDED_CONTROL, false, err)) != LLM_OK) return st;
    }
    if (k->beyond && !id_taken(t, k->beyond)) {
        int n = snprintf(name, sizeof name, k->series, k->beyond - k->series_base);
        if ((st = vocab_set(&t->vocab, k->beyond, name, (size_t)n, TOK_UNUSED, err)) != LLM_OK) return st;
    }
    if (t->bos < 0 && k->bos) t->bos = added_find(&t->added, k->bos, strlen(k->bos)), t->adds_bos = true;
    if (t->eos < 0 && k->eos) t->eos = added_find(&t->added, k->eos, strlen(k->eos));
    return LLM_OK;
}

/* special_tokens.json: {"tokens": {text: id}}. Tags in plain angle brackets may appear in text; the rest are control tokens. */
static llm_status read_special_tokens(llm_tokenizer *t, const char *dir, llm_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/special_tokens.json", dir);
    json_t *root, *value;
    const char *key;
    llm_status st = LLM_OK;

    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK) != 0) return LLM_OK;
    if ((st = json_read_file(&root, path, MAX_FILE, err)) != LLM_OK) return st;
    json_object_foreach(json_object_get(root, "tokens"), key, value) {
        size_t len = strlen(key);
        bool tag = len > 2 && key[0] == '<' && strpbrk(key, "|\xef") == NULL;

        if (st != LLM_OK) break;
        if (!json_is_integer(value)) st = llm_fail(err, LLM_ERR_FORMAT, "%s: \"%s\": the id is not a number", path, key);
        else st = tok_add_special(t, json_integer_value(value), key, len, tag ? 0 : ADDED_CONTROL, false, err);
    }
    json_decref(root);
    return st;
}

llm_status tok_load_tiktoken(llm_tokenizer *t, const char *path, const char *dir, llm_error *err)
{
    const known_file *k = NULL;
    bool spelled;
    int n_rank;
    llm_status st = read_ranks(t, path, err);

    if (st != LLM_OK) return st;
    n_rank = t->vocab.n;
    spelled = !has_all_bytes(&t->vocab);
    if (spelled && (st = respell(t, path, err)) != LLM_OK) return st;
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (KNOWN[i].n_rank == n_rank && KNOWN[i].spelled == spelled) k = &KNOWN[i];
    if (k == NULL)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: %d ranks: how text is split is not in such a file, and it is none of the known ones",
                        path, n_rank);
    t->model = MODEL_BYTES;
    if ((st = pretok_by_name(&t->pre, k->pre, err)) != LLM_OK) return st;
    if (k->nfc && (st = tok_add_norm(t, NORM_NFC, NULL, 0, NULL, 0, err)) != LLM_OK) return st;
    if (dir && ((st = tok_load_companions(t, dir, err)) != LLM_OK || (st = read_special_tokens(t, dir, err)) != LLM_OK)) return st;
    if ((st = add_known(t, k, err)) != LLM_OK) return st;
    return tok_build_bytes_by_rank(t, err);
}
