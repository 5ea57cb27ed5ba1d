/* bpe.c - byte-pair merging (Sennrich et al., arXiv 1508.07909).
 *
 * Short words are merged by scanning for the lowest rank; long ones with a heap over a linked list, so that a word of a million
 * characters costs n log n. */
#include "bpe.h"

enum { SHORT_WORD = 96, MAX_PROBES = 8192 };

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
    free(w->id), free(w->at), free(w->rank), free(w->prev), free(w->next), free(w->heap);
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

static inline void merge_short(const llm_bpe *t, bool by_text, bpe_work *w, int32_t without)
{
    uint32_t rank[SHORT_WORD], at[SHORT_WORD + 2];
    char copy[4 * SHORT_WORD + 8];                          /* the text, with room to read past its end */
    const char *text = w->text;
    int32_t to[SHORT_WORD] = { 0 }, id[SHORT_WORD + 1];
    size_t n = w->n;

    memcpy(id, w->id, n * sizeof *id), memcpy(at, w->at, n * sizeof *at);
    at[n] = (uint32_t)w->len;
    if (by_text) memcpy(copy, text, w->len), memset(copy + w->len, 0, 8), text = copy;
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = join(t, by_text, id[i], id[i + 1], text + at[i], at[i + 2] - at[i], without, &to[i]);
    while (n > 1) {
        uint32_t best = UINT32_MAX;
        size_t k = 0;

        for (size_t i = 0; i + 1 < n; i++)
            if (rank[i] < best) best = rank[i], k = i;
        if (best == UINT32_MAX) break;
        id[k] = to[k];
        n--;
        for (size_t i = k + 1; i < n; i++) id[i] = id[i + 1], at[i] = at[i + 1];
        at[n] = at[n + 1];
        for (size_t i = k + 1; i + 1 < n; i++) rank[i] = rank[i + 1], to[i] = to[i + 1];
        if (k > 0) rank[k - 1] = join(t, by_text, id[k - 1], id[k], text + at[k - 1], at[k + 1] - at[k - 1], without, &to[k - 1]);
        if (k + 1 < n) rank[k] = join(t, by_text, id[k], id[k + 1], text + at[k], at[k + 2] - at[k], without, &to[k]);
    }
    memcpy(w->id, id, n * sizeof *id), memcpy(w->at, at, n * sizeof *at);
    w->n = n;
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
static uint32_t rank_at(const llm_bpe *t, const bpe_work *w, int32_t i, int32_t without, int32_t *to)
{
    int32_t j = w->next[i];
    size_t end;

    if (j < 0) return UINT32_MAX;
    end = w->next[j] < 0 ? w->len : w->at[w->next[j]];
    if (t->by_text && end - w->at[i] <= 8) {                /* eight bytes need not be there */
        char copy[8] = { 0 };
        memcpy(copy, w->text + w->at[i], end - w->at[i]);
        return join(t, true, 0, 0, copy, end - w->at[i], without, to);
    }
    return join(t, t->by_text, w->id[i], w->id[j], w->text + w->at[i], end - w->at[i], without, to);
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
