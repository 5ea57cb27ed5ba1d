/* unicode.c - UTF-8 by RFC 3629; classes and canonical forms from utf8proc (Unicode 15 in Debian 12). */
#include "unicode.h"
#include <utf8proc.h>

int utf8_decode_slow(const uint8_t *s, const uint8_t *end, uint32_t *cp)
{
    size_t n = (size_t)(end - s);
    uint32_t c = s[0];

    *cp = UC_INVALID;
    if (c < 0xc2) return 1;
    if (c < 0xe0) {
        if (n < 2 || (s[1] & 0xc0) != 0x80) return 1;
        return *cp = (c & 31) << 6 | (s[1] & 63u), 2;
    }
    if (c < 0xf0) {
        if (n < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80) return 1;
        c = (c & 15) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
        if (c < 0x800 || (c >= 0xd800 && c < 0xe000)) return 1;
        return *cp = c, 3;
    }
    if (c > 0xf4 || n < 4 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80) return 1;
    c = (c & 7) << 18 | (s[1] & 63u) << 12 | (s[2] & 63u) << 6 | (s[3] & 63u);
    if (c < 0x10000 || c > 0x10ffff) return 1;
    return *cp = c, 4;
}

int utf8_encode(uint32_t cp, char *out)
{
    if (cp < 0x80) return out[0] = (char)cp, 1;
    if (cp < 0x800) return out[0] = (char)(0xc0 | cp >> 6), out[1] = (char)(0x80 | (cp & 63)), 2;
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12), out[1] = (char)(0x80 | (cp >> 6 & 63)), out[2] = (char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18), out[1] = (char)(0x80 | (cp >> 12 & 63));
    out[2] = (char)(0x80 | (cp >> 6 & 63)), out[3] = (char)(0x80 | (cp & 63));
    return 4;
}

int utf8_missing(const uint8_t *s, size_t n)
{
    uint8_t lo = 0x80, hi = 0xbf;
    int want;

    if (n == 0 || s[0] < 0xc2 || s[0] > 0xf4) return 0;
    want = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if ((size_t)want <= n) return 0;
    if (s[0] == 0xe0) lo = 0xa0;                    /* over-long */
    if (s[0] == 0xed) hi = 0x9f;                    /* surrogates */
    if (s[0] == 0xf0) lo = 0x90;
    if (s[0] == 0xf4) hi = 0x8f;                    /* past U+10FFFF */
    for (size_t i = 1; i < n; i++) {
        if (s[i] < lo || s[i] > hi) return 0;
        lo = 0x80, hi = 0xbf;
    }
    return want - (int)n;
}

static bool is_white_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a)
        || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

uint8_t uni_class_slow(uint32_t cp)
{
    uint8_t ws = is_white_space(cp) ? UC_WS : 0;

    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LT: return UC_L | UC_UP;
    case UTF8PROC_CATEGORY_LL: return UC_L | UC_LOW;
    case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO: return UC_L | UC_UP | UC_LOW;
    case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME: return UC_M | UC_UP | UC_LOW;
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO: return UC_N;
    case UTF8PROC_CATEGORY_PC: case UTF8PROC_CATEGORY_PD: case UTF8PROC_CATEGORY_PS: case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI: case UTF8PROC_CATEGORY_PF: case UTF8PROC_CATEGORY_PO: return UC_P;
    case UTF8PROC_CATEGORY_SM: case UTF8PROC_CATEGORY_SC: case UTF8PROC_CATEGORY_SK: case UTF8PROC_CATEGORY_SO: return UC_S;
    default: return ws;
    }
}

/* Could NFC change cp, or join it to what stands before it? Stricter than the NFC quick check, never laxer. */
static bool nfc_unsafe(uint32_t cp)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    utf8proc_int32_t out[32];
    utf8proc_ssize_t n;
    int last = 0;

    if (p->combining_class != 0) return true;
    if (cp >= 0x1160 && cp < 0x1200) return true;                       /* Hangul vowels and finals */
    if (p->comb_index != UINT16_MAX && p->comb_index >= 0x8000) return true;   /* second half of a composition */
    if (p->decomp_type != 0 || p->decomp_seqindex == UINT16_MAX) return false;
    n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last);
    if (n <= 0 || n > 32) return true;
    n = utf8proc_normalize_utf32(out, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n != 1 || out[0] != (utf8proc_int32_t)cp;
}

void uni_init(uni_table *u)
{
    memset(u->unsafe, 0, sizeof u->unsafe);
    for (uint32_t c = 0; c < 65536; c++) {
        u->cls[c] = uni_class_slow(c);
        if (c >= 0x80 && nfc_unsafe(c)) u->unsafe[c >> 3] |= (uint8_t)(1 << (c & 7));
    }
}

static bool safe(const uni_table *u, uint32_t cp)
{
    if (cp < 65536) return !(u->unsafe[cp >> 3] >> (cp & 7) & 1);
    return cp == UC_INVALID || !nfc_unsafe(cp);
}

bool uni_is_nfc(const uni_table *u, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text, *end = s + n;
    uint32_t cp;

    while (s < end) {
        if (*s < 0xcc) { s++; continue; }           /* U+0000..U+02FF and continuation bytes: safe */
        s += utf8_decode(s, end, &cp);
        if (!safe(u, cp)) return false;
    }
    return true;
}

/* Canonical ordering: each run of combining marks sorted by class, stable. Counting sort: utf8proc's own
 * ordering is quadratic in the length of a run. tmp [n]. */
static void order_marks(utf8proc_int32_t *cp, utf8proc_int32_t *tmp, size_t n)
{
    for (size_t i = 0, j; i < n; i = j) {
        size_t at[257] = { 0 };

        j = i + 1;
        if (utf8proc_get_property(cp[i])->combining_class == 0) continue;
        while (j < n && utf8proc_get_property(cp[j])->combining_class != 0) j++;
        if (j - i == 1) continue;
        for (size_t k = i; k < j; k++) at[utf8proc_get_property(cp[k])->combining_class + 1]++;
        for (int c = 0; c < 256; c++) at[c + 1] += at[c];
        for (size_t k = i; k < j; k++) tmp[at[utf8proc_get_property(cp[k])->combining_class]++] = cp[k];
        memcpy(cp + i, tmp, (j - i) * sizeof *cp);
    }
}

/* Appends the normal form of a stretch of valid UTF-8. */
static bool normalize_valid(uni_form form, const uint8_t *s, size_t n, text_buf *out)
{
    bool compat = form == FORM_NFKC || form == FORM_NFKD, compose = form == FORM_NFC || form == FORM_NFKC;
    utf8proc_option_t opt = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    const uint8_t *end = s + n;
    text_buf wide = { 0 };
    utf8proc_int32_t *cp;
    size_t len;
    char utf8[4];

    while (s < end) {
        utf8proc_int32_t part[32];
        utf8proc_ssize_t m;
        uint32_t c;
        int last = 0;

        s += utf8_decode(s, end, &c);
        m = utf8proc_decompose_char((utf8proc_int32_t)c, part, 32, opt, &last);
        if (m <= 0 || m > 32) m = 1, part[0] = (utf8proc_int32_t)c;
        buf_add(&wide, part, (size_t)m * sizeof *part);
    }
    len = wide.len / sizeof *cp;
    if (!buf_room(&wide, wide.len)) return buf_free(&wide), out->failed = true, false;
    cp = (utf8proc_int32_t *)(void *)wide.data;
    order_marks(cp, cp + len, len);
    if (compose) len = (size_t)utf8proc_normalize_utf32(cp, (utf8proc_ssize_t)len, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (size_t i = 0; i < len; i++) buf_add(out, utf8, (size_t)utf8_encode((uint32_t)cp[i], utf8));
    buf_free(&wide);
    return !out->failed;
}

bool uni_normalize(const uni_table *u, uni_form form, const char *text, size_t n, text_buf *out)
{
    const uint8_t *s = (const uint8_t *)text, *end = s + n, *start = s, *p = s;
    uint32_t cp;

    /* For NFC only the stretches around code points that may change are looked at: from the safe character before
     * them, which they may join, up to the next safe one. */
    while (p < end) {
        const uint8_t *first = p;
        bool change = form != FORM_NFC;

        p += utf8_decode(p, end, &cp);
        if (cp == UC_INVALID) continue;
        while (p < end) {
            int len = utf8_decode(p, end, &cp);

            if (cp == UC_INVALID || (form == FORM_NFC && safe(u, cp))) break;
            change = true, p += len;
        }
        if (form == FORM_NFC && !change) {
            utf8_decode(first, end, &cp);
            change = !safe(u, cp);
        }
        if (!change) continue;
        buf_add(out, start, (size_t)(first - start));
        if (!normalize_valid(form, first, (size_t)(p - first), out)) return false;
        start = p;
    }
    buf_add(out, start, (size_t)(end - start));
    return !out->failed;
}

bool uni_lower(const char *text, size_t n, text_buf *out)
{
    const uint8_t *s = (const uint8_t *)text, *end = s + n;
    char utf8[4];

    while (s < end) {
        uint32_t cp;
        int len = utf8_decode(s, end, &cp);

        if (cp == UC_INVALID) buf_byte(out, (char)*s);
        else buf_add(out, utf8, (size_t)utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), utf8));
        s += len;
    }
    return !out->failed;
}
