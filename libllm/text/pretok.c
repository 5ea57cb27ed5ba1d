/* pretok.c - which splits a tokenizer has, and running them. */
#include "pretok.h"
#include "pretok_known.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

struct pre_regex { pcre2_code *code; };

enum {
    MATCH_LIMIT = 10000000,             /* steps PCRE2 may take for one match */
    HEAP_LIMIT_KB = 64 * 1024,
    MAX_PATTERN = 65536
};

void pretok_free(llm_pretok *p)
{
    for (int i = 0; i < p->n; i++) {
        if (p->stage[i].regex) pcre2_code_free(p->stage[i].regex->code);
        free(p->stage[i].regex), free(p->stage[i].literal);
    }
    *p = (llm_pretok){ 0 };
}

void pre_work_free(pre_work *w)
{
    pcre2_match_data_free(w->match);
    free(w->cut);
    *w = (pre_work){ 0 };
}

static llm_status add_stage(llm_pretok *p, pre_stage **out, llm_error *err)
{
    if (p->n == PRE_MAX_STAGES)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer: more than %d pre-tokenizer steps", PRE_MAX_STAGES);
    *out = &p->stage[p->n++];
    **out = (pre_stage){ 0 };
    return LLM_OK;
}

llm_status pretok_add(llm_pretok *p, pre_next next, llm_error *err)
{
    pre_stage *stage = NULL;
    llm_status st = add_stage(p, &stage, err);

    if (st == LLM_OK) stage->next = next;
    return st;
}

/* Names of tokenizer.ggml.pre (llama.cpp, src/llama-vocab.cpp) for the splits that are here. */
llm_status pretok_by_name(llm_pretok *p, const char *name, llm_error *err)
{
    static const struct { const char *name; pre_next next[6]; } known[] = {
        { "gpt-2",            { pre_gpt2 } },
        { "gpt-4o",           { pre_o200k } },
        { "llama4",           { pre_o200k } },
        { "llama3",           { pre_llama3 } },
        { "llama-v3",         { pre_llama3 } },
        { "llama-bpe",        { pre_llama3 } },
        { "falcon3",          { pre_llama3 } },
        { "dbrx",             { pre_llama3 } },
        { "smaug-bpe",        { pre_llama3 } },
        { "chatglm-bpe",      { pre_llama3 } },
        { "glm4",             { pre_llama3 } },
        { "qwen2",            { pre_qwen2 } },
        { "deepseek-r1-qwen", { pre_qwen2 } },
        { "stablelm2",        { pre_qwen2 } },
        { "hunyuan",          { pre_qwen2 } },
        { "qwen35",           { pre_qwen35 } },
        { "deepseek-llm",     { pre_newline, pre_letters, pre_marks, pre_tail, pre_cjk, pre_digit } },
        { "deepseek-coder",   { pre_newline, pre_blank_l, pre_blank_p, pre_cjk, pre_digit } },
        { "deepseek-v3",      { pre_digit3, pre_cjk_kana, pre_deepseek3 } },
        { "joyai-llm",        { pre_digit3, pre_cjk_kana, pre_deepseek3 } },
        { "smollm",           { pre_digit, pre_gpt2 } },
        { "starcoder",        { pre_digit, pre_gpt2 } },
        { "refact",           { pre_digit, pre_gpt2 } },
        { "command-r",        { pre_digit, pre_gpt2 } },
        { "gemma4",           { pre_lines } },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        for (int k = 0; k < 6 && known[i].next[k]; k++) {
            llm_status st = pretok_add(p, known[i].next[k], err);
            if (st != LLM_OK) return st;
        }
        return LLM_OK;
    }
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer.ggml.pre: pre-tokenizer \"%s\" is not known here", name);
}

#define C_ANY "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TAIL  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* The patterns as they are written in the published tokenizer.json files. */
static pre_next known_pattern(const char *s, size_t len)
{
    static const struct { const char *pattern; pre_next next; } known[] = {
        { C_ANY "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL, pre_llama3 },
        { C_ANY "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL, pre_qwen2 },
        { C_ANY "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL, pre_qwen35 },
        { "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" C_ANY "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" C_ANY
          "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL, pre_o200k },
        { "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", pre_gpt2 },
        { "\\p{N}{1,3}", pre_digit3 },
        { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+", pre_cjk_kana },
        { "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
          "| ?[\\p{P}\\p{S}]+[\r\n]*" "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+", pre_deepseek3 },
        { "[\r\n]", pre_newline },
        { "\\s+$", pre_tail },
        { "\\s?\\p{L}+", pre_blank_l },
        { "\\s?\\p{P}+", pre_blank_p },
        { "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+", pre_cjk },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].pattern) == len && memcmp(known[i].pattern, s, len) == 0) return known[i].next;
    return NULL;
}

static llm_status compile(pre_regex **out, const char *pattern, size_t len, llm_error *err)
{
    pre_regex *re = calloc(1, sizeof *re);
    PCRE2_UCHAR why[160] = "";
    PCRE2_SIZE at;
    int code;

    if (re == NULL) return llm_fail_memory(err, sizeof *re, "a pre-tokenizer pattern");
    re->code = pcre2_compile((PCRE2_SPTR)pattern, len, PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                             &code, &at, NULL);
    if (re->code == NULL) {
        free(re);
        pcre2_get_error_message(code, why, sizeof why);
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer: pre-tokenizer pattern \"%.200s\": %s at byte %zu", pattern,
                        (const char *)why, (size_t)at);
    }
    *out = re;
    return LLM_OK;
}

llm_status pretok_add_regex(llm_pretok *p, const char *pattern, size_t len, pre_behavior b, bool invert, llm_error *err)
{
    pre_next next = b == PRE_ISOLATED && !invert ? known_pattern(pattern, len) : NULL;
    pre_stage *stage = NULL;
    llm_status st;

    if (len > MAX_PATTERN) return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer: a pre-tokenizer pattern of %zu bytes", len);
    if ((st = add_stage(p, &stage, err)) != LLM_OK) return st;
    stage->next = next, stage->behavior = b, stage->invert = invert;
    return next ? LLM_OK : compile(&stage->regex, pattern, len, err);
}

llm_status pretok_add_literal(llm_pretok *p, const char *s, size_t len, pre_behavior b, bool invert, llm_error *err)
{
    pre_stage *stage = NULL;
    llm_status st = add_stage(p, &stage, err);

    if (st != LLM_OK) return st;
    if (len == 0) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: a pre-tokenizer splits at an empty text");
    stage->behavior = b, stage->invert = invert, stage->n_literal = len;
    if ((stage->literal = malloc(len)) == NULL) return llm_fail_memory(err, len, "a pre-tokenizer");
    memcpy(stage->literal, s, len);
    return LLM_OK;
}

typedef struct {
    const llm_pretok *p;
    const uni_table *u;
    pre_work *w;
    pre_word word;
    void *user;
} splitter;

static llm_status split(const splitter *x, int stage, const char *s, size_t n, llm_error *err);

/* The next match of a stage's pattern at or after from. *first > n: none. */
static llm_status find(const splitter *x, const pre_stage *g, const char *s, size_t n, size_t from, size_t *first, size_t *last,
                       llm_error *err)
{
    *first = n + 1;
    if (g->literal) {
        const char *p = from < n ? memmem(s + from, n - from, g->literal, g->n_literal) : NULL;
        if (p) *first = (size_t)(p - s), *last = *first + g->n_literal;
        return LLM_OK;
    }
    if (x->w->match == NULL && (x->w->match = pcre2_match_data_create(1, NULL)) == NULL)
        return llm_fail_memory(err, 64, "a pattern match");
    while (from < n) {
        pcre2_match_context *limits = pcre2_match_context_create(NULL);
        PCRE2_SIZE *at;
        int code;

        if (limits == NULL) return llm_fail_memory(err, 64, "a pattern match");
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        pcre2_set_heap_limit(limits, HEAP_LIMIT_KB);
        code = pcre2_match(g->regex->code, (PCRE2_SPTR)s, n, from, 0, x->w->match, limits);
        pcre2_match_context_free(limits);
        if (code == PCRE2_ERROR_NOMATCH) return LLM_OK;
        if (code < 0) {
            PCRE2_UCHAR why[160] = "";
            pcre2_get_error_message(code, why, sizeof why);
            return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer: the pre-tokenizer pattern gave up on this text: %s", (const char *)why);
        }
        at = pcre2_get_ovector_pointer(x->w->match);
        if (at[1] > at[0]) return *first = at[0], *last = at[1], LLM_OK;
        from = at[1] + 1;                                   /* empty matches cut nothing */
        while (from < n && ((uint8_t)s[from] & 0xc0) == 0x80) from++;
    }
    return LLM_OK;
}

static bool push(pre_work *w, size_t at)
{
    if (w->n_cut == w->cap_cut) {
        size_t cap = w->cap_cut ? 2 * w->cap_cut : 256, *p;

        if (cap > SIZE_MAX / 2 / sizeof *p || (p = realloc(w->cut, cap * sizeof *p)) == NULL) return false;
        w->cut = p, w->cap_cut = cap;
    }
    w->cut[w->n_cut++] = at;
    return true;
}

/* Appends the pieces of s by the stage's behaviour (the names are Hugging Face's) as pairs begin, end. */
static llm_status cut(const splitter *x, const pre_stage *g, const char *s, size_t n, llm_error *err)
{
    pre_work *w = x->w;
    size_t base = w->n_cut, pos = 0, first = 0, last = 0;
    bool was_match = false;
    llm_status st;

    while (pos < n) {
        bool match;
        size_t end;

        if (first < pos || pos == 0)
            if ((st = find(x, g, s, n, pos, &first, &last, err)) != LLM_OK) return st;
        match = first == pos, end = match ? last : first > n ? n : first;
        match ^= g->invert;
        if (!(match && g->behavior == PRE_REMOVED)) {
            bool any = w->n_cut > base;
            bool join = any && w->cut[w->n_cut - 1] == pos
                && ((g->behavior == PRE_WITH_PREVIOUS && match && !was_match)
                    || (g->behavior == PRE_WITH_NEXT && was_match && !match)
                    || (g->behavior == PRE_CONTIGUOUS && match == was_match));
            if (join) w->cut[w->n_cut - 1] = end;
            else if (!push(w, pos) || !push(w, end)) return llm_fail_memory(err, w->n_cut * sizeof *w->cut, "the words of a text");
        }
        was_match = match;
        pos = end;
    }
    return LLM_OK;
}

static llm_status split_pattern(const splitter *x, int stage, const char *s, size_t n, llm_error *err)
{
    pre_work *w = x->w;
    size_t base = w->n_cut, end;
    llm_status st = cut(x, &x->p->stage[stage], s, n, err);

    end = w->n_cut;
    for (size_t i = base; st == LLM_OK && i < end; i += 2)
        st = split(x, stage + 1, s + w->cut[i], w->cut[i + 1] - w->cut[i], err);
    w->n_cut = base;
    return st;
}

static llm_status split(const splitter *x, int stage, const char *s, size_t n, llm_error *err)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n;
    pre_next next;
    llm_status st = LLM_OK;

    if (n == 0) return LLM_OK;
    if (stage == x->p->n) return x->word(x->user, s, n, err);
    if ((next = x->p->stage[stage].next) == NULL) return split_pattern(x, stage, s, n, err);
    if (stage + 1 == x->p->n) {
        for (size_t len; st == LLM_OK && p < end; p += len) {
            len = next(x->u, p, end);
            st = x->word(x->user, (const char *)p, len, err);
        }
        return st;
    }
    for (size_t len; st == LLM_OK && p < end; p += len) {
        len = next(x->u, p, end);
        st = split(x, stage + 1, (const char *)p, len, err);
    }
    return st;
}

llm_status pretok_split(const llm_pretok *p, const uni_table *u, const char *s, size_t n, pre_work *w,
                        pre_word word, void *user, llm_error *err)
{
    splitter x = { p, u, w, word, user };

    return split(&x, 0, s, n, err);
}
