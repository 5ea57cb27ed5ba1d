/* bpe.h - byte-pair merging over the symbols of a word; the core of byte-level BPE, of SentencePiece BPE and of BPE by merges.
 *
 * What two neighbours become is found by their joined text, which is a token or not. How early: its rank is its id (tiktoken), or follows from its
 * score (SentencePiece), or from a list of merges (tokenizer.json, GGUF), and then they merge only where the list cuts the token between them. */
#ifndef LLM_BPE_H
#define LLM_BPE_H
#include "vocab.h"

typedef struct { int32_t a, b; uint32_t rank; int32_t id; } bpe_pair;      /* a -1: empty slot */

/* A list of merges in order, while it is read: the token that each makes, and the bytes of its first half. All zero to begin with. */
typedef struct { uint32_t *to; uint16_t *cut; size_t n, cap; } bpe_list;

typedef struct {
    const llm_vocab *vocab;             /* borrowed */
    uint32_t *rank;                     /* [vocab->n] by id, where there is no list; NULL: the id itself */
    uint32_t *first;                    /* [vocab->n + 1] the merges to token id are cut[first[id]] up to cut[first[id + 1]]; NULL: no list */
    uint16_t *cut;                      /* [first[vocab->n]] bytes of the first half; 0: a later merge of the same two counts */
    uint32_t *order;                    /* rank of each; NULL: its place in cut */
    size_t n;                           /* merges that count */
    uint8_t *whole;                     /* [vocab->n] does the text of a token, alone, merge to it? 0: not tried yet, 1: yes, 2: no.
                                         * Read and written atomically; it only saves work */
} llm_bpe;

void bpe_free(llm_bpe *t);
llm_status bpe_init(llm_bpe *t, const llm_vocab *v, llm_error *err);          /* t->rank is the caller's to fill; freed with t */
void bpe_list_free(bpe_list *l);
/* One more merge; n: room to make when the first comes. */
llm_status bpe_list_add(bpe_list *l, int32_t to, size_t cut, size_t n, llm_error *err);
/* Takes the list over, which is empty then. Two that are merged twice have the last rank (as in Hugging Face tokenizers). */
llm_status bpe_set_list(llm_bpe *t, bpe_list *l, llm_error *err);
/* Merge i of those to token id, of a vocabulary with a list; false: another counts for it, or it is never made. */
bool bpe_listed(const llm_bpe *t, int32_t id, uint32_t i, bpe_pair *out);

static inline uint32_t bpe_order(const llm_bpe *t, uint32_t i) { return t->order ? t->order[i] : i; }

static inline uint64_t bpe_hash(int32_t a, int32_t b)
{
    uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u;

    return (h ^ h >> 32) * 0xd6e8feb86659fd93u;
}

/* A word and the room that merging it needs, kept between words. All zero to begin with. */
typedef struct {
    const char *text;                   /* [len] the word */
    size_t len;
    int32_t *id;                        /* [n] symbols of the word; -1: text that is no token */
    uint32_t *at;                       /* [n] where each begins in text */
    size_t n, cap;
    bpe_pair *seen;                     /* [seen_mask + 1] what pairs of this text came to, each in its one place; NULL: not kept */
    size_t seen_mask;
    size_t n_asked;                     /* how often a pair was asked for: the work that was done */
    uint32_t *rank;                     /* [cap] and the rest: work space of long words */
    int32_t *prev, *next;
    uint64_t *heap;                     /* [2 cap] */
    size_t cap_long;
} bpe_work;

void bpe_work_free(bpe_work *w);
bool bpe_work_room(bpe_work *w, size_t n);      /* n symbols; false: out of memory */
/* Keeps what pairs came to, about n of them, so that the large tables are asked once; only where `without` is always -1. */
bool bpe_work_remember(bpe_work *w, size_t n);
/* Merges the symbols until no pair is left: lowest rank first, leftmost among equals. O(n log n). Without: a token that is not made
 * (-1: all are). False: out of memory. */
bool bpe_merge(const llm_bpe *t, bpe_work *w, int32_t without);
/* The same for a few symbols; returns the highest rank of the merges that were made, 0 where there was none. */
uint32_t bpe_merge_ranked(const llm_bpe *t, bpe_work *w);

static inline int bpe_whole(const llm_bpe *t, int32_t id) { return __atomic_load_n(&t->whole[id], __ATOMIC_RELAXED); }
static inline void bpe_set_whole(const llm_bpe *t, int32_t id, bool yes)
{
    __atomic_store_n(&t->whole[id], (uint8_t)(yes ? 1 : 2), __ATOMIC_RELAXED);
}
#endif
