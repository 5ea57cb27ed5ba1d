/* reuse_test.c - what a session holds is kept as far as it agrees: the logits are those of a fresh session, to the bit. */
#include "subject.h"

static llm_session *open_session(const subject *s)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = N_TOKEN, .n_batch = 4 };      /* windows keep little beyond themselves */
    llm_session *session;
    llm_error err;

    ck_assert_msg(llm_session_open(&session, s->model, &o, &err) == LLM_OK, "%s: %s", s->path, err.text);
    return session;
}

/* held tokens, then others that agree for same of them; how many were re-used. */
static size_t reuse(const subject *s, int held, int same, int n, const float *want)
{
    llm_session *session = open_session(s);
    llm_token tok[N_TOKEN];
    llm_error err;
    size_t reused = 99, common = 99;

    memcpy(tok, s->token, sizeof tok);
    for (int i = same; i < held; i++) tok[i] = (tok[i] + 1) % s->n_vocab;
    ck_assert_int_eq(llm_session_decode(session, tok, (size_t)held, &err), LLM_OK);
    ck_assert_msg(llm_session_reuse(session, 0, s->token, (size_t)n, &reused, &common, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq((int)common, same < n ? same : n);
    ck_assert_msg(reused == common || reused == 0 || (reused + 1 == common && (int)common == n), "%zu of %zu", reused, common);
    ck_assert_int_eq(llm_session_length(session, 0), (int)reused);
    ck_assert_int_eq(llm_session_decode(session, s->token + reused, (size_t)n - reused, &err), LLM_OK);
    ck_assert_msg(memcmp(llm_session_logits(session), want, (size_t)s->n_vocab * sizeof *want) == 0, "%s: %d held, %d agree, %zu re-used", s->path, held, same, reused);
    llm_session_close(session);
    return reused;
}

START_TEST(as_a_fresh_session)
{
    static char path[MAX_SUBJECT + 1][512];
    int n_path = subject_list(path), n = N_TOKEN - 10, emptied = 0, all = 0;

    if (n_path == 0) { test_skip("run/reuse", "no reference models"); return; }
    for (int i = 0; i < n_path; i++) {
        static const struct { int held, same; } rows[] = { { 90, 90 }, { 90, 60 }, { 90, 89 },
            { 90, 0 }, { N_TOKEN, 20 }, { N_TOKEN, N_TOKEN }, { N_TOKEN - 10, N_TOKEN - 10 } };
        char one[512];
        subject s;
        llm_session *fresh;
        float *want;
        llm_error err;

        memcpy(one, path[i], sizeof one);
        subject_open(&s, one, NULL, 2);
        want = malloc((size_t)s.n_vocab * sizeof *want);
        fresh = open_session(&s);
        ck_assert_int_eq(llm_session_decode(fresh, s.token, (size_t)n, &err), LLM_OK);
        memcpy(want, llm_session_logits(fresh), (size_t)s.n_vocab * sizeof *want);
        llm_session_close(fresh);
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++, all++) emptied += reuse(&s, rows[k].held, rows[k].same, n, want) == 0 && rows[k].same > 0;
        free(want);
        llm_model_close(s.model);
    }
    printf("%d of %d times a window could not go back\n", emptied, all);
    ck_assert(emptied > 0 && emptied < all);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    size_t reused;
    llm_error err;

    ck_assert_int_eq(llm_session_reuse(NULL, 0, NULL, 0, &reused, NULL, &err), LLM_ERR_ARG);
}
END_TEST

LLM_TEST_MAIN("run/reuse", as_a_fresh_session, nonsense_is_refused)
