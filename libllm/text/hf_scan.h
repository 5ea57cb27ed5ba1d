/* hf_scan.h - the two long lists of a tokenizer.json, model.vocab and model.merges, read in place. A JSON tree of them takes a second and
 * hundreds of megabytes; the rest of the file is small and goes through jansson. */
#ifndef LLM_HF_SCAN_H
#define LLM_HF_SCAN_H
#include "status.h"
#include "text_buf.h"

typedef struct { const char *s, *end; } scan_span;         /* s NULL: not there */
typedef struct {
    scan_span vocab, merges;            /* the values in the text; vocab only where it is an object */
    text_buf rest;                      /* the text with {} and [] in their place */
} hf_lists;

/* Finds them in text [len]. err names the file and line. The caller frees rest. */
llm_status hf_scan(hf_lists *out, const char *text, size_t len, const char *path, llm_error *err);

/* Walks one of the spans. All zero but for these four to begin with. */
typedef struct {
    const char *p, *end, *text, *path;  /* text: where the file begins, for line numbers */
    bool begun;
    text_buf b[2];                      /* strings that had escapes */
} scan_list;
/* "key": integer, ... *done at the end of the object. The string is valid until the next call. */
llm_status scan_vocab_next(scan_list *l, const char **s, size_t *n, int64_t *id, bool *done, llm_error *err);
/* Decodes a token spelled at s, up to a quote, a blank or end, into out and moves it on; NULL: not the common case, and what is in out does not count.
 * At most QUICK_BYTES are read. */
typedef const char *(*quick_fn)(const char *s, const char *end, char **out);
enum { QUICK_BYTES = 256 };
/* The next token, or merge, without escapes and decoded as it is read into out [2 QUICK_BYTES]; n_a: bytes of a merge's first half. False: not the
 * common case, nothing was read. */
bool scan_vocab_quick(scan_list *l, quick_fn fn, char *out, size_t *n, int64_t *id);
bool scan_merge_quick(scan_list *l, quick_fn fn, char *out, size_t *n_a, size_t *n);
/* "A B" or ["A", "B"]; then *c is not NULL. */
llm_status scan_merge_next(scan_list *l, const char **a, size_t *n_a, const char **c, size_t *n_c, bool *done, llm_error *err);
#endif
