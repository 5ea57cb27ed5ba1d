/* unigram.c - Viterbi over a trie of pieces, with SentencePiece's arithmetic (src/unigram_model.cc, EncodeOptimized): a character that
 * is no piece costs the lowest score less 10; a user-defined piece costs less than any other cut. Sums are floats there: in texts of ten
 * thousand pieces two cuts may differ by less than a float can tell, and which one is taken then depends on the compiler that built the package. */
#include "unigram.h"
#include "unicode.h"
#include <math.h>

enum { MAX_PROBES = 8192 };

void unigram_free(llm_unigram *u)
{
    free(u->slot), free(u->id), free(u->score);
    *u = (llm_unigram){ 0 };
}

void unigram_work_free(unigram_work *w)
{
    free(w->from), free(w->id), free(w->best);
    *w = (unigram_work){ 0 };
}

static size_t home(const llm_unigram *u, uint64_t key) { return (size_t)(vocab_mix(key) * 0xd6e8feb86659fd93u >> 24) & u->mask; }

static int32_t step(const llm_unigram *u, int32_t node, uint8_t byte)
{
    uint64_t key = ((uint64_t)node << 8 | byte) + 1;

    for (size_t i = home(u, key); u->slot[i].key; i = (i + 1) & u->mask)
        if (u->slot[i].key == key) return u->slot[i].node;
    return -1;
}

static llm_status grow(llm_unigram *u, llm_error *err)
{
    size_t size = u->mask ? 2 * (u->mask + 1) : 1024, old = u->slot ? u->mask + 1 : 0;
    trie_slot *slot = calloc(size, sizeof *slot), *from = u->slot;

    if (slot == NULL) return llm_fail_memory(err, size * sizeof *slot, "the piece trie");
    u->slot = slot, u->mask = size - 1;
    for (size_t k = 0; k < old; k++) {
        size_t i;

        if (from[k].key == 0) continue;
        for (i = home(u, from[k].key); slot[i].key; i = (i + 1) & u->mask) { }
        slot[i] = from[k];
    }
    free(from);
    return LLM_OK;
}

static llm_status new_node(llm_unigram *u, int32_t *out, llm_error *err)
{
    if (u->n_node == u->cap) {
        size_t cap = u->cap ? 2 * u->cap : 1024;
        int32_t *p = cap > INT32_MAX / 2 ? NULL : realloc(u->id, cap * sizeof *p);

        if (p == NULL) return llm_fail_memory(err, cap * sizeof *p, "the piece trie");
        u->id = p, u->cap = cap;
    }
    u->id[u->n_node] = -1;
    *out = (int32_t)u->n_node++;
    return LLM_OK;
}

static llm_status put(llm_unigram *u, const char *s, size_t n, int32_t id, llm_error *err)
{
    int32_t at = 0;
    llm_status st;

    for (size_t k = 0; k < n; k++) {
        uint64_t key = ((uint64_t)at << 8 | (uint8_t)s[k]) + 1;
        size_t i, probes = 0;
        int32_t next = step(u, at, (uint8_t)s[k]);

        if (next >= 0) { at = next; continue; }
        if (2 * u->n_edge > u->mask && (st = grow(u, err)) != LLM_OK) return st;
        if ((st = new_node(u, &next, err)) != LLM_OK) return st;
        for (i = home(u, key); u->slot[i].key; i = (i + 1) & u->mask)
            if (++probes > MAX_PROBES) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: the piece trie has too many collisions");
        u->slot[i] = (trie_slot){ key, next };
        u->n_edge++;
        at = next;
    }
    u->id[at] = id;
    return LLM_OK;
}

/* Bytes of a piece as the file spells it: a blank is U+2581 there. */
static size_t spelled_bytes(const char *s, size_t n, bool escaped)
{
    size_t count = n;

    for (size_t i = 0; escaped && i < n; i++) count += s[i] == ' ' ? 2 : 0;
    return count;
}

llm_status unigram_init(llm_unigram *u, const llm_vocab *v, const double *score, bool narrow, bool escaped, llm_error *err)
{
    double min = INFINITY, max = -INFINITY;
    int32_t root;
    llm_status st;

    u->narrow = narrow;
    if ((u->score = malloc(((size_t)v->n + 1) * sizeof *u->score)) == NULL) return llm_fail_memory(err, (size_t)v->n * 8, "piece scores");
    if ((st = grow(u, err)) != LLM_OK || (st = new_node(u, &root, err)) != LLM_OK) return st;
    for (int i = 0; i < v->n; i++) {
        u->score[i] = score[i];
        if (v->type[i] != TOK_NORMAL) continue;
        if (score[i] < min) min = score[i];
        if (score[i] > max) max = score[i];
    }
    if (min > max) min = max = 0;
    u->unk_score = narrow ? (double)((float)min - 10.0f) : min - 10;
    for (int i = 0; i < v->n; i++) {
        size_t len;
        const char *s = vocab_bytes(v, i, &len);

        if ((v->type[i] != TOK_NORMAL && v->type[i] != TOK_USER) || len == 0) continue;
        if (v->type[i] == TOK_USER) u->score[i] = (double)((float)spelled_bytes(s, len, escaped) * (float)max) - 0.1;
        if ((st = put(u, s, len, i, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}

static bool room(unigram_work *w, size_t n)
{
    void *p;

    if (n <= w->cap) return true;
    if (n > SIZE_MAX / 32) return false;
    w->cap = 0;
    if ((p = realloc(w->from, n * sizeof *w->from)) == NULL) return false;
    w->from = p;
    if ((p = realloc(w->id, n * sizeof *w->id)) == NULL) return false;
    w->id = p;
    if ((p = realloc(w->best, n * sizeof *w->best)) == NULL) return false;
    w->best = p, w->cap = n;
    return true;
}

/* from[i], id[i], best[i]: the cheapest path to byte i of the text; from == SIZE_MAX: none yet. */
static void relax(const llm_unigram *u, unigram_work *w, size_t from, size_t to, int32_t id, double score)
{
    double sum = u->narrow ? (double)((float)score + (float)w->best[from]) : score + w->best[from];

    if (w->from[to] != SIZE_MAX && sum <= w->best[to]) return;
    w->from[to] = from, w->id[to] = id, w->best[to] = u->narrow ? (double)(float)sum : sum;
}

bool unigram_cut(const llm_unigram *u, const char *s, size_t n, unigram_work *w, size_t *first)
{
    size_t k = 0;

    if (!room(w, n + 1)) return false;
    for (size_t i = 0; i <= n; i++) w->from[i] = SIZE_MAX;
    w->from[0] = 0, w->best[0] = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = (size_t)utf8_decode((const uint8_t *)s + i, (const uint8_t *)s + n, &cp);
        bool single = false;
        int32_t at = 0;

        for (size_t j = i; j < n && (at = step(u, at, (uint8_t)s[j])) >= 0; j++) {
            if (u->id[at] < 0) continue;
            relax(u, w, i, j + 1, u->id[at], u->score[u->id[at]]);
            single |= j + 1 - i == len;
        }
        if (!single) relax(u, w, i, i + len, -1, u->unk_score);
        i += len;
    }
    for (size_t i = n; i > 0; k++) {                        /* the arrays are free behind i: the pieces go there, last one last */
        size_t from = w->from[i];
        int32_t id = w->id[i];

        w->from[n - k] = from, w->id[n - k] = id;
        i = from;
    }
    *first = n + 1 - k;
    return true;
}
