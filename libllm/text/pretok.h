/* pretok.h - cutting text into the words that merging stays inside. */
#ifndef LLM_PRETOK_H
#define LLM_PRETOK_H
#include "status.h"
#include "unicode.h"

/* Bytes of the piece that begins at s < end, at least 1. Only s..end is looked at: the piece ends the world for look-ahead. */
typedef size_t (*pre_next)(const uni_table *u, const uint8_t *s, const uint8_t *end);

typedef enum { PRE_ISOLATED, PRE_REMOVED, PRE_WITH_PREVIOUS, PRE_WITH_NEXT, PRE_CONTIGUOUS } pre_behavior;

typedef struct pre_regex pre_regex;     /* a compiled PCRE2 pattern */

/* One split; the pieces of each go through the next. next, or a pattern with its behaviour. */
typedef struct {
    pre_next next;
    pre_regex *regex;
    char *literal;                      /* [n_literal] in place of regex */
    size_t n_literal;
    pre_behavior behavior;
    bool invert;
} pre_stage;

enum { PRE_MAX_STAGES = 16 };
typedef struct { int n; pre_stage stage[PRE_MAX_STAGES]; } llm_pretok;     /* n 0: the text is one word */

void pretok_free(llm_pretok *p);
/* By the name GGUF has in tokenizer.ggml.pre; UNSUPPORTED with the name where it is not known. */
llm_status pretok_by_name(llm_pretok *p, const char *name, llm_error *err);
/* Adds one hand-written split. */
llm_status pretok_add(llm_pretok *p, pre_next next, llm_error *err);
/* Adds a Split of tokenizer.json: hand-written where the pattern is a known one, else by PCRE2. */
llm_status pretok_add_regex(llm_pretok *p, const char *pattern, size_t len, pre_behavior b, bool invert, llm_error *err);
llm_status pretok_add_literal(llm_pretok *p, const char *s, size_t len, pre_behavior b, bool invert, llm_error *err);

/* Splits for tokenizer.json's other kinds. */
size_t pre_gpt2(const uni_table *u, const uint8_t *s, const uint8_t *end);             /* ByteLevel with use_regex */
size_t pre_digit(const uni_table *u, const uint8_t *s, const uint8_t *end);            /* Digits, each alone */
size_t pre_digits(const uni_table *u, const uint8_t *s, const uint8_t *end);           /* Digits, runs */
size_t pre_punctuation(const uni_table *u, const uint8_t *s, const uint8_t *end);      /* Punctuation, Isolated */

/* Work space of one encode call. All zero to begin with. */
typedef struct { void *match; size_t *cut; size_t n_cut, cap_cut; } pre_work;
void pre_work_free(pre_work *w);

/* Calls word for each piece of s [n] in order until it returns not LLM_OK. */
typedef llm_status (*pre_word)(void *user, const char *s, size_t n, llm_error *err);
llm_status pretok_split(const llm_pretok *p, const uni_table *u, const char *s, size_t n, pre_work *w,
                        pre_word word, void *user, llm_error *err);
#endif
