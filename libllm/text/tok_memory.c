/* tok_memory.c - what a tokenizer holds in memory, from the sizes of its tables. */
#include "tokenizer_parts.h"

static size_t vocab_memory(const llm_vocab *v)
{
    size_t sum = v->cap * (sizeof *v->off + sizeof *v->len + sizeof *v->type) + v->pool.cap;

    if (v->line) sum += v->n_line * sizeof *v->line;
    if (v->two) sum += 65536 * sizeof *v->two;
    if (v->filter) sum += VOCAB_FILTER_BITS / 8;
    return sum;
}

static size_t bpe_memory(const llm_bpe *b)
{
    size_t sum = 0, n = b->vocab ? (size_t)b->vocab->n + 1 : 0;

    if (b->rank) sum += n * sizeof *b->rank;
    if (b->first) sum += (n + 1) * sizeof *b->first + (b->first[n - 1] + 1) * (sizeof *b->cut + (b->order ? sizeof *b->order : 0));
    if (b->whole) sum += n;
    return sum;
}

static size_t unigram_memory(const llm_unigram *u, const llm_vocab *v)
{
    size_t sum = u->cap * sizeof *u->id;

    if (u->slot) sum += (u->mask + 1) * sizeof *u->slot;
    if (u->score) sum += ((size_t)v->n + 1) * sizeof *u->score;
    return sum;
}

size_t tokenizer_memory(const llm_tokenizer *t)
{
    size_t sum = sizeof *t + vocab_memory(&t->vocab) + bpe_memory(&t->bpe) + unigram_memory(&t->unigram, &t->vocab);

    if (t->classes) sum += sizeof *t->classes;
    sum += (t->added.cap + t->added_late.cap + t->own.cap) * sizeof(added_node);
    for (int i = 0; i < t->n_norm; i++) sum += t->norm[i].n_a + t->norm[i].n_b + 2;
    for (int i = 0; i < t->pre.n; i++) sum += t->pre.stage[i].n_literal;        /* compiled patterns are PCRE2's own affair */
    if (t->charsmap.unit) sum += t->charsmap.n_unit * sizeof *t->charsmap.unit;
    if (t->charsmap.text) sum += t->charsmap.n_text + 1;
    if (t->borders.edge) sum += 65536 * sizeof *t->borders.edge;
    if (t->borders.window) sum += BORDER_WINDOWS * sizeof *t->borders.window;
    if (t->borders.whole) sum += 65536 * sizeof *t->borders.whole;
    if (t->joins) sum += 8192;
    if (t->end) sum += (size_t)t->n_vocab / 8 + 1;
    return sum;
}
