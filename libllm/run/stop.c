/* stop.c - finds stop strings in a text that arrives in pieces.
 *
 * One Knuth-Morris-Pratt automaton per string ("Fast pattern matching in strings", SIAM J. Comput. 6(2), 1977) says after each
 * byte how much of that string the text ends in; the greatest of them is what must be held back. */
#include "checked.h"
#include "status.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *text;                         /* [len] */
    size_t *border;                     /* [len] longest proper border of text[0..i] */
    size_t len, at;                     /* at: bytes of it the text so far ends in */
} pattern;

struct llm_stop {
    pattern *pattern;                   /* [n] */
    size_t n;
    char *buf;                          /* held-back bytes first, then the new piece */
    size_t cap, held, shown;            /* shown: bytes of buf the last call gave out */
    bool hit;
};

enum { MAX_STOP = 1024, MAX_STOP_BYTES = 1 << 16 };

static llm_status pattern_open(pattern *p, const char *text, size_t len, llm_error *err)
{
    p->text = malloc(len), p->border = calloc(len, sizeof *p->border), p->len = len;
    if (p->text == NULL || p->border == NULL) return llm_fail_memory(err, len, "a stop string");
    memcpy(p->text, text, len);
    for (size_t i = 1, k = 0; i < len; i++) {
        while (k > 0 && text[i] != text[k]) k = p->border[k - 1];
        if (text[i] == text[k]) k++;
        p->border[i] = k;
    }
    return LLM_OK;
}

/* True when byte completes the string. */
static bool step(pattern *p, char byte)
{
    while (p->at > 0 && p->text[p->at] != byte) p->at = p->border[p->at - 1];
    if (p->text[p->at] == byte) p->at++;
    return p->at == p->len;
}

llm_status llm_stop_open(llm_stop **out, const char *const *text, const size_t *len, size_t n, llm_error *err)
{
    llm_stop *p;
    llm_status st = LLM_OK;

    if (out == NULL || (text == NULL && n > 0)) return llm_fail(err, LLM_ERR_ARG, "llm_stop_open: an argument is NULL");
    *out = NULL;
    if (n > MAX_STOP) return llm_fail(err, LLM_ERR_ARG, "stop strings: got %zu, at most %d", n, (int)MAX_STOP);
    if ((p = calloc(1, sizeof *p)) == NULL) return llm_fail_memory(err, sizeof *p, "stop strings");
    p->pattern = calloc(n ? n : 1, sizeof *p->pattern);
    if (p->pattern == NULL) st = llm_fail_memory(err, n * sizeof *p->pattern, "stop strings");
    for (size_t i = 0; st == LLM_OK && i < n; i++) {
        size_t bytes = text[i] == NULL ? 0 : len ? len[i] : strlen(text[i]);
        if (bytes == 0 || bytes > MAX_STOP_BYTES)
            st = llm_fail(err, LLM_ERR_ARG, "stop string %zu has %zu bytes, want 1..%d", i, bytes, (int)MAX_STOP_BYTES);
        else
            st = pattern_open(&p->pattern[p->n++], text[i], bytes, err);
    }
    if (st != LLM_OK) llm_stop_close(p);
    else *out = p;
    return st;
}

void llm_stop_close(llm_stop *p)
{
    if (p == NULL) return;
    for (size_t i = 0; i < p->n; i++) free(p->pattern[i].text), free(p->pattern[i].border);
    free(p->pattern), free(p->buf);
    free(p);
}

/* Drops what the last call gave out and makes room for len bytes more. */
static llm_status make_room(llm_stop *p, size_t len, llm_error *err)
{
    size_t need;
    char *bigger;

    if (p->held > 0) memmove(p->buf, p->buf + p->shown, p->held);
    p->shown = 0;
    if (!ck_add(p->held, len, &need)) return llm_fail_memory(err, len, "text");
    if (need <= p->cap) return LLM_OK;
    if ((bigger = realloc(p->buf, need)) == NULL) return llm_fail_memory(err, need, "text");
    p->buf = bigger, p->cap = need;
    return LLM_OK;
}

llm_status llm_stop_push(llm_stop *p, const char *text, size_t len, const char **out, size_t *out_len, int *hit,
                         llm_error *err)
{
    size_t keep = 0, end;
    llm_status st;

    if (p == NULL || out == NULL || out_len == NULL || hit == NULL || (text == NULL && len > 0))
        return llm_fail(err, LLM_ERR_ARG, "llm_stop_push: an argument is NULL");
    *out = "", *out_len = 0, *hit = p->hit;
    if (len == 0 || p->hit) return LLM_OK;
    if ((st = make_room(p, len, err)) != LLM_OK) return st;
    memcpy(p->buf + p->held, text, len);
    end = p->held + len;
    for (size_t i = p->held; i < p->held + len && !p->hit; i++) {
        keep = 0;
        for (size_t j = 0; j < p->n; j++) {
            if (step(&p->pattern[j], p->buf[i])) p->hit = true;
            if (p->pattern[j].at > keep) keep = p->pattern[j].at;
        }
        end = i + 1;
    }
    if (p->hit) {                       /* keep: the longest string that ends here, or a longer one that it cuts short */
        keep = 0;
        for (size_t j = 0; j < p->n; j++)
            if (p->pattern[j].at == p->pattern[j].len && p->pattern[j].len > keep) keep = p->pattern[j].len;
    }
    p->shown = end - keep, p->held = p->hit ? 0 : keep;
    *out = p->buf, *out_len = p->shown, *hit = p->hit;
    return LLM_OK;
}

llm_status llm_stop_flush(llm_stop *p, const char **out, size_t *out_len, llm_error *err)
{
    if (p == NULL || out == NULL || out_len == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_stop_flush: an argument is NULL");
    *out = p->held ? p->buf + p->shown : "", *out_len = p->held;
    p->shown += p->held, p->held = 0, p->hit = false;
    for (size_t j = 0; j < p->n; j++) p->pattern[j].at = 0;
    return LLM_OK;
}
