/* bpe.h - byte-pair merging over symbol ids; the core of byte-level BPE, of SentencePiece BPE and of BPE by merges.
 *
 * Everything is one table: pair of symbols -> rank and the symbol they become. Tiktoken ranks and SentencePiece
 * scores are turned into it when the vocabulary is loaded. */
#ifndef LLM_BPE_H
#define LLM_BPE_H
#include "vocab.h"

typedef struct { int32_t a, b; uint32_t rank; int32_t id; } bpe_pair;      /* a -1: empty slot */

typedef struct {
    bpe_pair *slot;                     /* [mask + 1] open addressing */
    size_t mask, n;
    size_t n_symbol;                    /* ids below it may stand in pairs: tokens, and symbols that are no tokens */
    int64_t *formed;                    /* [n_symbol] rank that makes the symbol; -1: it is not made by merging */
    int32_t *left, *right;              /* [n_symbol] the pair it is made of */
    uint8_t *whole;                     /* [n_symbol] 1: its own text, alone, merges to it */
    bool repeated;                      /* a pair was given twice */
} llm_bpe;

void bpe_free(llm_bpe *t);
/* n_pair: room to make; the table grows. Every symbol starts as not made by merging and not whole;
 * the caller marks those that text starts as (bytes, characters) in whole before it adds pairs. */
llm_status bpe_init(llm_bpe *t, size_t n_symbol, size_t n_pair, llm_error *err);
/* a b -> id at rank; ranks must not decrease from call to call. A pair given twice has the last rank. */
llm_status bpe_add(llm_bpe *t, int32_t a, int32_t b, uint32_t rank, int32_t id, llm_error *err);
/* Adds the pairs that make token id at this rank: the one its own text merges to where there is such a pair, else every way
 * to cut it into two symbols. chars: cut between UTF-8 characters only. tied: other tokens
 * have the same rank. Single symbols are marked whole. */
llm_status bpe_learn(llm_bpe *t, const llm_vocab *v, int32_t id, uint32_t rank, bool chars, bool tied, llm_error *err);
/* Call when all pairs are in. */
void bpe_finish(llm_bpe *t);

static inline const bpe_pair *bpe_find(const llm_bpe *t, int32_t a, int32_t b)
{
    uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u;

    for (size_t i = (size_t)(h ^ h >> 32) * 0xd6e8feb86659fd93u >> 20 & t->mask; t->slot[i].a >= 0; i = (i + 1) & t->mask)
        if (t->slot[i].a == a && t->slot[i].b == b) return &t->slot[i];
    return NULL;
}

/* Room that merging needs, kept between words. All zero to begin with. */
typedef struct {
    int32_t *id;                        /* symbols of the word; -1: unknown, never merges */
    uint32_t *at;                       /* where each begins in the word */
    size_t n, cap;
    uint32_t *rank;                     /* [cap] and the rest: work space of long words */
    int32_t *prev, *next;
    uint64_t *heap;                     /* [2 cap] */
    size_t cap_long;
} bpe_work;

void bpe_work_free(bpe_work *w);
bool bpe_work_room(bpe_work *w, size_t n);      /* n symbols; false: out of memory */
/* Merges w->id [w->n] until no pair is left: lowest rank first, leftmost among equals. O(n log n). False: out of memory. */
bool bpe_merge(const llm_bpe *t, bpe_work *w);
#endif
