/* borders.c - the lowest ranks of what reaches across the borders of characters.
 *
 * A word may be cut where no token reaches across. And let M be the highest rank on the way from the bytes of a character to its token, when
 * they stand alone. As long as the character is in parts, one of its own merges with a rank of at most M can be made, and the lowest rank goes
 * first. So where every token that reaches across its borders, with the neighbours that it has, has a rank above M, the character comes together
 * before it touches a neighbour. All merges around it that could go before its last one have ranks of at most M, and so go before any across its
 * borders in either case: the result is the same whether it begins as its bytes or as its token. */
#include "borders.h"

enum { N_CHAR = 65536, MOST_RANK = BORDER_NONE - 1 };

void borders_free(llm_borders *b)
{
    free(b->edge), free(b->window), free(b->whole);
    *b = (llm_borders){ 0 };
}

/* The lowest rank of a merge to each token, UINT32_MAX: there is none. rank [v->n]; returns the highest of them. */
static uint32_t token_ranks(const llm_bpe *t, uint32_t *rank)
{
    const llm_vocab *v = t->vocab;
    uint32_t highest = 0;

    for (int32_t id = 0; id < v->n; id++)
        rank[id] = t->first || v->type[id] != TOK_NORMAL ? UINT32_MAX : t->rank ? t->rank[id] : (uint32_t)id;
    for (int32_t id = 0; t->first && id < v->n; id++)
        for (uint32_t i = t->first[id]; i < t->first[id + 1] && rank[id] == UINT32_MAX; i++)    /* those of a token are in order */
            if (t->cut[i] != 0) rank[id] = bpe_order(t, i);
    for (int32_t id = 0; id < v->n; id++)
        if (rank[id] != UINT32_MAX && rank[id] > highest) highest = rank[id];
    return highest;
}

static void lower(uint16_t *x, unsigned rank) { if (rank < *x) *x = (uint16_t)rank; }

static bool is_ascii(const uint8_t *s, size_t n)
{
    uint8_t all = 0;

    for (size_t i = 0; i < n; i++) all |= s[i];
    return all < 0x80;
}

static void add_token(llm_borders *b, const uint8_t *s, size_t n, unsigned rank)
{
    for (size_t k = 1; k < n; k++) {
        if (!border_known(s[k - 1], s[k])) continue;
        if (k < 2 || k + 1 >= n) lower(&b->edge[s[k - 1] << 8 | s[k]], rank);
        else lower(&b->window[border_hash(s + k, k + 2 >= n)], rank);
    }
}

/* The token of a character, s [n]. */
static void add_char(llm_borders *b, const llm_bpe *t, const uint8_t *s, size_t n, uint32_t cp, bpe_work *w)
{
    uint32_t highest;

    for (size_t i = 0; i < n; i++) w->id[i] = vocab_find(t->vocab, (const char *)s + i, 1), w->at[i] = (uint32_t)i;
    w->n = w->len = n, w->text = (const char *)s;
    highest = bpe_merge_ranked(t, w) >> b->shift;
    if (w->n == 1) b->whole[cp] = (whole_char){ w->id[0], highest };
}

static void add_tokens(llm_borders *b, const llm_bpe *t, const uint32_t *rank, bpe_work *w)
{
    const llm_vocab *v = t->vocab;

    for (int32_t id = 0; id < v->n; id++) {
        size_t n;
        const uint8_t *s = (const uint8_t *)vocab_bytes(v, id, &n);
        uint32_t cp;

        if (rank[id] == UINT32_MAX || n < 2 || is_ascii(s, n)) continue;
        add_token(b, s, n, border_lower(rank[id] >> b->shift, MOST_RANK));
        if (n <= 3 && s[0] >= 0xc2 && utf8_decode(s, s + n, &cp) == (int)n) add_char(b, t, s, n, cp, w);
    }
}

llm_status borders_init(llm_borders *b, const llm_bpe *t, llm_error *err)
{
    size_t n = (size_t)t->vocab->n;
    uint32_t *rank = malloc((n + 1) * sizeof *rank), highest;
    bpe_work w = { 0 };
    bool ok = rank != NULL && bpe_work_room(&w, 3);

    ok = (b->edge = malloc(65536 * sizeof *b->edge)) != NULL && ok;
    ok = (b->window = malloc(BORDER_WINDOWS * sizeof *b->window)) != NULL && ok;
    ok = (b->whole = malloc(N_CHAR * sizeof *b->whole)) != NULL && ok;
    if (ok) {
        memset(b->edge, 0xff, 65536 * sizeof *b->edge), memset(b->window, 0xff, BORDER_WINDOWS * sizeof *b->window);
        memset(b->whole, 0xff, N_CHAR * sizeof *b->whole);
        highest = token_ranks(t, rank);
        for (b->shift = 0; highest >> b->shift > MOST_RANK;) b->shift++;
        add_tokens(b, t, rank, &w);
    }
    bpe_work_free(&w), free(rank);
    return ok ? LLM_OK : llm_fail_memory(err, n * sizeof *rank + N_CHAR * sizeof *b->whole, "a tokenizer");
}

void border_symbols(const llm_borders *b, const int32_t byte_id[256], const uint8_t *s, size_t len, uint32_t cp, unsigned border, size_t at, bpe_work *w)
{
    if (len > 1 && cp < N_CHAR && b->whole[cp].rank < border) {
        w->id[w->n] = b->whole[cp].id, w->at[w->n++] = (uint32_t)at;
        return;
    }
    for (size_t i = 0; i < len; i++) w->id[w->n] = byte_id[s[i]], w->at[w->n++] = (uint32_t)(at + i);
}
