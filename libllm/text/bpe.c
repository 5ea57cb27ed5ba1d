/* bpe.c - byte-pair merging (Sennrich et al., arXiv 1508.07909).
 *
 * Short words are merged by scanning for the lowest rank; long ones with a heap over a linked list, so that a word of a million
 * characters costs n log n. */
#include "bpe.h"
#include <assert.h>

enum { SHORT_WORD = 96, MOST_SEEN = 8192 };

void bpe_free(llm_bpe *t)
{
    free(t->first), free(t->cut), free(t->order), free(t->whole), free(t->rank);
    *t = (llm_bpe){ 0 };
}

llm_status bpe_init(llm_bpe *t, const llm_vocab *v, llm_error *err)
{
    t->vocab = v;
    if ((t->whole = calloc((size_t)v->n + 1, 1)) == NULL) return llm_fail_memory(err, (size_t)v->n, "a tokenizer");
    return LLM_OK;
}

/* ---- lists of merges ------------------------------------------------------ */

void bpe_list_free(bpe_list *l)
{
    free(l->to), free(l->cut);
    *l = (bpe_list){ 0 };
}

llm_status bpe_list_add(bpe_list *l, int32_t to, size_t cut, size_t n, llm_error *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : n ? n : 1;
        void *p, *q;

        if (cap > UINT32_MAX / 2) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %u merges", UINT32_MAX / 2);
        if ((p = realloc(l->to, cap * sizeof *l->to)) != NULL) l->to = p;
        if ((q = realloc(l->cut, cap * sizeof *l->cut)) != NULL) l->cut = q;
        if (p == NULL || q == NULL) return llm_fail_memory(err, cap * sizeof *l->to, "the merges");
        l->cap = cap;
    }
    l->to[l->n] = (uint32_t)to, l->cut[l->n++] = (uint16_t)cut;
    return LLM_OK;
}

static bool in_order(const bpe_list *l)
{
    for (size_t i = 1; i < l->n; i++) if (l->to[i] < l->to[i - 1]) return false;
    return true;
}

/* Sorts the list by token, the order of merges kept in t->order. t->first [n + 1] says where each token's begin, and still does afterwards. */
static bool sort_list(llm_bpe *t, bpe_list *l, size_t n)
{
    uint16_t *cut = malloc((l->n + 1) * sizeof *cut);

    if (cut == NULL || (t->order = malloc((l->n + 1) * sizeof *t->order)) == NULL) return free(cut), false;
    for (size_t i = 0; i < l->n; i++) {
        uint32_t k = t->first[l->to[i]]++;
        cut[k] = l->cut[i], t->order[k] = (uint32_t)i;
    }
    memmove(t->first + 1, t->first, n * sizeof *t->first);
    t->first[0] = 0;
    free(l->cut);
    l->cut = cut;
    return true;
}

/* Of two merges that cut a token at the same place the later one counts. last [65536]: where a cut was met last, and 1; all zero. */
static void drop_repeated(llm_bpe *t, size_t n, uint32_t *last)
{
    for (size_t id = 0; id < n; id++) {
        uint32_t begin = t->first[id], end = t->first[id + 1];

        for (uint32_t i = begin; end - begin > 1 && i < end; i++) {
            uint32_t *p = &last[t->cut[i]];
            if (*p > begin) t->cut[*p - 1] = 0, t->n--;
            *p = i + 1;
        }
    }
}

llm_status bpe_set_list(llm_bpe *t, bpe_list *l, llm_error *err)
{
    size_t n = (size_t)t->vocab->n;
    uint32_t *last = calloc(65536, sizeof *last);
    uint16_t *cut;
    bool ok = last != NULL && (t->first = calloc(n + 2, sizeof *t->first)) != NULL;

    for (size_t i = 0; ok && i < l->n; i++) t->first[l->to[i] + 1]++;
    for (size_t id = 0; ok && id < n; id++) t->first[id + 1] += t->first[id];
    if (ok && !in_order(l)) ok = sort_list(t, l, n);
    if (ok && (ok = (cut = realloc(l->cut, (l->n + 1) * sizeof *cut)) != NULL)) {      /* growing took too much */
        t->cut = cut, t->n = l->n, l->cut = NULL;
        drop_repeated(t, n, last);
    }
    free(last);
    bpe_list_free(l);
    return ok ? LLM_OK : llm_fail_memory(err, n * sizeof *t->first, "the merges");
}

bool bpe_listed(const llm_bpe *t, int32_t id, uint32_t i, bpe_pair *out)
{
    size_t n, cut = t->cut[i];
    const char *s = vocab_bytes(t->vocab, id, &n);

    if (cut == 0) return false;
    *out = (bpe_pair){ vocab_find(t->vocab, s, cut), vocab_find(t->vocab, s + cut, n - cut), bpe_order(t, i), id };
    return (out->a | out->b) >= 0;
}

/* ---- merging --------------------------------------------------------------- */

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

/* How early a token is made of its first cut bytes and the rest. */
static inline uint32_t listed_rank(const llm_bpe *t, int32_t id, size_t cut)
{
    for (uint32_t i = t->first[id]; i < t->first[id + 1]; i++)
        if (t->cut[i] == cut) return bpe_order(t, i);
    return UINT32_MAX;
}

/* What symbols a and b become, the text [len] of which a has the first cut bytes: their rank, UINT32_MAX where they do not merge. */
static inline uint32_t join(const llm_bpe *t, int32_t a, int32_t b, const char *text, size_t cut, size_t len, int32_t without, int32_t *to)
{
    if (t->first && (a | b) < 0) return UINT32_MAX;         /* lists merge tokens; else text that is none may become one */
    *to = vocab_find_padded(t->vocab, text, len);
    if (*to < 0 || *to == without) return UINT32_MAX;
    if (t->first) return listed_rank(t, *to, cut);
    return t->rank ? t->rank[*to] : (uint32_t)*to;
}

static inline bpe_pair *seen_at(const bpe_work *w, int32_t a, int32_t b) { return &w->seen[bpe_hash(a, b) >> 20 & w->seen_mask]; }

/* The same, looked up among the pairs of this text first: symbols are the same text wherever their ids are the same. */
static inline uint32_t join_seen(const llm_bpe *t, bpe_work *w, int32_t a, int32_t b, const char *text, size_t cut, size_t len, int32_t without,
                                 int32_t *to)
{
    bpe_pair *p;

    w->n_asked++;
    if (w->seen == NULL || (a | b) < 0) return join(t, a, b, text, cut, len, without, to);
    p = seen_at(w, a, b);
    if (p->a != a || p->b != b) {
        int32_t id = -1;
        uint32_t rank = join(t, a, b, text, cut, len, without, &id);
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

static inline void set_key(const llm_bpe *t, bpe_work *w, short_word *x, size_t i, int32_t without)
{
    size_t j = x->next[i], at = x->at[i];
    uint32_t rank = UINT32_MAX;

    if (j < x->n) rank = join_seen(t, w, x->id[i], x->id[j], x->copy + at, x->at[j] - at, x->at[x->next[j]] - at, without, &x->to[i]);
    x->key[i] = rank == UINT32_MAX ? UINT64_MAX : (uint64_t)rank << 32 | i;
}

#define EIGHT(k) (k), (k) + 1, (k) + 2, (k) + 3, (k) + 4, (k) + 5, (k) + 6, (k) + 7
/* Those before and after places 0, 1, 2 and on. */
static const uint8_t PLACES[SHORT_WORD + 9] = { 0, EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24), EIGHT(32), EIGHT(40), EIGHT(48), EIGHT(56), EIGHT(64),
                                                EIGHT(72), EIGHT(80), EIGHT(88), EIGHT(96) };

/* Returns the highest rank of the merges. */
static uint32_t merge_short(const llm_bpe *t, bpe_work *w, int32_t without)
{
    short_word x;
    uint32_t highest = 0;
    size_t n = w->n, out = 0;

    x.n = n;
    memcpy(x.id, w->id, n * sizeof *x.id), memcpy(x.at, w->at, n * sizeof *x.at);
    x.at[n] = (uint32_t)w->len;
    memcpy(x.copy, w->text, w->len), memset(x.copy + w->len, 0, 8);
    memcpy(x.prev, PLACES, n + 1), memcpy(x.next, PLACES + 2, n);
    for (size_t i = n; i < n + 4; i++) x.key[i] = UINT64_MAX;
    for (size_t i = 0; w->seen && i + 1 < n; i++) __builtin_prefetch(seen_at(w, x.id[i], x.id[i + 1]));
    for (size_t i = 0; i < n; i++) set_key(t, w, &x, i, without);
    for (uint64_t best; (best = least_key(&x)) != UINT64_MAX;) {
        size_t i = (uint32_t)best, j = x.next[i];

        if (best >> 32 > highest) highest = (uint32_t)(best >> 32);
        x.id[i] = x.to[i], x.key[j] = UINT64_MAX;
        x.next[i] = x.next[j], x.prev[x.next[j]] = (uint8_t)i;
        if (i > 0) set_key(t, w, &x, x.prev[i], without);
        set_key(t, w, &x, i, without);
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
    size_t len, cut;
    char copy[8] = { 0 };
    const char *s;

    if (j < 0) return UINT32_MAX;
    s = w->text + w->at[i], cut = w->at[j] - w->at[i];
    len = (w->next[j] < 0 ? w->len : w->at[w->next[j]]) - w->at[i];
    if (len <= 8) memcpy(copy, s, len), s = copy;           /* eight bytes need not be there */
    return join_seen(t, w, w->id[i], w->id[j], s, cut, len, without, to);
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
    if (w->n <= SHORT_WORD) return merge_short(t, w, without), true;
    if (!long_room(w)) return false;
    merge_long(t, w, without);
    return true;
}

uint32_t bpe_merge_ranked(const llm_bpe *t, bpe_work *w)
{
    assert(w->n <= SHORT_WORD);
    return merge_short(t, w, -1);
}
