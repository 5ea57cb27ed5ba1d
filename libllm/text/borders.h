/* borders.h - how early merging may reach across the border of a character: where never, a word is cut; where late, the character is taken as
 * one symbol from the start. See borders.c for why neither changes the result. */
#ifndef LLM_BORDERS_H
#define LLM_BORDERS_H
#include "bpe.h"
#include "unicode.h"

enum { BORDER_WINDOWS = 1 << 18, BORDER_NONE = 0xffff };

typedef struct { int32_t id; uint32_t rank; } whole_char;       /* rank UINT32_MAX: its bytes do not merge to one token */

/* Ranks are kept shifted right, in 16 bits. Looked at are borders between bytes p|q where q begins a character of several bytes, or p is not ASCII and q
 * is. edge has the lowest rank of the tokens that begin with p q or end with it; window, by hash, of those with o p q r s inside or
 * o p q r at their end. */
typedef struct {
    uint16_t *edge;                     /* [65536] by p << 8 | q */
    uint16_t *window;                   /* [BORDER_WINDOWS] */
    whole_char *whole;                  /* [65536] by code point: the token of a character, and the highest rank on the way to it, shifted */
    int shift;
} llm_borders;

void borders_free(llm_borders *b);
/* From a byte-level vocabulary and its merges. */
llm_status borders_init(llm_borders *b, const llm_bpe *t, llm_error *err);

static inline bool border_known(uint8_t p, uint8_t q) { return q >= 0xc2 || (q < 0x80 && p >= 0x80); }

static inline uint32_t border_hash(const uint8_t *s, bool ends)      /* of s[-2..1] at the end of a token, else of s[-2..2] */
{
    uint32_t w;

    memcpy(&w, s - 2, 4);
    return (ends ? w : w * 0x85ebca6bu + s[2] + 1) * 0x9e3779b1u >> 14;
}

static inline unsigned border_lower(unsigned a, unsigned b) { return a < b ? a : b; }

/* The lowest rank of a token that reaches across the border before byte k of the word s [n], 0 < k < n; BORDER_NONE: there is none. */
static inline unsigned border_at(const llm_borders *b, const uint8_t *s, size_t n, size_t k)
{
    unsigned low;

    if (!border_known(s[k - 1], s[k])) return 0;
    low = b->edge[s[k - 1] << 8 | s[k]];
    if (k < 2 || k + 1 >= n) return low;                /* a token across would begin or end right here */
    low = border_lower(low, b->window[border_hash(s + k, true)]);
    return k + 2 < n ? border_lower(low, b->window[border_hash(s + k, false)]) : low;
}

/* Appends the symbols of the character s [len] between two borders to w: its token, or its bytes. at: where it begins in w->text. */
void border_symbols(const llm_borders *b, const int32_t byte_id[256], const uint8_t *s, size_t len, uint32_t cp, unsigned border, size_t at, bpe_work *w);
#endif
