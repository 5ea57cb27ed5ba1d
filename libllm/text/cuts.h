/* cuts.h - where a word can be cut before merging because no token reaches across. */
#ifndef LLM_CUTS_H
#define LLM_CUTS_H
#include "vocab.h"

enum { CUT_WINDOW_BITS = 1 << 20 };

/* Between bytes p|q: edge says whether any token begins with p q or ends with it; window, by hash, whether one has o p q r inside.
 * Kept for characters of three and four bytes only (q >= 0xe0), whose words are long and whose tokens are short. */
typedef struct { uint64_t *window; uint8_t *edge; } llm_cuts;      /* edge [8192] bits p << 8 | q */

void cuts_free(llm_cuts *c);
/* From the tokens of types (bit mask 1 << tok_type). */
llm_status cuts_init(llm_cuts *c, const llm_vocab *v, unsigned types, llm_error *err);

static inline uint32_t cut_hash(const char *s)          /* of s[-2..1] */
{
    uint32_t w;

    memcpy(&w, s - 2, 4);
    return w * 0x9e3779b1u >> 12;
}

/* May s [n] be cut before byte k, 0 < k < n? Only asked where s[k] >= 0xe0. */
static inline bool cut_at(const llm_cuts *c, const char *s, size_t n, size_t k)
{
    unsigned pair = (unsigned)(uint8_t)s[k - 1] << 8 | (uint8_t)s[k];
    uint32_t h;

    if (c->edge[pair >> 3] >> (pair & 7) & 1) return false;
    if (k < 2 || k + 1 >= n) return true;               /* a token over the border would begin or end right here */
    h = cut_hash(s + k);
    return !(c->window[h >> 6] >> (h & 63) & 1);
}
#endif
