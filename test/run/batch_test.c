/* Rows on their way to the forward pass and back, with a forward pass that only writes down what it was given. */
#include "../llm_test.h"
#include "session.h"
#include <string.h>

enum { N_VOCAB = 4, N_SEQ = 5, N_CTX = 200 };       /* a row of logits: token, position, sequence, number of the call */

static int calls, fail_at;

bool run_limits(const llm_model *m, llm_site site, int n_batch, int n_ctx, llm_limits *out)
{
    (void)m, (void)site, (void)n_batch, (void)n_ctx, (void)out;
    return false;
}
bool run_bytes(const llm_model *m, llm_site site, int n_batch, size_t *out) { (void)m, (void)site, (void)n_batch, (void)out; return false; }
void run_close(llm_run *r) { (void)r; }
llm_status run_open(llm_run *r, const llm_model *m, llm_site site, llm_backend *be, llm_kv_layer *kv, int n_batch, llm_error *err)
{
    (void)r, (void)m, (void)site, (void)be, (void)kv, (void)n_batch, (void)err;
    return LLM_ERR_INTERNAL;
}

llm_status llm_forward(llm_run *r, const llm_batch *b, const uint8_t *want, float *logits, llm_error *err)
{
    int at = 0;

    ck_assert_int_le(b->n, r->n_batch);
    if (r->stop && r->stop(r->stop_user)) return llm_fail(err, LLM_ERR_CANCELLED, "asked to stop");
    if (++calls == fail_at) return llm_fail(err, LLM_ERR_INTERNAL, "asked to fail");
    for (int s = 0; s < b->n_span; s++) {
        llm_span p = b->span[s];
        ck_assert_int_eq(p.row0, at);
        ck_assert_int_gt(p.n, 0);
        if (s > 0) ck_assert_int_gt(p.seq, b->span[s - 1].seq);
        for (int i = 0; i < p.n; i++, at++) {
            ck_assert_int_eq(b->seq[at], p.seq);
            ck_assert_int_eq(b->pos[at], p.pos0 + i);
            if (!want[at]) continue;
            logits[0] = (float)b->token[at], logits[1] = (float)b->pos[at], logits[2] = (float)p.seq, logits[3] = (float)calls;
            logits += N_VOCAB;
            *r->peak++ = (float)(b->token[at] + N_VOCAB * b->pos[at]);
        }
    }
    ck_assert_int_eq(at, b->n);
    r->peaked = calls % 5 != 0;
    return LLM_OK;
}

static bool no_bytes(llm_kv_layer *l) { l->k_seq_bytes = 64, l->v_seq_bytes = 0; return true; }

static struct llm_model model;
static llm_layer_config layer;

static void session_make(llm_session *s, int n_batch)
{
    static const llm_ops op = { .kv_size = no_bytes };
    size_t n = (size_t)n_batch;

    model.config = (llm_config){ .n_vocab = 1000, .n_layer = 1, .layer = &layer };
    *s = (llm_session){ .model = &model, .kv = { .n_ctx = N_CTX, .n_seq = N_SEQ, .n_batch = n_batch,
                                            .dtype = DT_F32, .op = { &op, &op } }, .first = &s->run[SITE_HOST] };
    ck_assert_int_eq(kv_plan(&s->kv, &model, NULL), LLM_OK);
    ck_assert_int_eq(kv_map(&s->kv, NULL), LLM_OK);
    s->first->n_batch = n_batch;
    s->token = calloc(n, sizeof *s->token), s->pos = calloc(n, sizeof *s->pos), s->seq = calloc(n, sizeof *s->seq);
    s->origin = calloc(n, sizeof *s->origin), s->want = calloc(n, 1), s->span = calloc(n, sizeof *s->span);
    s->n_row_seq = calloc(N_SEQ, sizeof(int)), s->row = calloc(1000, sizeof(float));
    calls = fail_at = 0;
}

START_TEST(rows_keep_their_order)
{
    unsigned r = 1;
    int peaked = 0;

    for (int round = 0; round < 400; round++) {
        llm_session *s = calloc(1, sizeof *s);
        int length[N_SEQ] = { 0 };
        session_make(s, 1 + round % 13);
        model.config.n_vocab = N_VOCAB;
        for (int step = 0; step < 6; step++) {
            llm_row row[40];
            size_t n = 1 + (r = r * 1664525u + 1013904223u, r >> 16) % 30, kept = 0;
            const float *logits, *peak;
            for (size_t i = 0; i < n; i++) {
                r = r * 1664525u + 1013904223u;
                row[i] = (llm_row){ .token = (int)(r >> 20) % N_VOCAB, .seq = (int)(r >> 10) % N_SEQ, .want_logits = (r >> 5) % 3 != 0 };
            }
            ck_assert_int_eq(batch_decode(s, &(batch_input){ .row = row, .n = n }, NULL), LLM_OK);
            logits = s->logits, peak = s->peak, peaked += s->peaked;
            for (size_t i = 0; i < n; i++) {
                int pos = length[row[i].seq]++;
                ck_assert_int_eq(kv_tokens(&s->kv, row[i].seq)[pos], row[i].token);
                if (!row[i].want_logits) continue;
                ck_assert_int_eq((int)logits[0], row[i].token);
                ck_assert_int_eq((int)logits[1], pos);
                ck_assert_int_eq((int)logits[2], row[i].seq);
                if (s->peaked) ck_assert_int_eq((int)*peak++, row[i].token + N_VOCAB * pos);
                logits += N_VOCAB, kept++;
            }
            ck_assert_uint_eq(s->n_logits, kept);
        }
        for (int i = 0; i < N_SEQ; i++) ck_assert_int_eq(s->kv.seq[i].length, length[i]);
        llm_session_close(s);
    }
    ck_assert_int_gt(peaked, 0);
    ck_assert_int_lt(peaked, 400 * 6);
}
END_TEST

static int stop_after_two(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)total;
    *(uint64_t *)user = done;
    return done >= 20;
}

START_TEST(nothing_changes_when_it_does_not_fit)
{
    llm_session *s = calloc(1, sizeof *s);
    llm_token tok[N_CTX + 1] = { 0 };
    llm_row row[2] = { { 1, 0, 1 }, { 1, 4, 1 } };
    llm_error err;
    uint64_t done;

    session_make(s, 10);
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .token = tok, .n = N_CTX + 1 }, &err), LLM_ERR_CONTEXT);
    ck_assert_str_eq(err.text, "the context is full: sequence 0 holds 0 of 200 tokens, 201 more were asked for, 200 fit");
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .token = tok, .n = N_CTX - 2 }, &err), LLM_OK);
    ck_assert_uint_eq(s->n_logits, 1);
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .token = tok, .n = 3 }, &err), LLM_ERR_CONTEXT);
    ck_assert_str_eq(err.text, "the context is full: sequence 0 holds 198 of 200 tokens, 3 more were asked for, 2 fit");
    ck_assert_uint_eq(s->n_logits, 1);
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .row = row, .n = 0 }, &err), LLM_ERR_ARG);
    row[1].seq = N_SEQ;
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .row = row, .n = 2 }, &err), LLM_ERR_ARG);
    row[1].seq = 4, row[1].token = 1000;
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .row = row, .n = 2 }, &err), LLM_ERR_ARG);
    row[1].token = -1;
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .row = row, .n = 2 }, &err), LLM_ERR_ARG);
    ck_assert_int_eq(s->kv.seq[0].length, N_CTX - 2);
    ck_assert_int_eq(s->kv.seq[4].length, 0);

    kv_clear(&s->kv, 0);
    s->progress = stop_after_two, s->progress_user = &done;
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .token = tok, .n = 35 }, &err), LLM_ERR_CANCELLED);
    ck_assert_uint_eq(done, 20);
    ck_assert_int_eq(s->kv.seq[0].length, 20);          /* the finished pieces stay */
    ck_assert_uint_eq(s->n_logits, 0);
    s->progress = NULL, fail_at = calls + 2;
    ck_assert_int_eq(batch_decode(s, &(batch_input){ .token = tok, .n = 35 }, &err), LLM_ERR_INTERNAL);
    ck_assert_int_eq(s->kv.seq[0].length, 30);
    llm_session_close(s);
}
END_TEST

LLM_TEST_MAIN("run/batch", rows_keep_their_order, nothing_changes_when_it_does_not_fit)
