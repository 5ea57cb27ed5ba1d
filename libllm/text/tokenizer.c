/* tokenizer.c - the face of the tokenizers: opening, encoding, decoding. The algorithms are in bpe.c, spm.c and unigram.c, the
 * formats in tok_gguf.c, hf_json.c, hf_files.c, tiktoken.c and spm_model.c. */
#include "tokenizer_parts.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TOKEN_FIND_MAX = 4096,              /* bytes of a spelling with U+2581 that is looked for */
    LONG_TEXT = 1024                    /* bytes from which on words are expected to come again */
};

/* All zero but for the table of classes. */
static void begin(llm_tokenizer *t, uni_table *classes)
{
    *t = (llm_tokenizer){ .classes = classes, .unk = -1, .bos = -1, .eos = -1 };
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;
}

llm_status tok_new(llm_tokenizer **out, llm_error *err)
{
    llm_tokenizer *t = malloc(sizeof *t);
    uni_table *classes = malloc(sizeof *classes);

    *out = NULL;
    if (t == NULL || classes == NULL) return free(t), free(classes), llm_fail_memory(err, sizeof *t + sizeof *classes, "a tokenizer");
    uni_init(classes);
    begin(t, classes);
    *out = t;
    return LLM_OK;
}

static void release(llm_tokenizer *t)
{
    vocab_free(&t->vocab), bpe_free(&t->bpe), unigram_free(&t->unigram);
    added_free(&t->added), added_free(&t->added_late), added_free(&t->own);
    pretok_free(&t->pre), charsmap_free(&t->charsmap), borders_free(&t->borders);
    for (int i = 0; i < t->n_norm; i++) free(t->norm[i].a), free(t->norm[i].b);
    free(t->joins), free(t->end);
}

void tok_renew(llm_tokenizer *t)
{
    release(t);
    begin(t, t->classes);
}

void tokenizer_close(llm_tokenizer *t)
{
    if (t == NULL) return;
    release(t);
    free(t->classes);
    free(t);
}

llm_status tok_add_norm(llm_tokenizer *t, norm_kind kind, const char *a, size_t n_a, const char *b, size_t n_b, llm_error *err)
{
    norm_step *s;

    if (t->n_norm == NORM_MAX_STEPS) return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer: more than %d normalizer steps", NORM_MAX_STEPS);
    s = &t->norm[t->n_norm++];
    *s = (norm_step){ .kind = kind, .n_a = n_a, .n_b = n_b };
    s->a = malloc(n_a + 1), s->b = malloc(n_b + 1);
    if (s->a == NULL || s->b == NULL) return llm_fail_memory(err, n_a + n_b, "a normalizer");
    if (n_a) memcpy(s->a, a, n_a);
    if (n_b) memcpy(s->b, b, n_b);
    return LLM_OK;
}

/* s with U+2581 turned to blanks: what an added token of an escaped vocabulary stands for. */
static bool blanks_for_marks(const char *s, size_t n, text_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) buf_byte(out, ' '), i += 2;
        else buf_byte(out, s[i]);
    }
    return !out->failed;
}

static llm_status normalize(tok_encoder *e, const char **s, size_t *n, llm_error *err);

/* A token that is found in normalized text is found by its own normal form. */
static llm_status put_late(llm_tokenizer *t, const char *s, size_t len, int32_t id, unsigned flags, llm_error *err)
{
    tok_encoder e = { .t = t };
    llm_status st = normalize(&e, &s, &len, err);

    if (st == LLM_OK && len > 0) st = added_put(&t->added_late, s, len, id, flags, err);
    buf_free(&e.norm[0]), buf_free(&e.norm[1]);
    return st;
}

llm_status tok_add_special(llm_tokenizer *t, int64_t id, const char *s, size_t len, unsigned flags, bool late, llm_error *err)
{
    bool control = flags & ADDED_CONTROL;
    const llm_vocab *v = &t->vocab;
    text_buf b = { 0 };
    llm_status st = LLM_OK;

    if (v->line) return llm_fail(err, LLM_ERR_INTERNAL, "tokenizer: an added token after the index was made");
    if (!blanks_for_marks(s, control || !t->escape ? 0 : len, &b)) return llm_fail_memory(err, len, "an added token");
    if (b.len == 0) buf_add(&b, s, len);
    if (b.failed) return llm_fail_memory(err, len, "an added token");
    /* A token of the vocabulary that is added once more stays what merging may make. */
    if (control || id < 0 || id >= v->n || v->type[id] != TOK_NORMAL || v->len[id] != b.len
        || memcmp(v->pool.data + v->off[id], b.data, b.len) != 0) {
        if (id >= 0 && id < v->n) vocab_forget(&t->vocab, (int32_t)id);      /* its spelling in the vocabulary may differ */
        st = vocab_set(&t->vocab, id, b.data ? b.data : "", b.len, control ? TOK_CONTROL : TOK_USER, err);
    }
    buf_free(&b);
    if (st == LLM_OK && late) st = put_late(t, s, len, (int32_t)id, flags, err);
    else if (st == LLM_OK) st = added_put(&t->added, s, len, (int32_t)id, flags, err);
    return st;
}

/* ---- building ------------------------------------------------------------ */

llm_status tok_build_bytes_by_rank(llm_tokenizer *t, llm_error *err)
{
    llm_status st;

    if ((st = vocab_index(&t->vocab, 1u << TOK_NORMAL, true, err)) != LLM_OK) return st;
    t->ignore_merges = true;                                /* tiktoken looks a whole word up first */
    return bpe_init(&t->bpe, &t->vocab, err);
}

#define FOUR(k) (k), (k) + 1, (k) + 2, (k) + 3
#define SIXTEEN(k) FOUR(k), FOUR((k) + 4), FOUR((k) + 8), FOUR((k) + 12)
#define THIRTY_TWO(k) SIXTEEN(k), SIXTEEN((k) + 16)
/* By character: the byte that it stands for, and 1; 0: it is not of the alphabet. Bytes 00-20, 7f-a0 and ad, which are not their own character, are
 * U+0100 and on. */
static const uint16_t ALPHABET[0x200] = {
    [0x21] = THIRTY_TWO(0x22), THIRTY_TWO(0x42), SIXTEEN(0x62), FOUR(0x72), FOUR(0x76), FOUR(0x7a), 0x7e, 0x7f,
    [0xa1] = FOUR(0xa2), FOUR(0xa6), FOUR(0xaa),
    [0xae] = THIRTY_TWO(0xaf), THIRTY_TWO(0xcf), SIXTEEN(0xef), 0xff, 0x100,
    [0x100] = THIRTY_TWO(0x01), 0x21, THIRTY_TWO(0x80), 0xa0, 0xa1, 0xae,
};

bool byte_level_decode(const char *text, size_t n, text_buf *out)
{
    const uint8_t *s = (const uint8_t *)text, *last = s + n - 1;
    char *o;
    bool wrong = false;

    if (n == 0) return !out->failed;
    if (!buf_room(out, n)) return false;
    for (o = out->data + out->len; s < last; o++) {         /* without a branch by the length of a character, which could not be predicted */
        unsigned wide = *s >> 7, k = wide ? (*s & 31u) << 6 | (s[1] & 63u) : *s;

        wrong |= wide & ((*s - 0xc2u > 3) | (s[1] >> 6 != 2));
        wrong |= ALPHABET[k & 0x1ff] == 0;
        *o = (char)(ALPHABET[k & 0x1ff] - 1);
        s += 1 + wide;
    }
    if (s == last) wrong |= *s >= 0x80 || ALPHABET[*s] == 0, *o++ = (char)(ALPHABET[*s & 0x7f] - 1);
    if (!wrong) out->len = (size_t)(o - out->data);
    return !wrong;
}

size_t byte_level_char(uint8_t byte, char *out)
{
    unsigned c = byte, k = c <= 0x20 ? 0x100 + c : c >= 0x7f && c <= 0xa0 ? 0x121 + c - 0x7f : c == 0xad ? 0x143 : c;

    if (k < 0x80) return *out = (char)k, 1;
    out[0] = (char)(0xc0 | k >> 6), out[1] = (char)(0x80 | (k & 63));
    return 2;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

int byte_token(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0) return -1;
    return hex(s[3]) * 16 + hex(s[4]);
}

/* Tokens whose text ends an answer in some family (llama.cpp's list, src/llama-vocab.cpp). */
static const char *const END_TEXTS[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<turn|>",
    "<|tool_response>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"), "<eos>", "<end_of_utterance>",
};

static void find_ends(llm_tokenizer *t)
{
    bool harmony = tokenizer_find(t, "<|return|>", 10) >= 0 && tokenizer_find(t, "<|call|>", 8) >= 0;

    tokenizer_set_end(t, t->eos);
    for (size_t i = 0; i < sizeof END_TEXTS / sizeof END_TEXTS[0]; i++) {
        llm_token id = tokenizer_find(t, END_TEXTS[i], strlen(END_TEXTS[i]));

        if (id < 0 || t->vocab.type[id] == TOK_NORMAL) continue;
        if (harmony && strcmp(END_TEXTS[i], "<|end|>") == 0) continue;      /* ends a message, not the answer */
        tokenizer_set_end(t, id);
    }
}

llm_status tok_finish(llm_tokenizer *t, llm_error *err)
{
    bool bytes = t->model == MODEL_BYTES;
    llm_status st;

    if (t->n_vocab == 0) t->n_vocab = t->vocab.n;
    if (t->n_vocab == 0) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: the vocabulary is empty");
    if ((t->end = calloc((size_t)t->n_vocab / 8 + 1, 1)) == NULL) return llm_fail_memory(err, (size_t)t->n_vocab / 8, "a tokenizer");
    if (t->bos >= t->n_vocab || t->eos >= t->n_vocab || t->unk >= t->n_vocab)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: BOS %d, EOS %d or unknown token %d is not below the %d tokens of the vocabulary",
                        t->bos, t->eos, t->unk, t->n_vocab);
    if (bytes && (st = borders_init(&t->borders, &t->bpe, err)) != LLM_OK) return st;
    for (int i = 0; bytes && i < 256; i++) {
        char c = (char)i;
        t->byte_id[i] = vocab_find(&t->vocab, &c, 1);
    }
    if (t->unk >= 0) t->vocab.type[t->unk] = TOK_UNKNOWN;    /* what stands for unknown text is no command */
    if (t->adds_bos && t->bos < 0) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: a BOS token is to be added, but none is named");
    find_ends(t);
    return LLM_OK;
}

/* ---- opening ------------------------------------------------------------- */

static bool exists(const char *dir, const char *name, char *path, size_t cap)
{
    int n = snprintf(path, cap, "%s/%s", dir, name);

    return n > 0 && (size_t)n < cap && access(path, R_OK) == 0;
}

static llm_status open_dir(llm_tokenizer *t, const char *dir, bool *found, llm_error *err)
{
    char path[4096];

    *found = true;
    if (exists(dir, "tokenizer.json", path, sizeof path)) return tok_load_hf(t, path, dir, err);
    if (exists(dir, "tokenizer.model", path, sizeof path)) return tok_load_spm(t, path, dir, err);
    if (exists(dir, "vocab.json", path, sizeof path) && exists(dir, "merges.txt", path, sizeof path))
        return tok_load_vocab_merges(t, dir, err);
    if (exists(dir, "qwen.tiktoken", path, sizeof path) || exists(dir, "tokenizer.tiktoken", path, sizeof path)
        || exists(dir, "o200k_base.tiktoken", path, sizeof path))
        return tok_load_tiktoken(t, path, dir, err);
    *found = false;
    return LLM_OK;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

static llm_status open_file(llm_tokenizer *t, const char *path, llm_error *err)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    bool found;
    struct stat info;

    if (stat(path, &info) != 0) return llm_fail(err, LLM_ERR_IO, "%s: cannot be opened", path);
    if (S_ISDIR(info.st_mode)) {
        llm_status st = open_dir(t, path, &found, err);
        if (st == LLM_OK && !found) return llm_fail(err, LLM_ERR_IO, "%s: no tokenizer.json, tokenizer.model, vocab.json with merges.txt "
                                                    "or *.tiktoken in this folder", path);
        return st;
    }
    if (n >= sizeof dir) return llm_fail(err, LLM_ERR_ARG, "the path is longer than %zu bytes", sizeof dir - 1);
    memcpy(dir, slash ? path : ".", n), dir[n] = 0;
    if (ends_with(path, ".json")) return tok_load_hf(t, path, dir, err);
    if (ends_with(path, ".tiktoken")) return tok_load_tiktoken(t, path, dir, err);
    if (ends_with(path, ".model")) return tok_load_spm(t, path, dir, err);
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: not a tokenizer file this library knows (.gguf, .json, .model, .tiktoken)", path);
}

static llm_status open_gguf(llm_tokenizer **out, const char *path, llm_error *err)
{
    llm_store *s = NULL;
    llm_meta *m = NULL;
    llm_status st = store_open(&s, path, true, err);

    if (st == LLM_OK) st = meta_open(&m, s, err);
    if (st == LLM_OK) st = tokenizer_open(out, m, s, 0, err);
    if (st == LLM_OK && *out == NULL) st = llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: the file carries no tokenizer", path);
    meta_close(m);
    store_close(s);
    return st;
}

llm_status tokenizer_open_path(llm_tokenizer **out, const char *path, llm_error *err)
{
    llm_tokenizer *t = NULL;
    llm_status st;

    *out = NULL;
    if (ends_with(path, ".gguf")) return open_gguf(out, path, err);
    if ((st = tok_new(&t, err)) == LLM_OK && (st = open_file(t, path, err)) == LLM_OK && (st = tok_finish(t, err)) == LLM_OK) {
        *out = t;
        return LLM_OK;
    }
    tokenizer_close(t);
    return st;
}

llm_status tokenizer_open(llm_tokenizer **out, llm_meta *m, llm_store *s, int n_vocab, llm_error *err)
{
    static const char *const end_keys[] = { "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    llm_tokenizer *t = NULL;
    bool found = true;
    int ends[64];
    size_t n_end = 0;
    const char *model;
    llm_status st;

    *out = NULL;
    if (meta_kind(m) == STORE_GGUF && (!meta_str(m, "tokenizer.ggml.model", NULL, &model) || strcmp(model, "none") == 0)) return LLM_OK;
    if ((st = tok_new(&t, err)) != LLM_OK) goto fail;
    if (meta_kind(m) == STORE_GGUF) st = tok_load_gguf(t, m, err);
    else st = open_dir(t, store_dir(s), &found, err);
    if (st != LLM_OK || !found) goto fail;
    if ((st = tok_finish(t, err)) != LLM_OK) goto fail;
    if (n_vocab > 0 && t->n_vocab > n_vocab) {
        int used = t->n_vocab;

        while (used > n_vocab && (t->vocab.type[used - 1] == TOK_UNUSED || t->vocab.type[used - 1] == TOK_HOLE)) used--;
        if (used > n_vocab) {
            st = llm_fail(err, LLM_ERR_FORMAT, "%s: the tokenizer has token ids up to %d, the model's embedding %d rows", store_path(s),
                          used - 1, n_vocab);
            goto fail;
        }
    }
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++)
        if (meta_int(m, end_keys[i], NULL, &ends[0])) tokenizer_set_end(t, ends[0]);
    if (meta_ints(m, NULL, "generation:eos_token_id", ends, 64, &n_end))
        for (size_t i = 0; i < n_end && i < 64; i++) tokenizer_set_end(t, ends[i]);
    if ((st = meta_error(m, err)) != LLM_OK) goto fail;
    *out = t;
    return LLM_OK;
fail:
    tokenizer_close(t);
    return st;
}

/* ---- asking -------------------------------------------------------------- */

int tokenizer_n_vocab(const llm_tokenizer *t) { return t->n_vocab; }
llm_token tokenizer_bos(const llm_tokenizer *t) { return t->bos; }
llm_token tokenizer_eos(const llm_tokenizer *t) { return t->eos; }
bool tokenizer_adds_bos(const llm_tokenizer *t) { return t->adds_bos; }
bool tokenizer_adds_eos(const llm_tokenizer *t) { return t->adds_eos; }

bool tokenizer_is_control(const llm_tokenizer *t, llm_token id)
{
    return id >= 0 && id < t->n_vocab && t->vocab.type[id] == TOK_CONTROL;
}

bool tokenizer_is_end(const llm_tokenizer *t, llm_token id)
{
    return id >= 0 && id < t->n_vocab && (t->end[id >> 3] >> (id & 7) & 1);
}

void tokenizer_set_end(llm_tokenizer *t, llm_token id)
{
    if (id >= 0 && id < t->n_vocab) t->end[id >> 3] |= (uint8_t)(1 << (id & 7));
}

const char *tokenizer_bytes(const llm_tokenizer *t, llm_token id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= t->n_vocab) return "";
    return vocab_bytes(&t->vocab, id, len);
}

llm_token tokenizer_find(const llm_tokenizer *t, const char *text, size_t len)
{
    const llm_added *tries[] = { &t->added, &t->added_late, &t->own };
    char plain[TOKEN_FIND_MAX];
    size_t n = 0;
    llm_token id = -1;

    for (int i = 0; id < 0 && i < 3; i++) id = added_find(tries[i], text, len);
    if (id < 0 && t->byte_fallback && byte_token(text, len) >= 0) id = t->byte_id[byte_token(text, len)];
    if (id < 0 && len > 0) id = vocab_find(&t->vocab, text, len);
    if (id < 0 && t->escape && len <= TOKEN_FIND_MAX && memmem(text, len, "\xe2\x96\x81", 3)) {    /* as the file spells it */
        for (size_t i = 0; i < len; i++) {
            if (len - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0) plain[n++] = ' ', i += 2;
            else plain[n++] = text[i];
        }
        id = vocab_find(&t->vocab, plain, n);
    }
    return id;
}

/* ---- encoding ------------------------------------------------------------ */

llm_status tok_emit_unknown(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    bool all = t->byte_fallback || t->model == MODEL_BYTES;

    for (size_t i = 0; i < n; i++) all &= t->byte_id[(uint8_t)s[i]] >= 0;
    if (all) {
        for (size_t i = 0; i < n; i++) tok_emit(e, t->byte_id[(uint8_t)s[i]]);
        return LLM_OK;
    }
    if (t->unk < 0)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "the vocabulary has no token for \"%.*s\" (byte 0x%02x) and none for unknown text",
                        (int)(n < 40 ? n : 40), s, (unsigned)(uint8_t)s[0]);
    if (!(e->last_unk && t->fuse_unk)) tok_emit(e, t->unk);
    e->last_unk = true;
    return LLM_OK;
}

/* Tokens of the word that is being merged. */
static void emit_word(tok_encoder *e, const int32_t *id, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tok_emit(e, id[i]);
        if (e->n_word < CACHED_TOKENS) e->word[e->n_word] = id[i];
        if (e->n_word < SIZE_MAX) e->n_word++;
    }
}

/* Those of the symbols in e->bpe. */
static llm_status emit_symbols(tok_encoder *e, llm_error *err)
{
    const bpe_work *w = &e->bpe;
    llm_status st = LLM_OK;

    for (size_t k = 0; st == LLM_OK && k < w->n; k++) {
        if (w->id[k] >= 0) emit_word(e, &w->id[k], 1);
        else st = tok_emit_unknown(e, w->text + w->at[k], 1, err), e->n_word = SIZE_MAX;
    }
    return st;
}

/* Merges the symbols in e->bpe; id: the token with their text, or -1. */
static llm_status merge_symbols(tok_encoder *e, int32_t id, llm_error *err)
{
    const llm_bpe *t = &e->t->bpe;
    bpe_work *w = &e->bpe;

    if (id >= 0 && bpe_whole(t, id) == 1) return w->id[0] = id, w->n = 1, LLM_OK;
    if (!bpe_merge(t, w, -1)) return llm_fail_memory(err, w->n * 32, "merging a long word");
    if (id >= 0) bpe_set_whole(t, id, w->n == 1);
    return LLM_OK;
}

static bool all_known(const bpe_work *w)
{
    for (size_t i = 0; i < w->n; i++) if (w->id[i] < 0) return false;
    return true;
}

/* A part s [n] of a word that no token reaches out of; its symbols are in e->bpe. */
static llm_status bytes_part(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    const llm_vocab *v = &e->t->vocab;
    bpe_work *w = &e->bpe;
    cached_word *c = NULL;
    uint64_t key;
    llm_status st;

    w->text = s, w->len = n;
    if (w->n == 1) return emit_symbols(e, err);
    key = vocab_key(s, n);
    if (n <= CACHED_BYTES && e->cache.slot) {
        c = word_cache_at(&e->cache, key);
        if (word_cache_is(c, key, s, n, true)) return emit_word(e, c->id, c->n), LLM_OK;
    }
    if ((st = merge_symbols(e, n <= v->longest ? vocab_find_key(v, s, n, key) : -1, err)) != LLM_OK) return st;
    if (c && w->n <= CACHED_TOKENS && all_known(w)) word_cache_put(c, key, s, n, true, w->id, w->n);
    return emit_symbols(e, err);
}

/* A word that is no token, part by part. */
static llm_status merge_word(tok_encoder *e, const char *text, size_t n, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    const uint8_t *s = (const uint8_t *)text;
    bpe_work *w = &e->bpe;
    unsigned left = BORDER_NONE, right;
    llm_status st;

    if (!bpe_work_room(w, n)) return llm_fail_memory(err, n * sizeof *w->id, "the bytes of a word");
    w->n = 0;
    for (size_t begin = 0, i = 0, len; i < n; i += len, left = right) {
        uint32_t cp;

        len = (size_t)utf8_decode(s + i, s + n, &cp);
        right = i + len < n ? border_at(&t->borders, s, n, i + len) : BORDER_NONE;
        border_symbols(&t->borders, t->byte_id, s + i, len, cp, border_lower(left, right), i - begin, w);
        if (right != BORDER_NONE) continue;
        if ((st = bytes_part(e, text + begin, i + len - begin, err)) != LLM_OK) return st;
        begin = i + len, w->n = 0;
    }
    return LLM_OK;
}

/* A word of a byte-level vocabulary that was not there yet, to its place in the cache where it has one. */
static llm_status new_word(tok_encoder *e, const queued_word *q, cached_word *c, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    int32_t id = q->n <= t->vocab.longest ? vocab_find_key(&t->vocab, q->s, q->n, q->key) : -1;
    llm_status st = LLM_OK;

    e->n_word = 0;
    if (id >= 0 && (t->ignore_merges || bpe_whole(&t->bpe, id) == 1)) emit_word(e, &id, 1);
    else st = merge_word(e, q->s, q->n, err);
    if (c && e->n_word <= CACHED_TOKENS && st == LLM_OK) word_cache_put(c, q->key, q->s, q->n, false, e->word, e->n_word);
    return st;
}

static llm_status one_word(tok_encoder *e, const queued_word *q, llm_error *err)
{
    cached_word *c = q->n <= CACHED_BYTES && e->cache.slot ? word_cache_at(&e->cache, q->key) : NULL;

    if (c == NULL || !word_cache_is(c, q->key, q->s, q->n, false)) return new_word(e, q, c, err);
    for (int i = 0; i < c->n; i++) tok_emit(e, c->id[i]);
    return LLM_OK;
}

/* The queued words, in order. The index is asked beforehand for those that the cache does not hold. */
static llm_status queued_words(tok_encoder *e, llm_error *err)
{
    const llm_vocab *v = &e->t->vocab;
    int n = e->n_queue;
    llm_status st = LLM_OK;

    for (int i = 0; i < n; i++) {
        const queued_word *q = &e->queue[i];
        if (q->n <= CACHED_BYTES && e->cache.slot && word_cache_at(&e->cache, q->key)->key == q->key) continue;
        vocab_soon(v, q->key);
    }
    for (int i = 0; st == LLM_OK && i < n; i++) st = one_word(e, &e->queue[i], err);
    e->n_queue = 0;
    return st;
}

/* A word of a byte-level vocabulary: it waits until the memory had time to bring what it was asked for. */
static llm_status bytes_word(void *user, const char *s, size_t n, llm_error *err)
{
    tok_encoder *e = user;
    uint64_t key = vocab_key(s, n);

    if (e->cache.slot) __builtin_prefetch(word_cache_at(&e->cache, key));
    e->queue[e->n_queue++] = (queued_word){ s, n, key };
    return e->n_queue == WORD_QUEUE ? queued_words(e, err) : LLM_OK;
}

/* A word of a character model after tokenizer.json's own normalizing and splitting: only U+2581 is left to turn. */
static llm_status chars_word(void *user, const char *s, size_t n, llm_error *err)
{
    tok_encoder *e = user;

    if (!e->t->escape || memmem(s, n, "\xe2\x96\x81", 3) == NULL) return chars_encode(e, s, n, err);
    e->piece.len = 0;
    if (!blanks_for_marks(s, n, &e->piece)) return llm_fail_memory(err, n, "a word");
    return chars_encode(e, e->piece.data, e->piece.len, err);
}

static void replace(const norm_step *g, const char *s, size_t n, text_buf *out)
{
    const char *end = s + n, *p;

    while (g->n_a && (p = memmem(s, (size_t)(end - s), g->a, g->n_a)) != NULL) {
        buf_add(out, s, (size_t)(p - s));
        buf_add(out, g->b, g->n_b);
        s = p + g->n_a;
    }
    buf_add(out, s, (size_t)(end - s));
}

static void strip(const uni_table *u, const norm_step *g, const char *s, size_t n, text_buf *out)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n, *last = p;
    uint32_t cp;
    int len;

    for (; g->left && p < end; p += len) {
        len = utf8_decode(p, end, &cp);
        if (!(uni_class(u, cp) & UC_WS)) break;
    }
    last = p;
    for (const uint8_t *q = p; q < end; q += len) {
        len = utf8_decode(q, end, &cp);
        if (!(uni_class(u, cp) & UC_WS)) last = q + len;
    }
    if (!g->right) last = end;
    buf_add(out, p, (size_t)(last - p));
}

/* Runs the normalizer; *s, *n become its result, which lies in e->norm or is the text itself. */
static llm_status normalize(tok_encoder *e, const char **s, size_t *n, llm_error *err)
{
    const llm_tokenizer *t = e->t;

    for (int i = 0; i < t->n_norm && *n > 0; i++) {
        const norm_step *g = &t->norm[i];
        text_buf *out = &e->norm[i & 1];

        if (g->kind == NORM_NFC && uni_is_nfc(t->classes, *s, *n)) {
            if (*s != e->norm[(i + 1) & 1].data) continue;
            out->len = 0, buf_add(out, *s, *n);             /* keep the two buffers taking turns */
        } else {
            out->len = 0;
            switch (g->kind) {
            case NORM_NFC: uni_normalize(t->classes, FORM_NFC, *s, *n, out); break;
            case NORM_NFD: uni_normalize(t->classes, FORM_NFD, *s, *n, out); break;
            case NORM_NFKC: uni_normalize(t->classes, FORM_NFKC, *s, *n, out); break;
            case NORM_NFKD: uni_normalize(t->classes, FORM_NFKD, *s, *n, out); break;
            case NORM_LOWER: uni_lower(*s, *n, out); break;
            case NORM_PREPEND: buf_add(out, g->a, g->n_a), buf_add(out, *s, *n); break;
            case NORM_REPLACE: replace(g, *s, *n, out); break;
            case NORM_STRIP: strip(t->classes, g, *s, *n, out); break;
            }
        }
        if (out->failed) return llm_fail_memory(err, *n, "a normalized text");
        *s = out->data, *n = out->len;
    }
    return LLM_OK;
}

/* Text between added tokens, normalized. */
static llm_status plain(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    text_buf *b = &e->piece;
    llm_status st;

    if (n == 0) return LLM_OK;
    if (t->model == MODEL_BYTES) {
        if (t->prefix_space && *s != ' ') {
            b->len = 0;
            buf_byte(b, ' '), buf_add(b, s, n);
            if (b->failed) return llm_fail_memory(err, n, "a text with a blank in front");
            s = b->data, n = b->len;
        }
        st = pretok_split(&t->pre, t->classes, s, n, &e->pre, bytes_word, e, err);
        return st == LLM_OK ? queued_words(e, err) : st;
    }
    if (t->pre.n > 0) return pretok_split(&t->pre, t->classes, s, n, &e->pre, chars_word, e, err);
    b->len = 0;
    st = chars_normalize(t, s, n, !e->begun, b, err);
    return st == LLM_OK && b->len ? chars_encode(e, b->data, b->len, err) : st;
}

static bool is_word_char(const uni_table *u, const char *s, size_t n, size_t at, bool before)
{
    const uint8_t *p = (const uint8_t *)s;
    uint32_t cp;
    size_t i = at;

    if (before) {
        if (at == 0) return false;
        do i--; while (i > 0 && at - i < 4 && (p[i] & 0xc0) == 0x80);
    }
    if (i >= n) return false;
    utf8_decode(p + i, p + n, &cp);
    return cp == '_' || (uni_class(u, cp) & (UC_L | UC_N | UC_M)) != 0;
}

/* As added_next for a marked text: a control token counts where it lies within one trusted span. */
static size_t next_marked(tok_encoder *e, const llm_added *a, const char *s, size_t n, size_t from, size_t *len, int32_t *id, unsigned *flags)
{
    for (size_t i = from; i < n && a->n > 0; i++) {
        size_t k = 0, plain_len;
        int32_t plain_id;
        unsigned plain_flags;

        if (!a->starts[(uint8_t)s[i]]) continue;
        while (e->n_trusted > 0 && e->trusted->end <= i) e->trusted++, e->n_trusted--;
        if (e->n_trusted > 0 && e->trusted->begin <= i) k = added_match(a, s + i, e->trusted->end - i, true, id, flags);
        plain_len = added_match(a, s + i, n - i, false, &plain_id, &plain_flags);
        if (plain_len > k) k = plain_len, *id = plain_id, *flags = plain_flags;
        if (k > 0) return *len = k, i;
    }
    return n;
}

/* Cuts s at added tokens and hands what lies between to next. */
typedef llm_status (*fragment_fn)(tok_encoder *e, const char *s, size_t n, llm_error *err);
static llm_status cut_added(tok_encoder *e, const llm_added *a, const char *s, size_t n, fragment_fn next, llm_error *err)
{
    const uni_table *u = e->t->classes;
    size_t done = 0, at = 0, len = 0;
    int32_t id = -1;
    unsigned flags = 0;
    llm_status st;

    while ((at = e->trusted && a == &e->t->added ? next_marked(e, a, s, n, at, &len, &id, &flags)
                                                 : added_next(a, s, n, at, e->special, &len, &id, &flags)) < n) {
        size_t from = at, to = at + len;

        at = to;
        if (flags & ADDED_SINGLE_WORD && (is_word_char(u, s, n, from, true) || is_word_char(u, s, n, to, false))) continue;
        while (flags & ADDED_LSTRIP && from > done && u->cls[(uint8_t)s[from - 1]] & UC_WS && (uint8_t)s[from - 1] < 0x80) from--;
        while (flags & ADDED_RSTRIP && to < n && (uint8_t)s[to] < 0x80 && u->cls[(uint8_t)s[to]] & UC_WS) to++;
        if (from > done && (st = next(e, s + done, from - done, err)) != LLM_OK) return st;
        tok_emit(e, id);
        e->begun = true;
        done = at = to;
    }
    if (done == n) return LLM_OK;
    st = next(e, s + done, n - done, err);
    e->begun = true;
    return st;
}

static llm_status late_fragment(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    llm_status st = plain(e, s, n, err);

    e->begun = true;
    return st;
}

static llm_status raw_fragment(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    llm_status st = normalize(e, &s, &n, err);

    return st == LLM_OK ? cut_added(e, &e->t->added_late, s, n, late_fragment, err) : st;
}

/* A text in which words and pairs come again. The tables fit the second-level cache, and clearing them must not cost more than they save. */
static bool remember(tok_encoder *e, size_t len)
{
    return word_cache_init(&e->cache, len / 32) && bpe_work_remember(&e->bpe, len / 16);
}

static llm_status encode(tok_encoder *e, const char *text, size_t len, size_t *n, llm_error *err)
{
    llm_status st = LLM_OK;

    if (len > INT32_MAX / 4) return llm_fail(err, LLM_ERR_ARG, "tokenize: a text of %zu bytes, at most %d are taken", len, INT32_MAX / 4);
    if (e->t->model == MODEL_BYTES && len >= LONG_TEXT && !remember(e, len)) st = llm_fail_memory(err, len, "a text");
    if (len > 0 && st == LLM_OK) st = cut_added(e, &e->t->added, text, len, raw_fragment, err);
    word_cache_free(&e->cache);
    bpe_work_free(&e->bpe), pre_work_free(&e->pre), unigram_work_free(&e->unigram);
    buf_free(&e->norm[0]), buf_free(&e->norm[1]), buf_free(&e->piece);
    *n = e->n;
    return st;
}

llm_status tokenizer_encode(const llm_tokenizer *t, const char *text, size_t len, unsigned flags,
                            llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    tok_encoder e = { .t = t, .out = out, .cap = cap, .special = flags & LLM_TOKENIZE_SPECIAL };

    *n = 0;
    if (flags & ~(unsigned)(LLM_TOKENIZE_BOS | LLM_TOKENIZE_SPECIAL)) return llm_fail(err, LLM_ERR_ARG, "tokenize: unknown flags 0x%x", flags);
    if ((text == NULL && len > 0) || (out == NULL && cap > 0)) return llm_fail(err, LLM_ERR_ARG, "tokenize: NULL with a length");
    if (flags & LLM_TOKENIZE_BOS && t->adds_bos) tok_emit(&e, t->bos);
    return encode(&e, text, len, n, err);
}

llm_status tokenizer_encode_marked(const llm_tokenizer *t, const char *text, size_t len, const text_span *trusted, size_t n_trusted,
                                   llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    static const text_span nowhere;
    tok_encoder e = { .t = t, .out = out, .cap = cap, .trusted = n_trusted ? trusted : &nowhere, .n_trusted = n_trusted };

    *n = 0;
    if ((text == NULL && len > 0) || (out == NULL && cap > 0)) return llm_fail(err, LLM_ERR_ARG, "tokenize: NULL with a length");
    return encode(&e, text, len, n, err);
}

bool tokenizer_adds_blank(const llm_tokenizer *t) { return t->strip_first; }

llm_status tokenizer_decode(const llm_tokenizer *t, const llm_token *ids, size_t n, bool with_control,
                            char **text, size_t *len, llm_error *err)
{
    text_buf out = { 0 };
    bool first = t->strip_first;

    *text = NULL, *len = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k;
        const char *s = tokenizer_bytes(t, ids[i], &k);

        if (tokenizer_is_control(t, ids[i]) && !with_control) continue;
        if (first && !tokenizer_is_control(t, ids[i])) {
            if (k && *s == ' ') s++, k--;
            first = false;
        }
        buf_add(&out, s, k);
    }
    buf_byte(&out, 0);
    if (out.failed) return buf_free(&out), llm_fail_memory(err, out.len, "a decoded text");
    *text = out.data, *len = out.len - 1;
    return LLM_OK;
}
