/* spm.c - models over characters: SentencePiece BPE (scores turned to ranks) and unigram, with byte fallback, and the BPE by
 * merges of tokenizer.json that imitates them. Rules from google/sentencepiece: src/normalizer.cc, src/bpe_model.cc.
 *
 * In an escaped vocabulary blanks are written U+2581. Here both are one blank, in pieces and in text, which changes
 * no token. Text is cut wherever two bytes meet that never meet in a token, so that merging works on short words. */
#include "tokenizer_parts.h"

static const char BLANK[] = "\xe2\x96\x81";

/* One step of normalizing at s: how many bytes it takes and what they become. */
static size_t step(const llm_tokenizer *t, const char *s, size_t n, const char **to, size_t *n_to)
{
    size_t len;
    int32_t id;
    unsigned flags;
    uint32_t cp;

    len = added_match(&t->own, s, n, true, &id, &flags);
    if (len > 0 && memchr(s, ' ', len) == NULL) return *to = s, *n_to = len, len;
    if ((len = charsmap_match(&t->charsmap, s, n, to, n_to)) > 0) return len;
    len = (size_t)utf8_decode((const uint8_t *)s, (const uint8_t *)s + n, &cp);
    return *to = s, *n_to = len, len;
}

/* Appends to, blanks marks turned to blanks. */
static void add_escaped(const llm_tokenizer *t, const char *s, size_t n, text_buf *out)
{
    const char *end = s + n, *p;

    while (t->escape && (p = memmem(s, (size_t)(end - s), BLANK, 3)) != NULL) {
        buf_add(out, s, (size_t)(p - s));
        buf_byte(out, ' ');
        s = p + 3;
    }
    buf_add(out, s, (size_t)(end - s));
}

llm_status chars_normalize(const llm_tokenizer *t, const char *s, size_t n, bool first, text_buf *out, llm_error *err)
{
    bool prefix = t->dummy_prefix && (first || !t->prefix_first), was_blank = t->trim;
    const char *end = s + n, *to = s;
    size_t n_to = 0, begin = out->len;

    if (!t->trim && t->charsmap.n_unit == 0) {
        if (n == 0) return LLM_OK;
        if (t->prefix_if_none && (*s == ' ' || (n >= 3 && memcmp(s, BLANK, 3) == 0))) prefix = false;
        if (prefix && !t->suffix) buf_byte(out, ' ');
        add_escaped(t, s, n, out);
        if (prefix && t->suffix) buf_byte(out, ' ');
        return out->failed ? llm_fail_memory(err, n, "a normalized text") : LLM_OK;
    }
    while (t->trim && s < end) {
        size_t len = step(t, s, (size_t)(end - s), &to, &n_to);
        if (n_to != 1 || *to != ' ') break;
        s += len;
    }
    if (s == end) return LLM_OK;
    if (prefix && !t->suffix) buf_byte(out, ' ');
    while (s < end) {
        size_t len = step(t, s, (size_t)(end - s), &to, &n_to);

        while (was_blank && n_to && *to == ' ') to++, n_to--;
        if (n_to) was_blank = to[n_to - 1] == ' ';
        add_escaped(t, to, n_to, out);
        if (!t->trim) was_blank = false;
        s += len;
    }
    while (t->trim && out->len > begin && out->data[out->len - 1] == ' ') out->len--;
    if (prefix && t->suffix) buf_byte(out, ' ');
    return out->failed ? llm_fail_memory(err, n, "a normalized text") : LLM_OK;
}

/* Splits a word into its characters. */
static bool set_word(const llm_tokenizer *t, bpe_work *w, const char *s, size_t n)
{
    if (!bpe_work_room(w, n)) return false;
    w->n = 0, w->text = s, w->len = n;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;

        len = (size_t)utf8_decode((const uint8_t *)s + i, (const uint8_t *)s + n, &cp);
        w->id[w->n] = vocab_find(&t->vocab, s + i, len);
        w->at[w->n++] = (uint32_t)i;
    }
    return true;
}

/* An unused piece falls apart into what it was merged from: what its text comes to when it is not made. */
static llm_status emit_unused(tok_encoder *e, int32_t id, int depth, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    bpe_work w = { 0 };
    size_t n;
    const char *s = vocab_bytes(&t->vocab, id, &n);
    llm_status st = LLM_OK;

    if (!set_word(t, &w, s, n) || !bpe_merge(&t->bpe, &w, id)) st = llm_fail_memory(err, n * 32, "an unused piece");
    if (st == LLM_OK && (w.n <= 1 || depth > 64)) st = (tok_emit(e, id), LLM_OK);
    else for (size_t k = 0; st == LLM_OK && k < w.n; k++) {
        size_t to = k + 1 < w.n ? w.at[k + 1] : n;

        if (w.id[k] < 0) st = tok_emit_unknown(e, s + w.at[k], to - w.at[k], err);
        else if (t->vocab.type[w.id[k]] == TOK_UNUSED) st = emit_unused(e, w.id[k], depth + 1, err);
        else tok_emit(e, w.id[k]);
    }
    bpe_work_free(&w);
    return st;
}

static llm_status merge_word(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    int32_t id = vocab_find(&t->vocab, s, n);
    bpe_work *w = &e->bpe;
    llm_status st = LLM_OK;

    if (id >= 0 && t->vocab.type[id] == TOK_NORMAL && (t->ignore_merges || bpe_whole(&t->bpe, id) == 1 || (t->newline_whole && *s == '\n')))
        return tok_emit(e, id), LLM_OK;
    if (!set_word(t, w, s, n) || !bpe_merge(&t->bpe, w, -1)) return llm_fail_memory(err, n * 32, "merging a text");
    if (id >= 0) bpe_set_whole(&t->bpe, id, w->n == 1);
    for (size_t k = 0; st == LLM_OK && k < w->n; k++) {
        size_t from = w->at[k], to = k + 1 < w->n ? w->at[k + 1] : n;

        if (w->id[k] < 0) st = tok_emit_unknown(e, s + from, to - from, err);
        else if (t->vocab.type[w->id[k]] == TOK_UNUSED) st = emit_unused(e, w->id[k], 0, err);
        else tok_emit(e, w->id[k]);
    }
    return st;
}

static llm_status cut_unigram(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    unigram_work *w = &e->unigram;
    size_t first;
    llm_status st = LLM_OK;

    if (!unigram_cut(&e->t->unigram, s, n, w, &first)) return llm_fail_memory(err, n * 32, "cutting a text");
    for (size_t k = first; st == LLM_OK && k <= n; k++) {
        size_t to = k < n ? w->from[k + 1] : n;

        if (w->id[k] >= 0) tok_emit(e, w->id[k]);
        else st = tok_emit_unknown(e, s + w->from[k], to - w->from[k], err);
    }
    return st;
}

static llm_status word(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    if (n == 0) return LLM_OK;
    if (e->t->model == MODEL_UNIGRAM) return cut_unigram(e, s, n, err);
    return merge_word(e, s, n, err);
}

static inline bool joined(const llm_tokenizer *t, uint8_t a, uint8_t b)
{
    unsigned k = (unsigned)a << 8 | b;

    return t->joins[k >> 3] >> (k & 7) & 1;
}

llm_status chars_encode(tok_encoder *e, const char *s, size_t n, llm_error *err)
{
    const llm_tokenizer *t = e->t;
    bool cut = t->model == MODEL_CHARS && t->joins != NULL;
    size_t begin = 0, len;
    llm_status st = LLM_OK;

    for (size_t i = 0; i < n; i += len) {
        uint32_t cp;
        int32_t id;
        unsigned flags;

        if (t->model == MODEL_CHARS && (len = added_match(&t->own, s + i, n - i, true, &id, &flags)) > 0) {
            if ((st = word(e, s + begin, i - begin, err)) != LLM_OK) return st;
            tok_emit(e, id);
            begin = i + len;
            continue;
        }
        len = (size_t)utf8_decode((const uint8_t *)s + i, (const uint8_t *)s + n, &cp);
        if (i > begin && ((cut && !joined(t, (uint8_t)s[i - 1], (uint8_t)s[i])) || (t->split_blanks && s[i] == ' '))) {
            if ((st = word(e, s + begin, i - begin, err)) != LLM_OK) return st;
            begin = i;
        }
    }
    return word(e, s + begin, n - begin, err);
}

llm_status tok_build_joins(llm_tokenizer *t, llm_error *err)
{
    if ((t->joins = calloc(8192, 1)) == NULL) return llm_fail_memory(err, 8192, "the tokenizer");
    for (int id = 0; id < t->vocab.n; id++) {
        size_t len;
        const char *s = vocab_bytes(&t->vocab, id, &len);
        bool merges = t->vocab.type[id] == TOK_NORMAL || t->vocab.type[id] == TOK_UNUSED;

        for (size_t i = 0, next; merges && i < len; i = next) {
            uint32_t cp;
            unsigned k;

            next = i + (size_t)utf8_decode((const uint8_t *)s + i, (const uint8_t *)s + len, &cp);
            if (next >= len) break;
            k = (unsigned)(uint8_t)s[next - 1] << 8 | (uint8_t)s[next];
            t->joins[k >> 3] |= (uint8_t)(1 << (k & 7));
        }
    }
    return LLM_OK;
}

typedef struct { float score; int32_t id; } scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

llm_status tok_build_chars_by_score(llm_tokenizer *t, const float *score, llm_error *err)
{
    unsigned types = 1u << TOK_NORMAL | 1u << TOK_UNUSED;
    size_t n = 0;
    uint32_t rank = 0;
    bool sorted = true;
    scored *list;
    llm_status st;

    if ((st = vocab_index(&t->vocab, types, false, err)) != LLM_OK || (st = bpe_init(&t->bpe, &t->vocab, err)) != LLM_OK) return st;
    if ((t->bpe.rank = calloc((size_t)t->vocab.n + 1, sizeof *t->bpe.rank)) == NULL
        || (list = malloc(((size_t)t->vocab.n + 1) * sizeof *list)) == NULL)
        return llm_fail_memory(err, (size_t)t->vocab.n * 12, "the order of merges");
    for (int id = 0; id < t->vocab.n; id++)
        if (types >> t->vocab.type[id] & 1) {
            sorted &= n == 0 || list[n - 1].score >= score[id];
            list[n++] = (scored){ score[id], id };
        }
    if (!sorted) qsort(list, n, sizeof *list, by_score);
    for (size_t i = 0; i < n; i++) {                        /* equal scores, equal rank: then the leftmost is first */
        if (i > 0 && list[i - 1].score != list[i].score) rank++;
        t->bpe.rank[list[i].id] = rank;
    }
    free(list);
    return tok_build_joins(t, err);
}
