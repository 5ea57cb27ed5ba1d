/* detok.c - the streaming detokenizer of llm.h.
 *
 * The bytes that come out are exactly those of the tokens. Only the valid beginning of a UTF-8 character is held back, at most three
 * bytes, until it is complete, turns out to be invalid, or is flushed; bytes that can never become a character pass through as they are, so that
 * nothing a model says is lost. A blank in front of the first token stays, for a stream goes on where a prompt ended, unless the tokens are a whole text. */
#include "tokenizer.h"
#include "text_buf.h"
#include "unicode.h"

struct llm_detok {
    const llm_tokenizer *t;
    bool control;
    bool first;                         /* the blank in front of a whole text is still to come */
    text_buf buf;                       /* bytes handed out by the last call, then those held back */
    size_t out;                         /* how many of them were handed out */
};

llm_status detok_open(llm_detok **out, const llm_tokenizer *t, unsigned flags, llm_error *err)
{
    *out = NULL;
    if (t == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "the model carries no tokenizer");
    if (flags & ~(unsigned)(LLM_DETOK_CONTROL | LLM_DETOK_WHOLE)) return llm_fail(err, LLM_ERR_ARG, "detokenizer: unknown flags 0x%x", flags);
    if ((*out = calloc(1, sizeof **out)) == NULL) return llm_fail_memory(err, sizeof **out, "a detokenizer");
    (*out)->t = t, (*out)->control = flags & LLM_DETOK_CONTROL;
    (*out)->first = (flags & LLM_DETOK_WHOLE) && tokenizer_adds_blank(t);
    return LLM_OK;
}

void llm_detok_close(llm_detok *d)
{
    if (d == NULL) return;
    buf_free(&d->buf);
    free(d);
}

/* Drops what the last call handed out. */
static void drop(llm_detok *d)
{
    d->buf.len -= d->out;
    if (d->buf.len) memmove(d->buf.data, d->buf.data + d->out, d->buf.len);
    d->out = 0;
}

/* Bytes at the end that begin a character and do not end it. */
static size_t held_back(const text_buf *b)
{
    const uint8_t *s = (const uint8_t *)b->data;

    for (size_t n = 1; n <= 3 && n <= b->len; n++) {
        if ((s[b->len - n] & 0xc0) == 0x80) continue;
        return utf8_missing(s + b->len - n, n) ? n : 0;
    }
    return 0;
}

llm_status llm_detok_push(llm_detok *d, llm_token id, const char **text, size_t *len, llm_error *err)
{
    const char *s;
    size_t n;

    if (d == NULL || text == NULL || len == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_detok_push: an argument is NULL");
    drop(d);
    *text = "", *len = 0;
    s = tokenizer_bytes(d->t, id, &n);
    if (tokenizer_is_control(d->t, id) && !d->control) return LLM_OK;
    if (!buf_room(&d->buf, n + 1)) {
        d->buf.failed = false;
        return llm_fail_memory(err, d->buf.len + n, "detokenized text");
    }
    if (d->first && !tokenizer_is_control(d->t, id)) {
        if (n && *s == ' ') s++, n--;
        d->first = false;
    }
    buf_add(&d->buf, s, n);
    d->out = d->buf.len - held_back(&d->buf);
    *text = d->buf.data, *len = d->out;
    return LLM_OK;
}

llm_status llm_detok_flush(llm_detok *d, const char **text, size_t *len, llm_error *err)
{
    if (d == NULL || text == NULL || len == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_detok_flush: an argument is NULL");
    drop(d);
    d->out = d->buf.len;
    *text = d->buf.data ? d->buf.data : "", *len = d->out;
    return LLM_OK;
}
