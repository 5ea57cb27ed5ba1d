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
        for (uint64_t w; end - p >= 8; p += 8) {            /* most of them indent */
            memcpy(&w, p, 8);
            if ((w ^= 0x2020202020202020u) == 0) continue;
            p += __builtin_ctzll(w) / 8;
            break;
        }
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

/* Passes over what means only itself in a string: ASCII without quotes, backslashes and control characters. */
static const char *pass_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p), other = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20));     /* from 0x80 on, too */
        unsigned m;

        other = _mm_or_si128(other, _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'))));
        if ((m = (unsigned)_mm_movemask_epi8(other)) != 0) return p + __builtin_ctz(m);
    }
#endif
    while (p < end && *p >= 0x20 && (uint8_t)*p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
}

#ifdef __SSE2__
/* Behind a string of less than sixteen bytes, s its first; NULL: it is longer, or has escapes, or characters of other than one, two and the usual kind
 * of three bytes. */
static const char *pass_short(const char *s, const char *end)
{
    const __m128i x = end - s < 16 ? _mm_setzero_si128() : _mm_loadu_si128((const __m128i *)(const void *)s);
    unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'))));
    unsigned in = (stop & -stop) - 1, high = (unsigned)_mm_movemask_epi8(x) & in, two, three, next;

    if (stop == 0 || s[__builtin_ctz(stop)] != '"' || ((unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(x, _mm_set1_epi8(0x20))) & in) != high) return NULL;
    /* Bytes are compared as signed ones: -64 is c0. */
    two = in & (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8(-63)), _mm_cmplt_epi8(x, _mm_set1_epi8(-32))));     /* c2..df */
    three = in & (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8(-32)), _mm_cmplt_epi8(x, _mm_set1_epi8(-19))));   /* e1..ec */
    next = in & (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(x, _mm_set1_epi8(-64)));                                                          /* 80..bf */
    return (two | three | next) == high && ((two | three) << 1 | three << 2) == next ? s + __builtin_ctz(stop) + 1 : NULL;
}
#else
static const char *pass_short(const char *s, const char *end) { return (void)s, (void)end, NULL; }
#endif

/* A string behind its opening quote. *s [*n] lies in the text, or in b where there were escapes. */
static llm_status string_end(cursor *c, text_buf *b, const char **s, size_t *n, llm_error *err)
{
    const char *from = c->p, *behind = pass_short(from, c->end);
    bool copied = false;

    if (behind) return *s = from, *n = (size_t)(behind - 1 - from), c->p = behind, LLM_OK;
    b->len = 0;
    while ((c->p = pass_plain(c->p, c->end)) < c->end) {
        uint8_t ch = (uint8_t)*c->p;
        uint32_t cp;

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
        if (ch < 0x20) return broken(c, "a control character in a string", err);
        do {
            c->p += utf8_decode((const uint8_t *)c->p, (const uint8_t *)c->end, &cp);
            if (cp == UC_INVALID) return broken(c, "a string is not UTF-8", err);
        } while (c->p < c->end && (uint8_t)*c->p >= 0x80);
    }
    return broken(c, "a string does not end", err);
}

/* The same, blanks and the quote in front. */
static llm_status string(cursor *c, text_buf *b, const char **s, size_t *n, llm_error *err)
{
    return take(c, '"') ? string_end(c, b, s, n, err) : broken(c, "a string is missing", err);
}

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

/* Where a list of the model ends that is the last thing in the file; NULL: the file does not end in one. */
static const char *last_list_end(const cursor *c)
{
    const char *p = c->end;
    int n = 0;

    while (p > c->p && (is_blank(p[-1]) || p[-1] == '}')) n += *--p == '}';
    return n == 2 && p > c->p && p[-1] == ']' ? p : NULL;
}

static llm_status in_model(cursor *c, hf_lists *out, const char *key, size_t n, llm_error *err)
{
    scan_span *span = is(key, n, "vocab") && c->p < c->end && *c->p == '{' ? &out->vocab
                    : is(key, n, "merges") && c->p < c->end && *c->p == '[' ? &out->merges : NULL;
    const char *from = c->p, *end = out->merges_last && span == &out->merges ? last_list_end(c) : NULL;
    llm_status st = LLM_OK;

    if (end) c->p = end, out->end_taken = true;
    else st = skip(c, err);
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

llm_status hf_scan(hf_lists *out, const char *text, size_t len, const char *path, bool merges_last, llm_error *err)
{
    cursor c = { .p = text, .end = text + len, .text = text, .path = path };
    scan_span first, second;
    llm_status st;

    *out = (hf_lists){ .merges_last = merges_last };
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

static inline uint64_t eight(const char *s)
{
    uint64_t x;

    memcpy(&x, s, 8);
    return x;
}

/* How many bytes of s [n] are at p too; eight more can be read behind n of either. */
static inline size_t common(const char *p, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = eight(p + i) ^ eight(s + i);

        if (x == 0) continue;
        i += (size_t)__builtin_ctzll(x) / 8;
        return i < n ? i : n;
    }
    return n;
}

/* Behind what is at p the same as mark, or NULL: the brackets, commas and blanks of a list are mostly the same throughout. */
static inline const char *jump(const char *p, const char *end, const scan_span *mark)
{
    size_t n = (size_t)(mark->end - mark->s);

    return n > 0 && (size_t)(end - p) >= n + 8 && common(p, mark->s, n) == n ? p + n : NULL;
}

llm_status scan_vocab_next(scan_list *l, const char **s, size_t *n, int64_t *id, bool *done, llm_error *err)
{
    const char *from = l->p, *p;
    bool minus, more = l->begun;
    int digits = 0;
    llm_status st;

    *done = false;
    if ((p = jump(from, l->end, &l->lead)) != NULL) l->p = p;
    else {
        if ((st = next(l, '{', '}', done, err)) != LLM_OK || *done) return st;
        if (!take(l, '"')) return broken(l, "a string is missing", err);
        if (more) l->lead = (scan_span){ from, l->p };
    }
    if ((st = string_end(l, &l->b[0], s, n, err)) != LLM_OK) return st;
    from = l->p;
    if ((p = jump(from, l->end, &l->mid)) != NULL) l->p = p;
    else {
        if (!take(l, ':')) return broken(l, "a colon is missing", err);
        blanks(l);
        l->mid = (scan_span){ from, l->p };
    }
    if ((minus = l->p < l->end && *l->p == '-')) l->p++;
    for (*id = 0; l->p < l->end && *l->p >= '0' && *l->p <= '9' && digits < 18; l->p++, digits++) *id = *id * 10 + (*l->p - '0');
    if (minus) *id = -*id;
    if (digits == 0 || (l->p < l->end && *l->p != ',' && *l->p != '}' && !is_blank(*l->p)))
        return broken(l, "the id of a token is not a number", err);
    return LLM_OK;
}

/* Keeps what stands around a merge, whose halves are a to a_end and c to c_end, for those that follow. */
static void learn(scan_list *l, const char *from, const char *a, const char *a_end, const char *c, const char *c_end)
{
    l->lead = (scan_span){ from, a }, l->mid = (scan_span){ a_end, c }, l->tail = (scan_span){ c_end, l->p };
}

llm_status scan_merge_next(scan_list *l, const char **a, size_t *n_a, const char **c, size_t *n_c, bool *done, llm_error *err)
{
    const char *from = l->p, *blank;
    bool more = l->begun;
    llm_status st = next(l, '[', ']', done, err);

    *c = NULL, *n_c = 0;
    if (st != LLM_OK || *done) return st;
    blanks(l);
    if (l->p < l->end && *l->p == '"') {
        if ((st = string(l, &l->b[0], a, n_a, err)) != LLM_OK) return st;
        blank = *n_a > 1 && *a != l->b[0].data ? memchr(*a + 1, ' ', *n_a - 1) : NULL;
        if (more && blank) learn(l, from, *a, blank, blank + 1, *a + *n_a);
        return LLM_OK;
    }
    if (!take(l, '[')) return broken(l, "a merge is neither \"A B\" nor [\"A\", \"B\"]", err);
    if ((st = string(l, &l->b[0], a, n_a, err)) != LLM_OK) return st;
    if (!take(l, ',')) return broken(l, "a merge is not [\"A\", \"B\"]", err);
    if ((st = string(l, &l->b[1], c, n_c, err)) != LLM_OK) return st;
    if (!take(l, ']')) return broken(l, "a merge is not [\"A\", \"B\"]", err);
    if (more && *a != l->b[0].data && *c != l->b[1].data) learn(l, from, *a, *a + *n_a, *c, *c + *n_c);
    return LLM_OK;
}

size_t scan_merge_of(scan_list *l, const char *text, size_t n)
{
    const char *p = jump(l->p, l->end, &l->lead);
    size_t k;

    if (p == NULL || (size_t)(l->end - p) < n + 8 || (k = common(p, text, n)) == 0 || k == n || p[k] != *l->mid.s) return 0;
    if ((p = jump(p + k, l->end, &l->mid)) == NULL || (size_t)(l->end - p) < n + 8 || common(p, text + k, n - k) < n - k) return 0;
    if ((p = jump(p + n - k, l->end, &l->tail)) == NULL) return 0;
    l->p = p;
    return k;
}
