/* tok_export.c - the inverse of tok_gguf.c. Keys and their meaning: llama.cpp's converter and src/llama-vocab.cpp. */
#include "tok_export.h"
#include "tokenizer_parts.h"
#include <stdio.h>

#define KEY(name) "tokenizer.ggml." name

static llm_status no_words(const char *what, llm_error *err)
{
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "the tokenizer cannot be written as GGUF: %s", what);
}

/* ---- spelling -------------------------------------------------------------------- */

/* Bytes in the alphabet of byte-level vocabularies (the inverse of byte_level_decode). */
static void spell_bytes(const char *s, size_t n, text_buf *out)
{
    char text[2];

    for (size_t i = 0; i < n; i++) buf_add(out, text, byte_level_char((uint8_t)s[i], text));
}

static void spell_blanks(const char *s, size_t n, text_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') buf_add(out, "\xe2\x96\x81", 3);
        else buf_byte(out, s[i]);
    }
}

/* Token id as GGUF spells it; its type there. */
static tok_type spell(const llm_tokenizer *t, int id, text_buf *out)
{
    tok_type type = id < t->vocab.n ? (tok_type)t->vocab.type[id] : TOK_HOLE;
    char text[32];
    const char *s;
    size_t n;

    out->len = 0;
    if (type == TOK_HOLE) {
        int k = snprintf(text, sizeof text, "[PAD%d]", id);
        buf_add(out, text, (size_t)k);
        return TOK_UNUSED;
    }
    s = vocab_bytes(&t->vocab, id, &n);
    if (type == TOK_BYTE) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)(uint8_t)*s);
        buf_add(out, text, 6);
    } else if (type == TOK_NORMAL && t->model == MODEL_BYTES) {
        spell_bytes(s, n, out);
    } else if (t->escape && (type == TOK_NORMAL || type == TOK_USER)) {
        spell_blanks(s, n, out);
    } else {
        buf_add(out, s, n);
    }
    return type;
}

static llm_status put_tokens(const llm_tokenizer *t, int n, gguf_out *out, llm_error *err)
{
    text_buf b = { 0 };
    int32_t *type = malloc(((size_t)n + 1) * sizeof *type);

    if (type == NULL) return llm_fail_memory(err, (size_t)n * sizeof *type, "token types");
    gguf_out_strings(out, KEY("tokens"), (size_t)n);
    for (int i = 0; i < n; i++) type[i] = spell(t, i, &b), gguf_out_next(out, b.data ? b.data : "", b.len);
    gguf_out_array(out, KEY("token_type"), GGUF_I32, type, (size_t)n);
    free(type);
    if (b.failed) out->kv.failed = true;
    buf_free(&b);
    return LLM_OK;
}

/* ---- merges ---------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b)
{
    const bpe_pair *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank ? 1 : x->id - y->id;
}

/* The last step to token id of a vocabulary ranked by id: what its bytes become when it is not made itself. */
static bool last_step(const llm_tokenizer *t, int id, bpe_work *w, text_buf *copy, bpe_pair *out)
{
    size_t n;
    const char *s = vocab_bytes(&t->vocab, id, &n);

    copy->len = 0;
    buf_add(copy, s, n), buf_add(copy, "\0\0\0\0\0\0\0\0", 8);      /* merging may look at eight bytes */
    if (copy->failed || !bpe_work_room(w, n + 1)) return false;
    w->text = copy->data, w->len = w->n = n;
    for (size_t i = 0; i < n; i++) w->id[i] = t->byte_id[(uint8_t)s[i]], w->at[i] = (uint32_t)i;
    w->at[n] = (uint32_t)n;
    if (!bpe_merge(&t->bpe, w, id)) return false;
    *out = (bpe_pair){ -1, -1, (uint32_t)id, id };
    if (w->n == 2 && w->id[0] >= 0 && w->id[1] >= 0) out->a = w->id[0], out->b = w->id[1];
    return true;
}

/* Every merge in the order it is made; *out is the caller's. */
static llm_status list_merges(const llm_tokenizer *t, bpe_pair **out, size_t *n, llm_error *err)
{
    bool list = t->bpe.first != NULL;
    size_t cap = list ? t->bpe.n : (size_t)t->vocab.n;
    bpe_pair *p = malloc((cap + 1) * sizeof *p);
    bpe_work w = { 0 };
    text_buf copy = { 0 };
    bool ok = true;

    *n = 0, *out = p;
    if (p == NULL) return llm_fail_memory(err, cap * sizeof *p, "the merges");
    for (int id = 0; list && id < t->vocab.n; id++)
        for (uint32_t i = t->bpe.first[id]; i < t->bpe.first[id + 1]; i++) *n += bpe_listed(&t->bpe, id, i, &p[*n]);
    for (int id = 0; !list && id < t->vocab.n && ok; id++) {
        if (t->vocab.type[id] != TOK_NORMAL || t->vocab.len[id] < 2) continue;
        ok = last_step(t, id, &w, &copy, &p[*n]);
        *n += ok && p[*n].a >= 0;
    }
    bpe_work_free(&w);
    buf_free(&copy);
    if (!ok) return llm_fail_memory(err, cap, "the merges");
    qsort(p, *n, sizeof *p, by_rank);
    return LLM_OK;
}

static llm_status put_merges(const llm_tokenizer *t, gguf_out *out, llm_error *err)
{
    bpe_pair *p = NULL;
    size_t n;
    text_buf a = { 0 }, b = { 0 };
    llm_status st = list_merges(t, &p, &n, err);

    if (st == LLM_OK) gguf_out_strings(out, KEY("merges"), n);
    for (size_t i = 0; st == LLM_OK && i < n; i++) {
        spell(t, p[i].a, &a), spell(t, p[i].b, &b);
        buf_byte(&a, ' '), buf_add(&a, b.data, b.len);
        gguf_out_next(out, a.data, a.len);
    }
    if (a.failed || b.failed) out->kv.failed = true;
    buf_free(&a), buf_free(&b), free(p);
    return st;
}

/* ---- the two kinds ------------------------------------------------------------------------ */

static bool same_split(const llm_pretok *a, const llm_pretok *b)
{
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (a->stage[i].next != b->stage[i].next || a->stage[i].regex || a->stage[i].literal || a->stage[i].next == NULL) return false;
    return true;
}

/* The name by which tok_gguf.c would set up the same split, normalization and look-up of whole words. */
static const char *pre_name(const llm_tokenizer *t)
{
    static const char *const names[] = { "qwen2", "llama-bpe", "gpt-4o", "gpt-2", "qwen35", "deepseek-v3", "deepseek-llm", "deepseek-coder", "smollm",
                                         "dbrx", "stablelm2" };
    bool nfc = t->n_norm == 1 && t->norm[0].kind == NORM_NFC;

    if ((t->n_norm > 0 && !nfc) || t->prefix_space) return NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        llm_pretok p = { 0 };
        bool same = pretok_by_name(&p, names[i], NULL) == LLM_OK && same_split(&t->pre, &p);
        pretok_free(&p);
        if (same && tok_pre_nfc(names[i]) == nfc && (t->bpe.first == NULL || tok_pre_whole(names[i]) == t->ignore_merges)) return names[i];
    }
    return NULL;
}

static llm_status put_bytes(const llm_tokenizer *t, int n, gguf_out *out, llm_error *err)
{
    const char *pre = pre_name(t);
    llm_status st;

    if (pre == NULL) return no_words("no name there stands for the way it splits and normalizes text", err);
    gguf_out_str(out, KEY("model"), "gpt2", 4), gguf_out_str(out, KEY("pre"), pre, strlen(pre));
    if ((st = put_tokens(t, n, out, err)) != LLM_OK) return st;
    return put_merges(t, out, err);
}

/* Scores that order merges as the ranks do. A list of merges ranks a token by the first merge that makes it. */
static llm_status put_scores(const llm_tokenizer *t, int n, gguf_out *out, llm_error *err)
{
    const float never = -1e9f;
    float *score = malloc(((size_t)n + 1) * sizeof *score);
    bpe_pair *p = NULL;
    size_t n_pair = 0;
    llm_status st = LLM_OK;

    if (score == NULL) return llm_fail_memory(err, (size_t)n * sizeof *score, "token scores");
    for (int i = 0; i < n; i++) {
        bool plain = i < t->vocab.n && (t->vocab.type[i] == TOK_NORMAL || t->vocab.type[i] == TOK_UNUSED);
        score[i] = !plain ? 0 : t->bpe.first ? never : -(float)t->bpe.rank[i];
    }
    if (t->bpe.first) st = list_merges(t, &p, &n_pair, err);
    for (size_t i = n_pair; i-- > 0;)
        if (p[i].id < n) score[p[i].id] = -(float)i;
    if (st == LLM_OK) gguf_out_array(out, KEY("scores"), GGUF_F32, score, (size_t)n);
    free(p), free(score);
    return st;
}

static llm_status put_chars(const llm_tokenizer *t, int n, gguf_out *out, llm_error *err)
{
    llm_status st;

    if (!t->byte_fallback) return no_words("it has no tokens for single bytes", err);
    if (t->charsmap.n_unit > 0) return no_words("it has normalization rules of its own", err);
    if (!t->escape || t->suffix) return no_words("it does not mark blanks with U+2581 in front of words", err);
    gguf_out_str(out, KEY("model"), "llama", 5), gguf_out_str(out, KEY("pre"), "default", 7);
    if ((st = put_tokens(t, n, out, err)) != LLM_OK) return st;
    gguf_out_bool(out, KEY("add_space_prefix"), t->dummy_prefix);
    if (t->trim) gguf_out_bool(out, KEY("remove_extra_whitespaces"), true);
    return put_scores(t, n, out, err);
}

/* ---- special tokens -------------------------------------------------------------------------- */

static void put_id(gguf_out *out, const char *key, llm_token id)
{
    if (id >= 0) gguf_out_u32(out, key, (uint32_t)id);
}

/* Ids that end an answer beside EOS, which GGUF has two more keys for. */
static void put_ends(const llm_tokenizer *t, llm_meta *meta, gguf_out *out)
{
    static const char *const keys[] = { KEY("eot_token_id"), KEY("eom_token_id") };
    int id[64];
    size_t n = 0, used = 0;

    if (!meta_ints(meta, NULL, "generation:eos_token_id", id, 64, &n)) return;
    for (size_t i = 0; i < n && i < 64 && used < 2; i++)
        if (id[i] >= 0 && id[i] != t->eos && id[i] < t->n_vocab) put_id(out, keys[used++], id[i]);
}

/* One template, or several by name, of which GGUF has the plain one and that for tools too. */
static void put_templates(llm_meta *meta, gguf_out *out)
{
    bool named = meta_has(meta, NULL, "tokenizer:chat_template.default");
    const char *text;

    if (meta_str(meta, NULL, named ? "tokenizer:chat_template.default" : "tokenizer:chat_template", &text) && *text)
        gguf_out_str(out, "tokenizer.chat_template", text, strlen(text));
    if (named && meta_str(meta, NULL, "tokenizer:chat_template.tool_use", &text) && *text)
        gguf_out_str(out, "tokenizer.chat_template.tool_use", text, strlen(text));
}

llm_status tok_export(const llm_tokenizer *t, llm_meta *meta, int n_vocab, gguf_out *out, llm_error *err)
{
    const char *text;
    llm_status st;

    if (t == NULL) {
        gguf_out_str(out, KEY("model"), "none", 4);
        return LLM_OK;
    }
    if (n_vocab < t->n_vocab) n_vocab = t->n_vocab;
    if (t->model == MODEL_UNIGRAM) return no_words("it is a unigram model", err);
    st = t->model == MODEL_BYTES ? put_bytes(t, n_vocab, out, err) : put_chars(t, n_vocab, out, err);
    if (st != LLM_OK) return st;
    put_id(out, KEY("bos_token_id"), t->bos), put_id(out, KEY("eos_token_id"), t->eos);
    put_id(out, KEY("unknown_token_id"), t->unk);
    if (meta && meta_str(meta, NULL, "tokenizer:pad_token", &text)) put_id(out, KEY("padding_token_id"), tokenizer_find(t, text, strlen(text)));
    gguf_out_bool(out, KEY("add_bos_token"), t->adds_bos), gguf_out_bool(out, KEY("add_eos_token"), t->adds_eos);
    if (meta) put_ends(t, meta, out), put_templates(meta, out);
    return LLM_OK;
}

/* ---- comparing ---------------------------------------------------------------------------------- */

static llm_status same_text(const llm_tokenizer *a, const llm_tokenizer *b, const char *text, unsigned flags, llm_error *err)
{
    llm_token x[512], y[512];
    size_t n, k;
    llm_status st = tokenizer_encode(a, text, strlen(text), flags, x, 512, &n, err);

    if (st == LLM_OK) st = tokenizer_encode(b, text, strlen(text), flags, y, 512, &k, err);
    if (st != LLM_OK) return st;
    if (n != k || n > 512 || memcmp(x, y, n * sizeof *x) != 0) return no_words("a text would become other tokens", err);
    return LLM_OK;
}

llm_status tok_same(const llm_tokenizer *a, const llm_tokenizer *b, llm_error *err)
{
    static const char *const texts[] = {
        "Hello, world! It's 12345 o'clock;  don't  you'LL think so?\n\n\tint main(void) { return x[3] += 1.5e-3; }\r\n   ",
        "\xec\x95\x88\xeb\x85\x95\xed\x95\x98\xec\x84\xb8\xec\x9a\x94 \xe4\xbd\xa0\xe5\xa5\xbd 2024\xe5\xb9\xb4 \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 e\xcc\x81t\xc3\xa9 \xf0\x9f\x99\x82\xf0\x9f\x91\x8d",
        "<|im_start|>user\nhi<|im_end|> <start_of_turn>model <|start|>assistant<|channel|>final <think> a </think>", "     leading blanks", "",
    };
    llm_status st = LLM_OK;

    if ((a == NULL) != (b == NULL)) return no_words("it was lost", err);
    if (a == NULL) return LLM_OK;
    if ((a->bos != b->bos && a->bos >= 0) || (a->eos != b->eos && a->eos >= 0) || a->adds_bos != b->adds_bos || a->adds_eos != b->adds_eos)
        return no_words("BOS and EOS, or whether they are added, would differ", err);
    for (int i = 0; i < a->n_vocab; i++) {
        size_t n, k;
        const char *s = tokenizer_bytes(a, i, &n), *r = tokenizer_bytes(b, i, &k);
        if (a->vocab.type[i] == TOK_HOLE) continue;
        if (n != k || memcmp(s, r, n) != 0 || tokenizer_is_control(a, i) != tokenizer_is_control(b, i))
            return llm_fail(err, LLM_ERR_UNSUPPORTED, "the tokenizer cannot be written as GGUF: token %d would differ", i);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts && st == LLM_OK; i++)
        for (unsigned f = 0; f < 2 && st == LLM_OK; f++) st = same_text(a, b, texts[i], f ? LLM_TOKENIZE_SPECIAL | LLM_TOKENIZE_BOS : 0, err);
    return st;
}
