/* A template as pieces: text, {{ expressions }} and {% statements %}, the latter two as tokens.
 * Whitespace control as in Jinja (jinja2 documentation, "Whitespace Control"): trim_blocks takes the newline behind a statement or
 * comment, lstrip_blocks the blanks in front of one that begins its line, '-' all space on its side, '+' switches both off. */
#include "template_parts.h"

typedef struct {
    tpl_base *b;
    const char *s;
    size_t n, at, line_begin;
    int line;
    bool line_starts;                   /* the last tag took the newline behind it, or nothing came yet */
    tpl_piece *first, **last;
} lexer;

/* Moves to at, counting lines. */
static void move_to(lexer *l, size_t at)
{
    for (; l->at < at; l->at++)
        if (l->s[l->at] == '\n') l->line++, l->line_begin = l->at + 1;
    l->b->line = l->line, l->b->col = (int)(l->at - l->line_begin) + 1;
}

static bool at_text(const lexer *l, size_t at, const char *what)
{
    size_t n = strlen(what);
    return n <= l->n - at && memcmp(l->s + at, what, n) == 0;
}

static tpl_piece *add_piece(lexer *l, tpl_piece_kind kind)
{
    tpl_piece *p = tpl_zalloc(l->b, sizeof *p);

    p->kind = (uint8_t)kind, p->line = l->b->line, p->col = l->b->col;
    *l->last = p, l->last = &p->next;
    return p;
}

static void add_text(lexer *l, const char *s, size_t n)
{
    if (n > 0) add_piece(l, PIECE_TEXT)->text = tpl_str(s, n, TRUST_TEMPLATE);
}

/* Is the template at `at` the begin of a tag? */
static bool tag_begins(const lexer *l, size_t at)
{
    return l->n - at >= 2 && l->s[at] == '{' && (l->s[at + 1] == '{' || l->s[at + 1] == '%' || l->s[at + 1] == '#');
}

/* The text from the lexer's place to the tag at end, without what the tag's sign takes away in front of it. */
static size_t text_before(const lexer *l, size_t end)
{
    char kind = l->s[end + 1], sign = end + 2 < l->n ? l->s[end + 2] : '\0';
    size_t cut = end, p = end;
    const tpl_value text = tpl_str(l->s + l->at, end - l->at, TRUST_TEMPLATE);

    if (sign == '-') return l->at + tpl_strip(text, NULL, false, true).n;
    if (sign == '+' || kind == '{') return cut;
    while (p > l->at && l->s[p - 1] != '\n') p--;
    if (p == l->at && !l->line_starts) return cut;
    return tpl_strip(tpl_str(l->s + p, end - p, TRUST_TEMPLATE), NULL, true, false).n == 0 ? p : cut;
}

/* Behind the end of a tag at `at`, of which the sign is known: skips the space it takes away. */
static void after_tag(lexer *l, size_t at, char sign, bool trims)
{
    size_t begin = at;

    if (sign == '-') {
        const tpl_value rest = tpl_str(l->s + at, l->n - at, TRUST_TEMPLATE);
        at += rest.n - tpl_strip(rest, NULL, true, false).n;
    } else if (sign != '+' && trims && at < l->n && l->s[at] == '\n') at++;
    l->line_starts = at > begin && l->s[at - 1] == '\n';
    move_to(l, at);
}

static void comment(lexer *l)
{
    size_t at = l->at + 2;

    while (at < l->n && !at_text(l, at, "#}")) at++;
    if (at >= l->n) tpl_fail(l->b, LLM_ERR_FORMAT, "a comment without its end '#}'");
    after_tag(l, at + 2, at > l->at + 2 ? l->s[at - 1] : '\0', true);
}

/* ---- tokens ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
    out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* The escape behind a backslash at s[at]; moves *at behind it and returns the bytes written to out (at most 4). */
static size_t escape(lexer *l, size_t *at, char *out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = l->s[*at];
    const char *p = strchr(from, c);
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t code = 0;

    if (c == '\n') return ++*at, 0;
    if (p && c) return ++*at, *out = to[p - from], 1;
    if (c >= '0' && c <= '7') {
        for (int i = 0; i < 3 && *at < l->n && l->s[*at] >= '0' && l->s[*at] <= '7'; i++) code = code * 8 + (uint32_t)(l->s[(*at)++] - '0');
        return put_utf8(out, code);
    }
    if (digits == 0) return out[0] = '\\', 1;                    /* not an escape: the backslash stays */
    ++*at;
    for (int i = 0; i < digits; i++) {
        int d = *at < l->n ? hex_digit(l->s[*at]) : -1;
        if (d < 0) tpl_fail(l->b, LLM_ERR_FORMAT, "an escape \\%c needs %d hexadecimal digits", c, digits);
        code = code * 16 + (uint32_t)d, ++*at;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) tpl_fail(l->b, LLM_ERR_FORMAT, "the escape \\%c%x is no character", c, (unsigned)code);
    return put_utf8(out, code);
}

static tpl_value string(lexer *l)
{
    char quote = l->s[l->at], *out;
    size_t end = l->at + 1, n = 0, at = l->at + 1;

    while (end < l->n && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->n) tpl_fail(l->b, LLM_ERR_FORMAT, "a string without its end");
    out = tpl_alloc(l->b, end - l->at + 4);
    while (at < end)
        if (l->s[at] != '\\') out[n++] = l->s[at++];
        else at++, n += escape(l, &at, out + n);
    move_to(l, end + 1);
    return tpl_str(out, n, TRUST_TEMPLATE);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) || (unsigned char)c >= 0x80; }

static void number(lexer *l, tpl_token *k)
{
    size_t at = l->at, n = 0;
    bool real = false;
    int base = 10;
    char digits[64];

    if (l->s[at] == '0' && at + 1 < l->n && strchr("xXoObB", l->s[at + 1]) && l->s[at + 1]) {
        base = strchr("xX", l->s[at + 1]) ? 16 : strchr("oO", l->s[at + 1]) ? 8 : 2;
        at += 2;
    }
    for (; at < l->n; at++) {
        char c = l->s[at];
        bool dot = c == '.' && base == 10 && !real && at + 1 < l->n && is_digit(l->s[at + 1]);
        bool power = (c == 'e' || c == 'E') && base == 10 && at + 1 < l->n
                     && (is_digit(l->s[at + 1]) || (strchr("+-", l->s[at + 1]) && at + 2 < l->n && is_digit(l->s[at + 2])));
        if (c == '_') continue;
        if (!is_digit(c) && !dot && !power && !(base == 16 && hex_digit(c) >= 0)) break;
        if (n + 2 >= sizeof digits) tpl_fail(l->b, LLM_ERR_FORMAT, "a number of more than %zu digits", sizeof digits - 3);
        digits[n++] = c;
        if (dot || power) real = true;
        if (power && !is_digit(l->s[at + 1])) digits[n++] = l->s[++at];
    }
    k->kind = real ? K_FLOAT : K_INT;
    if (real) {
        double x = 0;
        if (!tpl_parse_float(digits, n, &x)) tpl_fail(l->b, LLM_ERR_FORMAT, "'%.*s' is no number", (int)n, digits);
        k->value = tpl_float(x);
    } else {
        int64_t x = 0;
        if (!tpl_parse_int(digits, n, base, &x)) tpl_fail(l->b, LLM_ERR_FORMAT, "'%.*s' is no integer of 64 bits", (int)n, digits);
        k->value = tpl_int(x);
    }
    move_to(l, at);
}

static void operator_token(lexer *l, tpl_token *k)
{
    static const char *const two[] = { "==", "!=", "<=", ">=", "//", "**" };

    k->kind = K_OP;
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (at_text(l, l->at, two[i])) {
            memcpy(k->op, two[i], 3);
            move_to(l, l->at + 2);
            return;
        }
    if (l->s[l->at] == '\0' || strchr("+-/*%~[](){}<>=.:|,", l->s[l->at]) == NULL)
        tpl_fail(l->b, LLM_ERR_FORMAT, "unexpected character '%c'", l->s[l->at]);
    k->op[0] = l->s[l->at], k->op[1] = '\0';
    move_to(l, l->at + 1);
}

static void next_token(lexer *l, tpl_token *k)
{
    char c = l->s[l->at];

    k->line = l->b->line, k->col = l->b->col;
    if (c == '"' || c == '\'') k->kind = K_STRING, k->value = string(l);
    else if (is_digit(c)) number(l, k);
    else if (is_word(c)) {
        size_t end = l->at;
        while (end < l->n && is_word(l->s[end])) end++;
        k->kind = K_NAME, k->value = tpl_str(l->s + l->at, end - l->at, TRUST_TEMPLATE);
        move_to(l, end);
    } else operator_token(l, k);
}

static void skip_space(lexer *l)
{
    size_t at = l->at;
    while (at < l->n && strchr(" \t\n\r\f\v", l->s[at]) && l->s[at]) at++;
    move_to(l, at);
}

/* The tokens up to the tag's end; *sign is the sign in front of it. */
static void tag_tokens(lexer *l, tpl_piece *p, const char *end, char *sign)
{
    size_t cap = 0;
    int open = 0;

    for (;;) {
        tpl_token k = { 0 };
        skip_space(l);
        if (l->at >= l->n) tpl_fail(l->b, LLM_ERR_FORMAT, "a tag without its end '%s'", end);
        *sign = strchr("+-", l->s[l->at]) && l->s[l->at] && at_text(l, l->at + 1, end) ? l->s[l->at] : '\0';
        k.line = l->b->line, k.col = l->b->col;
        if (open > 0 || !(*sign || at_text(l, l->at, end))) next_token(l, &k);
        if (p->n_token == cap) {
            tpl_token *more = tpl_array(l->b, cap = cap ? cap * 2 : 8, sizeof *more);
            if (p->n_token) memcpy(more, p->token, p->n_token * sizeof *more);
            p->token = more;
        }
        p->token[p->n_token++] = k;
        if (k.kind == K_END) return;
        if (k.kind == K_OP && strchr("([{", k.op[0])) open++;
        if (k.kind == K_OP && strchr(")]}", k.op[0]) && open > 0) open--;
    }
}

/* {% raw %} ... {% endraw %}: the place behind "endraw" inside its tag, or 0 where s is not the begin of such a tag. */
static size_t word_tag(const lexer *l, size_t at, const char *word, char *front, char *back)
{
    size_t n = strlen(word);

    if (!at_text(l, at, "{%")) return 0;
    at += 2, *front = *back = '\0';
    if (at < l->n && strchr("+-", l->s[at]) && l->s[at]) *front = l->s[at++];
    while (at < l->n && strchr(" \t\n\r", l->s[at]) && l->s[at]) at++;
    if (!at_text(l, at, word)) return 0;
    at += n;
    while (at < l->n && strchr(" \t\n\r", l->s[at]) && l->s[at]) at++;
    if (at < l->n && strchr("+-", l->s[at]) && l->s[at]) *back = l->s[at++];
    return at_text(l, at, "%}") ? at + 2 : 0;
}

static bool raw_block(lexer *l)
{
    char front, back;
    size_t begin = word_tag(l, l->at, "raw", &front, &back), end, behind = 0;

    if (begin == 0) return false;
    after_tag(l, begin, back, true);
    for (end = l->at; end < l->n && (behind = word_tag(l, end, "endraw", &front, &back)) == 0; end++) {}
    if (behind == 0) tpl_fail(l->b, LLM_ERR_FORMAT, "a raw block without {%% endraw %%}");
    add_text(l, l->s + l->at, text_before(l, end) - l->at);
    after_tag(l, behind, back, true);
    return true;
}

static void tag(lexer *l)
{
    char kind = l->s[l->at + 1], sign = '\0';
    tpl_piece *p;

    if (kind == '#') { comment(l); return; }
    if (kind == '%' && raw_block(l)) return;
    p = add_piece(l, kind == '{' ? PIECE_PRINT : PIECE_BLOCK);
    move_to(l, l->at + 2);
    if (l->at < l->n && (l->s[l->at] == '-' || l->s[l->at] == '+')) move_to(l, l->at + 1);
    tag_tokens(l, p, kind == '{' ? "}}" : "%}", &sign);
    after_tag(l, l->at + 2 + (sign != '\0'), sign, kind == '%');
}

/* A copy with \r\n and \r as \n, without one newline at the end. */
static size_t normalize(tpl_base *b, const char *text, size_t len, char **out)
{
    size_t n = 0;

    *out = tpl_alloc(b, len + 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r') {
            (*out)[n++] = '\n';
            if (i + 1 < len && text[i + 1] == '\n') i++;
        } else (*out)[n++] = text[i];
    }
    if (n > 0 && (*out)[n - 1] == '\n') n--;
    return n;
}

tpl_piece *tpl_lex(tpl_base *b, const char *text, size_t len)
{
    char *s;
    lexer l = { .b = b, .n = normalize(b, text, len, &s), .line = 1, .line_starts = true };

    l.s = s, l.last = &l.first;
    while (l.at < l.n) {
        size_t end = l.at;
        move_to(&l, l.at);
        while (end < l.n && !tag_begins(&l, end)) end++;
        if (end >= l.n) { add_text(&l, l.s + l.at, l.n - l.at); break; }
        add_text(&l, l.s + l.at, text_before(&l, end) - l.at);
        move_to(&l, end);
        tag(&l);
    }
    return l.first;
}
