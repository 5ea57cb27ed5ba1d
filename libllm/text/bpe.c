/* bpe.c - byte-pair merging (Sennrich et al., arXiv 1508.07909) and the table it works on.
 *
 * Short words are merged by scanning for the lowest rank; long ones with a heap over a linked list, so that a word of a million
 * characters costs n log n.
 *
 * Turning ranks or scores into pairs. Let t be a token and s its text. When s is merged with pairs of lower
 * rank than t's and ends as exactly two symbols a b, then (a, b) is the only pair that ever makes t: symbols c d
 * with the text s, in any context, were made by merges inside s, in the same order as alone, so they are a b. Then one pair
 * is enough. Where there is no such pair (a rank out of order), all cuts are added, which is the definition. */
#include "bpe.h"
#include "unicode.h"

enum {
    SHORT_WORD = 40,
    MAX_PROBES = 8192,
    LEARN_MAX = 1024                    /* bytes of a token that is cut in all ways */
};

void bpe_free(llm_bpe *t)
{
    free(t->slot), free(t->formed), free(t->left), free(t->right), free(t->whole);
    *t = (llm_bpe){ 0 };
}

llm_status bpe_init(llm_bpe *t, size_t n_symbol, size_t n_pair, llm_error *err)
{
    size_t size = 16;

    while (size < 2 * n_pair) size *= 2;
    t->n_symbol = n_symbol, t->mask = size - 1;
    t->slot = malloc(size * sizeof *t->slot);
    t->formed = malloc((n_symbol + 1) * sizeof *t->formed);
    t->left = malloc((n_symbol + 1) * sizeof *t->left);
    t->right = malloc((n_symbol + 1) * sizeof *t->right);
    t->whole = malloc(n_symbol + 1);
    if (t->slot == NULL || t->formed == NULL || t->left == NULL || t->right == NULL || t->whole == NULL)
        return llm_fail_memory(err, size * sizeof *t->slot, "the merge table");
    memset(t->slot, 0xff, size * sizeof *t->slot);
    memset(t->formed, 0xff, n_symbol * sizeof *t->formed);
    memset(t->whole, 0, n_symbol);
    return LLM_OK;
}

static size_t home(const llm_bpe *t, int32_t a, int32_t b)
{
    uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u;

    return (size_t)(h ^ h >> 32) * 0xd6e8feb86659fd93u >> 20 & t->mask;
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
        for (i = home(t, old[k].a, old[k].b); slot[i].a >= 0; i = (i + 1) & t->mask) { }
        slot[i] = old[k];
    }
    free(old);
    return LLM_OK;
}

static llm_status insert(llm_bpe *t, int32_t a, int32_t b, uint32_t rank, int32_t id, llm_error *err)
{
    size_t i, probes = 0;
    llm_status st;

    if (2 * t->n > t->mask && (st = grow(t, err)) != LLM_OK) return st;
    for (i = home(t, a, b); t->slot[i].a >= 0; i = (i + 1) & t->mask) {
        if (t->slot[i].a == a && t->slot[i].b == b) {
            t->slot[i].rank = rank, t->slot[i].id = id;
            t->repeated = true;
            return LLM_OK;
        }
        if (++probes > MAX_PROBES)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %d merges share one place of the index; "
                            "no real vocabulary does", MAX_PROBES);
    }
    t->slot[i] = (bpe_pair){ a, b, rank, id };
    t->n++;
    return LLM_OK;
}

/* Would a merge across the border between whole symbols a and b come before they are complete and merge at rank r? Goes back in time:
 * x and y are what stands left and right of the border, px and py the ranks at which each is used up. The
 * left one of equal ranks is merged first. */
static bool crosses(const llm_bpe *t, int32_t a, int32_t b, int64_t r)
{
    int32_t x = a, y = b;
    int64_t px = r, py = r;

    while (t->formed[x] >= 0 || t->formed[y] >= 0) {
        const bpe_pair *p;

        if (t->formed[x] > t->formed[y]) px = t->formed[x], x = t->right[x];
        else py = t->formed[y], y = t->left[y];
        p = bpe_find(t, x, y);
        if (p && p->rank < px && p->rank <= py) return true;
    }
    return false;
}

/* Does the text of a b alone merge to a b and no further before rank? Symbols must be made before they are used. */
static bool meets(const llm_bpe *t, int32_t a, int32_t b, uint32_t rank)
{
    return t->whole[a] && t->whole[b] && t->formed[a] < (int64_t)rank && t->formed[b] < (int64_t)rank && !crosses(t, a, b, rank);
}

static void set_made(llm_bpe *t, int32_t a, int32_t b, uint32_t rank, int32_t id)
{
    t->formed[id] = rank, t->left[id] = a, t->right[id] = b;
}

llm_status bpe_add(llm_bpe *t, int32_t a, int32_t b, uint32_t rank, int32_t id, llm_error *err)
{
    bool whole = meets(t, a, b, rank);

    if (t->formed[id] < 0 || (whole && !t->whole[id])) {
        set_made(t, a, b, rank, id);
        t->whole[id] = whole;
    }
    return insert(t, a, b, rank, id, err);
}

static bool utf8_is_one(const char *s, size_t len)
{
    uint32_t cp;

    return (size_t)utf8_decode((const uint8_t *)s, (const uint8_t *)s + len, &cp) == len;
}

llm_status bpe_learn(llm_bpe *t, const llm_vocab *v, int32_t id, uint32_t rank, bool chars, bool tied, llm_error *err)
{
    size_t len;
    const char *s = vocab_bytes(v, id, &len);
    llm_status st;

    if (len <= 1 || (chars && utf8_is_one(s, len))) return t->whole[id] = 1, LLM_OK;
    if (len > LEARN_MAX)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: token %d has %zu bytes, at most %d can be merged", id, len, LEARN_MAX);
    for (int pass = tied; pass < 2; pass++) {               /* the pair it merges to; failing that, all */
        for (size_t i = len - 1; i > 0; i--) {
            int32_t a, b;

            if (chars && (s[i] & 0xc0) == 0x80) continue;
            if ((a = vocab_find(v, s, i)) < 0 || (b = vocab_find(v, s + i, len - i)) < 0) continue;
            if (pass == 0 && !meets(t, a, b, rank)) continue;
            if (t->formed[id] < 0) set_made(t, a, b, rank, id);
            if ((st = insert(t, a, b, rank, id, err)) != LLM_OK) return st;
            if (pass == 0) return t->whole[id] = 1, LLM_OK;
        }
    }
    return LLM_OK;
}

void bpe_finish(llm_bpe *t)
{
    if (t->repeated) memset(t->whole, 0, t->n_symbol);
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

static inline uint32_t rank_of(const llm_bpe *t, int32_t a, int32_t b)
{
    const bpe_pair *p = (a | b) < 0 ? NULL : bpe_find(t, a, b);

    return p ? p->rank : UINT32_MAX;
}

static inline uint32_t rank_to(const llm_bpe *t, int32_t a, int32_t b, int32_t *to)
{
    const bpe_pair *p = (a | b) < 0 ? NULL : bpe_find(t, a, b);

    if (p == NULL) return UINT32_MAX;
    *to = p->id;
    return p->rank;
}

static void merge_short(const llm_bpe *t, bpe_work *w)
{
    uint32_t rank[SHORT_WORD];
    int32_t to[SHORT_WORD], *id = w->id;
    size_t n = w->n;

    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_to(t, id[i], id[i + 1], &to[i]);
    while (n > 1) {
        uint32_t best = UINT32_MAX;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++)
            if (rank[i] < best) best = rank[i], at = i;
        if (best == UINT32_MAX) break;
        id[at] = to[at];
        n--;
        for (size_t i = at + 1; i < n; i++) id[i] = id[i + 1], w->at[i] = w->at[i + 1];
        for (size_t i = at + 1; i + 1 < n; i++) rank[i] = rank[i + 1], to[i] = to[i + 1];
        if (at > 0) rank[at - 1] = rank_to(t, id[at - 1], id[at], &to[at - 1]);
        if (at + 1 < n) rank[at] = rank_to(t, id[at], id[at + 1], &to[at]);
    }
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

/* Each merge takes one entry off and puts at most two on, so 2n places are enough. An entry counts only while its rank is still
 * that of the pair at its position. */
static void merge_long(const llm_bpe *t, bpe_work *w)
{
    size_t n_heap = 0, out = 0;
    int32_t *id = w->id, n = (int32_t)w->n;

    for (int32_t i = 0; i < n; i++) {
        w->prev[i] = i - 1, w->next[i] = i + 1 < n ? i + 1 : -1;
        w->rank[i] = i + 1 < n ? rank_of(t, id[i], id[i + 1]) : UINT32_MAX;
        if (w->rank[i] != UINT32_MAX) w->heap[n_heap++] = (uint64_t)w->rank[i] << 32 | (uint32_t)i;
    }
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(w->heap, n_heap, i);
    while (n_heap > 0) {
        uint32_t rank = (uint32_t)(w->heap[0] >> 32);
        int32_t i = (int32_t)(uint32_t)w->heap[0], j, side[2];

        w->heap[0] = w->heap[--n_heap];
        if (n_heap > 0) sift_down(w->heap, n_heap, 0);
        if (w->rank[i] != rank) continue;
        j = w->next[i];
        id[i] = bpe_find(t, id[i], id[j])->id;
        w->rank[j] = UINT32_MAX;
        w->next[i] = w->next[j];
        if (w->next[j] >= 0) w->prev[w->next[j]] = i;
        side[0] = w->prev[i], side[1] = i;
        for (int k = 0; k < 2; k++) {
            int32_t p = side[k], q = p < 0 ? -1 : w->next[p];

            if (p < 0) continue;
            w->rank[p] = q < 0 ? UINT32_MAX : rank_of(t, id[p], id[q]);
            if (w->rank[p] != UINT32_MAX) push(w->heap, &n_heap, (uint64_t)w->rank[p] << 32 | (uint32_t)p);
        }
    }
    for (int32_t i = 0; i >= 0; i = w->next[i]) id[out] = id[i], w->at[out++] = w->at[i];
    w->n = out;
}

bool bpe_merge(const llm_bpe *t, bpe_work *w)
{
    if (w->n <= SHORT_WORD) return merge_short(t, w), true;
    if (!long_room(w)) return false;
    merge_long(t, w);
    return true;
}
