/* picks_test.c - what a session picks is what a sampler picks from the logits that it gives out: rows of several sequences, in pieces. */
#include "subject.h"

enum { N_SEQ = 3, N_ROW = 40 };

static void pick_all(const subject *s, const llm_sampler_options *o)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_seq = N_SEQ, .n_batch = 9 });
    llm_row row[N_ROW];
    llm_sampler *by_session, *by_row;
    llm_error err;

    ck_assert_int_eq(llm_sampler_open(&by_session, s->model, o, &err), LLM_OK);
    ck_assert_int_eq(llm_sampler_open(&by_row, s->model, o, &err), LLM_OK);
    for (int i = 0; i < N_ROW; i++) row[i] = (llm_row){ .token = s->token[i], .seq = i * 7 % N_SEQ, .want_logits = i % 4 != 1 };
    for (int step = 0; step < 3; step++) {
        size_t n = step == 0 ? N_ROW : (size_t)step;
        ck_assert_msg(llm_session_decode_rows(session, row, n, &err) == LLM_OK, "%s: %s", s->path, err.text);
        for (size_t i = 0; i < llm_session_n_logits(session); i++) {
            llm_token t = llm_session_pick(session, i, by_session, i, &err);
            ck_assert_msg(t >= 0, "%s: %s", s->path, err.text);
            ck_assert_int_eq(llm_sampler_pick(by_row, llm_session_logits(session) + i * (size_t)s->n_vocab, i, &err), t);
            ck_assert_int_eq(llm_sampler_accept(by_session, t, &err), LLM_OK);
            ck_assert_int_eq(llm_sampler_accept(by_row, t, &err), LLM_OK);
        }
    }
    llm_sampler_close(by_session), llm_sampler_close(by_row);
    llm_session_close(session);
}

START_TEST(picks_are_those_of_the_logits)
{
    static char path[MAX_SUBJECT + 1][512];
    static const llm_logit_bias bias = { 5, 3 };
    const llm_sampler_options all[] = {
        { .size = sizeof *all }, { .size = sizeof *all, .temperature = 1, .seed = 3 }, { .size = sizeof *all, .temperature = 1, .top_k = 7, .top_p = 0.9f, .seed = 4 },
        { .size = sizeof *all, .repeat_penalty = 1.2f, .bias = &bias, .n_bias = 1 },
    };
    int n = subject_list(path);

    if (n == 0) { test_skip("run/picks", "no reference models"); return; }
    for (int i = 0; i < n; i++) {
        char one[512];
        subject s;
        memcpy(one, path[i], sizeof one);
        subject_open(&s, one, NULL, 2);
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) pick_all(&s, &all[k]);
        llm_model_close(s.model);
    }
}
END_TEST

LLM_TEST_MAIN("run/picks", picks_are_those_of_the_logits)
