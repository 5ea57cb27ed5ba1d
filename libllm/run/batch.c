/* batch.c - rows of several sequences, cut into pieces of n_batch, each grouped by sequence for the forward pass. */
#include "session.h"
#include "repack.h"
#include "sampler.h"
#include <string.h>

static llm_row row_of(const batch_input *in, size_t i)
{
    if (in->row != NULL) return in->row[i];
    return (llm_row){ .token = in->token[i], .seq = 0, .want_logits = i + 1 == in->n };
}

static llm_status full(const llm_session *s, int seq, size_t asked, llm_error *err)
{
    return llm_fail(err, LLM_ERR_CONTEXT, "the context is full: sequence %d holds %d of %d tokens, %zu more were asked for, %d fit",
                    seq, s->kv.seq[seq].length, s->kv.n_ctx, asked, kv_room(&s->kv, seq));
}

/* Every row is in range and every sequence has room; *n_want rows keep their logits. Nothing is changed. */
static llm_status check(llm_session *s, const batch_input *in, size_t *n_want, llm_error *err)
{
    int n_vocab = s->model->config.n_vocab;
    size_t room = (size_t)s->kv.n_seq * (size_t)s->kv.n_ctx;

    if (in->n == 0) return llm_fail(err, LLM_ERR_ARG, "decode: no tokens");
    if (in->row == NULL && in->n > (size_t)kv_room(&s->kv, 0)) return full(s, 0, in->n, err);
    if (in->n > room) return llm_fail(err, LLM_ERR_CONTEXT, "decode: %zu rows, all sequences together hold %zu", in->n, room);
    memset(s->n_row_seq, 0, (size_t)s->kv.n_seq * sizeof *s->n_row_seq);
    for (size_t i = 0; i < in->n; i++) {
        llm_row r = row_of(in, i);
        if (r.seq < 0 || r.seq >= s->kv.n_seq)
            return llm_fail(err, LLM_ERR_ARG, "decode: row %zu is of sequence %d, want 0..%d", i, r.seq, s->kv.n_seq - 1);
        if (r.token < 0 || r.token >= n_vocab)
            return llm_fail(err, LLM_ERR_ARG, "decode: row %zu is token %d, want 0..%d", i, (int)r.token, n_vocab - 1);
        s->n_row_seq[r.seq]++;
        if (r.want_logits) ++*n_want;
    }
    for (int seq = 0; seq < s->kv.n_seq; seq++)
        if (s->n_row_seq[seq] > kv_room(&s->kv, seq)) return full(s, seq, (size_t)s->n_row_seq[seq], err);
    return LLM_OK;
}

/* Rows first .. first + n - 1 of the input, grouped by sequence and in their order within each. */
static llm_batch batch_fill(llm_session *s, const batch_input *in, size_t first, int n)
{
    llm_batch b = { .n = n, .token = s->token, .pos = s->pos, .seq = s->seq, .span = s->span };
    int at = 0;

    memset(s->n_row_seq, 0, (size_t)s->kv.n_seq * sizeof *s->n_row_seq);
    for (int i = 0; i < n; i++) s->n_row_seq[row_of(in, first + (size_t)i).seq]++;
    for (int seq = 0; seq < s->kv.n_seq; seq++) {
        if (s->n_row_seq[seq] == 0) continue;
        s->span[b.n_span++] = (llm_span){ .seq = seq, .row0 = at, .n = s->n_row_seq[seq], .pos0 = s->kv.seq[seq].length };
        at += s->n_row_seq[seq];
        s->n_row_seq[seq] = at - s->n_row_seq[seq];         /* from here on: the next free row of the sequence */
    }
    for (int i = 0; i < n; i++) {
        llm_row r = row_of(in, first + (size_t)i);
        int j = s->n_row_seq[r.seq]++;
        s->token[j] = r.token, s->seq[j] = r.seq, s->want[j] = r.want_logits != 0, s->origin[j] = i;
    }
    for (int i = 0; i < b.n_span; i++)
        for (int j = 0; j < s->span[i].n; j++) s->pos[s->span[i].row0 + j] = s->span[i].pos0 + j;
    return b;
}

static void swap_rows(float *row, size_t width, int32_t i, int32_t j, float *spare)
{
    float *a = row + width * (size_t)i, *b = row + width * (size_t)j;

    memcpy(spare, b, width * sizeof *b), memcpy(b, a, width * sizeof *b), memcpy(a, spare, width * sizeof *a);
}

/* Puts the logits of a piece, which lie in grouped order, into the order of the caller's rows, and their peaks. target[k]: where the k-th
 * belongs; it is overwritten. Cycle by cycle, with one spare row. */
static void reorder(llm_session *s, float *logits, float *peak, int32_t *target, int n)
{
    for (int k = 0; k < n; k++) {
        while (target[k] != k) {
            int32_t to = target[k];
            swap_rows(logits, (size_t)s->model->config.n_vocab, k, to, s->row);
            if (peak) swap_rows(peak, s->n_peak, k, to, s->row);
            target[k] = target[to], target[to] = to;
        }
    }
}

/* origin [n] becomes, for the rows whose logits are kept, the rank of each among them. Returns how many. */
static int ranks(llm_session *s, int n)
{
    int32_t *rank = s->pos;             /* free once the step is done */
    int kept = 0;

    memset(rank, 0, (size_t)n * sizeof *rank);
    for (int j = 0; j < n; j++)
        if (s->want[j]) rank[s->origin[j]] = 1;
    for (int i = 0, sum = 0; i < n; i++) {
        int one = rank[i];
        rank[i] = sum, sum += one;
    }
    for (int j = 0; j < n; j++)
        if (s->want[j]) s->origin[kept++] = rank[s->origin[j]];
    return kept;
}

/* A step of so few rows generates: part of its time goes into getting the next ones faster. */
enum { FEW_ROWS = 16 };

static llm_status piece(llm_session *s, const batch_input *in, size_t first, int n, float *logits, float *peak, int *kept, llm_error *err)
{
    llm_batch b = batch_fill(s, in, first, n);
    double began = repack_clock();
    llm_status st;

    for (int i = 0; i < b.n_span; i++) kv_reserve(&s->kv, b.span[i].seq, b.span[i].n);
    session_head(s)->peak = peak;
    if ((st = llm_forward(s->first, &b, s->want, logits, err)) != LLM_OK) return st;
    for (int i = 0; i < b.n_span; i++) {
        llm_span p = b.span[i];
        memcpy(kv_tokens(&s->kv, p.seq) + p.pos0, s->token + p.row0, (size_t)p.n * sizeof *s->token);
        kv_commit(&s->kv, p.seq, p.n);
    }
    if (n <= FEW_ROWS) repack_some(s->model, &s->be[SITE_HOST], (repack_clock() - began) / 4);
    *kept = ranks(s, n);
    if (*kept > 0) s->peaked = s->peaked && session_head(s)->peaked;
    if (session_head(s)->held == 0) reorder(s, logits, s->peaked ? peak : NULL, s->origin, *kept);      /* rows on the device stay in grouped order: session_fetch */
    return LLM_OK;
}

/* ---- logits that stay where they were computed: row j of run.out is row origin[j] of the caller's ---- */

llm_status session_fetch(llm_session *s, llm_error *err)
{
    size_t width = (size_t)s->model->config.n_vocab;
    llm_run *r = session_head(s);

    if (s->n_held == 0) return LLM_OK;
    r->be->err.status = LLM_OK;
    r->be->remote->download(r->be, s->logits, r->out.data, s->n_held * width * sizeof *s->logits);
    if (r->be->err.status != LLM_OK) return llm_fail(err, r->be->err.status, "%s", r->be->err.text);
    reorder(s, s->logits, NULL, s->origin, (int)s->n_held);
    s->n_held = 0;
    return LLM_OK;
}

static const float *held_row(const llm_session *s, size_t i)
{
    size_t j = 0;

    while (j + 1 < s->n_held && s->origin[j] != (int32_t)i) j++;
    return row_at(run_rows_of(session_head(s)->out, (int)s->n_held, s->model->config.n_vocab), (int64_t)j);
}

/* The tokens that parts of n <= n_top rows prove; out of the others stays. */
static void pick_held(llm_session *s, size_t first, size_t n, llm_sampler *const *p, const uint64_t *pos, llm_token *out)
{
    llm_backend *be = session_head(s)->be;
    size_t of[TOP_ROWS];
    int asked = 0;

    for (size_t i = 0; i < n; i++) {
        llm_top *t = &s->top[asked];
        if (sampler_wants(p[i], t)) t->x = held_row(s, first + i), of[asked++] = i;
    }
    if (asked == 0) return;
    be->err.status = LLM_OK;
    be->remote->top(be, s->top, asked);
    for (int k = 0; k < asked && be->err.status == LLM_OK; k++) out[of[k]] = sampler_pick_top(p[of[k]], &s->top[k], pos[of[k]]);
}

llm_status session_pick(llm_session *s, size_t first, size_t n, llm_sampler *const *p, const uint64_t *pos, llm_token *out, llm_error *err)
{
    size_t width = (size_t)s->model->config.n_vocab, i = 0, k;
    struct llm_pool *pool = backend_cpu_pool(&s->be[SITE_HOST]);
    llm_error own = { 0 };
    llm_status st;

    for (i = 0; i < n; i++) out[i] = -1;
    for (i = 0; i < n && s->n_held > 0; i += k) {
        k = n - i < (size_t)s->n_top ? n - i : (size_t)s->n_top;
        pick_held(s, first + i, k, p + i, pos + i, out + i);
    }
    for (i = 0; i < n; i++) {
        if (out[i] >= 0) continue;
        if ((st = session_fetch(s, err)) != LLM_OK) break;
        out[i] = sampler_pick_row(p[i], s->logits + (first + i) * width, s->peaked ? s->peak + (first + i) * s->n_peak : NULL, pos[i], pool, &own);
        if (out[i] < 0) { st = llm_fail(err, own.status, "%s", own.text); break; }
    }
    if (i == n) return LLM_OK;
    while (i < n) out[i++] = -1;
    return st;
}

static bool stopped(void *user)
{
    llm_session *s = user;

    return s->progress(s->progress_user, "decode", s->rows_done, s->rows_all) != 0;
}

llm_status batch_decode(llm_session *s, const batch_input *in, llm_error *err)
{
    size_t n_want = 0, width = (size_t)s->model->config.n_vocab, done = 0, have = 0;
    llm_status st;

    if ((st = check(s, in, &n_want, err)) != LLM_OK) return st;
    if (!session_logits_reserve(s, n_want)) return llm_fail_memory(err, n_want * width * sizeof(float), "logits");
    s->n_logits = s->n_held = 0, s->peaked = true;
    session_head(s)->keep = in->n <= (size_t)s->kv.n_batch;
    s->first->stop = s->progress ? stopped : NULL, s->first->stop_user = s;
    s->rows_all = in->n;
    while (done < in->n) {
        int n = in->n - done < (size_t)s->kv.n_batch ? (int)(in->n - done) : s->kv.n_batch, kept = 0;
        s->rows_done = done;
        if ((st = piece(s, in, done, n, s->logits + have * width, s->peak + have * s->n_peak, &kept, err)) != LLM_OK) return st;
        done += (size_t)n, have += (size_t)kept;
    }
    s->n_logits = have, s->n_held = (size_t)session_head(s)->held;
    return LLM_OK;
}
