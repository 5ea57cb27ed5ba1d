/* The numeric contract: however the same tokens are computed, the logits have the same bits. For every reference model. */
#include "subject.h"
#include "../stopper.h"
#include <fenv.h>
#include <pthread.h>

static char path[MAX_SUBJECT + 1][512];
static int n_path;

static void try_one(void (*test)(subject *s, float *got, const float *want), const char *file)
{
    subject s;
    float *want, *got;

    subject_open(&s, file, NULL, 1);
    want = subject_logits(&s, (llm_session_options){ 0 });
    got = calloc((size_t)N_TOKEN * (size_t)s.n_vocab, sizeof *got);
    test(&s, got, want);
    free(want), free(got);
    llm_model_close(s.model);
}

/* Emulated, most tests take every SPARSEth model, each test others. */
#ifdef LLM_TEST_PLAIN
enum { SPARSE = 7 };
#else
enum { SPARSE = 1 };
#endif

static void for_each(void (*test)(subject *s, float *got, const float *want), const char *name, int every)
{
    static int turn;

    if (n_path == 0) n_path = subject_list(path);
    if (n_path == 0) test_skip(name, "no reference models in " REF_DIR);
    for (int i = turn++ % every; i < n_path; i += every) try_one(test, path[i]);
}

/* Cuts of 1 .. most tokens that depend on seed alone. */
static void decode_in_cuts(subject *s, llm_session *session, int most, uint32_t seed, float *got)
{
    for (int at = 0, n; at < N_TOKEN; at += n) {
        seed = seed * 1664525u + 1013904223u;
        n = 1 + (int)((seed >> 16) % (uint32_t)most);
        if (n > N_TOKEN - at) n = N_TOKEN - at;
        subject_decode(s, session, 0, at, at + n, got);
    }
}

static void cuts(subject *s, float *got, const float *want)
{
    static const int most[] = { 1, 5, 40, 150 };
    char what[64];

    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        llm_session *session = subject_session(s, (llm_session_options){ 0 });
        decode_in_cuts(s, session, most[i], (uint32_t)i, got);
        snprintf(what, sizeof what, "cuts of 1 to %d", most[i]);
        subject_same(s, what, got, want);
        llm_session_close(session);
    }
}

static void batch_sizes(subject *s, float *got, const float *want)
{
    static const int n_batch[] = { 1, 7, 64 };
    char what[64];

    for (size_t i = 0; i < sizeof n_batch / sizeof n_batch[0]; i++) {
        llm_session *session = subject_session(s, (llm_session_options){ .n_batch = n_batch[i], .n_ctx = 200 + 100 * (int)i });
        subject_decode(s, session, 0, 0, N_TOKEN, got);
        snprintf(what, sizeof what, "n_batch %d", n_batch[i]);
        subject_same(s, what, got, want);
        llm_session_close(session);
    }
}

/* The subject is sequence 1; others grow beside it, rows of all mixed at random. */
static void other_sequences(subject *s, float *got, const float *want)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_seq = 4, .n_batch = 23 });
    size_t width = (size_t)s->n_vocab;
    uint32_t r = 99;
    int at = 0;

    while (at < N_TOKEN) {
        llm_row row[32];
        llm_error err;
        size_t n = 0, kept = 0;
        int first = at;
        for (; n < 32 && at < N_TOKEN; n++) {
            r = r * 1664525u + 1013904223u;
            int seq = (int)(r >> 16) % 3;
            if (seq != 1 && llm_session_length(session, seq) + 32 > 256)
                ck_assert_int_eq(llm_session_truncate(session, seq, 0, NULL), LLM_OK);
            row[n] = (llm_row){ .token = seq == 1 ? s->token[at++] : (int)(r >> 8) % s->n_vocab, .seq = seq, .want_logits = seq != 2 };
        }
        ck_assert_msg(llm_session_decode_rows(session, row, n, &err) == LLM_OK, "%s: %s", s->path, err.text);
        for (size_t i = 0; i < n; i++) {
            if (row[i].seq == 1) memcpy(got + width * (size_t)first++, llm_session_logits(session) + width * kept, width * sizeof *got);
            kept += row[i].want_logits != 0;
        }
    }
    subject_same(s, "beside other sequences", got, want);
    llm_session_close(session);
}

static void threads(subject *s, float *got, const float *want)
{
    char what[64];

    for (int n = 2; n <= 4; n++) {
        llm_session *session = subject_session(s, (llm_session_options){ .n_threads = n });
        subject_decode(s, session, 0, 0, N_TOKEN / 2, got);
        for (int i = N_TOKEN / 2; i < N_TOKEN; i += 10) subject_decode(s, session, 0, i, i + 10, got);
        snprintf(what, sizeof what, "%d threads", n);
        subject_same(s, what, got, want);
        llm_session_close(session);
    }
}

/* Threads of the pool, and the caller, that stand still at random moments; again, where all went by before there were some. */
static void stopped_threads(subject *s, float *got, const float *want)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_threads = 3 });
    int before = atomic_load(&stopper_stops);

    stopper_start();
    for (int round = 0; round == 0 || (atomic_load(&stopper_stops) - before < 3 && round < 50); round++) {
        ck_assert_int_eq(llm_session_truncate(session, 0, 0, NULL), LLM_OK);
        decode_in_cuts(s, session, 40, 5, got);
        subject_same(s, "threads that are stopped", got, want);
    }
    stopper_end();
    ck_assert_msg(atomic_load(&stopper_stops) - before >= 3, "%s: %d stops", s->path, atomic_load(&stopper_stops) - before);
    llm_session_close(session);
}

static void save_and_restore(subject *s, float *got, const float *want)
{
    static const int cut[] = { 1, 16, 63, 64, 65, 131 };
    char file[] = "/tmp/llm-state-XXXXXX", what[64];
    llm_error err;
    int fd = mkstemp(file);

    ck_assert_int_ge(fd, 0);
    close(fd);
    for (size_t i = 0; i < sizeof cut / sizeof cut[0] && cut[i] < N_TOKEN; i++) {
        llm_session *a = subject_session(s, (llm_session_options){ .n_seq = 2, .n_batch = 19 });
        llm_session *b = subject_session(s, (llm_session_options){ .n_seq = 3, .n_batch = 50, .n_ctx = 300 });
        subject_decode(s, a, 1, 0, cut[i], got);
        ck_assert_msg(llm_session_save(a, file, &err) == LLM_OK, "%s", err.text);
        subject_decode(s, b, 2, 0, N_TOKEN / 2, got);       /* leftovers in the cells */
        ck_assert_msg(llm_session_restore(b, file, &err) == LLM_OK, "%s: %s", s->path, err.text);
        ck_assert_int_eq(llm_session_length(b, 0), 0);
        ck_assert_int_eq(llm_session_length(b, 1), cut[i]);
        ck_assert_int_eq(llm_session_length(b, 2), 0);
        ck_assert_mem_eq(llm_session_tokens(b, 1), s->token, (size_t)cut[i] * sizeof(llm_token));
        subject_decode(s, b, 1, cut[i], N_TOKEN, got);
        snprintf(what, sizeof what, "restored after %d tokens", cut[i]);
        subject_same(s, what, got, want);
        llm_session_close(a), llm_session_close(b);
    }
    unlink(file);
}

static void truncate_and_copy(subject *s, float *got, const float *want)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_seq = 2, .n_batch = 16 });
    llm_token other[9];
    llm_error err;

    for (int i = 0; i < 9; i++) other[i] = i * 7 % s->n_vocab;
    for (int at = 0; at < N_TOKEN; at += 20) {      /* a wrong turn after every 20 tokens, taken back */
        subject_decode(s, session, 0, at, at + 20, got);
        ck_assert_msg(llm_session_decode(session, other, 9, &err) == LLM_OK, "%s: %s", s->path, err.text);
        ck_assert_msg(llm_session_truncate(session, 0, at + 20, &err) == LLM_OK, "%s: %s", s->path, err.text);
    }
    subject_same(s, "cut back again and again", got, want);
    for (int at = 40; at < N_TOKEN; at += 70) {
        ck_assert_int_eq(llm_session_truncate(session, 0, 0, &err), LLM_OK);
        subject_decode(s, session, 0, 0, at, got);
        ck_assert_msg(llm_session_copy(session, 0, 1, &err) == LLM_OK, "%s: %s", s->path, err.text);
        ck_assert_int_eq(llm_session_decode(session, other, 9, &err), LLM_OK);
        subject_decode(s, session, 1, at, N_TOKEN, got);
        subject_same(s, "went on in a copy", got, want);
    }
    llm_session_close(session);
}

static int stop_at_zero(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
    return --*(int *)user < 0;
}

/* Stopped in the middle of a layer again and again; what was finished stays, what was not is computed anew. */
static void cancelled(subject *s, float *got, const float *want)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_batch = 13 });
    int left;
    llm_error err;

    llm_session_set_progress(session, stop_at_zero, &left);
    for (int round = 0, at; (at = llm_session_length(session, 0)) < N_TOKEN; round++) {
        int n = N_TOKEN - at < 50 ? N_TOKEN - at : 50;
        llm_row row[50];
        size_t width = (size_t)s->n_vocab;
        for (int i = 0; i < n; i++) row[i] = (llm_row){ .token = s->token[at + i], .want_logits = 1 };
        left = round % 2 ? 10000 : round % 17;
        if (llm_session_decode_rows(session, row, (size_t)n, &err) == LLM_OK) {
            memcpy(got + width * (size_t)at, llm_session_logits(session), (size_t)n * width * sizeof *got);
            continue;
        }
        ck_assert_int_eq(err.status, LLM_ERR_CANCELLED);
        ck_assert_uint_eq(llm_session_n_logits(session), 0);
        for (int i = at; i < llm_session_length(session, 0); i++)       /* their logits are gone */
            memcpy(got + width * (size_t)i, want + width * (size_t)i, width * sizeof *got);
    }
    subject_same(s, "cancelled and taken up again", got, want);
    llm_session_close(session);
}

static bool allows(const subject *s, llm_kv_type type)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = 256, .kv_type = type };
    llm_session *session;
    llm_status st = llm_session_open(&session, s->model, &o, NULL);

    llm_session_close(session);
    return st == LLM_OK;
}

static void instruction_sets(subject *s, float *got, const float *want)
{
    static const char *const name[] = { "scalar", "avx2", "avxvnni", "avx512", "neon", "i8mm" };
    static const llm_kv_type type[] = { LLM_KV_F32, LLM_KV_Q8_0 };
    float *want_of[2] = { NULL, NULL };

    for (int k = 0; k < 2; k++)
        if (allows(s, type[k])) want_of[k] = subject_logits(s, (llm_session_options){ .kv_type = type[k] });
    ck_assert_ptr_nonnull(want_of[0]);
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        llm_model_options o = { .size = sizeof o, .path = s->path, .cpu = name[i], .n_threads = 2 };
        subject other = *s;
        llm_error err;
        llm_session *session;
        if (llm_model_open(&other.model, &o, &err) != LLM_OK) {     /* not on this machine */
            ck_assert_msg(err.status == LLM_ERR_UNSUPPORTED && i > 0, "%s: %s", s->path, err.text);
            continue;
        }
        session = subject_session(&other, (llm_session_options){ 0 });
        decode_in_cuts(&other, session, 30, 7, got);
        subject_same(s, name[i], got, want);
        llm_session_close(session);
        for (int k = 0; k < 2; k++) {
            float *again = want_of[k] ? subject_logits(&other, (llm_session_options){ .kv_type = type[k] }) : NULL;
            if (again) subject_same(s, name[i], again, want_of[k]);
            free(again);
        }
        llm_model_close(other.model);
    }
    free(want_of[0]), free(want_of[1]);
}

/* Of this thread: rounding, traps, and what becomes of subnormal numbers. */
static unsigned long float_control(unsigned long set)
{
    unsigned long c;
#if defined(__x86_64__)
    unsigned csr;
    __asm__ volatile("stmxcsr %0" : "=m"(csr));
    c = csr & ~0x3fu, csr |= (unsigned)set;
    __asm__ volatile("ldmxcsr %0" : : "m"(csr));
#else
    __asm__ volatile("mrs %0, fpcr" : "=r"(c));
    __asm__ volatile("msr fpcr, %0" : : "r"(c | set));
#endif
    return c;
}
#if defined(__x86_64__)
static const unsigned long flush_subnormals = 0x8040;
#else
static const unsigned long flush_subnormals = 1 << 24;
#endif

/* A program that rounds upwards and flushes subnormal numbers to zero: its threads inherit that, and it finds it again. */
static void float_environments(subject *s, float *got, const float *want)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_threads = 3 });
    llm_sampler_options o = { .size = sizeof o, .temperature = 0.8f, .top_p = 0.9f, .seed = 7 };
    const float *last = want + (size_t)(N_TOKEN - 1) * (size_t)s->n_vocab;
    llm_sampler *p;
    llm_token picks[2][8];
    subject other = *s;
    fenv_t env;
    unsigned long control;

    ck_assert_int_eq(llm_sampler_open(&p, s->model, &o, NULL), LLM_OK);
    for (uint64_t i = 0; i < 8; i++) picks[0][i] = llm_sampler_pick(p, last, i, NULL);
    fegetenv(&env);
    ck_assert_int_eq(fesetround(FE_UPWARD), 0);
    float_control(flush_subnormals);
    control = float_control(0);
    decode_in_cuts(s, session, 40, 3, got);             /* threads from before */
    subject_same(s, "another float environment", got, want);
    llm_session_close(session);
    subject_open(&other, s->path, NULL, 2);             /* all of it in that environment */
    session = subject_session(&other, (llm_session_options){ 0 });
    decode_in_cuts(&other, session, 70, 4, got);
    subject_same(s, "all in another float environment", got, want);
    for (uint64_t i = 0; i < 8; i++) picks[1][i] = llm_sampler_pick(p, last, i, NULL);
    ck_assert_mem_eq(picks[0], picks[1], sizeof picks[0]);
    llm_session_close(session);
    llm_model_close(other.model);
    llm_sampler_close(p);
    ck_assert_uint_eq(float_control(0), control);
    ck_assert_int_eq(fegetround(), FE_UPWARD);
    fesetenv(&env);
}

/* ---- several sessions of one model at the same time ---- */

typedef struct { subject *s; float *got; int n_batch; } job;

static void *one_session(void *arg)
{
    job *j = arg;
    llm_session *session = subject_session(j->s, (llm_session_options){ .n_batch = j->n_batch, .n_threads = 1 + j->n_batch % 2 });

    decode_in_cuts(j->s, session, 60, (uint32_t)j->n_batch, j->got);
    llm_session_close(session);
    return NULL;
}

static void sessions(subject *s, float *got, const float *want)
{
    enum { N = 3 };
    job work[N];
    pthread_t thread[N];

    (void)got;
    for (int i = 0; i < N; i++) {
        work[i] = (job){ s, malloc((size_t)N_TOKEN * (size_t)s->n_vocab * sizeof(float)), 10 + 7 * i };
        ck_assert_int_eq(pthread_create(&thread[i], NULL, one_session, &work[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        subject_same(s, "beside other sessions", work[i].got, want);
        free(work[i].got);
    }
}

static int n_q8;                        /* models whose heads suit Q8_0 */

/* The other types of the cache, each against itself: cut, saved, restored, copied. */
static void cache_types(subject *s, float *got, const float *want)
{
    static const llm_kv_type type[] = { LLM_KV_F32, LLM_KV_Q8_0, LLM_KV_F8_E4M3 };
    char file[] = "/tmp/llm-state-XXXXXX";
    int fd = mkstemp(file);

    (void)want;
    ck_assert_int_ge(fd, 0);
    close(fd);
    for (size_t i = 0; i < sizeof type / sizeof type[0]; i++) {
        llm_session_options o = { .size = sizeof o, .n_ctx = 256, .kv_type = type[i], .n_batch = 11, .n_seq = 2 };
        llm_session *a, *b;
        llm_error err;
        float *whole;
        if (llm_session_open(&a, s->model, &o, &err) != LLM_OK) {   /* Q8_0 and heads of another width */
            ck_assert_msg(err.status == LLM_ERR_UNSUPPORTED && type[i] == LLM_KV_Q8_0, "%s: %s", s->path, err.text);
            continue;
        }
        n_q8 += type[i] == LLM_KV_Q8_0;
        whole = subject_logits(s, (llm_session_options){ .kv_type = type[i] });
        for (int at = 0; at < 90; at += 15) subject_decode(s, a, 0, at, at + 15, got);
        ck_assert_msg(llm_session_save(a, file, &err) == LLM_OK, "%s", err.text);
        b = subject_session(s, o);
        ck_assert_msg(llm_session_restore(b, file, &err) == LLM_OK, "%s: %s", s->path, err.text);
        ck_assert_msg(llm_session_copy(b, 0, 1, &err) == LLM_OK, "%s: %s", s->path, err.text);
        subject_decode(s, b, 1, 90, N_TOKEN, got);
        subject_same(s, i == 0 ? "F32 cache" : i == 1 ? "Q8_0 cache" : "E4M3 cache", got, whole);
        free(whole);
        llm_session_close(a), llm_session_close(b);
    }
    unlink(file);
}

START_TEST(in_any_cuts) { for_each(cuts, "cuts", SPARSE); } END_TEST
START_TEST(for_any_n_batch) { for_each(batch_sizes, "batch sizes", SPARSE); } END_TEST
START_TEST(beside_other_sequences) { for_each(other_sequences, "other sequences", SPARSE); } END_TEST
START_TEST(on_any_number_of_threads) { for_each(threads, "threads", SPARSE); } END_TEST
START_TEST(while_threads_are_stopped) { for_each(stopped_threads, "stopped threads", SPARSE); } END_TEST
START_TEST(saved_and_restored) { for_each(save_and_restore, "save and restore", SPARSE); } END_TEST
START_TEST(truncated_and_copied) { for_each(truncate_and_copy, "truncate and copy", SPARSE); } END_TEST
START_TEST(cancelled_and_taken_up) { for_each(cancelled, "cancelled", SPARSE); } END_TEST
START_TEST(on_any_instruction_set) { for_each(instruction_sets, "instruction sets", 1); } END_TEST
START_TEST(in_any_float_environment) { for_each(float_environments, "float environments", SPARSE); } END_TEST
START_TEST(beside_other_sessions) { for_each(sessions, "sessions", SPARSE); } END_TEST
START_TEST(with_any_type_of_cache)
{
    for_each(cache_types, "types of the cache", 1);
    ck_assert(n_path == 0 || n_q8 > 0);
}
END_TEST

LLM_TEST_MAIN("run/invariants", in_any_cuts, for_any_n_batch, beside_other_sequences, on_any_number_of_threads, while_threads_are_stopped,
              saved_and_restored, truncated_and_copied, cancelled_and_taken_up, on_any_instruction_set, in_any_float_environment,
              beside_other_sessions, with_any_type_of_cache)
