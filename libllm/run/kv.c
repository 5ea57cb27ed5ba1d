/* kv.c - which cells of the cache a sequence may use. How a cell's bytes lie is the backend's business. */
#include "memory.h"
#include "session.h"
#include <stdlib.h>
#include <string.h>

enum {
    LARGE_FROM = 1024,                  /* tokens of a sequence: before that its cells are few beside the weights, and large pages mostly air */
    LARGE_ROWS = 16                     /* rows of a step for each layer that goes into large pages with it: that takes milliseconds */
};

static llm_status too_big(const llm_kv *kv, llm_error *err)
{
    return llm_fail(err, LLM_ERR_ARG, "the cache of %d sequences of %d tokens has more bytes than an address can say",
                    kv->n_seq, kv->n_ctx);
}

/* Cells of a layer: all positions, or where there is a window the keys the first row of a batch sees and the batch. */
static int cells(const llm_kv *kv, int window)
{
    int64_t all = ((int64_t)kv->n_ctx + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;
    int64_t some = ((int64_t)window + kv->n_batch - 1 + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;

    return (int)(window > 0 && some < all ? some : all);
}

static void layer_shape(llm_kv_layer *l, const llm_kv *kv, const llm_config *c, int il)
{
    const llm_layer_config *lc = &c->layer[il];

    *l = (llm_kv_layer){ .dtype = kv->dtype, .n_cell = cells(kv, lc->window), .n_seq = kv->n_seq };
    if (lc->mixer == MIX_MLA) {         /* the latent and the rotated key that all heads share */
        l->latent = true, l->n_kv_head = 1;
        if (l->dtype == DT_Q8_0 || l->dtype == DT_F8_E4M3) l->dtype = DT_F16;   /* latents are small already, and every head reads them */
        l->d_k = c->kv_lora + c->d_rope, l->d_v = c->kv_lora;
    } else {
        l->n_kv_head = lc->n_kv_head, l->d_k = lc->head_dim, l->d_v = lc->head_dim;
    }
}

llm_status kv_plan(llm_kv *kv, const llm_model *m, llm_error *err)
{
    const llm_config *c = &m->config;
    size_t one;

    kv->n_layer = c->n_layer;
    kv->layer = calloc((size_t)c->n_layer, sizeof *kv->layer);
    kv->window = calloc((size_t)c->n_layer, sizeof *kv->window);
    kv->site = calloc((size_t)c->n_layer, sizeof *kv->site);
    kv->seq = calloc((size_t)kv->n_seq, sizeof *kv->seq);
    kv->n_large = calloc((size_t)kv->n_seq, sizeof *kv->n_large);
    if (kv->layer == NULL || kv->window == NULL || kv->site == NULL || kv->seq == NULL || kv->n_large == NULL)
        return llm_fail_memory(err, (size_t)c->n_layer * sizeof *kv->layer, "the layers of the cache");
    for (int il = 0; il < c->n_layer; il++) {
        llm_kv_layer *l = &kv->layer[il];
        layer_shape(l, kv, c, il);
        kv->window[il] = c->layer[il].window, kv->site[il] = site_of_layer(m, il);
        if (l->dtype == DT_Q8_0 && (l->d_k % 32 != 0 || l->d_v % 32 != 0))
            return llm_fail(err, LLM_ERR_UNSUPPORTED, "session: kv_type Q8_0 wants heads whose width is a multiple of 32, layer %d has %d and %d", il,
                            l->d_k, l->d_v);
        if (!kv_op(kv, il)->kv_size(l) || !ck_add(l->k_seq_bytes, l->v_seq_bytes, &one) || !ck_mul(one, (size_t)kv->n_seq, &one)
            || !ck_add(kv->map_bytes[kv->site[il]], one, &kv->map_bytes[kv->site[il]]))
            return too_big(kv, err);
    }
    if (!ck_mul((size_t)kv->n_seq * sizeof *kv->token, (size_t)kv->n_ctx, &kv->token_bytes) || !ck_add(kv->map_bytes[SITE_HOST], kv->token_bytes, &one)
        || !ck_add(one, kv->map_bytes[SITE_DEVICE], &one))
        return too_big(kv, err);
    return LLM_OK;
}

static llm_status map_site(llm_kv *kv, llm_site site, llm_error *err)
{
    char *at;

    if (kv->map_bytes[site] == 0) return LLM_OK;
    if ((at = kv->map[site] = backend_alloc(kv->be[site], kv->map_bytes[site])) == NULL && site == SITE_DEVICE)
        return llm_fail(err, LLM_ERR_MEMORY, "device: no memory for %.1f MiB, the key/value cache: a smaller n_ctx (now %d), n_seq (now %d) or kv_type, or fewer "
                        "gpu_layers need less", (double)kv->map_bytes[site] / 1048576, kv->n_ctx, kv->n_seq);
    if (at == NULL) return llm_fail_memory(err, kv->map_bytes[site], "the key/value cache");
    for (int il = 0; il < kv->n_layer; il++) {
        llm_kv_layer *l = &kv->layer[il];
        if (kv->site[il] != site) continue;
        l->k = at, at += l->k_seq_bytes * (size_t)kv->n_seq;
        l->v = l->v_seq_bytes ? at : NULL, at += l->v_seq_bytes * (size_t)kv->n_seq;
    }
    return LLM_OK;
}

llm_status kv_map(llm_kv *kv, llm_error *err)
{
    llm_status st = LLM_OK;

    for (int i = 0; i < N_SITE && st == LLM_OK; i++) st = map_site(kv, (llm_site)i, err);
    if (st == LLM_OK && (kv->token = memory_map(kv->token_bytes)) == NULL) st = llm_fail_memory(err, kv->token_bytes, "the tokens of the sequences");
    return st;
}

void kv_close(llm_kv *kv)
{
    for (int i = 0; i < N_SITE; i++) backend_release(kv->be[i], kv->map[i], kv->map_bytes[i]);
    memory_unmap(kv->token, kv->token_bytes);
    free(kv->layer), free(kv->window), free(kv->site), free(kv->seq), free(kv->n_large);
    memset(kv, 0, sizeof *kv);
}

int kv_room(const llm_kv *kv, int seq) { return kv->n_ctx - kv->seq[seq].length; }

llm_token *kv_tokens(const llm_kv *kv, int seq) { return kv->token + (size_t)seq * (size_t)kv->n_ctx; }

/* n bytes at p, and what shares their first and last large page, go into large ones. */
static void enlarge(const llm_kv *kv, void *p, size_t n)
{
    char *map = kv->map[SITE_HOST];
    size_t begin = (size_t)((char *)p - map), end = begin + n, more = LARGE_PAGE - 1;

    begin = begin > more ? begin - more : 0;
    end = kv->map_bytes[SITE_HOST] - end > more ? end + more : kv->map_bytes[SITE_HOST];
    memory_large(map + begin, end - begin);
}

/* A long sequence's cells go into large pages, from which they are read a fifth faster: some layers with every step. */
static void enlarge_some(llm_kv *kv, int seq, int n)
{
    int *il = &kv->n_large[seq], stop = *il + 1 + n / LARGE_ROWS;

    for (; kv->seq[seq].top >= LARGE_FROM && *il < kv->n_layer && *il < stop; (*il)++) {
        llm_kv_layer *l = &kv->layer[*il];
        if (kv->site[*il] != SITE_HOST || l->k == NULL) continue;
        enlarge(kv, (char *)l->k + (size_t)seq * l->k_seq_bytes, l->k_seq_bytes);
        if (l->v) enlarge(kv, (char *)l->v + (size_t)seq * l->v_seq_bytes, l->v_seq_bytes);
    }
}

void kv_reserve(llm_kv *kv, int seq, int n)
{
    kv_seq *q = &kv->seq[seq];

    if (q->length + n > q->top) q->top = q->length + n;
    enlarge_some(kv, seq, n);
}

void kv_commit(llm_kv *kv, int seq, int n) { kv->seq[seq].length += n; }

void kv_clear(llm_kv *kv, int seq) { kv->seq[seq] = (kv_seq){ 0 }; }

int kv_first(const llm_kv *kv, int il, int n)
{
    return kv->window[il] > 0 && n >= kv->window[il] ? n - kv->window[il] + 1 : 0;
}

/* Lowest position that layer il still holds of a sequence. */
static int oldest(const llm_kv *kv, int il, const kv_seq *q)
{
    int pushed_out = q->top - kv->layer[il].n_cell, not_read = kv_first(kv, il, q->restored);
    int first = pushed_out > not_read ? pushed_out : not_read;

    return first > 0 ? first : 0;
}

llm_status kv_truncate(llm_kv *kv, int seq, int n, llm_error *err)
{
    kv_seq *q = &kv->seq[seq];

    if (n < 0 || n > q->length)
        return llm_fail(err, LLM_ERR_ARG, "truncate: sequence %d holds %d tokens, cannot be cut to %d", seq, q->length, n);
    if (n == 0) {
        kv_clear(kv, seq);
        return LLM_OK;
    }
    for (int il = 0; il < kv->n_layer; il++) {
        int need = kv_first(kv, il, n), have = oldest(kv, il, q);
        if (need < have && n < q->length)
            return llm_fail(err, LLM_ERR_ARG, "truncate: sequence %d cannot go back from %d to %d tokens: layer %d sees %d tokens and "
                            "needs them from position %d on, but holds them from %d on", seq, q->length, n, il, kv->window[il], need, have);
    }
    q->length = n;
    return LLM_OK;
}

size_t kv_row_bytes(const llm_kv_layer *l, bool value)
{
    size_t bytes = 0;

    if (value && l->latent) return 0;
    dtype_bytes((int)l->dtype, (int64_t)l->n_kv_head * (value ? l->d_v : l->d_k), &bytes);
    return bytes;
}

size_t kv_block_bytes(const llm_kv *kv)
{
    size_t most = 0;

    for (int il = 0; il < kv->n_layer; il++) {
        size_t bytes = kv_row_bytes(&kv->layer[il], false) + kv_row_bytes(&kv->layer[il], true);
        if (bytes > most) most = bytes;
    }
    return most * KV_BLOCK;
}

static llm_status not_copied(int il, int pos, int n, llm_error *err)
{
    return llm_fail(err, LLM_ERR_INTERNAL, "the device did not copy the cells of layer %d, positions %d to %d", il, pos, pos + n - 1);
}

llm_status kv_read(const llm_kv *kv, int il, int seq, int pos, int n, void *k, void *v, llm_error *err)
{
    return kv_op(kv, il)->kv_get(&kv->layer[il], seq, pos, n, k, v) ? LLM_OK : not_copied(il, pos, n, err);
}

llm_status kv_write(const llm_kv *kv, int il, int seq, int pos, int n, const void *k, const void *v, llm_error *err)
{
    return kv_op(kv, il)->kv_put(&kv->layer[il], seq, pos, n, k, v) ? LLM_OK : not_copied(il, pos, n, err);
}

llm_status kv_copy(llm_kv *kv, int from, int to, llm_error *err)
{
    const kv_seq *q = &kv->seq[from];
    size_t bytes = kv_block_bytes(kv);
    llm_status st = LLM_OK;
    char *buf;

    if (from == to) return LLM_OK;
    if ((buf = malloc(bytes)) == NULL) return llm_fail_memory(err, bytes, "moving cells of the cache");
    kv_clear(kv, to);
    for (int il = 0; il < kv->n_layer; il++) {
        llm_kv_layer *l = &kv->layer[il];
        char *v = l->latent ? NULL : buf + KV_BLOCK * kv_row_bytes(l, false);
        for (int pos = oldest(kv, il, q), n; pos < q->length && st == LLM_OK; pos += n) {
            n = q->length - pos < KV_BLOCK ? q->length - pos : KV_BLOCK;
            if ((st = kv_read(kv, il, from, pos, n, buf, v, err)) == LLM_OK) st = kv_write(kv, il, to, pos, n, buf, v, err);
        }
    }
    free(buf);
    if (st != LLM_OK) return st;
    memcpy(kv_tokens(kv, to), kv_tokens(kv, from), (size_t)q->length * sizeof(llm_token));
    kv->seq[to] = *q;
    return LLM_OK;
}
