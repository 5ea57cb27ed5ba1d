#include "json.h"
#include "file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is to be known of a text before jansson sees it. */
typedef struct {
    int depth;                          /* deepest nesting */
    size_t longest;                     /* bytes of the longest token, or a little more */
    bool long_number;                   /* 19 digits in a row: may be an integer that does not fit int64 */
} shape;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }


static shape measure(const char *s, size_t len)
{
    shape r = { 0 };
    int depth = 0, digits = 0;
    size_t begin = 0;                                   /* of the token */
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (quoted && c == '\\') i++;
        else if (c == '"') quoted = !quoted;
        if (quoted) continue;
        digits = is_digit(c) ? digits + 1 : 0;
        if (digits == 19) r.long_number = true;
        if (i - begin >= r.longest) r.longest = i - begin + 1;
        if (c == '[' || c == '{') { if (++depth > r.depth) r.depth = depth; }
        else if (c == ']' || c == '}') depth--;
        if (strchr("[]{},:", c)) begin = i;
    }
    if (len - begin >= r.longest) r.longest = len - begin;
    return r;
}

/* Is the number token s [n] an integer outside int64? */
static bool is_big_int(const char *s, size_t n)
{
    char digits[400];

    if (n < 19) return false;
    for (size_t i = s[0] == '-'; i < n; i++)
        if (!is_digit(s[i])) return false;
    if (n >= sizeof digits) return false;           /* beyond double as well */
    memcpy(digits, s, n);
    digits[n] = '\0';
    errno = 0;
    (void)strtoll(digits, NULL, 10);
    return errno == ERANGE;
}

/* A copy of the text with ".0" behind every integer that does not fit int64; malloc'ed [*out_len], NULL: out of memory. */
static char *big_ints_as_reals(const char *s, size_t len, size_t *out_len)
{
    char *out = malloc(len + len / 19 * 2 + 1);         /* such a number has 19 characters or more */
    size_t n = 0;
    bool quoted = false;

    for (size_t i = 0; out && i < len;) {
        size_t begin = i;
        bool big = false;
        if (quoted && s[i] == '\\' && i + 1 < len) i += 2;
        else if (!quoted && (s[i] == '-' || is_digit(s[i]))) {
            while (i < len && (is_digit(s[i]) || strchr("+-.eE", s[i])) && s[i]) i++;
            big = is_big_int(s + begin, i - begin);
        }
        else if (s[i++] == '"') quoted = !quoted;
        memcpy(out + n, s + begin, i - begin);
        n += i - begin;
        if (big) memcpy(out + n, ".0", 2), n += 2;
    }
    *out_len = n;
    return out;
}

enum { FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL };

/* `["xxx",TEXT]` piece by piece, for json_load_callback. */
typedef struct { size_t n_x; const char *text; size_t len, at; } wrapped;

static size_t feed(void *buffer, size_t room, void *data)
{
    wrapped *w = data;
    size_t head = 2 + w->n_x + 2, n = 0;                /* [" xxx ", */
    char *out = buffer;

    for (; n < room && w->at < head; w->at++) out[n++] = w->at < 2 ? "[\""[w->at] : w->at < head - 2 ? 'x' : "\","[w->at - (head - 2)];
    if (n < room && w->at < head + w->len) {
        size_t from = w->at - head, take = w->len - from < room - n ? w->len - from : room - n;
        memcpy(out + n, w->text + from, take);
        n += take, w->at += take;
    }
    if (n < room && w->at == head + w->len) out[n++] = ']', w->at++;
    return n;
}

/* jansson 2.14 does not look whether the buffer it collects a token in could grow (lex_save in load.c): short of memory it drops
 * characters and goes on. So a token longer than any of the text comes first. When all of it arrived, the buffer is large enough
 * for the rest. NULL: out of memory, or an error in the text. */
static json_t *decode(const char *text, size_t len, size_t longest)
{
    wrapped w = { longest + 2, text, len, 0 };
    json_t *list = json_load_callback(feed, &w, FLAGS, NULL), *value = NULL;

    if (json_array_size(list) == 2 && json_string_length(json_array_get(list, 0)) == w.n_x) value = json_incref(json_array_get(list, 1));
    json_decref(list);
    return value;
}

/* Reads a text that did not decode once more, for the place of the error. */
static llm_status explain(const char *text, size_t len, const char *name, llm_error *err)
{
    json_error_t e = { 0 };
    json_t *plain = json_loadb(text, len, FLAGS, &e);

    json_decref(plain);
    if (plain || e.text[0] == '\0' || json_error_code(&e) == json_error_out_of_memory)     /* plain: memory lacked before */
        return llm_fail(err, LLM_ERR_MEMORY, "%s: out of memory while reading JSON of %zu bytes", file_label(name), len);
    return llm_fail(err, LLM_ERR_FORMAT, "%s: line %d, column %d: %s", file_label(name), e.line, e.column, e.text);
}

llm_status json_read_text(json_t **out, const char *text, size_t len, const char *name, llm_error *err)
{
    shape r = measure(text, len);
    llm_status status = LLM_OK;
    char *copy = NULL;

    *out = NULL;
    if (r.depth > JSON_MAX_DEPTH)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: JSON nested deeper than %d levels", file_label(name), JSON_MAX_DEPTH);
    if (r.long_number) {
        if ((copy = big_ints_as_reals(text, len, &len)) == NULL) return llm_fail_memory(err, len, "a JSON text");
        text = copy;
    }
    *out = decode(text, len, r.longest + 2);
    if (*out == NULL) status = explain(text, len, name, err);
    free(copy);
    return status;
}

llm_status json_read_file(json_t **out, const char *path, size_t max_bytes, llm_error *err)
{
    char *text;
    size_t len;
    llm_status status;

    *out = NULL;
    if ((status = file_read(&text, &len, path, max_bytes, err)) != LLM_OK) return status;
    status = json_read_text(out, text, len, path, err);
    free(text);
    return status;
}

json_t *json_copy_whole(const json_t *j)
{
    json_t *copy;

    if (!json_is_object(j)) return json_incref((json_t *)j);
    copy = json_object();
    if (copy && json_object_update(copy, (json_t *)j) == 0) return copy;
    json_decref(copy);
    return NULL;
}

typedef struct { char *text; size_t len, cap; bool failed; } text_out;

/* A failure sticks: not every caller in jansson passes it on. */
static int add_text(const char *s, size_t n, void *out)
{
    text_out *o = out;

    if (!o->failed && n >= o->cap - o->len) {
        size_t cap = o->cap ? o->cap : 128;
        char *text;
        while (cap - o->len <= n) cap *= 2;
        text = cap < SIZE_MAX / 4 ? realloc(o->text, cap) : NULL;
        if (text == NULL) o->failed = true;
        else o->text = text, o->cap = cap;
    }
    if (o->failed) return -1;
    memcpy(o->text + o->len, s, n);
    o->text[o->len += n] = '\0';
    return 0;
}

char *json_text_of(const json_t *j, size_t flags)
{
    text_out o = { 0 };

    if (json_dump_callback(j, add_text, &o, flags) == 0 && !o.failed) return o.text;
    free(o.text);
    return NULL;
}
