/* pretok_known.c - the published pre-tokenizer patterns as code: one pass, no regular-expression engine.
 *
 * Each function gives what the pattern matches at s, or, for patterns that do not match everywhere, the stretch up to the next
 * match. Alternatives are tried in the pattern's order. Above each stands its pattern; C is (?i:'s|'t|'re|'ve|'m|'ll|'d). */
#include "pretok_known.h"

#define CLASS(s, end, len) class_at(u, s, end, len)

static inline uint8_t class_at(const uni_table *u, const uint8_t *s, const uint8_t *end, int *len)
{
    uint32_t cp;

    if (*s < 0x80) return *len = 1, u->cls[*s];
    *len = utf8_decode(s, end, &cp);
    return uni_class(u, cp);
}

static inline bool is_newline(const uint8_t *s) { return *s == '\n' || *s == '\r'; }

/* End of the run of characters that have a class in any, and none in none, from s. */
static inline const uint8_t *run(const uni_table *u, const uint8_t *s, const uint8_t *end, uint8_t any)
{
    int len;

    for (;;) {
        while (s < end && *s < 0x80 && u->cls[*s] & any) s++;
        if (s == end || *s < 0x80 || !(CLASS(s, end, &len) & any)) return s;
        s += len;
    }
}

static inline const uint8_t *run_without(const uni_table *u, const uint8_t *s, const uint8_t *end, uint8_t none)
{
    int len;

    while (s < end && !(CLASS(s, end, &len) & none)) s += len;
    return s;
}

static const uint8_t *run_numbers(const uni_table *u, const uint8_t *s, const uint8_t *end, int max)
{
    int len;

    while (max-- > 0 && s < end && (CLASS(s, end, &len) & UC_N)) s += len;
    return s;
}

/* C at s, its length or 0. The long s (U+017F) is a case form of s. */
static size_t contraction(const uint8_t *s, const uint8_t *end, bool any_case)
{
    size_t n = (size_t)(end - s);
    uint8_t a, b;

    if (n < 2 || s[0] != '\'') return 0;
    if (any_case && n >= 3 && s[1] == 0xc5 && s[2] == 0xbf) return 3;
    a = any_case && s[1] >= 'A' && s[1] <= 'Z' ? s[1] | 32 : s[1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (n < 3) return 0;
    b = any_case && s[2] >= 'A' && s[2] <= 'Z' ? s[2] | 32 : s[2];
    return (b == 'e' && (a == 'r' || a == 'v')) || (b == 'l' && a == 'l') ? 3 : 0;
}

/* \s*[\r\n]+ | \s+(?!\S) | \s+ at a blank s; without newlines (GPT-2) the first is not tried. */
static size_t blanks(const uni_table *u, const uint8_t *s, const uint8_t *end, bool newlines)
{
    const uint8_t *p = s, *last = s, *after_newline = NULL;
    int len;

    while (p < end && (CLASS(p, end, &len) & UC_WS)) {
        last = p;
        if (is_newline(p)) after_newline = p + 1;
        p += len;
    }
    if (newlines && after_newline) return (size_t)(after_newline - s);
    if (p == end || last == s) return (size_t)(p - s);
    return (size_t)(last - s);
}

static size_t one(const uint8_t *s, const uint8_t *end)
{
    uint32_t cp;

    return (size_t)utf8_decode(s, end, &cp);
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t pre_gpt2(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *p = s;
    size_t n = contraction(s, end, false);
    uint8_t c;
    int len;

    if (n) return n;
    if (*s == ' ' && s + 1 < end) p++;
    c = CLASS(p, end, &len);
    if (c & UC_WS) return blanks(u, s, end, false);
    if (c & UC_L) return (size_t)(run(u, p, end, UC_L) - s);
    if (c & UC_N) return (size_t)(run(u, p, end, UC_N) - s);
    return (size_t)(run_without(u, p, end, UC_L | UC_N | UC_WS) - s);
}

/*  ?[^\s\p{L}\p{N}]+[\r\n]* and then blanks: what the patterns of the cl100k kind have in common. marks: UC_M
 * where the class excludes marks too; slash: the tail is [\r\n/]*. */
static inline size_t rest(const uni_table *u, const uint8_t *s, const uint8_t *end, uint8_t marks, bool slash)
{
    const uint8_t *p = s + (*s == ' ' && s + 1 < end), *q;
    uint8_t none = (uint8_t)(UC_L | UC_N | UC_WS | marks);

    q = run_without(u, p, end, none);
    if (q > p) {
        while (q < end && (is_newline(q) || (slash && *q == '/'))) q++;
        return (size_t)(q - s);
    }
    if (u->cls[*s] & UC_WS || *s >= 0x80) {
        size_t n = blanks(u, s, end, true);
        if (n) return n;
    }
    return one(s, end);
}

/* C|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * letters: UC_L, or UC_L | UC_M where the word class is [\p{L}\p{M}] and the punctuation class excludes \p{M} (Qwen 3.5). */
static inline size_t cl100k(const uni_table *u, const uint8_t *s, const uint8_t *end, int digits, uint8_t letters)
{
    size_t n = *s == '\'' ? contraction(s, end, true) : 0;
    uint8_t c;
    int len;

    if (n) return n;
    c = CLASS(s, end, &len);
    if (c & letters && !(c & UC_M)) return (size_t)(run(u, s + len, end, letters) - s);
    if (c & UC_N) return (size_t)(run_numbers(u, s, end, digits) - s);
    if (!is_newline(s)) {
        const uint8_t *p = s + len, *q = run(u, p, end, letters);
        if (q > p || c & letters) return (size_t)(q - s);
    }
    return rest(u, s, end, letters & UC_M, false);
}

size_t pre_llama3(const uni_table *u, const uint8_t *s, const uint8_t *end) { return cl100k(u, s, end, 3, UC_L); }
size_t pre_qwen2(const uni_table *u, const uint8_t *s, const uint8_t *end) { return cl100k(u, s, end, 1, UC_L); }
size_t pre_qwen35(const uni_table *u, const uint8_t *s, const uint8_t *end) { return cl100k(u, s, end, 1, UC_L | UC_M); }

/* [U]*[W]+ | [U]+[W]* at s, U = Lu Lt Lm Lo M, W = Ll Lm Lo M. NULL: neither. first: only the first alternative. Where a run of U has no
 * W after it, the first alternative gives back to the last of the run that is in W too. */
static const uint8_t *cased(const uni_table *u, const uint8_t *s, const uint8_t *end, bool first)
{
    const uint8_t *p = s, *both = NULL;
    uint8_t c = 0;
    int len;

    while (p < end && ((c = CLASS(p, end, &len)) & UC_UP)) {
        p += len;
        if (c & UC_LOW) both = p;
    }
    if (p < end && (c & UC_LOW)) return run(u, p + len, end, UC_LOW);
    if (both) return both;
    return p > s && !first ? p : NULL;
}

/* [^\r\n\p{L}\p{N}]?[U]*[W]+C?|[^\r\n\p{L}\p{N}]?[U]+[W]*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t pre_o200k(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *p = NULL;
    int len;
    uint8_t c = CLASS(s, end, &len);

    if (c & UC_N) return (size_t)(run_numbers(u, s, end, 3) - s);
    if (c & UC_L) {
        p = cased(u, s, end, false);
    } else if (!is_newline(s)) {                            /* with the leading character; without it only a mark can begin */
        p = s + len < end ? cased(u, s + len, end, true) : NULL;
        if (p == NULL && c & UC_M) p = cased(u, s, end, true);
        if (p == NULL && s + len < end) p = cased(u, s + len, end, false);
    }
    if (p == NULL) return rest(u, s, end, 0, true);
    return (size_t)(p - s) + (p < end && *p == '\'' ? contraction(p, end, true) : 0);
}

/* Up to the next character for which the match function gives a length, or that length where it is at s. */
typedef size_t (*match_fn)(const uni_table *u, const uint8_t *s, const uint8_t *end);
static inline size_t match_or_gap(const uni_table *u, const uint8_t *s, const uint8_t *end, match_fn match)
{
    const uint8_t *p = s;
    size_t n = match(u, s, end);

    if (n) return n;
    do p += one(p, end);
    while (p < end && match(u, p, end) == 0);
    return (size_t)(p - s);
}

static size_t match_newline(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    (void)u, (void)end;
    return is_newline(s);
}
static size_t match_digit(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    return (size_t)(run_numbers(u, s, end, 1) - s);
}
static size_t match_digit3(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    return (size_t)(run_numbers(u, s, end, 3) - s);
}
static size_t match_digits(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    return (size_t)(run(u, s, end, UC_N) - s);
}
static size_t match_punctuation(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    int len;
    uint8_t c = CLASS(s, end, &len);

    return c & UC_P || (*s < 0x80 && c & UC_S) ? (size_t)len : 0;      /* ASCII's symbols count as punctuation here */
}

size_t pre_newline(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_newline); }
size_t pre_digit(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_digit); }
size_t pre_digit3(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_digit3); }
size_t pre_digits(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_digits); }
size_t pre_punctuation(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    return match_or_gap(u, s, end, match_punctuation);
}

typedef struct { uint32_t first, last; } span;

static bool in_spans(uint32_t cp, const span *r, size_t n)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > r[mid].last) lo = mid + 1; else hi = mid;
    }
    return lo < n && cp >= r[lo].first;
}

/* The bracket classes of the DeepSeek LLM and Coder patterns. */
static const span LETTERS[] = {
    {0x41,0x5a},{0x61,0x7a},{0xb5,0xb5},{0xc0,0xd6},{0xd8,0xf6},{0xf8,0x1ba},{0x1bc,0x1bf},{0x1c4,0x293},{0x295,0x2af},
    {0x370,0x373},{0x376,0x377},{0x37b,0x37d},{0x37f,0x37f},{0x386,0x386},{0x388,0x38a},{0x38c,0x38c},{0x38e,0x3a1},
    {0x3a3,0x3f5},{0x3f7,0x481},{0x48a,0x52f},{0x531,0x556},{0x10a0,0x10c5},{0x13a0,0x13f5},{0x13f8,0x13fd},
    {0x1c90,0x1cba},{0x1cbd,0x1cbf},{0x1d00,0x1d2b},{0x1d6b,0x1d77},{0x1d79,0x1d9a},{0x1e00,0x1f15},{0x1f18,0x1f1d},
    {0x1f20,0x1f45},{0x1f48,0x1f4d},{0x1f50,0x1f57},{0x1f59,0x1f59},{0x1f5b,0x1f5b},{0x1f5d,0x1f5d},{0x1f5f,0x1f7d},
    {0x1f80,0x1fb4},{0x1fb6,0x1fbc},{0x1fbe,0x1fbe},{0x1fc2,0x1fc4},{0x1fc6,0x1fcc},{0x1fd0,0x1fd3},{0x1fd6,0x1fdb},
    {0x1fe0,0x1fec},{0x1ff2,0x1ff4},{0x1ff6,0x1ffc},{0x2102,0x2102},{0x2107,0x2107},{0x210a,0x2113},{0x2115,0x2115},
    {0x2119,0x211d},{0x2124,0x2124},{0x2126,0x2126},{0x2128,0x2128},{0x212a,0x212d},{0x212f,0x2134},{0x2139,0x2139},
    {0x213c,0x213f},{0x2145,0x2149},{0x214e,0x214e},{0x2183,0x2184},{0x2c00,0x2c7b},{0x2c7e,0x2ce4},{0x2ceb,0x2cee},
    {0x2cf2,0x2cf3},{0xa640,0xa66d},{0xa680,0xa69b},{0xa722,0xa76f},{0xa771,0xa787},{0xa78b,0xa78e},{0xab70,0xabbf},
    {0xfb00,0xfb06},{0xfb13,0xfb17},{0xff21,0xff3a},{0xff41,0xff5a},{0x10400,0x1044f},{0x104b0,0x104d3},
    {0x104d8,0x104fb},{0x10c80,0x10cb2},{0x10cc0,0x10cf2},{0x118a0,0x118df},{0x1e900,0x1e943},
};
static const span MARKS[] = {
    {0x21,0x2f},{0x3a,0x7e},{0x2018,0x201f},{0x3000,0x3002},{0xff01,0xff0f},{0xff1a,0xff5e},
};
static const span CJK[] = { {0x800,0x9fa5},{0xac00,0xd7ff} };
static const span CJK_KANA[] = { {0x3040,0x30ff},{0x4e00,0x9fa5} };

#define IN(cp, table) in_spans(cp, table, sizeof table / sizeof table[0])

/* \s?[spans]+ at s (the blank only where blank is set), 0: no match. */
static size_t span_run(const uni_table *u, const uint8_t *s, const uint8_t *end, const span *r, size_t n, bool blank)
{
    const uint8_t *p = s, *first;
    uint32_t cp;
    int len = utf8_decode(p, end, &cp);

    if (blank && uni_class(u, cp) & UC_WS && p + len < end && !in_spans(cp, r, n)) p += len;
    for (first = p; p < end; p += len) {
        len = utf8_decode(p, end, &cp);
        if (!in_spans(cp, r, n)) break;
    }
    return p > first ? (size_t)(p - s) : 0;
}

#define SPANS(name, table, blank) \
    static size_t match_##name(const uni_table *u, const uint8_t *s, const uint8_t *end) \
    { return span_run(u, s, end, table, sizeof table / sizeof table[0], blank); } \
    size_t pre_##name(const uni_table *u, const uint8_t *s, const uint8_t *end) \
    { return match_or_gap(u, s, end, match_##name); }
SPANS(letters, LETTERS, true)           /* \s?[cased letters]+ */
SPANS(marks, MARKS, true)               /* \s?[!-/:-~ ...]+ */
SPANS(cjk, CJK, false)
SPANS(cjk_kana, CJK_KANA, false)

/* \s?[class]+ */
static size_t class_run(const uni_table *u, const uint8_t *s, const uint8_t *end, uint8_t any)
{
    int len;
    const uint8_t *p = s, *q;

    if (CLASS(s, end, &len) & UC_WS) p += len;
    q = run(u, p, end, any);
    return q > p ? (size_t)(q - s) : 0;
}
static size_t match_l(const uni_table *u, const uint8_t *s, const uint8_t *end) { return class_run(u, s, end, UC_L); }
static size_t match_p(const uni_table *u, const uint8_t *s, const uint8_t *end) { return class_run(u, s, end, UC_P); }
size_t pre_blank_l(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_l); }
size_t pre_blank_p(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_p); }

/* \s+$ : the blanks at the end of a piece. A run of blanks in the middle is passed over once. */
size_t pre_tail(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *p = s;

    while (p < end) {
        const uint8_t *q = run(u, p, end, UC_WS);
        if (q == end && q > p) return p == s ? (size_t)(end - s) : (size_t)(p - s);
        p = run_without(u, q, end, UC_WS);
    }
    return (size_t)(end - s);
}

/* [punct][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ with punct the
 * 32 ASCII signs. Digits and unassigned characters that nothing matches are stretches of their own. */
static size_t match_deepseek3(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *p, *q;
    int len;
    uint8_t c = CLASS(s, end, &len);

    if (*s < 0x80 && c & (UC_P | UC_S)) {
        for (p = s + 1; p < end && ((*p | 32) >= 'a' && (*p | 32) <= 'z'); p++) { }
        if (p > s + 1) return (size_t)(p - s);
    }
    if (c & UC_L) return (size_t)(run(u, s + len, end, UC_L | UC_M) - s);
    if (!is_newline(s) && !(c & (UC_P | UC_S))) {
        q = run(u, s + len, end, UC_L | UC_M);
        if (q > s + len || c & UC_M) return (size_t)(q - s);
    }
    p = s + (*s == ' ' && s + 1 < end);
    q = run(u, p, end, UC_P | UC_S);
    if (q > p) {
        while (q < end && is_newline(q)) q++;
        return (size_t)(q - s);
    }
    return c & UC_WS ? blanks(u, s, end, true) : 0;
}
size_t pre_deepseek3(const uni_table *u, const uint8_t *s, const uint8_t *end) { return match_or_gap(u, s, end, match_deepseek3); }

/* [^\n]+|[\n]+ (Gemma 4) */
size_t pre_lines(const uni_table *u, const uint8_t *s, const uint8_t *end)
{
    const uint8_t *p = s;

    (void)u;
    while (p < end && (*p == '\n') == (*s == '\n')) p++;
    return (size_t)(p - s);
}
