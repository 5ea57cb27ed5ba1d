#include "json.h"
#include "file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* jansson has a limit of its own, but only a compiled-in one of 2048 levels. */
static bool too_deep(const char *s, size_t len)
{
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (quoted) {
            if (c == '\\') i++;
            else if (c == '"') quoted = false;
        }
        else if (c == '"') quoted = true;
        else if (c == '[' || c == '{') { if (++depth > JSON_MAX_DEPTH) return true; }
        else if (c == ']' || c == '}') depth--;
    }
    return false;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

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

static json_t *decode(const char *text, size_t len, json_error_t *e)
{
    memset(e, 0, sizeof *e);
    return json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, e);
}

llm_status json_read_text(json_t **out, const char *text, size_t len, const char *name, llm_error *err)
{
    json_error_t e;

    *out = NULL;
    if (too_deep(text, len))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: JSON nested deeper than %d levels", file_label(name), JSON_MAX_DEPTH);
    *out = decode(text, len, &e);
    if (*out == NULL && json_error_code(&e) == json_error_numeric_overflow) {
        char *copy = big_ints_as_reals(text, len, &len);
        if (copy == NULL) return llm_fail_memory(err, len, "a JSON text");
        *out = decode(copy, len, &e);
        free(copy);
    }
    if (*out) return LLM_OK;
    if (e.text[0] == '\0' || json_error_code(&e) == json_error_out_of_memory)
        return llm_fail(err, LLM_ERR_MEMORY, "%s: out of memory while reading JSON of %zu bytes", file_label(name), len);
    return llm_fail(err, LLM_ERR_FORMAT, "%s: line %d, column %d: %s", file_label(name), e.line, e.column, e.text);
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
