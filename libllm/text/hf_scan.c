/* hf_scan.c - a small strict JSON reader (RFC 8259) that builds nothing. */
#include "hf_scan.h"
#include "unicode.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { MAX_DEPTH = 200 };

typedef scan_list cursor;

static llm_status broken(const cursor *c, const char *what, llm_error *err)
{
    int line = 1;

    for (const char *p = c->text; p < c->p && p < c->end; p++) line += *p == '\n';
    return llm_fail(err, LLM_ERR_FORMAT, "%s: line %d: %s", c->path, line, what);
}

static inline bool is_blank(char ch) { return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t'; }

static inline void blanks(cursor *c)
{
    const char *p = c->p, *end = c->end;

    while (p < end && is_blank(*p)) {
        p++;
        for (uint64_t w; end - p >= 8 && (memcpy(&w, p, 8), w == 0x2020202020202020u); p += 8) { }      /* most of them indent */
    }
    c->p = p;
}

/* Skips blanks and takes ch if it is next. */
static inline bool take(cursor *c, char ch)
{
    blanks(c);
    if (c->p == c->end || *c->p != ch) return false;
    c->p++;
    return true;
}

static int hex4(const char *s, const char *end)
{
    int v = 0;

    if (end - s < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char ch = s[i];
        int d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* The escape behind a backslash at c->p, as UTF-8 to b. */
static bool escape(cursor *c, text_buf *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *k;
    char utf8[4];
    int u, low;

    if (c->p == c->end) return false;
    if (*c->p != 'u') {
        if (*c->p == 0 || (k = strchr(from, *c->p)) == NULL) return false;
        buf_byte(b, to[k - from]);
        c->p++;
        return true;
    }
    if ((u = hex4(++c->p, c->end)) < 0) return false;
    c->p += 4;
    if (u >= 0xdc00 && u < 0xe000) return false;
    if (u >= 0xd800 && u < 0xdc00) {
        if (c->end - c->p < 6 || c->p[0] != '\\' || c->p[1] != 'u' || (low = hex4(c->p + 2, c->end)) < 0xdc00 || low >= 0xe000) return false;
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
        c->p += 6;
    }
    buf_add(b, utf8, (size_t)utf8_encode((uint32_t)u, utf8));
    return true;
}

/* A string, blanks in front allowed. *s [*n] lies in the text, or in b where there were escapes. */
static llm_status string(cursor *c, text_buf *b, const char **s, size_t *n, llm_error *err)
{
    const char *from;

    if (!take(c, '"')) return broken(c, "a string is missing", err);
    b->len = 0;
    from = c->p;
    for (bool copied = false; c->p < c->end;) {
        uint8_t ch = (uint8_t)*c->p;
        uint32_t cp;
        int len;

        if (ch == '"') {
            *s = from, *n = (size_t)(c->p++ - from);
            if (copied) buf_add(b, *s, *n), *s = b->data, *n = b->len;
            return b->failed ? llm_fail_memory(err, b->len, "a string") : LLM_OK;
        }
        if (ch == '\\') {
            copied = true;
            buf_room(b, 1);
            buf_add(b, from, (size_t)(c->p++ - from));
            if (!escape(c, b)) return broken(c, "a wrong escape in a string", err);
            from = c->p;
            continue;
        }
        if (ch >= 0x20 && ch < 0x80) { c->p++; continue; }
        if (ch < 0x20) return broken(c, "a control character in a string", err);
        len = utf8_decode((const uint8_t *)c->p, (const uint8_t *)c->end, &cp);
        if (cp == UC_INVALID) return broken(c, "a string is not UTF-8", err);
        c->p += len;
    }
    return broken(c, "a string does not end", err);
}

/* Bit i: byte i of the sixteen at s is ch; the second form takes { and [, or } and ], as the same. */
#ifdef __SSE2__
static inline unsigned same(const char *s, char ch)
{
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)s), _mm_set1_epi8(ch)));
}
static inline unsigned same_bracket(const char *s, char ch)
{
    __m128i x = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)s), _mm_set1_epi8(32));

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8(ch)));
}
#else
static inline unsigned same(const char *s, char ch)
{
    unsigned m = 0;

    for (unsigned i = 0; i < 16; i++) m |= (unsigned)(s[i] == ch) << i;
    return m;
}
static inline unsigned same_bracket(const char *s, char ch)
{
    unsigned m = 0;

    for (unsigned i = 0; i < 16; i++) m |= (unsigned)((s[i] | 32) == ch) << i;
    return m;
}
#endif

#define SIXTY_FOUR(f, s, ch) ((uint64_t)f(s, ch) | (uint64_t)f((s) + 16, ch) << 16 | (uint64_t)f((s) + 32, ch) << 32 | (uint64_t)f((s) + 48, ch) << 48)

/* Where the text stands: brackets that are open, and whether in a string. */
typedef struct { int depth; bool quoted; } nesting;

/* Passes over 64 bytes at once; false, and nothing is changed, where they end in a backslash, close the last bracket or nest too deep. */
static bool pass_block(const char *s, nesting *at)
{
    uint64_t slash = SIXTY_FOUR(same, s, '\\'), in = SIXTY_FOUR(same, s, '"'), open, close;
    int depth = at->depth;

    for (int i; slash; slash &= ~((uint64_t)3 << i)) {      /* the byte behind each says nothing */
        if ((i = __builtin_ctzll(slash)) == 63) return false;
        in &= ~((uint64_t)2 << i);
    }
    for (int k = 1; k < 64; k *= 2) in ^= in << k;          /* bit i: an odd number of quotes up to here */
    if (at->quoted) in = ~in;
    open = SIXTY_FOUR(same_bracket, s, '{') & ~in, close = SIXTY_FOUR(same_bracket, s, '}') & ~in;
    for (uint64_t both = open | close; both; both &= both - 1) {
        depth += open & both & -both ? 1 : -1;
        if (depth == 0 || depth > MAX_DEPTH) return false;
    }
    at->depth = depth, at->quoted = in >> 63;
    return true;
}

/* One byte, or two where the first is a backslash in a string. False: nested too deep. */
static bool pass_byte(cursor *c, nesting *at)
{
    char ch = *c->p++;

    if (at->quoted) {
        if (ch == '\\' && c->p < c->end) c->p++;
        else if (ch == '"') at->quoted = false;
        return true;
    }
    if (ch == '"') at->quoted = true;
    else if (ch == '{' || ch == '[') at->depth++;
    else if (ch == '}' || ch == ']') at->depth--;
    return at->depth <= MAX_DEPTH;
}

/* Passes over any value, looking only at strings and brackets: jansson reads what is kept. */
static llm_status skip(cursor *c, llm_error *err)
{
    nesting at = { 0 };

    blanks(c);
    if (c->p < c->end && strchr("}],:", *c->p) && *c->p) return broken(c, "a value is missing", err);
    if (c->p < c->end && strchr("{[\"", *c->p) == NULL) {
        while (c->p < c->end && memchr(" \n\r\t,:{}[]\"", *c->p, 11) == NULL) c->p++;
        return LLM_OK;
    }
    while (c->p < c->end) {
        if (at.depth > 0 && c->end - c->p >= 64 && pass_block(c->p, &at)) { c->p += 64; continue; }
        for (int i = 0; i < 64 && c->p < c->end; i++) {
            if (!pass_byte(c, &at)) return broken(c, "values are nested too deep", err);
            if (at.depth == 0 && !at.quoted) return LLM_OK;
        }
    }
    return broken(c, at.quoted ? "a string does not end" : "the file ends inside a value", err);
}

static bool is(const char *s, size_t n, const char *key) { return n == strlen(key) && memcmp(s, key, n) == 0; }

/* Walks the members of an object; those named are handed to found. */
typedef llm_status (*member_fn)(cursor *c, hf_lists *out, const char *key, size_t n, llm_error *err);
static llm_status members(cursor *c, hf_lists *out, member_fn found, llm_error *err)
{
    llm_status st;

    if (!take(c, '{')) return broken(c, "an object is missing", err);
    if (take(c, '}')) return LLM_OK;
    do {
        const char *key;
        size_t n;

        if ((st = string(c, &c->b[0], &key, &n, err)) != LLM_OK) return st;
        if (!take(c, ':')) return broken(c, "a colon is missing", err);
        blanks(c);
        if ((st = found(c, out, key, n, err)) != LLM_OK) return st;
    } while (take(c, ','));
    return take(c, '}') ? LLM_OK : broken(c, "a comma or bracket is missing", err);
}

static llm_status in_model(cursor *c, hf_lists *out, const char *key, size_t n, llm_error *err)
{
    scan_span *span = is(key, n, "vocab") && c->p < c->end && *c->p == '{' ? &out->vocab
                    : is(key, n, "merges") && c->p < c->end && *c->p == '[' ? &out->merges : NULL;
    const char *from = c->p;
    llm_status st = skip(c, err);

    if (st != LLM_OK || span == NULL) return st;
    if (span->s) return broken(c, "the vocabulary or the merges are there twice", err);
    *span = (scan_span){ from, c->p };
    return LLM_OK;
}

static llm_status in_file(cursor *c, hf_lists *out, const char *key, size_t n, llm_error *err)
{
    if (is(key, n, "model") && c->p < c->end && *c->p == '{') return members(c, out, in_model, err);
    return skip(c, err);
}

llm_status hf_scan(hf_lists *out, const char *text, size_t len, const char *path, llm_error *err)
{
    cursor c = { .p = text, .end = text + len, .text = text, .path = path };
    scan_span first, second;
    llm_status st;

    *out = (hf_lists){ 0 };
    blanks(&c);
    st = c.p < c.end && *c.p == '{' ? members(&c, out, in_file, err) : LLM_OK;
    buf_free(&c.b[0]);
    if (st != LLM_OK) return st;
    first = out->vocab, second = out->merges;
    if (first.s == NULL || (second.s && second.s < first.s)) first = out->merges, second = out->vocab;
    buf_add(&out->rest, text, (size_t)((first.s ? first.s : c.end) - text));
    if (first.s) {
        buf_add(&out->rest, first.s == out->vocab.s ? "{}" : "[]", 2);
        buf_add(&out->rest, first.end, (size_t)((second.s ? second.s : c.end) - first.end));
    }
    if (second.s) {
        buf_add(&out->rest, second.s == out->vocab.s ? "{}" : "[]", 2);
        buf_add(&out->rest, second.end, (size_t)(c.end - second.end));
    }
    return out->rest.failed ? llm_fail_memory(err, len, path) : LLM_OK;
}

/* The next member of a list: its opening bracket, a comma or its end. */
static llm_status next(scan_list *l, char open, char close, bool *done, llm_error *err)
{
    bool first = !l->begun;

    *done = false;
    if (!first && take(l, ',')) return LLM_OK;
    if (first && !take(l, open)) return broken(l, "a list is missing", err);
    l->begun = true;
    if (take(l, close)) return *done = true, LLM_OK;
    return first ? LLM_OK : broken(l, "a comma is missing", err);
}

llm_status scan_vocab_next(scan_list *l, const char **s, size_t *n, int64_t *id, bool *done, llm_error *err)
{
    bool minus;
    int digits = 0;
    llm_status st = next(l, '{', '}', done, err);

    if (st != LLM_OK || *done) return st;
    if ((st = string(l, &l->b[0], s, n, err)) != LLM_OK) return st;
    if (!take(l, ':')) return broken(l, "a colon is missing", err);
    minus = take(l, '-');
    if (!minus) blanks(l);
    for (*id = 0; l->p < l->end && *l->p >= '0' && *l->p <= '9' && digits < 18; l->p++, digits++) *id = *id * 10 + (*l->p - '0');
    if (minus) *id = -*id;
    if (digits == 0 || (l->p < l->end && *l->p != ',' && *l->p != '}' && !is_blank(*l->p)))
        return broken(l, "the id of a token is not a number", err);
    return LLM_OK;
}

llm_status scan_merge_next(scan_list *l, const char **a, size_t *n_a, const char **c, size_t *n_c, bool *done, llm_error *err)
{
    llm_status st = next(l, '[', ']', done, err);

    *c = NULL, *n_c = 0;
    if (st != LLM_OK || *done) return st;
    blanks(l);
    if (l->p < l->end && *l->p == '"') return string(l, &l->b[0], a, n_a, err);
    if (!take(l, '[')) return broken(l, "a merge is neither \"A B\" nor [\"A\", \"B\"]", err);
    if ((st = string(l, &l->b[0], a, n_a, err)) != LLM_OK) return st;
    if (!take(l, ',')) return broken(l, "a merge is not [\"A\", \"B\"]", err);
    if ((st = string(l, &l->b[1], c, n_c, err)) != LLM_OK) return st;
    return take(l, ']') ? LLM_OK : broken(l, "a merge is not [\"A\", \"B\"]", err);
}

/* A comma, then what opens the next member of a list that has begun. */
static bool quick_open(scan_list *c, char ch) { return c->begun && take(c, ',') && take(c, ch); }

bool scan_vocab_quick(scan_list *l, quick_fn fn, char *out, size_t *n, int64_t *id)
{
    scan_list c = *l;
    char *o = out;
    int digits = 0;

    if (!quick_open(&c, '"') || (c.p = fn(c.p, c.end, &o)) == NULL || c.p >= c.end || *c.p++ != '"' || !take(&c, ':')) return false;
    blanks(&c);
    for (*id = 0; c.p < c.end && *c.p >= '0' && *c.p <= '9' && digits < 9; c.p++, digits++) *id = *id * 10 + (*c.p - '0');
    if (digits == 0 || c.p >= c.end || (*c.p != ',' && !is_blank(*c.p))) return false;
    *n = (size_t)(o - out), l->p = c.p;
    return true;
}

bool scan_merge_quick(scan_list *l, quick_fn fn, char *out, size_t *n_a, size_t *n)
{
    scan_list c = *l;
    char *o = out;
    bool pair;

    if (!c.begun || !take(&c, ',')) return false;
    pair = take(&c, '[');
    if (!take(&c, '"') || (c.p = fn(c.p, c.end, &o)) == NULL || c.p >= c.end || *c.p++ != (pair ? '"' : ' ')) return false;
    *n_a = (size_t)(o - out);
    if (pair && (!take(&c, ',') || !take(&c, '"'))) return false;
    if ((c.p = fn(c.p, c.end, &o)) == NULL || c.p >= c.end || *c.p++ != '"' || (pair && !take(&c, ']'))) return false;
    *n = (size_t)(o - out), l->p = c.p;
    return *n_a > 0 && *n > *n_a;
}
