/* The cache's arithmetic and its rules, on a cache whose layout is the plainest there is. */
#include "../llm_test.h"
#include "session.h"
#include <string.h>

static bool plain_size(llm_kv_layer *l)
{
    size_t item = l->dtype == DT_F32 ? 4 : 2, cells = (size_t)l->n_cell * (size_t)l->n_kv_head * item;

    return ck_align(cells * (size_t)l->d_k, 64, &l->k_seq_bytes) && ck_align(l->latent ? 0 : cells * (size_t)l->d_v, 64, &l->v_seq_bytes);
}

static char *cell(const llm_kv_layer *l, void *base, size_t seq_bytes, int seq, int pos, bool value)
{
    return (char *)base + seq_bytes * (size_t)seq + kv_row_bytes(l, value) * (size_t)(pos % l->n_cell);
}

static bool plain_get(const llm_kv_layer *l, int seq, int pos, int n, void *k, void *v)
{
    for (int i = 0; i < n; i++) {
        size_t kb = kv_row_bytes(l, false), vb = kv_row_bytes(l, true);
        memcpy((char *)k + kb * (size_t)i, cell(l, l->k, l->k_seq_bytes, seq, pos + i, false), kb);
        if (v) memcpy((char *)v + vb * (size_t)i, cell(l, l->v, l->v_seq_bytes, seq, pos + i, true), vb);
    }
    return true;
}

static bool plain_put(llm_kv_layer *l, int seq, int pos, int n, const void *k, const void *v)
{
    for (int i = 0; i < n; i++) {
        size_t kb = kv_row_bytes(l, false), vb = kv_row_bytes(l, true);
        memcpy(cell(l, l->k, l->k_seq_bytes, seq, pos + i, false), (const char *)k + kb * (size_t)i, kb);
        if (v) memcpy(cell(l, l->v, l->v_seq_bytes, seq, pos + i, true), (const char *)v + vb * (size_t)i, vb);
    }
    return true;
}

static const llm_ops op = { .kv_size = plain_size, .kv_get = plain_get, .kv_put = plain_put };

enum { WINDOW = 100, LAYERS = 3 };
static llm_layer_config layers[LAYERS] = {
    { .mixer = MIX_ATTN, .n_kv_head = 2, .head_dim = 8 },
    { .mixer = MIX_ATTN, .n_kv_head = 1, .head_dim = 4, .window = WINDOW },
    { .mixer = MIX_MLA },
};
static struct llm_model model = { .config = { .n_layer = LAYERS, .n_vocab = 1000, .kv_lora = 6, .d_rope = 2, .layer = layers } };

static void kv_make(llm_kv *kv, int n_ctx, int n_seq, int n_batch)
{
    *kv = (llm_kv){ .n_ctx = n_ctx, .n_seq = n_seq, .n_batch = n_batch, .dtype = DT_F32, .op = { &op, &op } };
    ck_assert_int_eq(kv_plan(kv, &model, NULL), LLM_OK);
    ck_assert_int_eq(kv_map(kv, NULL), LLM_OK);
}

/* As a step does it: n tokens, whose cells all say which position they hold. */
static void grow(llm_kv *kv, int seq, int n)
{
    kv_reserve(kv, seq, n);
    for (int i = 0; i < n; i++) {
        int pos = kv->seq[seq].length + i;
        for (int il = 0; il < LAYERS; il++) {
            float k[16], v[16];
            for (int j = 0; j < 16; j++) k[j] = (float)(pos * 10 + il), v[j] = -k[j];
            plain_put(&kv->layer[il], seq, pos, 1, k, kv->layer[il].latent ? NULL : v);
        }
        kv_tokens(kv, seq)[pos] = pos + 7;
    }
    kv_commit(kv, seq, n);
}

static bool holds(const llm_kv *kv, int il, int seq, int pos)
{
    float k[16], v[16];
    plain_get(&kv->layer[il], seq, pos, 1, k, kv->layer[il].latent ? NULL : v);
    return k[0] == (float)(pos * 10 + il);
}

START_TEST(cells_per_layer)
{
    static const struct { int n_ctx, n_batch, all, some; } c[] = {
        { 1000, 1, 1024, 128 }, { 1000, 29, 1024, 128 }, { 1000, 30, 1024, 192 }, { 1000, 512, 1024, 640 }, { 64, 512, 64, 64 }, { 1, 1, 64, 64 },
        { 1 << 24, 1 << 14, 1 << 24, 16512 },
    };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        llm_kv kv = { .n_ctx = c[i].n_ctx, .n_seq = 2, .n_batch = c[i].n_batch, .dtype = DT_F16, .op = { &op, &op } };
        size_t want;
        ck_assert_int_eq(kv_plan(&kv, &model, NULL), LLM_OK);
        ck_assert_int_eq(kv.layer[0].n_cell, c[i].all);
        ck_assert_int_eq(kv.layer[1].n_cell, c[i].some);
        ck_assert_int_eq(kv.layer[2].n_cell, c[i].all);
        ck_assert_int_eq(kv.layer[2].d_k, 8);
        ck_assert_int_eq(kv.layer[2].d_v, 6);
        want = (size_t)c[i].all * (2 * 8 * 2 * 2 + 8 * 2) + (size_t)c[i].some * (4 * 2 * 2);
        ck_assert_uint_eq(kv.map_bytes[SITE_HOST] + kv.token_bytes, 2 * want + 2 * sizeof(llm_token) * (size_t)c[i].n_ctx);
        kv_close(&kv);
    }
}
END_TEST

START_TEST(window_limits_how_far_one_can_go_back)
{
    llm_kv kv;
    llm_error err;

    kv_make(&kv, 1000, 1, 29);          /* the windowed layer has exactly 128 cells */
    for (int i = 0; i < 20; i++) grow(&kv, 0, 29);          /* 580 tokens: positions 452.. are held */
    ck_assert(holds(&kv, 1, 0, 452) && !holds(&kv, 1, 0, 451) && holds(&kv, 0, 0, 0));
    ck_assert_int_eq(kv_truncate(&kv, 0, 550, &err), LLM_ERR_ARG);       /* needs 451 */
    ck_assert_int_eq(kv.seq[0].length, 580);
    ck_assert_ptr_nonnull(strstr(err.text, "position 451"));
    ck_assert_int_eq(kv_truncate(&kv, 0, 551, &err), LLM_OK);
    ck_assert_int_eq(kv_truncate(&kv, 0, 552, &err), LLM_ERR_ARG);
    ck_assert_int_eq(kv_truncate(&kv, 0, 551, &err), LLM_OK);
    grow(&kv, 0, 10);                   /* back at 561: what 580 pushed out stays lost */
    ck_assert_int_eq(kv_truncate(&kv, 0, 550, &err), LLM_ERR_ARG);
    ck_assert_int_eq(kv_truncate(&kv, 0, -1, &err), LLM_ERR_ARG);
    ck_assert_int_eq(kv_truncate(&kv, 0, 0, &err), LLM_OK);              /* empty is always possible, and a fresh start */
    grow(&kv, 0, 20);
    ck_assert_int_eq(kv_truncate(&kv, 0, 3, &err), LLM_OK);
    kv_close(&kv);
}
END_TEST

START_TEST(what_a_shorter_sequence_needs_is_there)
{
    llm_kv kv;

    kv_make(&kv, 700, 1, 17);
    for (int length = 1; length <= 680; length += 17) {
        kv_clear(&kv, 0);
        for (int have = 0; have < length; have += 17) grow(&kv, 0, 17);
        int top = kv.seq[0].length;
        for (int n = 1; n <= top; n++) {
            kv_seq before = kv.seq[0];
            bool there = true;
            for (int pos = n >= WINDOW ? n - WINDOW + 1 : 0; pos < n; pos++) there &= holds(&kv, 1, 0, pos);
            if (kv_truncate(&kv, 0, n, NULL) == LLM_OK) ck_assert_msg(there, "%d of %d", n, top);
            else ck_assert_msg(!there, "%d of %d is refused", n, top);
            kv.seq[0] = before;
        }
    }
    kv_close(&kv);
}
END_TEST

START_TEST(a_copy_holds_the_same)
{
    llm_kv kv;

    for (int length = 5; length < 400; length += 79) {
        kv_make(&kv, 500, 3, 40);
        grow(&kv, 2, 300);              /* replaced below */
        for (int have = 0; have < length; have += 5) grow(&kv, 0, 5);
        ck_assert_int_eq(kv_copy(&kv, 0, 2, NULL), LLM_OK);
        ck_assert_int_eq(kv.seq[2].length, kv.seq[0].length);
        ck_assert_mem_eq(kv_tokens(&kv, 2), kv_tokens(&kv, 0), sizeof(llm_token) * (size_t)kv.seq[0].length);
        for (int il = 0; il < LAYERS; il++)
            for (int pos = kv_first(&kv, il, kv.seq[0].length); pos < kv.seq[0].length; pos++) ck_assert(holds(&kv, il, 2, pos));
        ck_assert_int_eq(kv.seq[1].length, 0);
        ck_assert_int_eq(kv_copy(&kv, 0, 0, NULL), LLM_OK);
        ck_assert_int_eq(kv_copy(&kv, 1, 0, NULL), LLM_OK);        /* an empty one */
        ck_assert_int_eq(kv.seq[0].length, 0);
        kv_close(&kv);
    }
}
END_TEST

START_TEST(untouched_cells_cost_nothing)
{
    llm_kv kv;
    FILE *f;
    long before, after, size;

    f = fopen("/proc/self/statm", "r");
    ck_assert(f != NULL && fscanf(f, "%ld %ld", &size, &before) == 2);
    kv_make(&kv, 1 << 20, 2, 64);
    ck_assert_uint_gt(kv.map_bytes[SITE_HOST] + kv.token_bytes, 300u << 20);
    grow(&kv, 1, 64);
    rewind(f), fflush(f);
    fclose(f);
    f = fopen("/proc/self/statm", "r");
    ck_assert(f != NULL && fscanf(f, "%ld %ld", &size, &after) == 2);
    fclose(f);
    ck_assert_int_lt(after - before, 8192);         /* pages: 32 MiB of 300, for the system's own may have 2 MiB each */
    kv_close(&kv);
}
END_TEST

START_TEST(sizes_that_wrap_are_refused)
{
    llm_layer_config wide = { .mixer = MIX_ATTN, .n_kv_head = 1 << 15, .head_dim = 1 << 15 };
    struct llm_model huge = { .config = { .n_layer = 1, .n_vocab = 1, .layer = &wide } };
    llm_kv kv = { .n_ctx = 1 << 24, .n_seq = 256, .n_batch = 1, .dtype = DT_F32, .op = { &op, &op } };
    llm_error err;

    ck_assert_int_eq(kv_plan(&kv, &huge, &err), LLM_ERR_ARG);
    kv_close(&kv);
    kv_close(&kv);
}
END_TEST

LLM_TEST_MAIN("run/kv", cells_per_layer, window_limits_how_far_one_can_go_back, what_a_shorter_sequence_needs_is_there,
              a_copy_holds_the_same, untouched_cells_cost_nothing, sizes_that_wrap_are_refused)
