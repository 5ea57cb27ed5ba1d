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
    bool merges_last, end_taken;        /* as asked for; the end of the merges was not looked for */
} hf_lists;

/* Finds them in text [len]. err names the file and line. The caller frees rest. merges_last: if the file ends in a list of the model, it is taken to be
 * the merges, without looking for their end: what reads them must find it right there. */
llm_status hf_scan(hf_lists *out, const char *text, size_t len, const char *path, bool merges_last, llm_error *err);

/* Walks one of the spans. All zero but for these four to begin with. */
typedef struct {
    const char *p, *end, *text, *path;  /* text: where the file begins, for line numbers */
    bool begun;
    scan_span lead, mid, tail;          /* what stood before, between and behind the strings of a member */
    text_buf b[2];                      /* strings that had escapes */
} scan_list;
/* "key": integer, ... *done at the end of the object. The string is valid until the next call. */
llm_status scan_vocab_next(scan_list *l, const char **s, size_t *n, int64_t *id, bool *done, llm_error *err);
/* "A B" or ["A", "B"]; then *c is not NULL. */
llm_status scan_merge_next(scan_list *l, const char **a, size_t *n_a, const char **c, size_t *n_c, bool *done, llm_error *err);
/* Reads the next merge if it is written as the one before and its halves together are text [n], eight bytes more can be read behind it: the bytes of
 * the first half. 0: it is not, and nothing was read. No byte of text means anything else in JSON. */
size_t scan_merge_of(scan_list *l, const char *text, size_t n);
#endif
