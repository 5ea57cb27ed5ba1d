/* bpe.c - byte-pair merging (Sennrich et al., arXiv 1508.07909).
 *
 * Short words are merged by scanning for the lowest rank; long ones with a heap over a linked list, so that a word of a million
 * characters costs n log n. */
#include "bpe.h"
#include <assert.h>

enum { SHORT_WORD = 96, MAX_PROBES = 8192, MOST_SEEN = 8192 };

void bpe_free(llm_bpe *t)
{
    free(t->slot), free(t->filter), free(t->whole), free(t->rank);
    *t = (llm_bpe){ 0 };
}

llm_status bpe_init_text(llm_bpe *t, const llm_vocab *v, llm_error *err)
{
    t->vocab = v, t->by_text = true;
    if ((t->whole = calloc((size_t)v->n + 1, 1)) == NULL) return llm_fail_memory(err, (size_t)v->n, "a tokenizer");
    return LLM_OK;
}

llm_status bpe_init_pairs(llm_bpe *t, const llm_vocab *v, size_t n_pair, llm_error *err)
{
    size_t size = 16;

    while (size < 2 * n_pair) size *= 2;
    t->vocab = v, t->mask = size - 1;
    t->slot = malloc(size * sizeof *t->slot);
    t->filter = calloc(BPE_FILTER_BITS / 64, sizeof *t->filter);
    t->whole = calloc((size_t)v->n + 1, 1);
    if (t->slot == NULL || t->filter == NULL || t->whole == NULL) return llm_fail_memory(err, size * sizeof *t->slot, "the merge table");
    memset(t->slot, 0xff, size * sizeof *t->slot);
    return LLM_OK;
}

static llm_status grow(llm_bpe *t, llm_error *err)
{
    size_t size = 2 * (t->mask + 1), old_mask = t->mask;
    bpe_pair *slot = malloc(size * sizeof *slot), *old = t->slot;

    if (slot == NULL) return llm_fail_memory(err, size * sizeof *slot, "the merge table");
    memset(slot, 0xff, size * sizeof *slot);
    t->slot = slot, t->mask = size - 1;
    for (size_t k = 0; k <= old_mask; k++) {
        size_t i;

        if (old[k].a < 0) continue;
        for (i = bpe_hash(old[k].a, old[k].b) >> 20 & t->mask; slot[i].a >= 0; i = (i + 1) & t->mask) { }
        slot[i] = old[k];
    }
    free(old);
    return LLM_OK;
}

llm_status bpe_add(llm_bpe *t, int32_t a, int32_t b, uint32_t rank, int32_t id, llm_error *err)
{
    uint64_t h = bpe_hash(a, b);
    size_t i, probes = 0;
    llm_status st;

    if (2 * t->n > t->mask && (st = grow(t, err)) != LLM_OK) return st;
    for (i = h >> 20 & t->mask; t->slot[i].a >= 0; i = (i + 1) & t->mask) {
        if (t->slot[i].a == a && t->slot[i].b == b) {
            t->slot[i].rank = rank, t->slot[i].id = id;
            return LLM_OK;
        }
        if (++probes > MAX_PROBES)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %d merges share one place of the index; "
                            "no real vocabulary does", MAX_PROBES);
    }
    t->slot[i] = (bpe_pair){ a, b, rank, id };
    t->filter[h >> 49] |= (uint64_t)1 << (h >> 43 & 63);
    t->n++;
    return LLM_OK;
}

void bpe_work_free(bpe_work *w)
{
    free(w->seen), free(w->id), free(w->at), free(w->rank), free(w->prev), free(w->next), free(w->heap);
    *w = (bpe_work){ 0 };
}

bool bpe_work_room(bpe_work *w, size_t n)
{
    size_t cap = w->cap ? w->cap : 64;
    void *p;

    if (n <= w->cap) return true;
    if (n > INT32_MAX / 4) return false;
    while (cap < n) cap *= 2;
    if ((p = realloc(w->id, cap * sizeof *w->id)) == NULL) return false;
    w->id = p;
    if ((p = realloc(w->at, cap * sizeof *w->at)) == NULL) return false;
    w->at = p, w->cap = cap;
    return true;
}

bool bpe_work_remember(bpe_work *w, size_t n)
{
    size_t size = 64;

    while (size < n && size < MOST_SEEN) size *= 2;
    if ((w->seen = aligned_alloc(64, size * sizeof *w->seen)) == NULL) return false;
    memset(w->seen, 0xff, size * sizeof *w->seen);
    w->seen_mask = size - 1;
    return true;
}

static bool long_room(bpe_work *w)
{
    void *p;

    if (w->cap_long >= w->cap) return true;
    w->cap_long = 0;
    if ((p = realloc(w->rank, w->cap * sizeof *w->rank)) == NULL) return false;
    w->rank = p;
    if ((p = realloc(w->prev, w->cap * sizeof *w->prev)) == NULL) return false;
    w->prev = p;
    if ((p = realloc(w->next, w->cap * sizeof *w->next)) == NULL) return false;
    w->next = p;
    if ((p = realloc(w->heap, 2 * w->cap * sizeof *w->heap)) == NULL) return false;
    w->heap = p, w->cap_long = w->cap;
    return true;
}

/* What symbols a and b become, the text from..to of the word: their rank, UINT32_MAX where they do not merge. */
static inline uint32_t join(const llm_bpe *t, bool by_text, int32_t a, int32_t b, const char *text, size_t len, int32_t without, int32_t *to)
{
    if (by_text) {
        *to = vocab_find_padded(t->vocab, text, len);
        if (*to < 0 || *to == without) return UINT32_MAX;
        return t->rank ? t->rank[*to] : (uint32_t)*to;
    } else {
        uint64_t h = bpe_hash(a, b);

        if (!(t->filter[h >> 49] >> (h >> 43 & 63) & 1) || (a | b) < 0) return UINT32_MAX;
        for (size_t i = h >> 20 & t->mask; t->slot[i].a >= 0; i = (i + 1) & t->mask) {
            if (t->slot[i].a != a || t->slot[i].b != b) continue;
            *to = t->slot[i].id;
            return *to == without ? UINT32_MAX : t->slot[i].rank;
        }
        return UINT32_MAX;
    }
}

static inline bpe_pair *seen_at(const bpe_work *w, int32_t a, int32_t b) { return &w->seen[bpe_hash(a, b) >> 20 & w->seen_mask]; }

/* The same, looked up among the pairs of this text first: symbols are the same text wherever their ids are the same. */
static inline uint32_t join_seen(const llm_bpe *t, bool by_text, bpe_work *w, int32_t a, int32_t b, const char *text, size_t len,
                                 int32_t without, int32_t *to)
{
    bpe_pair *p;

    w->n_asked++;
    if (w->seen == NULL || (a | b) < 0) return join(t, by_text, a, b, text, len, without, to);
    p = seen_at(w, a, b);
    if (p->a != a || p->b != b) {
        int32_t id = -1;
        uint32_t rank = join(t, by_text, a, b, text, len, without, &id);
        *p = (bpe_pair){ a, b, rank, id };
    }
    *to = p->id;
    return p->rank;
}

/* A word of up to SHORT_WORD symbols. A symbol keeps its place; what it becomes with the next one is in to, and key says how early. */
typedef struct {
    uint64_t key[SHORT_WORD + 4];                           /* rank << 32 | place, UINT64_MAX: no merge; four at a time are looked at */
    int32_t id[SHORT_WORD], to[SHORT_WORD];
    uint32_t at[SHORT_WORD + 1];
    uint8_t prev[SHORT_WORD + 1], next[SHORT_WORD + 1];     /* of the first: 0; of the last: n */
    char copy[4 * SHORT_WORD + 8];                          /* the text, with room to read past its end */
    const char *text;
    size_t n;
} short_word;

static inline uint64_t lesser(uint64_t a, uint64_t b) { return a < b ? a : b; }

static inline uint64_t least_key(const short_word *x)
{
    uint64_t a = x->key[0], b = x->key[1], c = x->key[2], d = x->key[3];

    for (size_t i = 4; i < x->n; i += 4)
        a = lesser(a, x->key[i]), b = lesser(b, x->key[i + 1]), c = lesser(c, x->key[i + 2]), d = lesser(d, x->key[i + 3]);
    return lesser(lesser(a, b), lesser(c, d));
}

static inline void set_key(const llm_bpe *t, bool by_text, bpe_work *w, short_word *x, size_t i, int32_t without)
{
    size_t j = x->next[i];
    uint32_t rank = UINT32_MAX;

    if (j < x->n) rank = join_seen(t, by_text, w, x->id[i], x->id[j], x->text + x->at[i], x->at[x->next[j]] - x->at[i], without, &x->to[i]);
    x->key[i] = rank == UINT32_MAX ? UINT64_MAX : (uint64_t)rank << 32 | i;
}

#define EIGHT(k) (k), (k) + 1, (k) + 2, (k) + 3, (k) + 4, (k) + 5, (k) + 6, (k) + 7
/* Those before and after places 0, 1, 2 and on. */
static const uint8_t PLACES[SHORT_WORD + 9] = { 0, EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24), EIGHT(32), EIGHT(40), EIGHT(48), EIGHT(56), EIGHT(64),
                                                EIGHT(72), EIGHT(80), EIGHT(88), EIGHT(96) };

/* Returns the highest rank of the merges. */
static inline uint32_t merge_short(const llm_bpe *t, bool by_text, bpe_work *w, int32_t without)
{
    short_word x;
    uint32_t highest = 0;
    size_t n = w->n, out = 0;

    x.n = n, x.text = w->text;
    memcpy(x.id, w->id, n * sizeof *x.id), memcpy(x.at, w->at, n * sizeof *x.at);
    x.at[n] = (uint32_t)w->len;
    if (by_text) memcpy(x.copy, x.text, w->len), memset(x.copy + w->len, 0, 8), x.text = x.copy;
    memcpy(x.prev, PLACES, n + 1), memcpy(x.next, PLACES + 2, n);
    for (size_t i = n; i < n + 4; i++) x.key[i] = UINT64_MAX;
    for (size_t i = 0; w->seen && i + 1 < n; i++) __builtin_prefetch(seen_at(w, x.id[i], x.id[i + 1]));
    for (size_t i = 0; i < n; i++) set_key(t, by_text, w, &x, i, without);
    for (uint64_t best; (best = least_key(&x)) != UINT64_MAX;) {
        size_t i = (uint32_t)best, j = x.next[i];

        if (best >> 32 > highest) highest = (uint32_t)(best >> 32);
        x.id[i] = x.to[i], x.key[j] = UINT64_MAX;
        x.next[i] = x.next[j], x.prev[x.next[j]] = (uint8_t)i;
        if (i > 0) set_key(t, by_text, w, &x, x.prev[i], without);
        set_key(t, by_text, w, &x, i, without);
    }
    for (size_t i = 0; i < n; i = x.next[i]) w->id[out] = x.id[i], w->at[out++] = x.at[i];
    w->n = out;
    return highest;
}

/* A heap of rank << 32 | position, smallest on top. */
static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t x = heap[i];

    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && heap[c + 1] < heap[c]) c++;
        if (x <= heap[c]) break;
        heap[i] = heap[c];
    }
    heap[i] = x;
}

static void push(uint64_t *heap, size_t *n, uint64_t x)
{
    size_t i = (*n)++;

    for (; i > 0 && heap[(i - 1) / 2] > x; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

/* Rank of the symbol at i and the one behind it. */
static uint32_t rank_at(const llm_bpe *t, bpe_work *w, int32_t i, int32_t without, int32_t *to)
{
    int32_t j = w->next[i];
    size_t end;

    if (j < 0) return UINT32_MAX;
    end = w->next[j] < 0 ? w->len : w->at[w->next[j]];
    if (t->by_text && end - w->at[i] <= 8) {                /* eight bytes need not be there */
        char copy[8] = { 0 };
        memcpy(copy, w->text + w->at[i], end - w->at[i]);
        return join_seen(t, true, w, w->id[i], w->id[j], copy, end - w->at[i], without, to);
    }
    return join_seen(t, t->by_text, w, w->id[i], w->id[j], w->text + w->at[i], end - w->at[i], without, to);
}

/* Each merge takes one entry off and puts at most two on, so 2n places are enough. An entry counts only while its rank is still
 * that of the pair at its position. */
static void merge_long(const llm_bpe *t, bpe_work *w, int32_t without)
{
    size_t n_heap = 0, out = 0;
    int32_t n = (int32_t)w->n, to;

    for (int32_t i = 0; i < n; i++) w->prev[i] = i - 1, w->next[i] = i + 1 < n ? i + 1 : -1;
    for (int32_t i = 0; i < n; i++) {
        w->rank[i] = rank_at(t, w, i, without, &to);
        if (w->rank[i] != UINT32_MAX) w->heap[n_heap++] = (uint64_t)w->rank[i] << 32 | (uint32_t)i;
    }
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(w->heap, n_heap, i);
    while (n_heap > 0) {
        uint32_t rank = (uint32_t)(w->heap[0] >> 32);
        int32_t i = (int32_t)(uint32_t)w->heap[0], j, side[2];

        w->heap[0] = w->heap[--n_heap];
        if (n_heap > 0) sift_down(w->heap, n_heap, 0);
        if (w->rank[i] != rank) continue;
        rank_at(t, w, i, without, &to);
        j = w->next[i];
        w->id[i] = to;
        w->rank[j] = UINT32_MAX;
        w->next[i] = w->next[j];
        if (w->next[j] >= 0) w->prev[w->next[j]] = i;
        side[0] = w->prev[i], side[1] = i;
        for (int k = 0; k < 2; k++) {
            int32_t p = side[k];

            if (p < 0) continue;
            w->rank[p] = rank_at(t, w, p, without, &to);
            if (w->rank[p] != UINT32_MAX) push(w->heap, &n_heap, (uint64_t)w->rank[p] << 32 | (uint32_t)p);
        }
    }
    for (int32_t i = 0; i >= 0; i = w->next[i]) w->id[out] = w->id[i], w->at[out++] = w->at[i];
    w->n = out;
}

bool bpe_merge(const llm_bpe *t, bpe_work *w, int32_t without)
{
    if (w->n == 0) return true;
    if (w->n <= SHORT_WORD) {
        if (t->by_text) merge_short(t, true, w, without);
        else merge_short(t, false, w, without);
        return true;
    }
    if (!long_room(w)) return false;
    merge_long(t, w, without);
    return true;
}

uint32_t bpe_merge_ranked(const llm_bpe *t, bpe_work *w)
{
    assert(w->n <= SHORT_WORD);
    return t->by_text ? merge_short(t, true, w, -1) : merge_short(t, false, w, -1);
}
