/* Strings of templates with their marks: buffers, Python's str() and repr(), JSON out, trimming, replacing, letter case. */
#include "template_parts.h"
#include "checked.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

/* ---- buffers ---- */

static void buf_need(tpl *t, tpl_buf *b, size_t n)
{
    size_t want, cap = b->cap ? b->cap : 64;
    char *s;
    uint8_t *mark;

    if (n <= b->cap - b->n) return;
    if (!ck_add(b->n, n, &want) || want > t->max_output)
        tpl_fail(&t->b, LLM_ERR_MEMORY, "a text of more than %zu bytes", t->max_output);
    while (cap < want) cap *= 2;
    s = tpl_alloc(&t->b, cap), mark = tpl_alloc(&t->b, cap);
    if (b->n) memcpy(s, b->s, b->n), memcpy(mark, b->mark, b->n);
    b->s = s, b->mark = mark, b->cap = cap;
}

void tpl_put(tpl *t, tpl_buf *b, const char *s, size_t n, int trust)
{
    if (n == 0) return;
    tpl_steps(t, n / 64);
    buf_need(t, b, n);
    memcpy(b->s + b->n, s, n);
    memset(b->mark + b->n, trust != TRUST_DATA, n);
    b->n += n;
}

void tpl_put_str(tpl *t, tpl_buf *b, tpl_value s)
{
    size_t at = b->n;

    tpl_put(t, b, s.u.s, s.n, s.trust);
    if (s.trust == TRUST_MIXED && s.n) memcpy(b->mark + at, s.mark, s.n);
}

tpl_value tpl_buf_str(const tpl_buf *b)
{
    tpl_value v = tpl_str(b->s, b->n, TRUST_TEMPLATE);

    if (b->n == 0) return tpl_text("");
    v.trust = b->mark[0];
    if (memchr(b->mark, !b->mark[0], b->n)) v.trust = TRUST_MIXED, v.mark = b->mark;
    return v;
}

/* ---- characters ---- */

size_t tpl_char(const char *s, size_t n, int32_t *cp)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len;

    if ((unsigned char)*s < 0x80) return *cp = *s, 1;
    len = utf8proc_iterate((const utf8proc_uint8_t *)s, n > 4 ? 4 : (utf8proc_ssize_t)n, &c);
    if (len > 0) return *cp = c, (size_t)len;
    return *cp = 0xdc00 + (unsigned char)*s, 1;
}

size_t tpl_char_at(const char *s, size_t n, size_t index)
{
    size_t at = 0;
    int32_t cp;

    while (index-- > 0 && at < n) at += tpl_char(s + at, n - at, &cp);
    return at;
}

size_t tpl_chars(const char *s, size_t n)
{
    size_t count = 0;
    int32_t cp;

    for (size_t at = 0; at < n; count++) at += tpl_char(s + at, n - at, &cp);
    return count;
}

/* Python's str.isspace. */
bool tpl_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a)
        || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_stripped(int32_t cp, const tpl_value *chars)
{
    int32_t other;

    if (chars == NULL) return tpl_space(cp);
    for (size_t at = 0; at < chars->n;) {
        at += tpl_char(chars->u.s + at, chars->n - at, &other);
        if (other == cp) return true;
    }
    return false;
}

/* Begin of the character that ends at n; a byte that ends none counts as one, as in tpl_char. */
static size_t char_before(const char *s, size_t n, int32_t *cp)
{
    for (size_t back = 2; back <= 4 && back <= n && (unsigned char)s[n - 1] >= 0x80; back++)
        if (tpl_char(s + n - back, back, cp) == back) return n - back;
    return tpl_char(s + n - 1, 1, cp), n - 1;
}

tpl_value tpl_strip(tpl_value s, const tpl_value *chars, bool left, bool right)
{
    size_t begin = 0, end = s.n, len, before;
    int32_t cp;

    while (left && begin < end && (len = tpl_char(s.u.s + begin, end - begin, &cp), is_stripped(cp, chars))) begin += len;
    while (right && end > begin && (before = char_before(s.u.s + begin, end - begin, &cp), is_stripped(cp, chars))) end = begin + before;
    return tpl_sub(s, begin, end - begin);
}

size_t tpl_find(const char *s, size_t n, const char *what, size_t len, size_t from)
{
    const char *p;

    if (from > n || len > n - from) return SIZE_MAX;
    p = len ? memmem(s + from, n - from, what, len) : s + from;
    return p ? (size_t)(p - s) : SIZE_MAX;
}

tpl_value tpl_replace(tpl *t, tpl_value s, tpl_value from, tpl_value to, int64_t count)
{
    tpl_buf b = { 0 };
    size_t at = 0, hit;
    int32_t cp;

    if (count < 0) count = INT64_MAX;
    tpl_steps(t, s.n / 16);
    if (from.n == 0) {
        for (; count > 0; count--) {
            size_t n = at < s.n ? tpl_char(s.u.s + at, s.n - at, &cp) : 0;
            tpl_steps(t, 1);
            tpl_put_str(t, &b, to);
            if (n == 0) break;
            tpl_put_str(t, &b, tpl_sub(s, at, n)), at += n;
        }
    } else for (; count > 0 && (hit = tpl_find(s.u.s, s.n, from.u.s, from.n, at)) != SIZE_MAX; count--) {
        tpl_steps(t, 1);
        tpl_put_str(t, &b, tpl_sub(s, at, hit - at));
        tpl_put_str(t, &b, to);
        at = hit + from.n;
    }
    tpl_put_str(t, &b, tpl_sub(s, at, s.n - at));
    return tpl_buf_str(&b);
}

static bool is_letter(int32_t cp)
{
    utf8proc_category_t c = utf8proc_category(cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* The data of a mark stays with each character; simple case mappings of one character to one. */
tpl_value tpl_recase(tpl *t, tpl_value s, tpl_case how)
{
    tpl_buf b = { 0 };
    bool begins = true;

    for (size_t at = 0, n; at < s.n; at += n) {
        int32_t cp, to;
        utf8proc_uint8_t out[4];
        bool upper;
        n = tpl_char(s.u.s + at, s.n - at, &cp);
        upper = how == CASE_UPPER || (begins && how >= CASE_TITLE);
        to = cp >= 0xdc80 && cp <= 0xdcff ? cp : upper ? utf8proc_toupper(cp) : utf8proc_tolower(cp);
        begins = how == CASE_TITLE && !is_letter(cp);
        tpl_steps(t, 1);
        if (cp == 0xdf && upper) tpl_put(t, &b, how == CASE_UPPER ? "SS" : "Ss", 2, s.trust == TRUST_MIXED ? s.mark[at] : s.trust);
        else if (to == cp) tpl_put_str(t, &b, tpl_sub(s, at, n));
        else tpl_put(t, &b, (const char *)out, (size_t)utf8proc_encode_char(to, out), s.trust == TRUST_MIXED ? s.mark[at] : s.trust);
    }
    return tpl_buf_str(&b);
}

/* HTML, as markupsafe does it. */
tpl_value tpl_escape(tpl *t, tpl_value s)
{
    static const struct { char c; const char *text; } table[] = { { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '\'', "&#39;" }, { '"', "&#34;" } };
    tpl_buf b = { 0 };
    tpl_value out;

    if (s.safe) return s;
    for (size_t at = 0; at < s.n; at++) {
        const char *text = NULL;
        for (size_t i = 0; i < 5; i++)
            if (table[i].c == s.u.s[at]) text = table[i].text;
        if (text) tpl_put(t, &b, text, strlen(text), TRUST_DATA); else tpl_put_str(t, &b, tpl_sub(s, at, 1));
    }
    out = tpl_buf_str(&b);
    out.safe = true;
    return out;
}

/* ---- numbers ---- */

bool tpl_parse_int(const char *s, size_t n, int base, int64_t *out)
{
    uint64_t x = 0, most = (uint64_t)INT64_MAX;
    size_t at = 0;
    bool minus = n > 0 && s[0] == '-';

    if (n > 0 && (s[0] == '-' || s[0] == '+')) at++;
    if (base == 16 && n - at > 2 && s[at] == '0' && (s[at + 1] | 32) == 'x') at += 2;
    if (at == n || n > 80) return false;
    for (; at < n; at++) {
        int c = (unsigned char)s[at], d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10 : 99;
        if (c == '_' && at > 0 && at + 1 < n) continue;
        if (d >= base || x > (most - (uint64_t)d) / (uint64_t)base) return false;
        x = x * (uint64_t)base + (uint64_t)d;
    }
    *out = minus ? -(int64_t)x : (int64_t)x;
    return true;
}

/* strtod reads and snprintf writes the locale's decimal point; templates and JSON have '.'. */
bool tpl_parse_float(const char *s, size_t n, double *out)
{
    char text[400], *end;
    const char *point = localeconv()->decimal_point;
    size_t len = 0;

    if (n == 0 || n > 300) return false;
    for (size_t i = 0; i < n; i++) {
        bool word = (s[i] | 32) >= 'a' && (s[i] | 32) <= 'z';
        if (s[i] == '.') for (const char *p = point; *p && len + 2 < sizeof text; p++) text[len++] = *p;
        else if ((s[i] >= '0' && s[i] <= '9') || strchr("+-", s[i]) || (word && (s[i] | 32) != 'x' && (s[i] | 32) != 'p')) text[len++] = s[i];
        else return false;
    }
    text[len] = '\0';
    *out = strtod(text, &end);
    return end == text + len;
}

/* Python's repr of a float: the fewest digits that read back the same. */
size_t tpl_float_text(char out[40], double x)
{
    char digits[40], text[48], *e;
    int n = 0, exp10, at = 0;

    if (isnan(x)) return (size_t)snprintf(out, 40, "nan");
    if (isinf(x)) return (size_t)snprintf(out, 40, x < 0 ? "-inf" : "inf");
    for (int p = 0; p < 17; p++) {
        snprintf(text, sizeof text, "%.*e", p, x);
        if (strtod(text, NULL) == x) break;
    }
    e = strchr(text, 'e'), exp10 = atoi(e + 1);
    for (char *c = text; c < e; c++)
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    while (n > 1 && digits[n - 1] == '0') n--;
    if (signbit(x)) out[at++] = '-';
    if (exp10 < -4 || exp10 >= 16) {
        out[at++] = digits[0];
        if (n > 1) out[at++] = '.', memcpy(out + at, digits + 1, (size_t)n - 1), at += n - 1;
        return (size_t)at + (size_t)snprintf(out + at, 40 - (size_t)at, "e%c%02d", exp10 < 0 ? '-' : '+', abs(exp10));
    }
    if (exp10 < 0) {
        out[at++] = '0', out[at++] = '.';
        for (int i = -1; i > exp10; i--) out[at++] = '0';
        memcpy(out + at, digits, (size_t)n);
        return (size_t)(at + n);
    }
    for (int i = 0; i <= exp10; i++) out[at++] = i < n ? digits[i] : '0';
    out[at++] = '.';
    if (n <= exp10 + 1) out[at++] = '0';
    for (int i = exp10 + 1; i < n; i++) out[at++] = digits[i];
    return (size_t)at;
}

/* ---- str and repr ---- */

static void put_repr_char(tpl *t, tpl_buf *b, tpl_value c, int32_t cp, char quote)
{
    char text[16];
    int n = 0;
    utf8proc_category_t cat = utf8proc_category(cp);

    if (cp == quote || cp == '\\') n = snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t') n = snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp < 32 || (cp >= 0x7f && cp < 0xa1) || cp == 0xad) n = snprintf(text, sizeof text, "\\x%02x", (unsigned)cp);
    else if (cp > 0xff && (cat >= UTF8PROC_CATEGORY_ZS || cat == UTF8PROC_CATEGORY_CN))
        n = snprintf(text, sizeof text, cp > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned)cp);
    if (n) tpl_put(t, b, text, (size_t)n, c.trust == TRUST_MIXED ? c.mark[0] : c.trust); else tpl_put_str(t, b, c);
}

static void put_repr_str(tpl *t, tpl_buf *b, tpl_value v)
{
    char quote = v.n && memchr(v.u.s, '\'', v.n) && !memchr(v.u.s, '"', v.n) ? '"' : '\'';

    tpl_put(t, b, &quote, 1, TRUST_TEMPLATE);
    for (size_t at = 0, n; at < v.n; at += n) {
        int32_t cp;
        n = tpl_char(v.u.s + at, v.n - at, &cp);
        tpl_steps(t, 1);
        put_repr_char(t, b, tpl_sub(v, at, n), cp, quote);
    }
    tpl_put(t, b, &quote, 1, TRUST_TEMPLATE);
}

static void put_literal(tpl *t, tpl_buf *b, const char *s) { tpl_put(t, b, s, strlen(s), TRUST_TEMPLATE); }

static void put_repr_items(tpl *t, tpl_buf *b, tpl_value v, int depth)
{
    bool dict = v.type == V_DICT, tuple = v.type == V_TUPLE;
    size_t n = dict ? v.u.dict->n : v.u.list->n;

    put_literal(t, b, dict ? "{" : tuple ? "(" : "[");
    for (size_t i = 0; i < n; i++) {
        if (i) put_literal(t, b, ", ");
        if (dict) tpl_put_repr(t, b, v.u.dict->key[i], depth + 1), put_literal(t, b, ": ");
        tpl_put_repr(t, b, dict ? v.u.dict->value[i] : v.u.list->item[i], depth + 1);
    }
    put_literal(t, b, dict ? "}" : tuple ? n == 1 ? ",)" : ")" : "]");
}

void tpl_put_repr(tpl *t, tpl_buf *b, tpl_value v, int depth)
{
    char text[40];

    tpl_steps(t, 1);
    if (depth > TPL_MAX_DEPTH) tpl_fail(&t->b, LLM_ERR_FORMAT, "a value nested deeper than %d levels", TPL_MAX_DEPTH);
    switch (v.type) {
    case V_UNDEF: put_literal(t, b, "Undefined"); break;
    case V_NONE: tpl_put(t, b, "None", 4, v.trust); break;
    case V_BOOL: tpl_put(t, b, v.u.i ? "True" : "False", v.u.i ? 4 : 5, v.trust); break;
    case V_INT: tpl_put(t, b, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)v.u.i), v.trust); break;
    case V_FLOAT: { size_t n = tpl_float_text(text, v.u.f); tpl_put(t, b, text, n, v.trust); break; }
    case V_STR: put_repr_str(t, b, v); break;
    case V_LIST: case V_TUPLE: case V_DICT: put_repr_items(t, b, v, depth); break;
    default: tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s has no text", tpl_type_name(v));
    }
}

tpl_value tpl_string(tpl *t, tpl_value v)
{
    tpl_buf b = { 0 };

    if (v.type == V_STR) return v;
    if (v.type == V_UNDEF) return tpl_text("");
    tpl_put_repr(t, &b, v, 0);
    return tpl_buf_str(&b);
}

/* ---- JSON ---- */

static void put_json_string(tpl *t, tpl_buf *b, tpl_value v, bool ascii)
{
    put_literal(t, b, "\"");
    for (size_t at = 0, n; at < v.n; at += n) {
        static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
        int32_t cp;
        char text[16];
        int len = 0, trust = v.trust == TRUST_MIXED ? v.mark[at] : v.trust;
        const char *p;
        n = tpl_char(v.u.s + at, v.n - at, &cp);
        p = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
        if (p) len = snprintf(text, sizeof text, "\\%c", to[p - from]);
        else if (cp < 32 || (ascii && cp > 0x7e && cp < 0x10000)) len = cp == 0x7f ? 0 : snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
        else if (ascii && cp >= 0x10000)
            len = snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (cp >> 10)), (unsigned)(0xdc00 + (cp & 0x3ff)));
        tpl_steps(t, 1);
        if (len) tpl_put(t, b, text, (size_t)len, trust); else tpl_put_str(t, b, tpl_sub(v, at, n));
    }
    put_literal(t, b, "\"");
}

static void put_line(tpl *t, tpl_buf *b, const tpl_json_style *style, int depth)
{
    if (style->indent < 0) return;
    put_literal(t, b, "\n");
    for (int i = 0; i < style->indent * depth; i++) put_literal(t, b, " ");
}

static size_t next_key(tpl *t, const tpl_dict *d, bool *done)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < d->n; i++)
        if (!done[i] && (best == SIZE_MAX || tpl_order(t, d->key[i], d->key[best]) < 0)) best = i;
    tpl_steps(t, d->n);
    done[best] = true;
    return best;
}

static void put_json_key(tpl *t, tpl_buf *b, tpl_value key, const tpl_json_style *style)
{
    tpl_buf text = { 0 };

    if (key.type == V_STR) { put_json_string(t, b, key, style->ascii); return; }
    if (!tpl_is_num(key) && key.type != V_NONE) tpl_fail(&t->b, LLM_ERR_FORMAT, "a %s cannot be a key in JSON", tpl_type_name(key));
    tpl_put_json(t, &text, key, style, 0);
    put_json_string(t, b, tpl_buf_str(&text), style->ascii);
}

static void put_json_items(tpl *t, tpl_buf *b, tpl_value v, const tpl_json_style *style, int depth)
{
    bool dict = v.type == V_DICT, *done = NULL;
    size_t n = dict ? v.u.dict->n : v.u.list->n;

    put_literal(t, b, dict ? "{" : "[");
    if (dict && style->sort) done = tpl_zalloc(&t->b, n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t at = done ? next_key(t, v.u.dict, done) : i;
        if (i) tpl_put_str(t, b, style->item_sep);
        put_line(t, b, style, depth + 1);
        if (dict) put_json_key(t, b, v.u.dict->key[at], style), tpl_put_str(t, b, style->key_sep);
        tpl_put_json(t, b, dict ? v.u.dict->value[at] : v.u.list->item[at], style, depth + 1);
    }
    if (n) put_line(t, b, style, depth);
    put_literal(t, b, dict ? "}" : "]");
}

/* As Python's json.dumps. */
void tpl_put_json(tpl *t, tpl_buf *b, tpl_value v, const tpl_json_style *style, int depth)
{
    tpl_steps(t, 1);
    if (depth > TPL_MAX_DEPTH) tpl_fail(&t->b, LLM_ERR_FORMAT, "a value nested deeper than %d levels", TPL_MAX_DEPTH);
    switch (v.type) {
    case V_NONE: tpl_put(t, b, "null", 4, v.trust); break;
    case V_BOOL: tpl_put(t, b, v.u.i ? "true" : "false", v.u.i ? 4 : 5, v.trust); break;
    case V_FLOAT:
        if (isnan(v.u.f)) tpl_put(t, b, "NaN", 3, v.trust);
        else if (isinf(v.u.f)) tpl_put(t, b, v.u.f < 0 ? "-Infinity" : "Infinity", v.u.f < 0 ? 9 : 8, v.trust);
        else tpl_put_repr(t, b, v, depth);
        break;
    case V_INT: tpl_put_repr(t, b, v, depth); break;
    case V_STR: put_json_string(t, b, v, style->ascii); break;
    case V_LIST: case V_TUPLE: case V_DICT: put_json_items(t, b, v, style, depth); break;
    default: tpl_fail(&t->b, LLM_ERR_FORMAT, "a value that is %s cannot be written as JSON", tpl_type_name(v));
    }
}
