/* Sessions on the device (or its shim), on the bundled model: greedy tokens equal the CPU's, the same bits from run to run and from
 * recorded steps, several sequences, saving and copying, memory that runs out. */
#include "../llm_test.h"
#include "llm.h"
#include <math.h>
#include <string.h>

#define MODEL "tools/demo/demo-gpt-oss.gguf"
enum { PROMPT = 24, MORE = 16, FEW = 5 };

static const char text[] = "It was a cold evening in the old town, and the lamps along the river had just been lit when the stranger came to the door. "
                           "He carried a small bag and asked for a room; nobody knew him there.";

/* False, said and counted, where there is no GPU and these tests are for one. */
static int open_model(llm_model **m, llm_backend_kind kind, const char *name)
{
    llm_model_options o = { .size = sizeof o, .path = MODEL, .backend = kind, .n_threads = 2 };
    llm_error err = { LLM_OK, "" };
    llm_status st = llm_model_open(m, &o, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip(name, err.text); return 0; }
    ck_assert_msg(st == LLM_OK, "%s", err.text);
    return 1;
}

static llm_session *open_session(llm_model *m, int n_seq)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = 256, .n_seq = n_seq, .n_batch = 64 };
    llm_session *s;
    llm_error err;

    ck_assert_msg(llm_session_open(&s, m, &o, &err) == LLM_OK, "%s", err.text);
    return s;
}

static int n_vocab(const llm_model *m)
{
    llm_model_info i = { .size = sizeof i };
    llm_model_get_info(m, &i);
    return i.n_vocab;
}

static int best(const float *y, int n)
{
    int at = 0;
    for (int i = 1; i < n; i++) if (y[i] > y[at]) at = i;
    return at;
}

static void prompt(const llm_model *m, llm_token out[PROMPT])
{
    llm_token all[256];
    size_t n;
    llm_error err;

    ck_assert_msg(llm_tokenize(m, text, strlen(text), 0, all, 256, &n, &err) == LLM_OK && n >= 16, "%s", err.text);
    for (int i = 0; i < PROMPT; i++) out[i] = all[(size_t)i % n];
}

/* n greedy tokens after the prompt; last [n_vocab] gets the last logits where it is not NULL. */
static void greedy(llm_model *m, llm_session *s, int n, llm_token *out, float *last)
{
    llm_token p[PROMPT];
    llm_error err;

    prompt(m, p);
    ck_assert_msg(llm_session_decode(s, p, PROMPT, &err) == LLM_OK, "%s", err.text);
    for (int i = 0; i < n; i++) {
        out[i] = best(llm_session_logits(s), n_vocab(m));
        ck_assert_msg(llm_session_decode(s, &out[i], 1, &err) == LLM_OK, "%s", err.text);
    }
    if (last) memcpy(last, llm_session_logits(s), (size_t)n_vocab(m) * sizeof *last);
}

START_TEST(greedy_tokens_equal_the_cpu)
{
    llm_model *cpu, *gpu;
    llm_token want[MORE], got[MORE];

    if (!open_model(&gpu, LLM_BACKEND_CUDA, "cuda/greedy")) return;
    ck_assert(open_model(&cpu, LLM_BACKEND_CPU, "cpu"));
    llm_session *a = open_session(cpu, 1), *b = open_session(gpu, 1);
    greedy(cpu, a, MORE, want, NULL), greedy(gpu, b, MORE, got, NULL);
    for (int i = 0; i < MORE; i++) ck_assert_msg(want[i] == got[i], "token %d is %d, want %d", i, (int)got[i], (int)want[i]);
    llm_session_close(a), llm_session_close(b), llm_model_close(cpu), llm_model_close(gpu);
}
END_TEST

static double log_sum(const float *y, int n)
{
    double most = y[best(y, n)], sum = 0;

    for (int i = 0; i < n; i++) sum += exp((double)y[i] - most);
    return most + log(sum);
}

/* Logits of the first MORE tokens of the prompt, at once or one by one; [MORE, n_vocab], free them. */
static float *logits_of(llm_backend_kind kind, int at_once)
{
    llm_model *m;
    llm_token p[PROMPT];
    llm_error err;

    ck_assert(open_model(&m, kind, "logits"));
    llm_session *s = open_session(m, 1);
    size_t v = (size_t)n_vocab(m), n = at_once ? MORE : 1;
    float *out = malloc(MORE * v * sizeof *out);
    prompt(m, p);
    for (size_t i = 0; i < MORE; i += n) {
        llm_row row[MORE];
        for (size_t k = 0; k < n; k++) row[k] = (llm_row){ p[i + k], 0, 1 };
        ck_assert_msg(llm_session_decode_rows(s, row, n, &err) == LLM_OK, "%s", err.text);
        memcpy(out + i * v, llm_session_logits(s), n * v * sizeof *out);
    }
    llm_session_close(s), llm_model_close(m);
    return out;
}

/* The mean Kullback-Leibler divergence from the CPU's logits stays below 1e-4: codes of x are the CPU's but where attention's last bits change one. */
START_TEST(logits_are_close_to_the_cpus)
{
    llm_model *m;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/divergence")) return;
    int v = n_vocab(m);
    llm_model_close(m);
    float *want = logits_of(LLM_BACKEND_CPU, 1);
    for (int once = 0; once < 2; once++) {
        float *got = logits_of(LLM_BACKEND_CUDA, once);
        double all = 0;
        for (int i = 0; i < MORE; i++) {
            const float *w = want + (size_t)i * (size_t)v, *g = got + (size_t)i * (size_t)v;
            double zw = log_sum(w, v), zg = log_sum(g, v);
            for (int k = 0; k < v; k++) all += exp((double)w[k] - zw) * ((double)w[k] - zw - ((double)g[k] - zg));
        }
        ck_assert_msg(all / MORE < 1e-4, "mean divergence %.3g, allowed 1e-4", all / MORE);
        printf("  %d tokens %s: mean divergence from the CPU's logits %.2g (allowed 1e-4)\n", MORE, once ? "at once" : "one by one", all / MORE);
        free(got);
    }
    free(want);
}
END_TEST

static void ignore(void *user, const char *name, int il, const float *data, int n, int width) { (void)user, (void)name, (void)il, (void)data, (void)n, (void)width; }

/* A tap reads activations between ops, so that steps are not recorded. */
START_TEST(runs_and_recorded_steps_give_the_same_bits)
{
    llm_model *m;
    llm_token got[3][FEW];

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/same bits")) return;
    size_t bytes = (size_t)n_vocab(m) * sizeof(float);
    float *last[3];
    for (int i = 0; i < 3; i++) {
        llm_session *s = open_session(m, 1);
        last[i] = malloc(bytes);
        if (i == 2) llm_session_set_tap(s, ignore, NULL);
        greedy(m, s, FEW, got[i], last[i]);
        llm_session_close(s);
        ck_assert(memcmp(got[0], got[i], sizeof got[0]) == 0);
        ck_assert_msg(memcmp(last[0], last[i], bytes) == 0, "run %d", i);
    }
    for (int i = 0; i < 3; i++) free(last[i]);
    llm_model_close(m);
}
END_TEST

/* Three sequences in one batch, step by step, choose what each chooses alone. */
START_TEST(sequences_side_by_side)
{
    enum { N = 3, STEPS = 4 };
    llm_model *m;
    llm_token p[PROMPT], alone[N][STEPS], next[N];
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/sequences")) return;
    int v = n_vocab(m);
    prompt(m, p);
    for (int q = 0; q < N; q++) {
        llm_session *s = open_session(m, 1);
        ck_assert_msg(llm_session_decode(s, p, (size_t)(PROMPT - 5 * q), &err) == LLM_OK, "%s", err.text);
        for (int i = 0; i < STEPS; i++) alone[q][i] = best(llm_session_logits(s), v), ck_assert(llm_session_decode(s, &alone[q][i], 1, &err) == LLM_OK);
        llm_session_close(s);
    }
    llm_session *s = open_session(m, N);
    for (int q = 0; q < N; q++) {
        llm_row row[PROMPT];
        for (int i = 0; i < PROMPT - 5 * q; i++) row[i] = (llm_row){ p[i], q, i + 1 == PROMPT - 5 * q };
        ck_assert_msg(llm_session_decode_rows(s, row, (size_t)(PROMPT - 5 * q), &err) == LLM_OK, "%s", err.text);
        next[q] = best(llm_session_logits(s), v);
    }
    for (int i = 0; i < STEPS; i++) {
        llm_row row[N];
        for (int q = 0; q < N; q++) {
            ck_assert_msg(next[q] == alone[q][i], "sequence %d token %d", q, i);
            row[q] = (llm_row){ next[q], q, 1 };
        }
        ck_assert_msg(llm_session_decode_rows(s, row, N, &err) == LLM_OK, "%s", err.text);
        for (int q = 0; q < N; q++) next[q] = best(llm_session_logits(s) + (size_t)q * (size_t)v, v);
    }
    llm_session_close(s), llm_model_close(m);
}
END_TEST

/* A pick where the logits lie is the pick from all of them, row by row, whatever the order of the sequences in the batch. */
START_TEST(picks_on_the_device)
{
    static const llm_sampler_options kind[] = { { 0 }, { .temperature = 0.8f, .top_k = 40, .top_p = 0.9f }, { .temperature = 1, .top_p = 0.9f, .repeat_penalty = 1.2f }, { .temperature = 1 } };
    llm_model *m;
    llm_token p[PROMPT], first[4][3];
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/picks")) return;
    llm_session *s = open_session(m, 3);
    prompt(m, p);
    llm_row row[6] = { { p[0], 2, 1 }, { p[1], 0, 0 }, { p[2], 1, 1 }, { p[3], 0, 1 }, { p[4], 2, 0 }, { p[5], 2, 0 } };
    for (int looked = 0; looked < 2; looked++) {
        for (int q = 0; q < 3; q++) ck_assert(llm_session_truncate(s, q, 0, &err) == LLM_OK);
        ck_assert_msg(llm_session_decode_rows(s, row, 6, &err) == LLM_OK, "%s", err.text);
        ck_assert_uint_eq(llm_session_n_logits(s), 3);
        for (int k = 0; k < 4; k++) for (size_t i = 0; i < 3; i++) {
            llm_sampler_options o = kind[k];
            llm_sampler *sampler;
            o.size = sizeof o, o.seed = i;
            ck_assert(llm_sampler_open(&sampler, m, &o, &err) == LLM_OK && llm_sampler_accept(sampler, p[i], &err) == LLM_OK);
            llm_token t = looked ? llm_sampler_pick(sampler, llm_session_logits(s) + i * (size_t)n_vocab(m), 7, &err) : llm_session_pick(s, i, sampler, 7, &err);
            ck_assert_msg(t >= 0, "%s", err.text);
            if (!looked) first[k][i] = t;
            else ck_assert_msg(t == first[k][i], "options %d row %zu: %d on the device, %d of all logits", k, i, (int)first[k][i], (int)t);
            llm_sampler_close(sampler);
        }
    }
    ck_assert_int_eq(llm_session_pick(s, 3, NULL, 7, &err), -1);
    llm_session_close(s), llm_model_close(m);
}
END_TEST

/* Picks of all sequences at once: the tokens of single picks, in one copy here and one wait while no row is needed whole; all rows come in one copy where
 * one is. */
START_TEST(picks_of_a_batch)
{
    enum { N = 32, KINDS = 4 };
    static const llm_sampler_options kind[KINDS] = { { 0 }, { .temperature = 0.8f, .top_k = 40, .top_p = 0.9f }, { .temperature = 1, .min_p = 0.1f, .repeat_penalty = 1.2f }, { .temperature = 1 } };
    llm_sampler *sampler[N];
    llm_token p[PROMPT], got[N], want[N];
    uint64_t pos[N];
    llm_row row[N];
    llm_model *m;
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/picks of a batch")) return;
    llm_session *s = open_session(m, N);
    prompt(m, p);
    for (int with_whole = 0; with_whole < 2; with_whole++) {
        for (int q = 0; q < N; q++) {
            llm_sampler_options o = kind[q % (with_whole ? KINDS : 2)];
            o.size = sizeof o, o.seed = (uint64_t)q, pos[q] = (uint64_t)(3 * q + 1), row[q] = (llm_row){ p[q % PROMPT], (q * 5 + 3) % N, 1 };
            ck_assert(llm_sampler_open(&sampler[q], m, &o, &err) == LLM_OK && llm_sampler_accept(sampler[q], p[q % PROMPT], &err) == LLM_OK);
        }
        for (int single = 0; single < 2; single++) {
            for (int q = 0; q < N; q++) ck_assert(llm_session_truncate(s, q, 0, &err) == LLM_OK);
            ck_assert_msg(llm_session_decode_rows(s, row, N, &err) == LLM_OK, "%s", err.text);
            for (int q = 0; q < N && single; q++) ck_assert_msg((want[q] = llm_session_pick(s, (size_t)q, sampler[q], pos[q], &err)) >= 0, "%s", err.text);
#ifdef LLM_CUDA_SHIM
            extern size_t shim_copies[2], shim_waits;
            size_t down = shim_copies[0], waits = shim_waits;
#endif
            if (!single) ck_assert_msg(llm_session_pick_rows(s, N, sampler, pos, got, &err) == LLM_OK, "%s", err.text);
#ifdef LLM_CUDA_SHIM
            if (!single) ck_assert(shim_copies[0] - down == 1 + (size_t)with_whole && shim_waits - waits == 1 + (size_t)with_whole);
#endif
        }
        for (int q = 0; q < N; q++) ck_assert_msg(got[q] == want[q], "row %d: %d with the others, %d alone", q, (int)got[q], (int)want[q]);
        for (int q = 0; q < N; q++) llm_sampler_close(sampler[q]);
    }
    ck_assert_int_eq(llm_session_pick_rows(s, N + 1, sampler, pos, got, &err), LLM_ERR_ARG);
    llm_session_close(s), llm_model_close(m);
}
END_TEST

/* deterministic: a sequence's logits are the same bits at once, cut up, and beside others. */
START_TEST(deterministic_logits_depend_on_their_sequence_alone)
{
    enum { N = 13, OTHER = 6 };
    static const int cut[][N] = { { N }, { 1, 9, 1, 2 }, { 10, 3 } };
    llm_session_options o = { .size = sizeof o, .n_ctx = 256, .n_seq = 2, .n_batch = 64, .deterministic = 1 };
    llm_model *m;
    llm_token p[PROMPT];
    llm_session *s;
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/deterministic")) return;
    size_t bytes = (size_t)n_vocab(m) * sizeof(float);
    float *want = malloc(bytes);
    prompt(m, p);
    for (int k = 0; k < 3; k++) {
        ck_assert_msg(llm_session_open(&s, m, &o, &err) == LLM_OK, "%s", err.text);
        for (int i = 0, at = 0; at < N; at += cut[k][i++]) {
            llm_row row[N + OTHER];
            int n = 0;
            for (int j = 0; j < OTHER && k == 2; j++) row[n++] = (llm_row){ p[j + i], 0, 0 };
            for (int j = 0; j < cut[k][i]; j++) row[n++] = (llm_row){ p[at + j], k == 2, at + j + 1 == N };
            ck_assert_msg(llm_session_decode_rows(s, row, (size_t)n, &err) == LLM_OK, "%s", err.text);
        }
        ck_assert_uint_eq(llm_session_n_logits(s), 1);
        if (k == 0) memcpy(want, llm_session_logits(s), bytes);
        else ck_assert_msg(memcmp(want, llm_session_logits(s), bytes) == 0, "cut %d", k);
        llm_session_close(s);
    }
    free(want), llm_model_close(m);
}
END_TEST

START_TEST(copies_and_files_go_on_alike)
{
    char path[] = "/tmp/llm-cuda-session-XXXXXX";
    llm_model *m;
    llm_token p[PROMPT];
    llm_error err;
    int fd = mkstemp(path);

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/state")) { close(fd), unlink(path); return; }
    int v = n_vocab(m);
    llm_session *s = open_session(m, 2), *r = open_session(m, 2);
    prompt(m, p);
    ck_assert(llm_session_decode(s, p, PROMPT - 1, &err) == LLM_OK);
    ck_assert_msg(llm_session_save(s, path, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_session_restore(r, path, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_session_copy(s, 0, 1, &err) == LLM_OK, "%s", err.text);
    llm_row row[2] = { { p[PROMPT - 1], 0, 1 }, { p[PROMPT - 1], 1, 1 } };
    ck_assert(llm_session_decode_rows(s, row, 2, &err) == LLM_OK && llm_session_decode(r, &p[PROMPT - 1], 1, &err) == LLM_OK);
    ck_assert(memcmp(llm_session_logits(s), llm_session_logits(s) + v, (size_t)v * sizeof(float)) == 0);
    ck_assert_int_eq(best(llm_session_logits(s), v), best(llm_session_logits(r), v));
    llm_session_close(s), llm_session_close(r), llm_model_close(m), close(fd), unlink(path);
}
END_TEST

/* kernels/cuda/README.md has the count for a layer with experts; its keys are in one part here. */
START_TEST(launches_of_a_decoding_step)
{
#ifdef LLM_CUDA_SHIM
    enum { A_LAYER = 12, BESIDE = 6 };      /* beside the layers: embedding, two tables of angles, the first norm, the last one, the head */
    extern size_t shim_launches;
    llm_model_info info = { .size = sizeof info };
    llm_model *m;
    llm_token p[PROMPT];
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/launches")) return;
    llm_session *s = open_session(m, 1);
    llm_model_get_info(m, &info), prompt(m, p);
    ck_assert(llm_session_decode(s, p, 2, &err) == LLM_OK);
    size_t before = shim_launches;
    ck_assert(llm_session_decode(s, p + 2, 1, &err) == LLM_OK);
    size_t n = shim_launches - before, most = (size_t)(info.n_layer * A_LAYER + BESIDE);
    ck_assert_msg(n <= most, "%zu launches in %d layers, at most %zu", n, info.n_layer, most);
    printf("  %zu launches in %d layers\n", n, info.n_layer);
    llm_session_close(s), llm_model_close(m);
#else
    test_skip("cuda/launches", "they are counted in the shim");
#endif
}
END_TEST

/* A shape of a step is recorded once and then replayed. The host waits when a step begins, for its arrays, and when it ends, and not in between. */
START_TEST(steps_are_recorded_once)
{
#ifdef LLM_CUDA_SHIM
    enum { STEPS = 8 };
    extern size_t shim_records, shim_waits;
    llm_token p[PROMPT];
    llm_model *m;
    llm_error err;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/records")) return;
    llm_session *s = open_session(m, 1);
    prompt(m, p);
    ck_assert_msg(llm_session_decode(s, p, 2, &err) == LLM_OK, "%s", err.text);
    size_t records = shim_records;
    for (int i = 0; i < STEPS; i++) {
        size_t waits = shim_waits;
        ck_assert_msg(llm_session_decode(s, p + 2 + i, 1, &err) == LLM_OK, "%s", err.text);
        ck_assert_msg(shim_waits - waits == 2, "step %d: %zu waits", i, shim_waits - waits);
        ck_assert_msg(shim_records - records == (i > 0), "step %d: %zu recordings", i, shim_records - records);
    }
    llm_session_close(s), llm_model_close(m);
#else
    test_skip("cuda/records", "they are counted in the shim");
#endif
}
END_TEST

#ifdef LLM_CUDA_SHIM
/* One token for each of the first n sequences. */
static void step_of(llm_session *s, int n)
{
    llm_row row[20];
    llm_error err;

    for (int i = 0; i < n; i++) row[i] = (llm_row){ 1 + i, i, 1 };
    ck_assert_msg(llm_session_decode_rows(s, row, (size_t)n, &err) == LLM_OK, "%s", err.text);
}
#endif

/* More shapes than are kept push out those that have not come for longest: one that comes between all others stays. */
START_TEST(a_shape_in_use_stays_recorded)
{
#ifdef LLM_CUDA_SHIM
    extern size_t shim_records;
    llm_model *m;

    if (!open_model(&m, LLM_BACKEND_CUDA, "cuda/shapes")) return;
    llm_session *s = open_session(m, 20);
    step_of(s, 1), step_of(s, 1);
    size_t records = shim_records;
    for (int n = 2; n <= 20; n++) step_of(s, n), step_of(s, 1);
    ck_assert_msg(shim_records == records, "%zu recordings of shapes that came once, and of one that was there", shim_records - records);
    step_of(s, 20), step_of(s, 2), step_of(s, 2);
    ck_assert_msg(shim_records - records == 2, "%zu recordings of a shape that is there and of one that was pushed out", shim_records - records);
    llm_session_close(s), llm_model_close(m);
#else
    test_skip("cuda/shapes", "recordings are counted in the shim");
#endif
}
END_TEST

/* Whatever call of a step fails, the error says in which op, layer and shape, and the session goes on as if nothing had been. */
START_TEST(a_call_that_fails_is_named)
{
#ifdef LLM_CUDA_SHIM
    enum { N = 4, EACH = 3 };
    static const llm_token p[N] = { 1, 2, 3, 4 };
    extern size_t shim_fail_in;
    llm_model_options mo = { .size = sizeof mo, .path = "test/data/ref/gpt-oss/model.gguf", .backend = LLM_BACKEND_CUDA };
    llm_model *m;
    llm_error err;
    int failed = 0;

    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    size_t bytes = (size_t)n_vocab(m) * sizeof(float);
    float *want = malloc(bytes);
    llm_session *s;
    for (size_t at = 0;; at += EACH, llm_session_close(s)) {
        llm_status st = LLM_OK;
        s = open_session(m, 2);             /* whose first step is run as it comes, and the second recorded */
        shim_fail_in = at;
        for (int i = 0; i < N && st == LLM_OK; i++) st = llm_session_decode(s, p + i, 1, &err);
        int met = at > 0 && shim_fail_in == 0;
        shim_fail_in = 0;
        if (at > 0 && !met) break;
        ck_assert_int_eq(st, met ? LLM_ERR_INTERNAL : LLM_OK);
        if (met) {
            ck_assert_msg(strstr(err.text, "device cuda: ") && strstr(err.text, " of layer ") && strstr(err.text, " rows, ") && strstr(err.text, "invalid argument"), "%s", err.text);
            ck_assert(llm_session_truncate(s, 0, 0, &err) == LLM_OK);
            for (int i = 0; i < N; i++) ck_assert_msg(llm_session_decode(s, p + i, 1, &err) == LLM_OK, "%s", err.text);
            ck_assert_msg(memcmp(want, llm_session_logits(s), bytes) == 0, "after call %zu failed", at);
            failed++;
        } else memcpy(want, llm_session_logits(s), bytes);
    }
    ck_assert_int_gt(failed, 20);
    shim_fail_in = 2;
    ck_assert_int_eq(llm_session_copy(s, 0, 1, &err), LLM_ERR_INTERNAL);
    ck_assert_msg(strstr(err.text, "did not copy the cells of layer 0, positions 0 to 3") != NULL, "%s", err.text);
    ck_assert(llm_session_length(s, 1) == 0 && llm_session_copy(s, 0, 1, &err) == LLM_OK && llm_session_length(s, 1) == N);
    llm_session_close(s), llm_model_close(m), free(want);
#else
    test_skip("cuda/failures", "calls fail in the shim");
#endif
}
END_TEST

/* The shim's device can be made small. */
START_TEST(memory_that_runs_out_is_an_error)
{
#ifdef LLM_CUDA_SHIM
    extern size_t shim_memory_left;
    size_t all = shim_memory_left;
    llm_model_options mo = { .size = sizeof mo, .path = MODEL, .backend = LLM_BACKEND_CUDA };
    llm_session_options so = { .size = sizeof so, .n_ctx = 4096, .n_batch = 512 };
    llm_model *m;
    llm_session *s;
    llm_token out[FEW];
    llm_error err;

    shim_memory_left = 1 << 20;
    ck_assert_int_eq(llm_model_open(&m, &mo, &err), LLM_ERR_MEMORY);
    ck_assert_msg(strstr(err.text, "MiB") != NULL, "%s", err.text);
    ck_assert_uint_eq(shim_memory_left, 1 << 20);
    shim_memory_left = all;
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    size_t with_model = shim_memory_left;
    for (size_t left = 1 << 16; left < (size_t)1 << 27; left *= 2) {
        shim_memory_left = left;
        if (llm_session_open(&s, m, &so, &err) == LLM_OK) { llm_session_close(s); continue; }
        ck_assert_int_eq(err.status, LLM_ERR_MEMORY);
        ck_assert_uint_eq(shim_memory_left, left);
    }
    shim_memory_left = with_model;
    s = open_session(m, 1);
    greedy(m, s, FEW, out, NULL);
    llm_session_close(s), llm_model_close(m);
    ck_assert_uint_eq(shim_memory_left, all);
#else
    test_skip("cuda/memory", "the memory of a real device is not taken away");
#endif
}
END_TEST

LLM_TEST_MAIN("cuda/session", greedy_tokens_equal_the_cpu, logits_are_close_to_the_cpus, runs_and_recorded_steps_give_the_same_bits, sequences_side_by_side,
              picks_on_the_device, picks_of_a_batch, deterministic_logits_depend_on_their_sequence_alone,
              copies_and_files_go_on_alike, launches_of_a_decoding_step, steps_are_recorded_once, a_shape_in_use_stays_recorded, a_call_that_fails_is_named,
              memory_that_runs_out_is_an_error)
