/* Weights put in order while a model is used: the same bits before, meanwhile and afterwards; no more memory than there was. */
#include "subject.h"
#include "model.h"
#include "repack.h"
#include "session.h"
#include <pthread.h>
#include <stdlib.h>

static void open_model(subject *s, const char *path, const llm_model_options *with)
{
    llm_model_options o = *with;
    llm_error err;

    subject_open(s, path, NULL, 2);
    llm_model_close(s->model);
    o.size = sizeof o, o.path = path, o.n_threads = 2;
    ck_assert_msg(llm_model_open(&s->model, &o, &err) == LLM_OK, "%s: %s", path, err.text);
}

static bool vectors(void) { return cpu_best_isa() != ISA_SCALAR; }

/* All logits, one token a step; step `at` comes after all that is left was put in order (-1: never). */
static float *stepwise(const subject *s, int at)
{
    float *out = malloc((size_t)N_TOKEN * (size_t)s->n_vocab * sizeof *out);
    llm_session *session = subject_session(s, (llm_session_options){ .n_threads = 2 });
    llm_error err;

    for (int i = 0; i < N_TOKEN; i++) {
        if (i == at) ck_assert_int_eq(llm_session_warm_up(session, &err), LLM_OK);
        subject_decode(s, session, 0, i, i + 1, out);
    }
    llm_session_close(session);
    return out;
}

/* Every family in both layouts: where weights lie, then little by little, then all at once in the middle, then with a prompt. */
START_TEST(results_are_those_of_the_file)
{
    char path[MAX_SUBJECT + 1][512];
    int n = subject_list(path), moved = 0;

    ck_assert_int_gt(n, 0);
    for (int i = 0; i < n; i++) {
        subject s;
        float *want, *got;
        open_model(&s, path[i], &(llm_model_options){ .no_repack = 1 });
        ck_assert_ptr_null(s.model->repack);
        want = subject_logits(&s, (llm_session_options){ .n_batch = N_TOKEN });
        llm_model_close(s.model);
        for (int at = -1; at <= 2; at += 3) {
            open_model(&s, path[i], &(llm_model_options){ 0 });
            got = stepwise(&s, at);
            subject_same(&s, at < 0 ? "little by little" : "all at once", got, want);
            free(got);
            got = subject_logits(&s, (llm_session_options){ .n_batch = 64 });
            subject_same(&s, "a prompt afterwards", got, want);
            free(got);
            ck_assert(s.model->repack == NULL || repack_resident(s.model) > 0);
            moved += s.model->repack != NULL;
            llm_model_close(s.model);
        }
        free(want);
    }
    if (!vectors()) test_skip("repack", "no vector kernels on this machine");
    else ck_assert_int_gt(moved, 0);
}
END_TEST

static const char demo[] = "tools/demo/demo-gpt-oss.gguf";

typedef struct { subject *s; float *out; } listener;

static void *steps_of_one(void *arg)
{
    listener *l = arg;
    l->out = stepwise(l->s, -1);
    return NULL;
}

/* Sessions of one model at once: one copies, the others read what is ready. */
START_TEST(sessions_share_it)
{
    enum { N = 3 };
    pthread_t thread[N];
    listener l[N];
    subject s;
    float *want;

    open_model(&s, demo, &(llm_model_options){ .no_repack = 1 });
    want = subject_logits(&s, (llm_session_options){ 0 });
    llm_model_close(s.model);
    open_model(&s, demo, &(llm_model_options){ 0 });
    for (int i = 0; i < N; i++) {
        l[i].s = &s;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, steps_of_one, &l[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        subject_same(&s, "beside others", l[i].out, want);
        free(l[i].out);
    }
    llm_model_close(s.model);
    free(want);
}
END_TEST

typedef struct { subject *s; uint64_t resident; } warmer;

static void *warm_up(void *arg)
{
    warmer *w = arg;
    llm_session *session = subject_session(w->s, (llm_session_options){ .n_threads = 1 });
    llm_error err;

    ck_assert_int_eq(llm_session_warm_up(session, &err), LLM_OK);
    w->resident = repack_resident(w->s->model);
    llm_session_close(session);
    return NULL;
}

/* Whoever asked for all of it has it, also those who came while another session was copying. */
START_TEST(sessions_that_warm_up_together)
{
    enum { N = 4 };
    pthread_t thread[N];
    warmer w[N];
    subject s;

    if (!vectors()) { test_skip("repack", "no vector kernels on this machine"); return; }
    open_model(&s, demo, &(llm_model_options){ 0 });
    for (int i = 0; i < N; i++) {
        w[i].s = &s;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, warm_up, &w[i]), 0);
    }
    for (int i = 0; i < N; i++) pthread_join(thread[i], NULL);
    ck_assert_uint_gt(repack_resident(s.model), 0);
    for (int i = 0; i < N; i++) ck_assert_uint_eq(w[i].resident, repack_resident(s.model));
    llm_model_close(s.model);
}
END_TEST

static int stop_at_once(void *user, const char *what, uint64_t done, uint64_t total)
{
    int *calls = user;

    ck_assert_uint_le(done, total);
    if (strcmp(what, "putting weights in order") != 0) return 0;
    ++*calls;
    return 1;
}

/* Stopped, it goes on later; and it is not done where it was not wanted or cannot be. */
START_TEST(it_can_be_stopped_and_left_out)
{
    int calls = 0;
    subject s;
    llm_session *session;
    llm_error err;
    float *out;

    if (!vectors()) { test_skip("repack", "no vector kernels on this machine"); return; }
    open_model(&s, demo, &(llm_model_options){ .progress = stop_at_once, .user = &calls });
    ck_assert_ptr_nonnull(s.model->repack);
    session = subject_session(&s, (llm_session_options){ .n_threads = 2 });
    ck_assert_int_eq(llm_session_warm_up(session, &err), LLM_ERR_CANCELLED);
    ck_assert_int_eq(calls, 1);
    llm_session_close(session);
    out = stepwise(&s, -1);
    ck_assert_uint_gt(repack_resident(s.model), 0);
    free(out);
    llm_model_close(s.model);
    open_model(&s, demo, &(llm_model_options){ .allow_paging = 1 });
    ck_assert_ptr_null(s.model->repack);
    llm_model_close(s.model);
    open_model(&s, demo, &(llm_model_options){ .cpu = "scalar" });
    ck_assert_ptr_null(s.model->repack);
    session = subject_session(&s, (llm_session_options){ 0 });
    ck_assert_int_eq(llm_session_warm_up(session, &err), LLM_OK);
    llm_session_close(session);
    llm_model_close(s.model);
    ck_assert_int_eq(llm_session_warm_up(NULL, &err), LLM_ERR_ARG);
}
END_TEST

/* KiB of the file's mapping that are resident; -1: unknown. */
static long resident_of(const char *name)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[4200];
    long kib = -1, rss;
    bool own = false;

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, "kB") == NULL) own = strstr(line, name) != NULL;
        else if (own && sscanf(line, "Rss: %ld", &rss) == 1) kib = (kib < 0 ? 0 : kib) + rss;
    }
    if (f != NULL) fclose(f);
    return kib;
}

/* What was copied of the file is let go, and rows of a tied table are read in their new place: weights are there once. */
START_TEST(memory_is_taken_once)
{
    llm_session *session;
    llm_error err;
    subject s;
    float *out;
    long before;

    if (!vectors() || access("/proc/self/smaps", R_OK) != 0) { test_skip("repack", "no vector kernels, or no /proc/self/smaps"); return; }
    open_model(&s, demo, &(llm_model_options){ 0 });
    session = subject_session(&s, (llm_session_options){ .n_threads = 2 });
    out = malloc((size_t)N_TOKEN * (size_t)s.n_vocab * sizeof *out);
    subject_decode(&s, session, 0, 0, 50, out);
    before = resident_of("demo-gpt-oss.gguf");
    ck_assert_int_eq(llm_session_warm_up(session, &err), LLM_OK);
    subject_decode(&s, session, 0, 50, N_TOKEN, out);
    ck_assert_int_lt(resident_of("demo-gpt-oss.gguf"), before - (long)(repack_resident(s.model) / 1024 / 2));
    free(out);
    llm_session_close(session);
    llm_model_close(s.model);
}
END_TEST

LLM_TEST_MAIN("run/repack", results_are_those_of_the_file, sessions_share_it, sessions_that_warm_up_together,
              it_can_be_stopped_and_left_out, memory_is_taken_once)
