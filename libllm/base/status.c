#include "status.h"
#include <stdarg.h>
#include <stdio.h>

#ifdef LLM_BLAS
const char *llm_version(void) { return LLM_VERSION "+openblas"; }       /* a numeric mode of its own */
#else
const char *llm_version(void) { return LLM_VERSION; }
#endif

const char *llm_status_name(llm_status s)
{
    switch (s) {
#define X(code, number, name, text) case code: return name;
    LLM_STATUS_LIST(X)
#undef X
    default: return "unknown";
    }
}

const char *llm_status_text(llm_status s)
{
    switch (s) {
#define X(code, number, name, text) case code: return text;
    LLM_STATUS_LIST(X)
#undef X
    default: return "unknown status";
    }
}

/* Length of the well-formed UTF-8 character at s (RFC 3629), 0 if there is none. */
static int utf8_char(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
          : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return n;
}

static void make_printable(char *text)
{
    unsigned char *s = (unsigned char *)text;

    while (*s) {
        int n = utf8_char(s);
        if (n == 0 || (n == 1 && (*s < 0x20 || *s == 0x7f))) { *s++ = '?'; continue; }
        s += n;
    }
}

llm_status llm_fail(llm_error *err, llm_status status, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL) return status;
    err->status = status;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    make_printable(err->text);
    return status;
}

llm_status llm_fail_memory(llm_error *err, size_t n, const char *what)
{
    return llm_fail(err, LLM_ERR_MEMORY, "out of memory: %zu bytes for %s", n, what);
}
