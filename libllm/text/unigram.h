/* unigram.h - the unigram model: the cheapest way to cut a text into pieces (Kudo, arXiv 1804.10959). */
#ifndef LLM_UNIGRAM_H
#define LLM_UNIGRAM_H
#include "vocab.h"

typedef struct { uint64_t key; int32_t node; } trie_slot;           /* key: node << 8 | byte, plus 1; 0: empty */
typedef struct {
    trie_slot *slot;
    size_t mask, n_node, n_edge;
    int32_t *id;                        /* [n_node] piece that ends here or -1 */
    size_t cap;
    double *score;                      /* [n] by id */
    double unk_score;
    bool narrow;                        /* path sums are floats, as SentencePiece has them; Hugging Face's are doubles */
} llm_unigram;

typedef struct { size_t *from; int32_t *id; double *best; size_t cap; } unigram_work;

void unigram_free(llm_unigram *u);
/* Pieces of types NORMAL and USER of v. score [v->n]. escaped: blanks in pieces stand for U+2581. */
llm_status unigram_init(llm_unigram *u, const llm_vocab *v, const double *score, bool narrow, bool escaped, llm_error *err);
void unigram_work_free(unigram_work *w);
/* Cuts s [n] into pieces in order: w->from[k], w->id[k] for k in *first..n are where each begins and its id (-1: unknown
 * character). False: out of memory. */
bool unigram_cut(const llm_unigram *u, const char *s, size_t n, unigram_work *w, size_t *first);
#endif
